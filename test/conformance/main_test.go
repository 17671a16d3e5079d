package conformance

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/crier-ws/crier/internal/servertest"
)

var target = flag.String("addr", "", "the `host:port` of another server")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(leaktest.Main(m))
}

// patience bounds every wait. Nothing takes as long, unless the machine is busy or a server hangs.
const patience = 20 * time.Second

// maxMessage is the largest message that the server accepts, in bytes.
const maxMessage = 16 << 20

// start starts a server for one test and returns its address. Messages of other tests do not reach its clients.
func start(t testing.TB) string {
	t.Helper()
	if *target != "" {
		return *target
	}
	_, addr := servertest.Start(t, servertest.Loopback, broadcast.Config{MaxMessageBytes: maxMessage, Compress: true})
	return addr.String()
}

const key = "dGhlIHNhbXBsZSBub25jZQ==" // RFC 6455, section 1.2.

// head returns a request head with further lines.
func head(lines ...string) string {
	var further strings.Builder
	for _, line := range lines {
		further.WriteString(line + "\r\n")
	}
	return "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: " + key + "\r\nSec-WebSocket-Version: 13\r\n" + further.String() + "\r\n"
}

// peer is a connection on which the test sends every byte itself.
type peer struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

func dial(t testing.TB, addr string) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { conn.Close() })
	return &peer{Conn: conn, t: t, br: bufio.NewReader(conn)}
}

// open opens a WebSocket connection.
func open(t testing.TB, addr string, lines ...string) *peer {
	t.Helper()
	p := dial(t, addr)
	p.send([]byte(head(lines...)), whole)
	r, err := http.ReadResponse(p.br, nil)
	if err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: got %+v, %v", r, err)
	}
	return p
}

// chops are the sizes of the pieces in which a case is sent: in one piece, byte by byte, unaligned, and in packets of
// Ethernet.
const whole = 1 << 30

var chops = []int{whole, 1, 997, 1460}

// send writes b in pieces of chop bytes. It stops without an error when the server has closed the connection: the test
// reads the reason.
func (p *peer) send(b []byte, chop int) {
	p.t.Helper()
	for len(b) > 0 {
		n := min(chop, len(b))
		if _, err := p.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
	}
}

// frame is a frame that the server sent.
type frame struct {
	first   byte // FIN, reserved bits and opcode.
	payload []byte
}

func (f frame) String() string {
	if len(f.payload) > 40 {
		return fmt.Sprintf("%#x %q... (%d bytes)", f.first, f.payload[:40], len(f.payload))
	}
	return fmt.Sprintf("%#x %q", f.first, f.payload)
}

// read reads a frame, or returns io.EOF if the server has closed the connection. A masked frame (RFC 6455, section 5.1)
// and a length that is not in its shortest form (section 5.2) are errors.
func (p *peer) read() (f frame, err error) {
	var h [8]byte
	if _, err := io.ReadFull(p.br, h[:2]); err != nil {
		return f, err
	}
	f.first = h[0]
	second := h[1]
	n, least := uint64(second), uint64(0)
	switch second {
	case 126:
		_, err = io.ReadFull(p.br, h[:2])
		n, least = uint64(binary.BigEndian.Uint16(h[:])), 126
	case 127:
		_, err = io.ReadFull(p.br, h[:8])
		n, least = binary.BigEndian.Uint64(h[:]), 1<<16
	}
	switch {
	case err != nil:
		return f, err
	case second > 127:
		return f, errors.New("the server's frame is masked")
	case n < least || n > 2*maxMessage:
		return f, fmt.Errorf("the server's frame has a length of %d, written in the form for at least %d", n, least)
	}
	f.payload = make([]byte, n)
	_, err = io.ReadFull(p.br, f.payload)
	return f, err
}

// client describes a frame of a client, which may be wrong on purpose.
type client struct {
	first    byte
	payload  []byte
	length   int    // The bytes of the extended length: 0, 2 or 8, or -1 for the shortest form.
	declared uint64 // The length in the header, if it is not that of payload.
	unmasked bool
	mask     [4]byte
}

const (
	fin  = 0x80
	rsv1 = 0x40
	rsv2 = 0x20
	rsv3 = 0x10

	opCont   = 0x0
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xa
)

var mask = [4]byte{0x37, 0xfa, 0x21, 0x3d} // RFC 6455, section 5.7.

