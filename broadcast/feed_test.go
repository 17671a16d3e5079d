package broadcast

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

func BenchmarkFanOut(b *testing.B) {
	for _, conns := range []int{1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("conns=%d/size=64", conns), func(b *testing.B) {
			s := newBench(b, Config{}, conns)
			s.shard.sockets = &countingSockets{}
			m := Message{Text, []byte(strings.Repeat("x", 64))}
			b.ReportAllocs()
			for b.Loop() {
				s.shard.srv.appendToLogs(s.shard.srv.root, m, 0)
				s.run()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(conns), "ns/delivery")
		})
	}
}

// TestPassAfterOthers: a connection that a pass does not visit first is written to on the fast path, and a short
// write or out-of-band bytes are handled there, too.
func TestPassAfterOthers(t *testing.T) {
	second := firstFD + 1
	t.Run("short write", func(t *testing.T) {
		b := newBench(t, Config{}, 2)
		b.sink.room = func(fd, n int) (int, unix.Errno) {
			if fd == second && b.sink.calls[fd] == 1 {
				return 3, 0
			}
			return n, 0
		}
		b.publish("one")
		b.run()
		b.expect(0, texts("one"))
		b.expect(1, texts("one"))
	})
	t.Run("aside", func(t *testing.T) {
		b := newBench(t, Config{}, 2)
		full := true
		b.sink.room = func(fd, n int) (int, unix.Errno) {
			if fd == second && full {
				return 0, unix.EAGAIN
			}
			return n, 0
		}
		var p pongs
		p.appendFrames(0, appendFrame(nil, ws.OpPong, []byte("p")))
		b.shard.sendPongs(b.conns[1], &p)
		full = false
		b.publish("one")
		b.run() // It is still blocked: nothing may overtake the pong.
		b.writable(b.conns[1])
		b.expect(0, texts("one"))
		b.expect(1, append(appendFrame(nil, ws.OpPong, []byte("p")), texts("one")...))
	})
}
