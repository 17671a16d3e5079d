package broadcast

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"
)

func TestMemoryPlan(t *testing.T) {
	for _, total := range []int64{64 << 20, 256 << 20, 4 << 30, 1 << 45} {
		for _, cfg := range []Config{{}, {MaxMessageBytes: 1 << 16}, {Compress: true, MaxMessageBytes: 1 << 16, Workers: 1},
			{MaxConnsPerIP: 10}, {MaxConns: 100}, {Workers: 2}, {RetainBytes: 1 << 21},
			{Channels: true}, {Channels: true, RetainBytes: 1 << 20, RetainTotalBytes: 5 << 20}} {
			cfg.MemoryBytes = total
			if cfg.Compress && total == 64<<20 {
				continue // Too little.
			}
			full, err := cfg.WithDefaults()
			if err != nil {
				t.Errorf("%d bytes: %v", total, err)
				continue
			}
			p := full.memory
			if p.Sum() > total {
				t.Errorf("%d bytes are planned to be %d: %v", total, p.Sum(), p)
			}
			if cfg.MaxConns > 0 && p.MaxConns != cfg.MaxConns || full.MaxConns != p.MaxConns || p.MaxHandshakes < 64 {
				t.Errorf("%d bytes: got %v for MaxConns %d", total, p, cfg.MaxConns)
			}
			if cfg.MaxConns == 0 && p.Sum() < total-connBytes-addressBytes && p.MaxConns < 1<<30 {
				t.Errorf("of %d bytes %d are planned: %v", total, p.Sum(), p)
			}
			if full.Channels && full.RetainTotalBytes < full.RetainBytes || cfg.RetainTotalBytes > 0 && full.RetainTotalBytes != cfg.RetainTotalBytes {
				t.Errorf("total retention is %d, want %d", full.RetainTotalBytes, cfg.RetainTotalBytes)
			}
			if cfg.RetainBytes > 0 && full.RetainBytes != cfg.RetainBytes {
				t.Errorf("retention is %d, want %d", full.RetainBytes, cfg.RetainBytes)
			}
		}
	}
	// Each log has the newest message, whatever the retention.
	large := Config{MemoryBytes: 1 << 30, MaxMessageBytes: 8 << 20, RetainBytes: minRetain}
	full, err := large.WithDefaults()
	if least := int64(8+8+16) << 20; err != nil || full.memory.Logs < least {
		t.Errorf("logs of large messages: got %d, %v, want at least %d", full.memory.Logs, err, least)
	}
	_, err = New(Config{MemoryBytes: 1 << 20})
	if err == nil || !strings.Contains(err.Error(), "Config.MemoryBytes is 1048576, want at least ") {
		t.Errorf("too little: got %v", err)
	}
}

// TestUnfinished: whatever happens in whatever order, the count equals the real size, and never exceeds the bound.
func TestUnfinished(t *testing.T) {
	const most = 1 << 20
	rng := rand.New(rand.NewPCG(1, 2))
	u := unfinished{most: most}
	conns := make([]*Conn, 40)
	keeps, gone := make(map[*Conn]int64), make(map[*Conn]bool)
	for i := range conns {
		conns[i] = new(Conn)
	}
	victims := 0
	for range 100_000 {
		c := conns[rng.IntN(len(conns))]
		switch {
		case gone[c], rng.IntN(8) == 0: // It sees that it has to go, or it is finished.
			if got := u.isVictim(c); got != gone[c] {
				t.Fatalf("%d bytes, gone %t: mustGo is %t", keeps[c], gone[c], got)
			}
			if gone[c] && rng.IntN(2) == 0 { // It may grow once more before.
				if u.grew(c, keeps[c], 2*keeps[c]) != c {
					t.Fatal("what has to go may grow")
				}
				keeps[c] *= 2
			}
			u.shrank(c, keeps[c])
			delete(keeps, c)
			delete(gone, c)
		default:
			n := max(1<<10, 2*keeps[c])
			if n > most/4 {
				continue
			}
			victim := u.grew(c, keeps[c], n)
			keeps[c] = n
			if victim != nil {
				victims++
				if keeps[victim] < n {
					t.Fatalf("%d bytes give way to %d", keeps[victim], n)
				}
				for other, size := range keeps {
					if size >= 2*keeps[victim] && !gone[other] {
						t.Fatalf("%d bytes give way to %d, and %d do not", keeps[victim], n, size)
					}
				}
				if victim == c {
					u.shrank(c, n)
					delete(keeps, c)
				} else {
					gone[victim] = true
				}
			}
		}
		var want int64
		for c, n := range keeps {
			if !gone[c] {
				want += n
			}
		}
		if got := u.bytes.Load(); got != want || got > most {
			t.Fatalf("got %d bytes, want %d and at most %d", got, want, most)
		}
	}
	for c, n := range keeps {
		u.shrank(c, n)
	}
	left := len(u.victims)
	for _, class := range u.large {
		left += len(class)
	}
	if got := u.bytes.Load(); got != 0 || left > 0 || victims == 0 {
		t.Errorf("in the end: %d bytes, %d connections, %d gave way", got, left, victims)
	}
}

