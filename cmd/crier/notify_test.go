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

// notifySocket returns the socket of a service manager that tests play.
func notifySocket(t *testing.T) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// receiveState returns the next state that the service manager gets.
func receiveState(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	b := make([]byte, 4096)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatalf("the service manager got no state: %v", err)
	}
	return string(b[:n])
}

// TestNotify checks that the built program reports that it is ready, alive and stopping.
func TestNotify(t *testing.T) {
	ln, notify := listening(t, "tcp", "127.0.0.1:0"), notifySocket(t)
	cmd := activate(t, build(t), "", []net.Listener{ln},
		[]string{"NOTIFY_SOCKET=" + notify.LocalAddr().String(), "WATCHDOG_USEC=100000", "WATCHDOG_PID=$$"}, "--drain=1s")
	startUntilEnd(t, cmd)
	conn := startHandshake(t, ln.Addr())
	if got, want := receiveState(t, notify), "READY=1\nSTATUS=Serving on "+ln.Addr().String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	checkAnswer(t, conn, 101)
	for n := 0; n < 3; {
		got := receiveState(t, notify)
		if !strings.HasPrefix(got, "WATCHDOG=1\nSTATUS=") {
			t.Fatalf("got %q, want WATCHDOG=1", got)
		}
		if strings.Contains(got, "1 connections open") {
			n++
		}
	}
	conn.Close()
	terminate(t, cmd)
	got := receiveState(t, notify)
	for strings.HasPrefix(got, "WATCHDOG=1") {
		got = receiveState(t, notify)
	}
	// 1 s for the drain, 3 s for the answers of peers, 1 s for the clock, and 5 s to spare.
	if want := "STOPPING=1\nSTATUS=Draining\nEXTEND_TIMEOUT_USEC=10000000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestNotifyReload checks that SIGHUP does not end the program when no file can be reloaded.
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

// TestWatchdogStarves checks that the watchdog is not fed while the server does not respond.
func TestWatchdogStarves(t *testing.T) {
	const interval = 20 * time.Millisecond
	notify := notifySocket(t)
	t.Setenv("NOTIFY_SOCKET", notify.LocalAddr().String())
	log := make(lines, 100)
	n := &notifier{logger: slog.New(slog.NewTextHandler(log, nil)), stop: make(chan struct{}), done: make(chan struct{})}
	asked, respond := make(chan struct{}), make(chan struct{})
	go func() { // Stopped and awaited by close below.
		defer close(n.done)
		n.feedWatchdog(interval, func() string {
			asked <- struct{}{}
			<-respond
			return "STATUS=alive"
		})
	}()
	<-asked
	_ = notify.SetReadDeadline(time.Now().Add(10 * interval))
	if fed, err := notify.Read(make([]byte, 100)); err == nil {
		t.Errorf("the watchdog was fed %d bytes before the server responded", fed)
	}
	respond <- struct{}{}
	if got := receiveState(t, notify); got != "WATCHDOG=1\nSTATUS=alive" {
		t.Errorf("got %q, want WATCHDOG=1 once the server responded", got)
	}
	close(respond)
	<-asked
	n.close()
	if got := <-log; !strings.Contains(got, "do not respond") {
		t.Errorf("got %q, want a line that workers or shards do not respond", got)
	}
}

// lines is a channel of what is written. Any goroutine may write to it.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}
