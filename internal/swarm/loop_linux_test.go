package swarm

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// A million of them must fit, beside what the kernel takes for each.
func TestSizeOfConn(t *testing.T) {
	if got := unsafe.Sizeof(conn{}); got > 288 {
		t.Errorf("got %d bytes, want at most 288", got)
	}
}

func TestClockIsTheKernels(t *testing.T) {
	before := monotonic(t)
	got := clock()
	if after := monotonic(t); got < before-time.Millisecond || got > after {
		t.Errorf("got %v, want %v to %v", got, before, after)
	}
}

func TestShare(t *testing.T) {
	for _, of := range []int{1, 2, 3, 5} {
		for n := range 20 {
			var sum int
			for id := range of {
				l := &loop{id: id, of: of}
				got := l.share(n)
				sum += got
				if got > 0 && l.global(got-1) >= n || l.global(got) < n {
					t.Errorf("loop %d of %d, %d connections: got %d", id, of, n, got)
				}
			}
			if sum != n {
				t.Errorf("%d loops: got %d connections in all, want %d", of, sum, n)
			}
		}
	}
}

// How a server ends a connection that it has greeted.
func TestDropped(t *testing.T) {
	tests := []struct {
		name string
		end  func(c net.Conn)
		want string
	}{
		{"close frame", func(c net.Conn) { put(c, []byte("\x88\x06\x03\xf0slow")); untilEnd(c) }, `connection 1: closed by the server with 1008 "slow"`},
		{"empty close frame", func(c net.Conn) { put(c, []byte{0x88, 0}); untilEnd(c) }, "connection 1: closed by the server"},
		{"close frame of one byte", func(c net.Conn) { put(c, []byte{0x88, 1, 3}); untilEnd(c) }, "connection 1: closed by the server"},
		{"FIN", func(c net.Conn) {}, "connection 1: closed by the server"},
		{"RST", func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }, "connection 1: connection reset by peer"},
		{"FIN in the middle of a message", func(c net.Conn) { put(c, of(0)[:20]) }, "connection 1: closed by the server"},
		{"no frame", func(c net.Conn) { put(c, []byte("HTTP/1.1 500 \r\n\r\n")); untilEnd(c) }, "connection 1: " + errFrame.Error() + ": first byte 0x48"},
		{"masked frames", func(c net.Conn) { put(c, message{0, 0}.appendFrame(nil, size)); untilEnd(c) }, "connection 1: " + errFrame.Error() + ": masked"},
	}
	for _, tt := range tests {
		for _, strict := range []bool{false, true} {
			name := tt.name
			if strict {
				name += ", strict"
			}
			t.Run(name, func(t *testing.T) {
				now := make(chan struct{})
				target := fake(t, func(client int, c net.Conn) {
					if client == 0 {
						untilEnd(c)
						return
					}
					<-now
					tt.end(c)
				})
				cfg := config(target, 2)
				cfg.Strict = strict
				s := start(t, cfg)
				must(t, s.Grow(1))
				must(t, s.Grow(2))
				close(now)
				if strict {
					err := s.Rest(patience)
					if err == nil || err.Error() != tt.want {
						t.Errorf("got %v, want %s", err, tt.want)
					}
					return
				}
				restUntil(t, s, func(c Counts) bool { return c.Dropped == 1 })
				if got := statsOf(t, s); got.Open != 1 || got.Error != tt.want {
					t.Errorf("got %d open, %q, want 1, %q", got.Open, got.Error, tt.want)
				}
				// What is sent after that does not come to it, which one may see.
				must(t, s.Send(Load{Messages: 2, Rate: 1e6}))
				if got, err := s.Tally(0, 2); err != nil || got != (Tally{Dropped: 1, Lacking: 1}) {
					t.Errorf("got %+v, %v, want one dropped, one lacking", got, err)
				}
			})
		}
	}
}

func TestServerThatDoesNotGreet(t *testing.T) {
	cfg := config(raw(t, func(_ int, c net.Conn) {
		readRequest(c)
		put(c, []byte(switching))
		untilEnd(c)
	}), 1)
	cfg.Patience = 50 * time.Millisecond
	err := start(t, cfg).Grow(1)
	if !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), `did not send the first message "hi"`) {
		t.Errorf("got %v, want that there is no greeting", err)
	}
}