// TestCrowded: if there is no room for more unfinished messages, the largest gives way, and connections with less
// continue.
func TestCrowded(t *testing.T) {
	var whole atomic.Int32 // Large messages, which go to nobody: their senders do not read.
	srv, addr := newServer(t, Config{MaxMessageBytes: 1 << 20, MemoryBytes: 64 << 20, CloseTimeout: patience,
		OnMessage: func(_ *Conn, m Message) (Message, bool) {
			if len(m.Payload) < 1<<20 {
				return m, true
			}
			whole.Add(1)
			return Message{}, false
		}})
	most := srv.unfinished.most
	message := bytes.Repeat([]byte("x"), 1<<20)
	frame := clientFrame(nil, true, ws.OpText, message)
	small, bystander := dial(t, addr), dial(t, addr)
	half := clientFrame(nil, true, ws.OpText, []byte("small"))
	small.send(half[:len(half)-1])
	var large []*client
	for i := range int(most>>20) + 8 {
		c := dial(t, addr)
		large = append(large, c)
		c.send(frame[:len(frame)-1-i])
		eventually(t, "it to be kept, or another to be closed", func() bool {
			return srv.unfinished.bytes.Load() >= min(int64(i+1)<<19, most/2)
		})
	}
	if got := srv.unfinished.bytes.Load(); got > most+largeMessage {
		t.Errorf("got %d bytes of unfinished messages, want at most %d", got, most)
	}
	small.send(half[len(half)-1:])
	for _, c := range []*client{small, bystander} {
		c.expectText("small")
	}
	small.Close()
	bystander.Close()
	crowded := 0
	for i, c := range large {
		c.send(frame[len(frame)-1-i:])
		c.sendFrame(true, ws.OpPing, []byte("finished"))
		op, p, _ := c.readFrame()
		for ; op == ws.OpText; op, p, _ = c.readFrame() { // What others sent, and its own.
		}
		if op == ws.OpClose {
			crowded++
			if got := binary.BigEndian.Uint16(p); got != 1013 {
				t.Errorf("got status %d, want 1013", got)
			}
		}
		c.Close()
	}
	if crowded == 0 || crowded == len(large) || int(whole.Load()) != len(large)-crowded {
		t.Errorf("%d of %d were closed, %d messages came", crowded, len(large), whole.Load())
	}
	eventually(t, "them to be counted", func() bool { return srv.Stats().Disconnects["crowded"] == uint64(crowded) })
	eventually(t, "nothing to be left", func() bool { return srv.unfinished.bytes.Load() == 0 && srv.Stats().Open == 0 })
}

// TestManyHandshakes: connections are answered 503 at accept while there are too many handshakes.
func TestManyHandshakes(t *testing.T) {
	srv, addr := newServer(t, Config{MemoryBytes: 64 << 20})
	var waiting []*client
	for range srv.Memory().MaxHandshakes {
		waiting = append(waiting, connect(t, addr))
	}
	eventually(t, "all to wait", func() bool { return srv.Stats().Handshakes == len(waiting) })
	over := connect(t, addr)
	if r := over.readResponse(); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("got %d, Retry-After %q", r.StatusCode, r.Header.Get("Retry-After"))
	}
	if got := srv.Stats().Refused[503]; got != 1 {
		t.Errorf("Refused 503: got %d, want 1", got)
	}
	waiting[0].send([]byte(handshakeHead))
	waiting[0].expectUpgrade()
	again := connect(t, addr)
	again.send([]byte(handshakeHead))
	again.expectUpgrade()
}