func (c client) bytes() []byte {
	n := uint64(len(c.payload))
	if c.declared != 0 {
		n = c.declared
	}
	if c.length < 0 {
		switch {
		case n < 126:
			c.length = 0
		case n < 1<<16:
			c.length = 2
		default:
			c.length = 8
		}
	}
	masked := byte(0x80)
	if c.unmasked {
		masked = 0
	}
	b := []byte{c.first}
	switch c.length {
	case 0:
		b = append(b, masked|byte(n))
	case 2:
		b = binary.BigEndian.AppendUint16(append(b, masked|126), uint16(n))
	case 8:
		b = binary.BigEndian.AppendUint64(append(b, masked|127), n)
	}
	if c.unmasked {
		return append(b, c.payload...)
	}
	b = append(b, c.mask[:]...)
	for i, x := range c.payload {
		b = append(b, x^c.mask[i%4])
	}
	return b
}

// say returns a correct frame of a client.
func say(first byte, payload string) []byte {
	return client{first: first, payload: []byte(payload), length: -1, mask: mask}.bytes()
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// closing returns the body of a close frame.
func closing(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

// check is one case: what a client sends, and what it must receive.
type check struct {
	section string
	name    string
	send    []byte
	want    []frame
	// code is the status with which the server must close. 0 means that it must not close, noStatus that the close frame
	// must have no status.
	code uint16
}

const noStatus = 1005 // RFC 6455, section 7.4.1: never on the wire.

// bystander opens a connection that only receives. The returned function fails the test if the connection was closed.
func bystander(t *testing.T, addr string) (check func()) {
	t.Helper()
	p := open(t, addr)
	_ = p.SetDeadline(time.Time{})
	ended := make(chan error, 1)
	go func() { // Ends with its own pong, or when p is closed.
		for {
			f, err := p.read()
			if err != nil || f.first == fin|opPong || f.first&opClose != 0 {
				if f.first != fin|opPong {
					err = fmt.Errorf("got %v, %v", f, err)
				}
				ended <- err
				return
			}
		}
	}()
	return func() {
		t.Helper()
		_ = p.SetDeadline(time.Now().Add(patience))
		p.send(say(fin|opPing, ""), whole)
		if err := <-ended; err != nil {
			t.Errorf("a bystander: %v", err)
		}
		p.Close()
	}
}

// run runs each check with all chops.
func run(t *testing.T, checks []check) {
	addr := start(t)
	defer bystander(t, addr)()
	for _, c := range checks {
		t.Run(strings.ReplaceAll(c.section+"/"+c.name, " ", "_"), func(t *testing.T) {
			for _, chop := range chops {
				if chop == 1 && len(c.send) > 70_000 {
					continue // Shorter cases test the same.
				}
				c.run(t, addr, chop)
			}
		})
	}
}

func (c *check) run(t *testing.T, addr string, chop int) {
	t.Helper()
	p := open(t, addr)
	defer p.Close()
	sent := make(chan struct{})
	go func() { // Ends when everything is sent or p is closed; awaited below.
		defer close(sent)
		p.send(c.send, chop)
		if c.code == 0 {
			p.send(say(fin|opPing, "alive?"), whole)
		}
	}()
	defer func() { p.Close(); <-sent }()
	want := c.want
	if c.code == 0 {
		want = append(want[:len(want):len(want)], frame{fin | opPong, []byte("alive?")})
	}
	for i, w := range want {
		got, err := p.read()
		if err != nil || got.first != w.first || !bytes.Equal(got.payload, w.payload) {
			t.Fatalf("chops of %d: frame %d: got %v, %v, want %v", chop, i, got, err, w)
		}
	}
	if c.code != 0 {
		p.expectClose(c.code)
	}
}

// expectClose reads a close frame with this status, and then the end of the stream. Before that, the server may answer
// earlier frames or not.
func (p *peer) expectClose(code uint16) {
	p.t.Helper()
	got, err := p.read()
	for err == nil && got.first&opClose == 0 || got.first == fin|opPong {
		got, err = p.read()
	}
	if err != nil || got.first != fin|opClose {
		p.t.Fatalf("got %v, %v, want a close frame with %d", got, err, code)
	}
	status := uint16(noStatus)
	if len(got.payload) >= 2 {
		status = binary.BigEndian.Uint16(got.payload)
	}
	if status != code {
		p.t.Fatalf("closed with %d %q, want %d", status, got.payload, code)
	}
	// After its answer the client must see the end of the TCP stream: RFC 6455, section 7.1.1.
	p.send(say(fin|opClose, string(got.payload)), whole)
	if f, err := p.read(); !errors.Is(err, io.EOF) {
		p.t.Fatalf("after the close frame: got %v, %v, want the end", f, err)
	}
}
