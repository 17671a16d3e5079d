package broadcast

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/gobwas/ws"
)

// headOfSize returns a valid head of n bytes, most of which are in one header.
func headOfSize(header string, n int) []byte {
	header += ": "
	return []byte(headPlus(header + strings.Repeat("x", n-len(headPlus(header)))))
}

// TestHandshakeHeadLimit: heads have at most 16 KiB, in one piece or in several.
func TestHandshakeHeadLimit(t *testing.T) {
	_, addr := newServer(t, Config{})
	empty := []byte("\r\n\r\n")
	tests := []struct {
		name string
		head []byte
		want int
	}{
		{"half of it", headOfSize("Cookie", maxHeadBytes/2+1), 101},
		{"largest", headOfSize("Cookie", maxHeadBytes), 101},
		{"largest, with many headers", []byte(headPlus(slices.Repeat([]string{"A: b"}, (maxHeadBytes-len(handshakeHead))/6-1)...)), 101},
		{"largest, with empty lines first", slices.Concat(empty, headOfSize("Cookie", maxHeadBytes-len(empty))), 101},
		{"one too many", headOfSize("Cookie", maxHeadBytes+1), 431},
		{"one too many, with empty lines first", slices.Concat(empty, headOfSize("Cookie", maxHeadBytes-len(empty)+1)), 431},
		{"far too many", headOfSize("Cookie", 3*maxHeadBytes), 431},
		{"no end", bytes.Repeat([]byte("x"), maxHeadBytes+1), 431},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, cut := range []int{len(tt.head), 1, maxHeadBytes - 1, maxHeadBytes} {
				if cut > len(tt.head) {
					continue
				}
				c := connect(t, addr)
				c.send(tt.head[:cut])
				c.send(tt.head[cut:])
				if got := c.readResponse().StatusCode; got != tt.want {
					t.Errorf("cut at %d: got %d, want %d", cut, got, tt.want)
				}
			}
		})
	}
}

// TestLongHeader: the longest headers reach the hooks whole, and what follows the head is decoded.
func TestLongHeader(t *testing.T) {
	headers := make(chan http.Header, 1)
	_, addr := newServer(t, Config{
		Authorize: func(r *http.Request, _ string) (Grant, error) {
			if len(r.Header) == 0 {
				return Grant{}, errors.New("no headers")
			}
			return Grant{Publish: true}, nil
		},
		OnConnect: func(_ *Conn, r *http.Request) error { headers <- r.Header; return nil },
	})
	for _, name := range []string{"Cookie", "Authorization", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions", "Origin", "X-Forwarded-For"} {
		c := connect(t, addr)
		head := headOfSize(name, maxHeadBytes)
		c.send(clientFrame(head, true, ws.OpText, bytes.Repeat([]byte("m"), 2*maxHeadBytes)))
		r := c.expectUpgrade()
		_, want, _ := strings.Cut(string(head), name+": ")
		want = strings.TrimSpace(want)
		if got := (<-headers).Get(name); got != want {
			t.Errorf("%s: the hook got %d bytes, want %d", name, len(got), len(want))
		}
		if got := r.Header.Get(name); name == "Sec-Websocket-Protocol" && got != want {
			t.Errorf("%s: the answer has %d bytes of it, want %d", name, len(got), len(want))
		}
		c.expectText(strings.Repeat("m", 2*maxHeadBytes))
	}
}

// TestHeadBuffer: what is kept of a head takes no more than its share in the memory plan, in whatever pieces it
// arrives.
func TestHeadBuffer(t *testing.T) {
	if used := maxHeadBytes + unsafe.Sizeof(Conn{}) + unsafe.Sizeof(inbound{}); handshakeBytes <= used {
		t.Errorf("a handshake is planned with %d bytes, and takes %d", handshakeBytes, used)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, maxHeadBytes)
	for i := range want {
		want[i] = byte(i % 251)
	}
	for round := range 200 {
		c := &Conn{reader: reader{in: &inbound{rest: make([]byte, 0, rng.IntN(maxHeadBytes))}}}
		for c.headRoom() > 0 {
			n := 1 + rng.IntN(1+rng.IntN(c.headRoom()))
			at := len(c.in.rest)
			got := c.in.appendHead(want[at : at+n])
			if cap(got) > maxHeadBytes || !bytes.Equal(got, want[:at+n]) || len(c.in.rest) != at+n {
				t.Fatalf("round %d: after %d bytes of a head: kept %d of %d", round, at+n, len(got), cap(got))
			}
		}
	}
	if got := (&Conn{}).headRoom(); got != maxHeadBytes {
		t.Errorf("room for a head at its start: got %d, want %d", got, maxHeadBytes)
	}
}

