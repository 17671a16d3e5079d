package bench

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// fake accepts clients, upgrades and greets them, and then runs a script on each.
func fake(t *testing.T, script func(client int, c net.Conn)) (port int) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// Ends when the listener is closed; the cleanup waits for it.
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			upgrade(c)
			script(i, c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).Port
}

func upgrade(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		if line, err := r.ReadString('\n'); err != nil || line == "\r\n" {
			break
		}
	}
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: "+accept+"\r\n\r\n\x81\x02hi")
}

// clients returns a swarm of n greeted clients of a port.
func clients(t *testing.T, n, port int, lossy bool) (*swarm, error) {
	o := &options{path: "/", greeting: "hi", senders: 2}
	s, err := newSwarm(o, port, time.Now().Add(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	s.lossy = lossy
	return s, s.growTo(n)
}

// end writes frames and reads until the client ends the connection.
func end(c net.Conn, frames ...[]byte) {
	for _, f := range frames {
		_, _ = c.Write(f)
	}
	_, _ = io.Copy(io.Discard, c)
}

func TestSwarmTakesWhatIsDue(t *testing.T) {
	port := fake(t, func(_ int, c net.Conn) {
		end(c, serverFrame(message{0, 0}, 64), serverFrame(message{1, 0}, 300000), serverFrame(message{0, 1}, 8))
	})
	s, err := clients(t, 1, port, false)
	if err == nil {
		err = s.await(3)
	}
	if err != nil || s.got != 3 {
		t.Errorf("got %d deliveries, %v, want 3", s.got, err)
	}
}

func TestSwarmFails(t *testing.T) {
	tests := []struct {
		name   string
		frames [][]byte
		want   string
	}{
		{"a message is left out", [][]byte{serverFrame(message{0, 1}, 64)}, "message 1 of sender 0 came, 0 was due"},
		{"a message comes twice", [][]byte{serverFrame(message{0, 0}, 64), serverFrame(message{0, 0}, 64)}, "message 0 of sender 0 came, 1 was due"},
		{"a sender that is none", [][]byte{serverFrame(message{2, 0}, 64)}, errDamaged.Error()},
		{"a close frame", [][]byte{{0x88, 2, 0x03, 0xf0}}, "close 03f0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			port := fake(t, func(_ int, c net.Conn) { end(c, tt.frames...) })
			s, err := clients(t, 1, port, false)
			if err == nil {
				err = s.await(3)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestSwarmFailsWhenTheServerCloses(t *testing.T) {
	port := fake(t, func(int, net.Conn) {})
	s, err := clients(t, 1, port, false)
	if err == nil {
		err = s.await(1)
	}
	if err == nil || !strings.Contains(err.Error(), "closed by the server") {
		t.Errorf("got %v, want that the server closed", err)
	}
}

func TestLossySwarmCountsGapsAndCuts(t *testing.T) {
	port := fake(t, func(client int, c net.Conn) {
		if client == 0 {
			_, _ = c.Write(serverFrame(message{0, 5}, 64))
			return
		}
		end(c, serverFrame(message{0, 0}, 64), serverFrame(message{0, 2}, 64))
	})
	s, err := clients(t, 1, port, true)
	if err == nil {
		err = s.growTo(2)
	}
	for err == nil && (s.cut < 1 || s.got < 3) {
		err = s.poll(time.Second)
	}
	if err != nil || s.conns[0].phase != phaseCut || s.conns[0].got != 1 || s.conns[1].got != 2 || s.due[2] != 3 {
		t.Errorf("got %+v and %+v, %v", s.conns[0], s.conns[1], err)
	}
}

func TestSwarmAnswersPings(t *testing.T) {
	pong := make(chan []byte, 1)
	port := fake(t, func(_ int, c net.Conn) {
		b := make([]byte, 8)
		_, _ = c.Write([]byte{0x89, 2, 'h', 'i'})
		_, _ = io.ReadFull(c, b)
		pong <- b
		end(c, serverFrame(message{0, 0}, 64))
	})
	s, err := clients(t, 1, port, false)
	if err == nil {
		err = s.await(1)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(<-pong), "\x8a\x82\x00\x00\x00\x00hi"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSwarmKeepsItsDeadline(t *testing.T) {
	port := fake(t, func(_ int, c net.Conn) { end(c) })
	s, err := clients(t, 1, port, false)
	if err != nil {
		t.Fatal(err)
	}
	s.deadline = time.Now().Add(10 * time.Millisecond)
	s.conns[0].paused = true
	for err == nil {
		err = s.poll(5 * time.Millisecond)
	}
	if err != errDeadline {
		t.Errorf("got %v, want %v", err, errDeadline)
	}
}
