package scale

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"golang.org/x/sys/unix"
)

const (
	drips    = 10_000   // Half-open connections to crier.
	dripsAsk = 1000     // Half-open connections to a server that reports its goroutines.
	dripGrow = 16 << 20 // The bytes by which RssAnon may grow.
	// The number of samples: the first once each connection has sent a byte, the next after another byte.
	dripLooks = 2
	dripGood  = 10 // Healthy clients at each sample.
)

// TestTrickle checks that ten thousand clients that send a byte of their handshake per second cost crier no thread and
// little memory, that others are served, and that --handshake-timeout closes them all.
func TestTrickle(t *testing.T) {
	limit, err := raiseFDLimit()
	if err != nil {
		t.Fatal(err)
	}
	if want := uint64(drips + dripsAsk + spareFDs); limit < want {
		t.Fatalf("the hard limit of open files is %d and this takes %d: raise it (ulimit -Hn, LimitNOFILE)", limit, want)
	}
	exe := buildCrier(t)
	// Longer only where a machine is too slow for all to be half-open at once.
	for timeout := 6 * time.Second; !trickleOnce(t, exe, timeout); timeout *= 2 {
		if t.Failed() || timeout > patience {
			t.Fatalf("the first were closed before all had sent %d bytes, with %v for a handshake", dripLooks, timeout)
		}
	}
}

// trickleOnce reports whether all connections were half-open until the last sample.
func trickleOnce(t *testing.T, exe string, timeout time.Duration) bool {
	crier, port := startCrier(t, exe, "--handshake-timeout="+timeout.String())
	first := newAlone(t, port)
	fds := crier.fds() - 1
	first.publish(0, healthSize)
	first.reset()
	criertest.Eventually(t, "the first client to be gone", func() bool { return crier.fds() == fds })
	srv := startServer(t, childConfig{HandshakeTimeout: timeout})
	idle := srv.ask("trim")
	threads, rss := crier.threads(), crier.rssAnon()

	began := time.Now()
	asked := startTrickle(t, &srv.process, srv.port, 0, dripsAsk)
	tr := startTrickle(t, crier, port, dripsAsk, drips)
	t.Logf("%d connected in %v", drips+dripsAsk, time.Since(began))
	most, peak := 0, 0
	var a answer
	late := func() bool { return tr.ended.Load()+asked.ended.Load() > 0 }
	for look := 1; look <= dripLooks && !late(); look++ {
		criertest.Eventually(t, "a byte more from each", func() bool {
			return late() || int(tr.sent.Load()) >= look*drips && int(asked.sent.Load()) >= look*dripsAsk
		})
		for range dripGood {
			good := newAlone(t, port) // It is greeted.
			good.publish(0, healthSize)
			good.reset()
		}
		most, peak = max(most, crier.threads()), max(peak, crier.rssAnon())
		a = srv.ask("stats")
	}
	t.Logf("looked at for %v", time.Since(began))
	whole := !late()
	if whole {
		t.Logf("threads: %d before, %d at %d; RssAnon: %s before, %s at the most", threads, most, drips, mib(rss), mib(peak))
		t.Logf("goroutines: %d before, %d at %d; in the pool: %d and %d", idle.Goroutines, a.Goroutines, dripsAsk, idle.Pool, a.Pool)
		// The runtime makes a thread when a processor has none to spare, some time or other.
		if own := 4 * runtime.GOMAXPROCS(0); most > threads+own {
			t.Errorf("threads are %d with %d half-open, want %d as without, and up to %d of the runtime's own",
				most, drips, threads, own)
		}
		if peak-rss > dripGrow*raceShadow() {
			t.Errorf("RssAnon grew by %s, want at most %s", mib(peak-rss), mib(dripGrow*raceShadow()))
		}
		if a.Stats.Handshakes != dripsAsk || a.Goroutines != idle.Goroutines || a.Pool != idle.Pool {
			t.Errorf("with %d half-open: %d goroutines and %d in the pool, want %d and %d", a.Stats.Handshakes,
				a.Goroutines, a.Pool, idle.Goroutines, idle.Pool)
		}
	}

	criertest.Eventually(t, "all half-open to be closed", func() bool { return tr.over() && asked.over() })
	t.Logf("closed after %v of connecting, trickling and timing out", time.Since(began))
	tr.check(t, timeout)
	asked.check(t, timeout)
	criertest.Eventually(t, "fds to be as before", func() bool { return crier.fds() == fds && srv.fds() == srv.fdsIdle })
	s := srv.ask("stats").Stats
	checkAccounts(t, s)
	if s.Handshakes != 0 || s.Open != 0 {
		t.Errorf("%d handshakes, %d open, want none", s.Handshakes, s.Open)
	}
	srv.quit()
	crier.signal(syscall.SIGTERM)
	if code := crier.exit(); code != 0 {
		t.Errorf("crier: exit code %d, want 0", code)
	}
	return whole
}

