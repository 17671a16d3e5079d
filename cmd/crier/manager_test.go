package main

import (
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/logtest"
)

// notifySocket is what a service manager hears on.
func notifySocket(t *testing.T) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// heard returns the next thing that the service manager is told.
func heard(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatalf("the service manager is told nothing: %v", err)
	}
	return string(b[:n])
}

// TestNotify: the real program says that it is ready, that it is well, and that it stops.
func TestNotify(t *testing.T) {
	ln, notify := listening(t, "tcp", "127.0.0.1:0"), notifySocket(t)
	cmd := activate(t, build(t), "", []net.Listener{ln},
		[]string{"NOTIFY_SOCKET=" + notify.LocalAddr().String(), "WATCHDOG_USEC=100000", "WATCHDOG_PID=$$"}, "--drain=1s")
	started(t, cmd)
	conn := knock(t, ln.Addr())
	if got, want := heard(t, notify), "READY=1\nSTATUS=Serving on "+ln.Addr().String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	answered(t, conn, 101)
	for n := 0; n < 3; {
		got := heard(t, notify)
		if !strings.HasPrefix(got, "WATCHDOG=1\nSTATUS=") {
			t.Fatalf("got %q, want WATCHDOG=1", got)
		}
		if strings.Contains(got, "1 connections open") {
			n++
		}
	}
	conn.Close()
	terminate(t, cmd)
	got := heard(t, notify)
	for strings.HasPrefix(got, "WATCHDOG=1") {
		got = heard(t, notify)
	}
	// 1 s for the drain, 3 s for its peers' answers, 1 s for the clock, and 5 s to spare.
	if want := "STOPPING=1\nSTATUS=Draining\nEXTEND_TIMEOUT_USEC=10000000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestNotifyReload: a reload does not end the real program where there is no file to reload.
func TestNotifyReload(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", notifySocket(t).LocalAddr().String())
	var log logtest.Buffer
	crier, _, stop := startLogged(t, &log, "--listen=127.0.0.1:0")
	if err := crier.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	log.Await(t, "nothing is reloaded")
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestWatchdogGoesWithout: as long as the server does not come round, the watchdog is not fed.
func TestWatchdogGoesWithout(t *testing.T) {
	const interval = 20 * time.Millisecond
	notify := notifySocket(t)
	t.Setenv("NOTIFY_SOCKET", notify.LocalAddr().String())
	log := make(lines, 100)
	m := &manager{logger: slog.New(slog.NewTextHandler(log, nil)), stop: make(chan struct{}), done: make(chan struct{})}
	asked, round := make(chan struct{}), make(chan struct{})
	go func() { // Ends with close below.
		defer close(m.done)
		m.watch(interval, func() string {
			asked <- struct{}{}
			<-round
			return "STATUS=well"
		})
	}()
	<-asked
	_ = notify.SetReadDeadline(time.Now().Add(10 * interval))
	if n, err := notify.Read(make([]byte, 100)); err == nil {
		t.Errorf("the watchdog was fed %d bytes before the server came round", n)
	}
	round <- struct{}{}
	if got := heard(t, notify); got != "WATCHDOG=1\nSTATUS=well" {
		t.Errorf("got %q, want WATCHDOG=1 once it came round", got)
	}
	close(round)
	<-asked
	m.close()
	if got := <-log; !strings.Contains(got, "do not come round") {
		t.Errorf("got %q, want the log to say so", got)
	}
}

// lines takes what is written, and may be written to by any goroutine.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}
