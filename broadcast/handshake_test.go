package broadcast

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// sendTap is the kernel, and counts the sends.
type sendTap struct {
	kernel
	sends atomic.Int64
}

func (s *sendTap) send(fd int, pieces [][]byte) (int, unix.Errno) {
	s.sends.Add(1)
	return s.kernel.send(fd, pieces)
}

// TestHandshakeAnswer: 101 and the greeting leave in one send.
func TestHandshakeAnswer(t *testing.T) {
	var tap sendTap
	cfg := DefaultConfig()
	cfg.sockets = &tap
	srv, addr := newServer(t, cfg)
	c := connect(t, addr)
	c.send([]byte(handshakeHead))
	c.deadline()
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	want := "\r\n\r\n" + string(appendFrame(nil, ws.OpText, []byte(DefaultGreeting)))
	if got := string(b[:n]); !strings.HasPrefix(got, "HTTP/1.1 101 Switching Protocols\r\n") || !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want 101 and the greeting", got)
	}
	for _, header := range []string{"Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"} {
		if strings.Contains(string(b[:n]), header) {
			t.Errorf("got %q, want no %s", b[:n], header)
		}
	}
	if got := tap.sends.Load(); got != 1 {
		t.Errorf("sends: got %d, want 1", got)
	}
	st := srv.Stats()
	if st.Open != 1 || st.Upgraded != 1 || st.Accepted != 1 || st.Handshakes != 0 {
		t.Errorf("got %+v, want one open and none in a handshake", st)
	}
}

func TestHandshakeRefusals(t *testing.T) {
	srv, addr := newServer(t, Config{Path: "/ws"})
	good := http.Header{"Connection": {"close"}, "Content-Type": {"text/plain; charset=utf-8"}}
	with := func(header ...string) http.Header {
		h := good.Clone()
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return h
	}
	upgrade := with("Upgrade", "websocket", "Connection", "Upgrade, close", "Sec-WebSocket-Version", "13")
	tests := []struct {
		name, head string
		status     int
		header     http.Header
		body       string // Part of it.
	}{
		{"browser", headOf("GET /ws HTTP/1.1", hostLine), 426, upgrade, "this is a WebSocket server"},
		{"version 8", headWith(versLine, "Sec-WebSocket-Version: 8"), 426, upgrade, "Sec-WebSocket-Version: 13"},
		{"other path", headWith(baseLine, "GET / HTTP/1.1"), 404, good, "nothing is served"},
		{"POST", headWith(baseLine, "POST /ws HTTP/1.1"), 405, with("Allow", "GET"), "GET"},
		{"HEAD", headWith(baseLine, "HEAD /ws HTTP/1.1"), 405, with("Allow", "GET"), ""},
		{"bad key", headWith(keyLine, "Sec-WebSocket-Key: x"), 400, good, "Sec-WebSocket-Key"},
		{"body", headPlus("Content-Length: 3") + "abc", 400, good, "body"},
		{"bare LF", "GET /ws HTTP/1.1\n", 400, good, "CR LF"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, good, "HTTP/1.1"},
		{"not HTTP", "hello\r\n\r\n", 400, good, "request line"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := srv.Stats().Refused[tt.status]
			c := connect(t, addr)
			c.send([]byte(tt.head))
			c.deadline()
			all, err := io.ReadAll(c.br) // It does not wait for the peer to go first.
			if err != nil {
				t.Fatal(err)
			}
			head, body, _ := strings.Cut(string(all), "\r\n\r\n")
			line, fields, _ := strings.Cut(head, "\r\n")
			if want := fmt.Sprintf("HTTP/1.1 %d %s", tt.status, http.StatusText(tt.status)); line != want || !strings.Contains(body, tt.body) {
				t.Errorf("got %q with body %q, want %q with ...%s...", line, body, want, tt.body)
			}
			header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(fields + "\r\n\r\n"))).ReadMIMEHeader()
			if err != nil {
				t.Fatal(err)
			}
			length := header.Get("Content-Length")
			if tt.name == "HEAD" && (body != "" || length == "" || length == "0") || tt.name != "HEAD" && length != strconv.Itoa(len(body)) {
				t.Errorf("got Content-Length %s and body %q", length, body)
			}
			header.Del("Content-Length")
			if got, want := fmt.Sprint(http.Header(header)), fmt.Sprint(tt.header); got != want {
				t.Errorf("header: got %v, want %v", got, want)
			}
			if got := srv.Stats().Refused[tt.status]; got != before+1 {
				t.Errorf("refused with %d: got %d, want %d", tt.status, got, before+1)
			}
		})
	}
	eventually(t, "refused connections to be let go of", func() bool { return srv.Stats().Handshakes == 0 })
	if st := srv.Stats(); st.Open != 0 || st.Upgraded != 0 {
		t.Errorf("got %+v, want none open", st)
	}
}

// TestHandshakeTLS: a TLS client is refused at once.
func TestHandshakeTLS(t *testing.T) {
	srv, addr := newServer(t, Config{})
	c := connect(t, addr)
	c.deadline()
	err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake()
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" || !strings.Contains(err.Error(), "handshake failure") {
		t.Errorf("got %v, want the alert of a handshake failure", err)
	}
	c.expectEOF()
	if got := srv.Stats().TLS; got != 1 {
		t.Errorf("TLS: got %d, want 1", got)
	}
	for _, cut := range []int{1, 2, 5} { // The record's first bytes one by one.
		hello := []byte{0x16, 3, 1, 2, 0, 1}
		c := connect(t, addr)
		c.send(hello[:cut])
		c.send(hello[cut:])
		c.deadline()
		if got, err := io.ReadAll(c.br); err != nil || !bytes.Equal(got, tlsAlert) {
			t.Errorf("cut at %d: got %q, %v, want the alert %q", cut, got, err, tlsAlert)
		}
	}
}

