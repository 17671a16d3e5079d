package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// TestOutage checks that without NATS connections stay and publishers are told, and that no message is missing
// afterwards.
func TestOutage(t *testing.T) {
	nats := startNATS(t, 1)
	n := startNode(t, nats.urls(), "--cluster-replicas", "1", "--cluster-hold", "1s", "--cluster-timeout", "500ms")
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	if _, err := n.publish("news", "", "before"); err != nil {
		t.Fatal(err)
	}
	awaitSame(t, "before", l)
	nats.servers[0].signal(syscall.SIGKILL)
	eventually(t, "the node to be unready", func() error {
		if err := n.ready(); err == nil || !strings.Contains(err.Error(), "NATS") {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	if _, err := n.publish("news", "", "never"); err == nil || !strings.HasPrefix(err.Error(), "503: ") || !strings.Contains(err.Error(), "nothing was published") {
		t.Errorf("publishing over HTTP: got %v, want 503", err)
	}
	conn, br, _, err := ws.Dial(t.Context(), "ws://"+n.addr+"/news")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if br == nil {
		br = bufio.NewReader(conn)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	go func() { // Ends with the connection.
		for i := 0; ; i++ {
			if wsutil.WriteClientText(conn, fmt.Appendf(nil, "w%d", i)) != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	var h ws.Header
	var body []byte
	for err == nil && h.OpCode != ws.OpClose {
		if h, err = ws.ReadHeader(br); err == nil {
			body = make([]byte, h.Length)
			_, err = io.ReadFull(br, body)
		}
	}
	if code, _ := ws.ParseCloseFrameData(body); err != nil || code != 1013 {
		t.Errorf("publishing over a WebSocket: got %v and status %d, want 1013", err, code)
	}
	if got, _ := l.received(); len(got) != 1 {
		t.Errorf("listener: got %q", got)
	}
	nats.servers[0].start()
	eventually(t, "the node to be ready", n.ready)
	if _, err := n.publish("news", "", "after"); err != nil {
		t.Fatal(err)
	}
	if got := awaitSame(t, "after", l); len(got) != 2 {
		t.Errorf("got %q, want two messages: none may be accepted without NATS", got)
	}
}

// TestStall checks that a NATS server that reads nothing, while much is published, delays neither receivers nor new
// clients, and that SIGTERM ends the node, also without a stream.
func TestStall(t *testing.T) {
	t.Parallel()
	nats := startNATS(t, 1)
	c := newCutter(t, nats.addrs[0])
	n := startNode(t, []string{"nats://" + c.ln.Addr().String()}, "--cluster-replicas", "1", "--cluster-timeout", "1s")
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	c.set(true)
	for range 8 {
		s := &socket{n: n}
		if err := s.send("news", strings.Repeat("x", 512<<10)); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if s.send("news", strings.Repeat("x", 512<<10)) != nil {
				break // The connection is no longer read.
			}
		}
	}
	if status := n.plain(t); status != 101 {
		t.Errorf("handshake: got status %d, want 101", status)
	}
	eventually(t, "the node to be unready", func() error {
		if n.ready() == nil {
			return errNotYet
		}
		return nil
	})
	if status := n.plain(t); status != 101 {
		t.Errorf("handshake: got status %d, want 101", status)
	}
	c.set(false)
	eventually(t, "the node to be ready", n.ready)
	js := nats.jetStream(t)
	if err := js.DeleteStream(t.Context(), "CRIER"); err != nil {
		t.Fatal(err)
	}
	n.signal(syscall.SIGTERM)
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("got exit code %d, want 0", code)
	}
}

// plain connects, and returns the status of the answer.
func (n *node) plain(t *testing.T) int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", n.addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn, "GET /news HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Errorf("a handshake: %v", err)
		return 0
	}
	return r.StatusCode
}

// TestLarge checks that the largest text and binary messages arrive, and that the node logs when NATS accepts less
// than the flag says.
func TestLarge(t *testing.T) {
	nats := startNATS(t, 1)
	n := startNode(t, nats.urls(), "--cluster-replicas", "1")
	eventually(t, "the log to report the limit of NATS", func() error { // The node may be ready before.
		if !strings.Contains(n.log(), "max_message=1048320") {
			return errNotYet
		}
		return nil
	})
	conn, br, _, err := ws.Dial(t.Context(), "ws://"+n.addr+"/some/channel%20with%20*.>")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rw := reader(br, conn)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if p, err := wsutil.ReadServerText(rw); err != nil || string(p) != "connection established" {
		t.Fatalf("got %q, %v", p, err)
	}
	for op, text := range map[ws.OpCode]string{ws.OpText: strings.Repeat("x", 1048320), ws.OpBinary: "\x00\xff"} {
		if err := wsutil.WriteClientMessage(conn, op, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if p, got, err := wsutil.ReadServerData(rw); err != nil || got != op || string(p) != text {
			t.Errorf("got %d bytes of %v, %v, want %d of %v", len(p), got, err, len(text), op)
		}
	}
}

// TestStream checks that a stream with other settings than the flags prevents the start, and is not altered.
func TestStream(t *testing.T) {
	nats := startNATS(t, 1)
	startNode(t, nats.urls(), "--cluster-replicas", "1", "--cluster-max-age", "1h")
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"--cluster-max-age 2h --cluster " + nats.urls()[0], []string{"max age is 1h0m0s, wanted 2h0m0s", "hint: change the stream (nats stream edit CRIER)"}},
		{"--cluster-replicas 3 --cluster-max-bytes 1GiB --cluster " + nats.urls()[0], []string{"replicas is 1, wanted 3", "max bytes is -1, wanted 1073741824"}},
		{"--cluster-credentials /does/not/exist --cluster " + nats.urls()[0], []string{"/does/not/exist"}},
	} {
		out, err := exec.Command(crierBin, append([]string{"--listen", "127.0.0.1:0", "--cluster-timeout", "500ms"}, strings.Fields(tt.args)...)...).CombinedOutput()
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 2 {
			t.Errorf("%s: got %v, %s, want exit code 2", tt.args, err, out)
		}
		for _, want := range tt.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: got %s, want %q", tt.args, out, want)
			}
		}
	}
	n := startNode(t, nats.urls(), "--cluster-replicas", "1", "--cluster-max-age", "1h")
	awaitLine(t, n.process, "cluster_mode=ordered cluster_stream=CRIER nats="+nats.addrs[0])
}
