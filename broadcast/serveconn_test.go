package broadcast

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// socketPair returns the ends of a Unix socket.
func socketPair(t *testing.T, typ int) (ends [2]net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "")
		defer f.Close()
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
	}
	return ends
}

// TestServeConn: a TCP connection that another goroutine accepted, and one end of a pair of sockets.
func TestServeConn(t *testing.T) {
	srv, _ := newServer(t, Config{Channels: true, Greeting: "hello"})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	tcp := connect(t, ln.Addr().String())
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	pair := socketPair(t, unix.SOCK_STREAM)
	events := newClient(t, pair[0])
	for _, conn := range []net.Conn{accepted, pair[1]} {
		if err := srv.ServeConn(conn); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("what was taken over: got %v, want %v", err, net.ErrClosed)
		}
	}
	tcp.send([]byte(handshakeHead))
	tcp.expectUpgrade()
	tcp.expectText("hello")
	tcp.sendText("one")
	tcp.expectText("one")

	events.send([]byte("GET /news HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"))
	r := events.readResponse()
	if r.StatusCode != http.StatusOK {
		t.Fatalf("events: got %s", r.Status)
	}
	publishTo(t, srv, "news", "two")
	body := bufio.NewReader(r.Body)
	for line := ""; line != "data: two\n"; {
		events.deadline()
		if line, err = body.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if st := srv.Stats(); st.Accepted != 2 || st.Open != 2 {
		t.Errorf("got %d accepted, %d open, want 2, 2", st.Accepted, st.Open)
	}
	events.Close()
	eventually(t, "the end of the events", func() bool { return srv.Stats().Open == 1 })
	tcp.sendFrame(true, ws.OpClose, nil)
	tcp.expectClose(0)
}

// TestServeConnRefused: a connection that cannot be served is closed all the same.
func TestServeConnRefused(t *testing.T) {
	srv, _ := newServer(t, Config{})
	pipe, other := net.Pipe()
	datagrams := socketPair(t, unix.SOCK_DGRAM)
	late := socketPair(t, unix.SOCK_STREAM)
	for _, conn := range []net.Conn{other, datagrams[0], late[0]} {
		defer conn.Close()
	}
	if err := srv.ServeConn(pipe); err == nil || !strings.Contains(err.Error(), "no file descriptor") {
		t.Errorf("a pipe: got %v", err)
	}
	if err := srv.ServeConn(datagrams[1]); err == nil || !strings.Contains(err.Error(), "stream socket") {
		t.Errorf("datagrams: got %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if err := srv.ServeConn(late[1]); !errors.Is(err, ErrServerClosed) {
		t.Errorf("after Shutdown: got %v, want %v", err, ErrServerClosed)
	}
	for _, conn := range []net.Conn{pipe, late[0]} { // The late one is answered first.
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("it is still open")
		}
	}
}