// TestPipelinedAfterHead: bytes that a peer sends without waiting for the answer are not read beyond the room for a
// head while the connection waits to be opened.
func TestPipelinedAfterHead(t *testing.T) {
	p := &picky{gives: make(map[string]bool)}
	srv, addr := newServer(t, Config{Replication: Replication{Order: p, Follower: p, Epoch: "town"}, Channels: true})
	srv.Replica().StartAfter(0)
	srv.Replica().SetDelivered(0)
	c := connect(t, addr)
	text := strings.Repeat("m", 4*maxHeadBytes)
	c.send(clientFrame([]byte(headWith(baseLine, "GET /sport HTTP/1.1")), true, ws.OpBinary, []byte(text)))
	eventually(t, "the connection to wait", func() bool {
		srv.replica.ahead.mu.Lock()
		defer srv.replica.ahead.mu.Unlock()
		for _, conn := range srv.replica.ahead.conns {
			if got := cap(conn.in.rest); got > maxHeadBytes {
				t.Errorf("%d bytes are kept, want at most %d", got, maxHeadBytes)
			}
		}
		return len(srv.replica.ahead.conns) > 0
	})
	p.give("sport", true)
	c.expectUpgrade()
}

// TestEmptyLinesFirst: empty lines before the request line are skipped (RFC 9112, section 2.2), up to a bound.
func TestEmptyLinesFirst(t *testing.T) {
	cfg := DefaultConfig()
	cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.9.0/24")}
	cfg.ProxyProtocol = true
	_, addr := newServer(t, cfg)
	for _, tt := range []struct {
		name, source, before string
		want                 int
	}{
		{"one", "127.0.0.1", "\r\n", 101},
		{"most", "127.0.0.1", strings.Repeat("\r\n", maxEmptyLines), 101},
		{"too many", "127.0.0.1", strings.Repeat("\r\n", maxEmptyLines+1), 400},
		{"line feed alone", "127.0.0.1", "\n", 400},
		{"line feed alone, after one", "127.0.0.1", "\r\n\n", 400},
		{"carriage return alone", "127.0.0.1", "\r", 400},
		{"with a blank", "127.0.0.1", " \r\n", 400},
		{"behind a PROXY header", "127.0.9.1", "PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n\r\n", 101},
		{"behind one of version 2", "127.0.9.1", proxyV2(0x20, 0, nil) + "\r\n\r\n", 101},
		{"before a PROXY header", "127.0.9.1", "\r\nPROXY UNKNOWN\r\n", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := tt.before + handshakeHead
			frames := string(clientFrame(nil, true, ws.OpText, []byte("after it")))
			for _, cut := range []int{1, 2, 3, len(tt.before) - 1, len(tt.before), len(all)} {
				cut = min(max(cut, 0), len(all))
				c := from(t, tt.source, addr)
				c.send([]byte(all[:cut]))
				c.send([]byte(all[cut:]))
				if tt.want != http.StatusSwitchingProtocols {
					if got := c.readResponse().StatusCode; got != tt.want {
						t.Errorf("cut at %d: got %d, want %d", cut, got, tt.want)
					}
					continue
				}
				c.send([]byte(frames))
				c.expectUpgrade()
				c.expectText(DefaultGreeting)
				c.expectText("after it")
				c.Close()
			}
		})
	}
}

// TestOnlyEmptyLines: a peer that sends nothing but empty lines is refused, and keeps no worker busy.
func TestOnlyEmptyLines(t *testing.T) {
	_, addr := newServer(t, Config{})
	c := connect(t, addr)
	c.send(bytes.Repeat([]byte("\r\n"), maxEmptyLines))
	c.send([]byte("\r\n\r\n"))
	if got := c.readResponse().StatusCode; got != 400 {
		t.Errorf("got %d, want 400", got)
	}
}
