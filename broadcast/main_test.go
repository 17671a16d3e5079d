package broadcast

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/gobwas/ws"
)

func TestMain(m *testing.M) {
	criertest.AllowParallel(8) // Tests that run in parallel here wait for timeouts, but for three.
	os.Exit(leaktest.Main(m))
}

// patience is how long anything may take before a test gives up. Only something that is broken takes that long.
const patience = 20 * time.Second

// newServer starts a server on a loopback port of its own, and shuts it down when the test is over. It logs nothing
// unless cfg has a Logger.
func newServer(t testing.TB, cfg Config) (srv *Server, addr string) {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	srv, err := New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	ln, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatalf("Listen: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }() // Stopped by Shutdown, awaited by the cleanup.
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		// A test may have shut it down itself.
		if err := srv.Shutdown(ctx); err != nil && !errors.Is(err, ErrServerClosed) {
			t.Errorf("Shutdown: got %v, want nil", err)
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("Serve: got %v, want %v", err, ErrServerClosed)
		}
	})
	return srv, ln.Addr().String()
}

// client is a WebSocket client on a plain socket: it does nothing by itself. Its methods end the test on a fault, so
// only the test's goroutine may call them.
type client struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

// connect opens a TCP connection and sends nothing.
func connect(t testing.TB, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	return newClient(t, conn)
}

func newClient(t testing.TB, conn net.Conn) *client {
	t.Cleanup(func() { conn.Close() })
	return &client{Conn: conn, t: t, br: bufio.NewReader(conn)}
}

const clientKey = "dGhlIHNhbXBsZSBub25jZQ=="

// handshakeHead is what dial sends.
const handshakeHead = "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Key: " + clientKey + "\r\nSec-WebSocket-Version: 13\r\n\r\n"

// dial opens a connection and does the handshake. A greeting is left for the
// caller to read.
func dial(t testing.TB, addr string) *client {
	t.Helper()
	c := connect(t, addr)
	c.send([]byte(handshakeHead))
	c.expectUpgrade()
	return c
}

// expectUpgrade reads a 101 answer, checks it and returns it.
func (c *client) expectUpgrade() *http.Response {
	c.t.Helper()
	r := c.readResponse()
	if r.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(r.Body)
		c.t.Fatalf("handshake: got status %d (%q), want 101", r.StatusCode, body)
	}
	sum := sha1.Sum([]byte(clientKey + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if got, want := r.Header.Get("Sec-WebSocket-Accept"), base64.StdEncoding.EncodeToString(sum[:]); got != want {
		c.t.Fatalf("handshake: got Sec-WebSocket-Accept %q, want %q", got, want)
	}
	return r
}

func (c *client) readResponse() *http.Response {
	c.t.Helper()
	c.deadline()
	r, err := http.ReadResponse(c.br, nil)
	if err != nil {
		c.t.Fatalf("reading the handshake's answer: %v", err)
	}
	return r
}

func (c *client) deadline() { _ = c.SetDeadline(time.Now().Add(patience)) }

// send writes bytes as they are.
func (c *client) send(b []byte) {
	c.t.Helper()
	c.deadline()
	if _, err := c.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

var testMask = [4]byte{0x37, 0xfa, 0x21, 0x3d} // RFC 6455, section 5.7.

// clientFrame appends a masked frame.
func clientFrame(dst []byte, fin bool, op ws.OpCode, payload []byte) []byte {
	at := len(dst)
	dst = appendHeader(dst, op, len(payload))
	if !fin {
		dst[at] &^= 0x80
	}
	dst[at+1] |= 0x80
	dst = append(dst, testMask[:]...)
	for i, b := range payload {
		dst = append(dst, b^testMask[i%4])
	}
	return dst
}

// sendFrame sends a masked frame.
func (c *client) sendFrame(fin bool, op ws.OpCode, payload []byte) {
	c.t.Helper()
	c.send(clientFrame(nil, fin, op, payload))
}

// sendText sends a text message in one frame.
func (c *client) sendText(s string) {
	c.t.Helper()
	c.sendFrame(true, ws.OpText, []byte(s))
}

// readFrame reads one frame, which must be unmasked and have no reserved bit.
func (c *client) readFrame() (op ws.OpCode, payload []byte, fin bool) {
	c.t.Helper()
	c.deadline()
	h, err := ws.ReadHeader(c.br)
	if err != nil {
		c.t.Fatalf("reading a frame's header: %v", err)
	}
	if h.Masked || h.Rsv != 0 {
		c.t.Fatalf("frame: got %+v, want no mask and no reserved bit", h)
	}
	payload = make([]byte, h.Length)
	if _, err := io.ReadFull(c.br, payload); err != nil {
		c.t.Fatalf("reading the payload of %+v: %v", h, err)
	}
	return h.OpCode, payload, h.Fin
}

// expectFrame reads a final frame with an opcode and a payload.
func (c *client) expectFrame(wantOp ws.OpCode, want string) {
	c.t.Helper()
	if op, p, fin := c.readFrame(); op != wantOp || string(p) != want || !fin {
		c.t.Fatalf("frame: got op %d fin %t %s, want op %d fin true %s", op, fin, brief(p), wantOp, brief([]byte(want)))
	}
}

// expectText reads a text message.
func (c *client) expectText(want string) {
	c.t.Helper()
	c.expectFrame(ws.OpText, want)
}

// expectClose reads a close frame with a status, or 0 for one without.
func (c *client) expectClose(want ws.StatusCode) {
	c.t.Helper()
	op, p, fin := c.readFrame()
	var got ws.StatusCode
	if len(p) >= 2 {
		got = ws.StatusCode(binary.BigEndian.Uint16(p))
	}
	if op != ws.OpClose || got != want || !fin || len(p) == 1 {
		c.t.Fatalf("frame: got op %d fin %t %s, want a close frame with status %d", op, fin, brief(p), want)
	}
}

// expectEOF expects the orderly end of the stream, not a reset.
func (c *client) expectEOF() {
	c.t.Helper()
	c.deadline()
	if b, err := c.br.ReadByte(); err != io.EOF {
		c.t.Fatalf("at the end of the stream: got byte %#x, error %v, want EOF", b, err)
	}
}

// eventually waits until done returns true.
func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); !happened(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// brief shows a payload without flooding the log.
func brief(p []byte) string {
	if len(p) > 64 {
		return fmt.Sprintf("%d bytes %q...", len(p), p[:64])
	}
	return fmt.Sprintf("%d bytes %q", len(p), p)
}