// TestResponses is about what comes before the greeting.
func TestResponses(t *testing.T) {
	tests := []struct {
		name   string
		answer string
		want   string // in the error, "" for none
	}{
		{"403", "HTTP/1.1 403 Forbidden\r\n\r\n", `did not upgrade: "HTTP/1.1 403 Forbidden"`},
		{"another greeting", switching + "\x81\x02ho", `its first message is "\x81\x02ho", not "hi"`},
		{"a shorter greeting", switching + "\x81\x01h", `its first message is "\x81\x01h", not "hi"`},
		{"longer than 64 KiB", switching[:30] + strings.Repeat("x", maxHead), "the response is longer than 65536 bytes"},
		{"much longer than 64 KiB", switching[:30] + strings.Repeat("x", 20*maxHead), "the response is longer than 65536 bytes"},
		{"closed", "", "connection 0: closed by the server"},
		{"closed in the middle", switching[:30], "connection 0: closed by the server"},
		{"half of a long head", strings.TrimSuffix(switching, "\r\n") + "X: " + strings.Repeat("x", maxHead/2) + "\r\n\r\n\x81\x02hi", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := raw(t, func(_ int, c net.Conn) {
				readRequest(c)
				put(c, []byte(tt.answer))
				if !strings.Contains(tt.want, "closed") {
					untilEnd(c)
				}
			})
			s := start(t, config(target, 1))
			err := s.Grow(1)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			// Stats and Tally are there after an error.
			if tally, err := s.Tally(0, 1); err != nil || tally.Lacking != 0 {
				t.Errorf("Tally: got %+v, %v", tally, err)
			}
			if got := statsOf(t, s); tt.want != "" && got.Open != 0 || tt.want == "" && got.Open != 1 {
				t.Errorf("got %d open", got.Open)
			}
		})
	}
}

// The first messages may follow the greeting at once, more than a response may be long,
// and the head may have come before.
func TestMessagesWithTheGreeting(t *testing.T) {
	const many = 5000 // 320 KiB
	cfg := config(fake(t, func(client int, c net.Conn) {
		if client == 0 {
			receive(c, many)
			put(c, ping)
		}
		untilEnd(c)
	}), 1)
	s := grown(t, cfg)
	must(t, s.Send(Load{Messages: many, Rate: 1e9}))
	l := s.members[0].(*loop)
	l.conns = append(l.conns, open(t, 1))
	l.due = append(l.due, 0)
	l.open++
	c := l.conns[1]
	c.phase = phaseUpgrade
	l.open--
	l.pending++
	var all []byte
	for seq := range uint64(many) {
		all = append(all, of(seq)...)
	}
	must(t, l.received(1, []byte(switching)))
	must(t, l.received(1, append([]byte("\x81\x02hi"), all...)))
	if got := l.stats; got.Delivered != many || got.Faults() != 0 || l.open != 2 || c.head != nil {
		t.Errorf("got %+v, %d open, want %d delivered, 2 open", got.Counts, l.open, many)
	}
}

func TestRequest(t *testing.T) {
	lines := make(chan []string, 1)
	target := raw(t, func(_ int, c net.Conn) {
		lines <- readRequest(c)
		put(c, []byte(switching))
		untilEnd(c)
	})
	cfg := config(target, 1)
	cfg.Greeting, cfg.Host, cfg.Path = "", "example.org:81", "/a?b=c"
	s := grown(t, cfg)
	got := strings.Join(<-lines, "")
	if !strings.HasPrefix(got, "GET /a?b=c HTTP/1.1\r\nHost: example.org:81\r\n") {
		t.Errorf("got %q", got)
	}
	if got := statsOf(t, s); got.Open != 1 || got.Connect.TotalCount() != 1 {
		t.Errorf("got %d open, %d times of connecting, want 1", got.Open, got.Connect.TotalCount())
	}
}

func TestConnectionRefused(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	target := l.Addr().(*net.TCPAddr).AddrPort()
	must(t, l.Close())
	s := start(t, config(target, 3))
	if err := s.Grow(3); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v, want connection refused", err)
	}
}

func TestServerThatNeverGreets(t *testing.T) {
	for _, answer := range []string{"", switching, switching + "\x81"} {
		target := raw(t, func(_ int, c net.Conn) {
			put(c, []byte(answer))
			untilEnd(c)
		})
		cfg := config(target, 2)
		cfg.Patience = 20 * time.Millisecond
		s := start(t, cfg)
		if err := s.Grow(2); !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), "with 0 of 2 connections") {
			t.Errorf("%q: got %v, want %v with 0 of 2 connections", answer, err, ErrStuck)
		}
	}
}

