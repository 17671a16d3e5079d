package scale

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/bench/hostile"
	"github.com/crier-ws/crier/internal/criertest"
)

const opPing = 9

// TestMemoryContract checks that crier stays below --memory while more clients of each kind than there is memory for
// are connected at once.
func TestMemoryContract(t *testing.T) {
	t.Run("plain", func(t *testing.T) { memoryContract(t, 96, 2) })
	t.Run("compressed", func(t *testing.T) { memoryContract(t, 192, 1, "--compress") })
}

// memoryContract checks that with --memory and --max-message in MiB.
func memoryContract(t *testing.T, contract, message int, args ...string) {
	const (
		idle, halfOpen, unfinished, stalled = 800, 600, 300, 200
		misbehave                           = 50 // Hostile clients at a time.
		messages, size                      = 150, 10 << 10
	)
	needFDs(t, idle+halfOpen+unfinished+stalled+misbehave)
	p, port := startCrier(t, buildCrier(t), append(args, fmt.Sprintf("--memory=%dMiB", contract), fmt.Sprintf("--max-message=%dMiB", message),
		"--handshake-timeout=20s", "--retain=256KiB")...)
	good := newAlone(t, port)
	var all sync.WaitGroup
	stop := make(chan struct{})
	var tried atomic.Int32
	many := func(n, network int, do func(c net.Conn) error) {
		for i := range n {
			all.Go(func() { // Ends when stop is closed or crier closes the connection.
				c, err := dial(address(byte(network), i), port)
				if err != nil {
					tried.Add(1)
					return // Refused, as some are.
				}
				defer c.Close()
				err = do(c)
				tried.Add(1)
				if err == nil {
					<-stop
				}
			})
		}
	}
	opened := func(c net.Conn) error {
		_, err := shake(c)
		return err
	}
	crowd := hostile.Start(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port)),
		slices.DeleteFunc(slices.Clone(hostile.Kinds), func(k hostile.Kind) bool { return k.Publishes }),
		misbehave, 5*time.Second, 1)
	peak := 0
	have := func(n int32) {
		t.Helper()
		criertest.Eventually(t, "all to have tried", func() bool {
			peak = max(peak, p.rssAnon())
			return tried.Load() == n
		})
	}
	many(unfinished, 22, func(c net.Conn) error {
		if err := opened(c); err != nil {
			return err
		}
		frame := appendMasked(nil, opText, []byte(strings.Repeat("x", message<<20)))
		for b := frame[:len(frame)-1]; len(b) > 0; {
			n := min(64<<10, len(b))
			if _, err := c.Write(b[:n]); err != nil {
				return err
			}
			b = b[n:]
			time.Sleep(10 * time.Millisecond) // All of them grow at the same time.
		}
		return nil
	})
	have(unfinished)
	var windows atomic.Int32
	many(idle, 20, func(c net.Conn) error {
		// Each window size is an encoding of its own.
		_, err := fmt.Fprintf(c, "%sSec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=%d\r\n\r\n",
			request[:len(request)-2], 8+windows.Add(1)%8)
		go io.Copy(io.Discard, c) // Ends with c.
		return err
	})
	many(stalled, 23, func(c net.Conn) error {
		if err := opened(c); err != nil {
			return err
		}
		ping := appendMasked(nil, opPing, []byte(strings.Repeat("p", 125)))
		for range 1000 { // It never reads.
			if _, err := c.Write(ping); err != nil {
				return err
			}
		}
		return nil
	})
	// These connect last: they leave no room for other handshakes.
	have(idle + unfinished + stalled)
	many(halfOpen, 21, func(c net.Conn) error {
		_, err := io.WriteString(c, request[:len(request)-2]+"X: "+strings.Repeat("x", 7000))
		return err
	})
	for n := range messages {
		good.publish(n, size)
		peak = max(peak, p.rssAnon())
		time.Sleep(40 * time.Millisecond) // Gives the other clients time to act.
	}
	good.reset()
	close(stop)
	if err := crowd.Stop(); err != nil {
		t.Log(err) // Some are refused or cut off because memory is short.
	}
	all.Wait()
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	t.Logf("RssAnon: %s at the most", mib(peak))
	if most := contract << 20 * raceShadow(); peak > most {
		t.Errorf("RssAnon was %s, want at most %s", mib(peak), mib(most))
	}
	// The last line of the log counts the reasons: the bounds must have been reached.
	log := p.log.String()
	last := log[strings.LastIndex(log, "msg=stopped"):]
	for _, reason := range []string{"crowded:", "slow:"} {
		if !strings.Contains(last, reason) {
			t.Errorf("no connection was closed for %q: %s", reason, last)
		}
	}
}