func TestHandshakeSubprotocol(t *testing.T) {
	_, addr := newServer(t, Config{})
	tests := []struct {
		name  string
		lines []string
		want  string
	}{
		{"none", nil, ""},
		{"one", []string{"Sec-WebSocket-Protocol: chat"}, "chat"},
		{"first of several", []string{"Sec-WebSocket-Protocol: b, a,c"}, "b"},
		{"first of two lines", []string{"Sec-WebSocket-Protocol: y", "Sec-WebSocket-Protocol: x"}, "y"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := connect(t, addr)
			c.send([]byte(headPlus(tt.lines...)))
			if got := strings.Join(c.expectUpgrade().Header.Values("Sec-WebSocket-Protocol"), "|"); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestHandshakeInPieces: a head byte by byte, and a head with frames after it in one write, cut at each place around
// its end.
func TestHandshakeInPieces(t *testing.T) {
	_, addr := newServer(t, DefaultConfig())
	c := connect(t, addr)
	for i := range len(handshakeHead) {
		c.send([]byte(handshakeHead[i : i+1]))
	}
	c.expectUpgrade()
	c.expectText(DefaultGreeting)
	c.sendFrame(true, ws.OpClose, nil)
	c.expectClose(0)
	c.expectEOF()
	c.Close()

	all := append([]byte(handshakeHead), stream("text first", "binary+ sec", "ping p", "cont ond", "close \x03\xe8")...)
	for cut := len(handshakeHead) - 5; cut <= len(all); cut++ {
		c := connect(t, addr)
		c.send(all[:cut])
		c.send(all[cut:])
		c.expectUpgrade()
		c.expectText(DefaultGreeting)
		var got []string
		for {
			op, p, _ := c.readFrame()
			if got = append(got, string(p)); op == ws.OpClose {
				break
			}
		}
		// The pong may come before or between the messages, or not at all if the
		// close frame has come with the ping.
		frames := strings.ReplaceAll(strings.Join(got, " ")+" ", "p ", "")
		if want := "first second \x03\xe8 "; frames != want {
			t.Fatalf("cut at %d: got frames %q, want %q", cut, got, want)
		}
		c.expectEOF()
		c.Close()
	}
}

// TestHandshakeTimeout: a client that does not finish in time is answered, and its connection is closed.
func TestHandshakeTimeout(t *testing.T) {
	srv, addr := newServer(t, Config{HandshakeTimeout: 50 * time.Millisecond})
	half := connect(t, addr)
	half.send([]byte(handshakeHead[:40]))
	silent := connect(t, addr)
	for _, c := range []*client{half, silent} {
		r := c.readResponse()
		if body, err := io.ReadAll(r.Body); r.StatusCode != 408 || err != nil || !strings.Contains(string(body), "too long") {
			t.Errorf("got %d %q, %v, want 408", r.StatusCode, body, err)
		}
		c.expectEOF()
	}
	eventually(t, "none in a handshake", func() bool { return srv.Stats().Handshakes == 0 })
	if st := srv.Stats(); st.HandshakeTimeouts != 2 || st.HandshakeAbandoned != 0 {
		t.Errorf("got %d timeouts, %d abandoned, want 2, 0", st.HandshakeTimeouts, st.HandshakeAbandoned)
	}
}

// TestHandshakeTimeoutWhileRead: the time is over while a worker reads the connection.
func TestHandshakeTimeoutWhileRead(t *testing.T) {
	t.Parallel()
	in, out := make(chan struct{}), make(chan struct{})
	srv, addr := newServer(t, Config{
		HandshakeTimeout: 2 * time.Second,
		OnConnect:        func(*Conn, *http.Request) error { close(in); <-out; return nil },
	})
	c := connect(t, addr)
	c.send([]byte(handshakeHead))
	<-in
	eventually(t, "the clock to give it up", func() bool { return srv.Stats().Handshakes == 0 })
	close(out)
	if got := c.readResponse().StatusCode; got != 408 {
		t.Errorf("got %d, want 408", got)
	}
	eventually(t, "it to be counted, and not as open", func() bool {
		st := srv.Stats()
		return st.HandshakeTimeouts == 1 && st.Open == 0
	})
	if got := srv.Stats().Upgraded; got != 0 {
		t.Errorf("upgraded: got %d, want 0", got)
	}
}

// TestHandshakeLinger: a refused connection is released although its peer does not close it.
func TestHandshakeLinger(t *testing.T) {
	srv, addr := newServer(t, Config{HandshakeTimeout: 50 * time.Millisecond})
	c := connect(t, addr)
	c.send([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	if got := c.readResponse().StatusCode; got != 426 {
		t.Fatalf("got %d, want 426", got)
	}
	eventually(t, "none in a handshake", func() bool { return srv.Stats().Handshakes == 0 })
	if got := srv.Stats().HandshakeTimeouts; got != 0 {
		t.Errorf("timeouts: got %d, want 0: it was answered", got)
	}
}

// TestHandshakeAbandoned: the peer closes the connection before its handshake is finished.
func TestHandshakeAbandoned(t *testing.T) {
	srv, addr := newServer(t, Config{})
	for _, sent := range []string{"", "GET / HT"} {
		c := connect(t, addr)
		c.send([]byte(sent))
		c.Close()
	}
	eventually(t, "two abandoned", func() bool { return srv.Stats().HandshakeAbandoned == 2 })
	eventually(t, "none in a handshake", func() bool { return srv.Stats().Handshakes == 0 })
}