// Pings are no step forward.
func TestMessageThatNeverComes(t *testing.T) {
	target := fake(t, func(_ int, c net.Conn) {
		receive(c, 3)
		put(c, of(0), of(1))
		for {
			if _, err := c.Write(ping); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	cfg := config(target, 1)
	cfg.Patience = 100 * time.Millisecond
	s := grown(t, cfg)
	if err := s.Broadcast(3); !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), "1 deliveries are due") {
		t.Errorf("got %v, want %v with 1 delivery to come", err, ErrStuck)
	}
}

func TestSenderThatIsClosed(t *testing.T) {
	target := fake(t, func(_ int, c net.Conn) { receive(c, 1); put(c, of(0), []byte("\x88\x02\x03\xe9")); untilEnd(c) })
	s := grown(t, config(target, 1))
	must(t, s.Broadcast(1))
	restUntil(t, s, func(c Counts) bool { return c.Dropped == 1 })
	err := s.Broadcast(1)
	if err == nil || !strings.Contains(err.Error(), "connection 0, which sends, is closed: connection 0: closed by the server with 1001") {
		t.Errorf("got %v, want that the sender is closed", err)
	}
}

// In open loop the other senders send on, and what the closed one does not send is lost.
func TestSenderThatIsClosedInOpenLoop(t *testing.T) {
	target := fake(t, func(client int, c net.Conn) {
		if client == 1 {
			put(c, []byte("\x88\x02\x03\xe9"))
		}
		untilEnd(c)
	})
	cfg := config(target, 2)
	cfg.Senders = 2
	s := grown(t, cfg)
	restUntil(t, s, func(c Counts) bool { return c.Dropped == 1 })
	must(t, s.Send(Load{Messages: 6, Rate: 1000}))
	must(t, s.Settle(0))
	if got := statsOf(t, s); got.Sent != 3 || got.Lost != 12 || got.Delivered != 0 {
		t.Errorf("got %+v, want 3 sent and 6 lost by each of 2", got.Counts)
	}
}

func TestSenderThatWasNotMade(t *testing.T) {
	cfg := config(fake(t, func(_ int, c net.Conn) { untilEnd(c) }), 3)
	cfg.Senders = 2
	s := start(t, cfg)
	must(t, s.Grow(3))
	must(t, s.Shrink(1))
	if err := s.Broadcast(2); err == nil || !strings.Contains(err.Error(), "connection 1, which sends, was not made") {
		t.Errorf("got %v, want that connection 1 was not made", err)
	}
	if got, err := s.Tally(0, 3); err != nil || got.Whole+got.Lacking+got.Dropped != 1 {
		t.Errorf("got %+v, %v, want one", got, err)
	}
}

// Events of a socket may come after the connection is gone.
func TestEventOfNoConnection(t *testing.T) {
	l := unconnected(t, 1, 2)
	l.shrinkTo(1)
	must(t, l.ready(1, ^uint32(0)))
	l.end(0)
	must(t, l.ready(0, ^uint32(0)))
}

// Waking ends waiting once.
func TestWake(t *testing.T) {
	l := unconnected(t, 1, 0)
	l.wake()
	l.wake()
	must(t, l.poll(time.Hour))
	if n, err := epollPwait2(l.epfd, l.events[:], 0); n != 0 || err != nil {
		t.Errorf("got %d events, %v, want none", n, err)
	}
}

// A server that sends without end can be interrupted.
func TestInterruptWhileFlooded(t *testing.T) {
	flood := bytes.Repeat([]byte{0x8a, 0}, 1<<20)
	begun := make(chan struct{})
	target := fake(t, func(_ int, c net.Conn) {
		close(begun)
		for {
			if _, err := c.Write(flood); err != nil {
				return
			}
		}
	})
	s := grown(t, config(target, 1))
	// Ends with the test: Rest does not return before.
	go func() {
		<-begun
		s.Interrupt()
	}()
	if err := s.Rest(time.Hour); !errors.Is(err, ErrInterrupted) {
		t.Errorf("got %v, want %v", err, ErrInterrupted)
	}
}

func TestDeliverAllocatesNothing(t *testing.T) {
	l := unconnected(t, 1, 1)
	cfg := *l.cfg
	cfg.Timed = true
	l.cfg = &cfg
	l.begin(schedule{Total: 1 << 20, Burst: 1, Start: clock()})
	var b []byte
	for seq := range uint64(1000) {
		b = append(b, of(seq)...)
	}
	each := len(b) / 1000
	got := testing.AllocsPerRun(900, func() {
		l.readAt = clock()
		if err := l.received(0, b[:each]); err != nil {
			t.Fatal(err)
		}
		b = b[each:]
	})
	if got != 0 || l.stats.Faults() != 0 || l.stats.Delivered < 900 {
		t.Errorf("got %v allocations and %+v, want none", got, l.stats.Counts)
	}
}