// trickle is a number of half-open connections to one server. Its goroutine sends a byte on each per second.
type trickle struct {
	sent, ended atomic.Int64  // Bytes that were sent; connections that ended. Written by run, read by tests.
	stop        chan struct{} // Closed when the test is over.
	done        chan struct{} // Closed when the goroutine has ended.
	drips       []drip        // Owned by the goroutine until done is closed.
}

// drip is one half-open connection.
type drip struct {
	fd    int // -1 when it has ended.
	began time.Time
	sent  int
	got   []byte
	took  time.Duration // The time until it ended.
	how   error         // How it ended.
}

// startTrickle connects n clients, which send a byte per second until the server has closed them all or the test ends.
// from is the number of the first source address.
func startTrickle(t *testing.T, server *process, port, from, n int) *trickle {
	t.Helper()
	tr := &trickle{stop: make(chan struct{}), done: make(chan struct{})}
	fds := server.fds()
	for i := range n {
		fd, err := connect(address(trickleNet, from+i), port, receiverBuffer)
		if err != nil {
			tr.close()
			t.Fatal(err)
		}
		tr.drips = append(tr.drips, drip{fd: fd, began: time.Now()})
		if (i+1)%maxInFlight == 0 {
			criertest.Eventually(t, "connections to be accepted", func() bool { return server.fds() >= fds+i+1-maxInFlight })
		}
	}
	go tr.run() // Ends with the last connection or when stop is closed; the cleanup waits.
	t.Cleanup(func() {
		close(tr.stop)
		<-tr.done
		tr.close()
	})
	return tr
}

func (tr *trickle) close() {
	for i := range tr.drips {
		if d := &tr.drips[i]; d.fd >= 0 {
			reset(d.fd)
		}
	}
}

func (tr *trickle) run() {
	defer close(tr.done)
	const parts = 100 // Of a second.
	beat := time.NewTicker(time.Second / parts)
	defer beat.Stop()
	buf := make([]byte, 4<<10)
	for next := 0; int(tr.ended.Load()) < len(tr.drips); {
		select {
		case <-tr.stop:
			return
		case <-beat.C:
		}
		for range len(tr.drips) / parts {
			if d := &tr.drips[next%len(tr.drips)]; d.fd >= 0 {
				tr.turn(d, buf)
			}
			next++
		}
	}
}

// turn reads what the server has sent, and sends a byte.
func (tr *trickle) turn(d *drip, buf []byte) {
	for {
		n, err := unix.Read(d.fd, buf)
		if err == unix.EAGAIN {
			break
		}
		if n > 0 {
			d.got = append(d.got, buf[:n]...)
			continue
		}
		if err == nil {
			err = io.EOF
		}
		d.took, d.how = time.Since(d.began), err
		unix.Close(d.fd)
		d.fd = -1
		tr.ended.Add(1)
		return
	}
	// If sending fails, the next read returns the reason.
	n, err := unix.SendmsgN(d.fd, []byte(request[d.sent:][:1]), nil, nil, unix.MSG_NOSIGNAL)
	if err == nil {
		d.sent += n
		tr.sent.Add(int64(n))
	}
}

// over reports whether all connections have ended.
func (tr *trickle) over() bool {
	select {
	case <-tr.done:
		return true
	default:
		return false
	}
}

// check checks that the server closed each connection after timeout, with 408 or without an answer.
func (tr *trickle) check(t *testing.T, timeout time.Duration) {
	t.Helper()
	answers, resets, wrong := 0, 0, 0
	shortest, longest := tr.drips[0].took, time.Duration(0)
	for i := range tr.drips {
		d := &tr.drips[i]
		shortest, longest = min(shortest, d.took), max(longest, d.took)
		var err error
		switch {
		case d.how != io.EOF && d.how != unix.ECONNRESET:
			err = d.how
		case d.took < timeout:
			err = fmt.Errorf("closed after %v, want no sooner than %v", d.took, timeout)
		case len(d.got) > 0 && !bytes.HasPrefix(d.got, []byte("HTTP/1.1 408 ")):
			err = fmt.Errorf("answered %q, want 408", d.got)
		}
		if err != nil {
			if wrong++; wrong <= 3 {
				t.Errorf("half-open connection %d: %v", i, err)
			}
		}
		if len(d.got) > 0 {
			answers++
		}
		if d.how == unix.ECONNRESET {
			resets++
		}
	}
	t.Logf("%d closed after %v to %v, %d with an answer, %d with RST", len(tr.drips), shortest, longest, answers, resets)
	if wrong > 0 {
		t.Errorf("%d of %d did not end after the timeout, with 408 or without an answer", wrong, len(tr.drips))
	}
}
