package broadcast

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
)

// from dials from a source address.
func from(t testing.TB, source, addr string) *client {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, conn)
}

func TestMaxConnsPerIP(t *testing.T) {
	srv, addr := newServer(t, Config{MaxConnsPerIP: 2})
	const attacker = "127.0.7.1"
	a := from(t, attacker, addr) // Sends nothing, and counts.
	b := from(t, attacker, addr)
	b.send([]byte(handshakeHead))
	b.expectUpgrade()
	over := from(t, attacker, addr)
	if r := over.readResponse(); r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" {
		t.Errorf("got %d, Retry-After %q", r.StatusCode, r.Header.Get("Retry-After"))
	}
	if line, _ := over.br.ReadString('\n'); !strings.Contains(line, "too many connections") {
		t.Errorf("got body %q", line)
	}
	over.expectEOF()
	other := from(t, "127.0.7.2", addr)
	other.send([]byte(handshakeHead))
	other.expectUpgrade()
	a.Close()
	b.Close()
	eventually(t, "two to be forgotten", func() bool {
		srv.addresses.mu.Lock()
		defer srv.addresses.mu.Unlock()
		return len(srv.addresses.of) == 1 && len(srv.addresses.count) == 1
	})
	again := from(t, attacker, addr)
	again.send([]byte(handshakeHead))
	again.expectUpgrade()
	if got := srv.Stats().ShedPerIP; got != 1 {
		t.Errorf("ShedPerIP: got %d, want 1", got)
	}
}

func TestGroup(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::",
	} {
		if got := group(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// whoAmI is a server that refuses everybody with the address that it sees.
func whoAmI(t testing.TB, cfg Config) string {
	t.Helper()
	cfg.OnConnect = func(c *Conn, r *http.Request) error {
		if c.RemoteAddr().String() != r.RemoteAddr {
			t.Errorf("got %v and %v", c.RemoteAddr(), r.RemoteAddr)
		}
		return &Refusal{418, r.RemoteAddr}
	}
	_, addr := newServer(t, cfg)
	return addr
}

// seenFrom is the address in the answer to bytes, or the answer's status.
func seenFrom(t testing.TB, c *client, b string) string {
	t.Helper()
	for i := range len(b) { // The server sees it in pieces.
		if i%7 == 0 {
			c.send([]byte(b[i:min(i+7, len(b))]))
		}
	}
	r := c.readResponse()
	if r.StatusCode != 418 {
		return fmt.Sprint(r.StatusCode)
	}
	line, _ := c.br.ReadString('\n')
	return strings.TrimSpace(line)
}

func TestForwarded(t *testing.T) {
	addr := whoAmI(t, Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.9.0/24"), netip.MustParsePrefix("10.0.0.0/8")}})
	tests := []struct{ source, lines, want string }{
		{"127.0.9.1", "X-Forwarded-For: 192.0.2.1", "192.0.2.1:0"},
		{"127.0.9.1", "X-Forwarded-For: 203.0.113.66, 192.0.2.1", "192.0.2.1:0"},
		{"127.0.9.1", "X-Forwarded-For: 203.0.113.66, 192.0.2.1, 10.1.2.3 , 10.1.2.4", "192.0.2.1:0"},
		{"127.0.9.1", "X-Forwarded-For: 203.0.113.66\r\nx-forwarded-for: 192.0.2.1", "192.0.2.1:0"},
		{"127.0.9.1", "X-Forwarded-For: 192.0.2.1:4711", "192.0.2.1:4711"},
		{"127.0.9.1", "X-Forwarded-For: 2001:db8::1", "[2001:db8::1]:0"},
		{"127.0.9.1", "X-Forwarded-For: [2001:db8::1]:99", "[2001:db8::1]:99"},
		{"127.0.9.1", "X-Forwarded-For: [2001:db8::1]", "[2001:db8::1]:0"},
		{"127.0.9.1", "X-Forwarded-For: ,, 192.0.2.1 ,", "192.0.2.1:0"},
		{"127.0.9.1", "X-Forwarded-For: 10.0.0.1, 10.0.0.2", "10.0.0.1:0"},
		{"127.0.9.1", "X-Forwarded-For: nonsense, 192.0.2.1", "192.0.2.1:0"},
		{"127.0.9.1", "X-Forwarded-For: 192.0.2.1, nonsense", "400"},
		{"127.0.9.1", "X-Forwarded-For: unknown", "400"},
		{"127.0.8.1", "X-Forwarded-For: 192.0.2.1", "127.0.8.1"},
		{"127.0.9.1", "X-Nothing: 1", "127.0.9.1"},
	}
	for _, tt := range tests {
		got := seenFrom(t, from(t, tt.source, addr), headPlus(tt.lines))
		if host, _, err := net.SplitHostPort(got); err == nil && !strings.Contains(tt.want, ":") {
			got = host // With a port of its own.
		}
		if got != tt.want {
			t.Errorf("%s, %q: got %s, want %s", tt.source, tt.lines, got, tt.want)
		}
	}
}

// proxyV2 is a header of the PROXY protocol, version 2, section 2.2.
func proxyV2(command, family byte, block []byte) string {
	b := []byte("\r\n\r\n\x00\r\nQUIT\n")
	b = append(b, command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(block)))
	return string(append(b, block...))
}

func TestProxyProtocol(t *testing.T) {
	addr := whoAmI(t, Config{ProxyProtocol: true, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.9.0/24")}})
	v4 := []byte{192, 0, 2, 1, 127, 0, 0, 1, 0x12, 0x67, 0, 80}
	v6 := append(append(netip.MustParseAddr("2001:db8::1").AsSlice(), netip.MustParseAddr("::1").AsSlice()...), 0x12, 0x67, 0, 80)
	withTLV := append(append([]byte(nil), v4...), 4, 0, 2, 'x', 'y')
	proxied := from(t, "127.0.9.1", addr).LocalAddr().(*net.TCPAddr).IP.String()
	tests := []struct{ name, source, header, want string }{
		{"v2", "127.0.9.1", proxyV2(0x21, 0x11, v4), "192.0.2.1:4711"},
		{"v2, with a field behind", "127.0.9.1", proxyV2(0x21, 0x11, withTLV), "192.0.2.1:4711"},
		{"v2, IPv6", "127.0.9.1", proxyV2(0x21, 0x21, v6), "[2001:db8::1]:4711"},
		{"v2, the proxy's own", "127.0.9.1", proxyV2(0x20, 0, nil), proxied},
		{"v1", "127.0.9.1", "PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n", "192.0.2.1:4711"},
		{"v1, IPv6", "127.0.9.1", "PROXY TCP6 2001:db8::1 ::1 4711 80\r\n", "[2001:db8::1]:4711"},
		{"v1, unknown", "127.0.9.1", "PROXY UNKNOWN\r\n", proxied},
		{"none", "127.0.9.1", "", "400"},
		{"v2, wrong version", "127.0.9.1", proxyV2(0x31, 0x11, v4), "400"},
		{"v2, too short", "127.0.9.1", proxyV2(0x21, 0x11, v4[:11]), "400"},
		{"v2, too long", "127.0.9.1", proxyV2(0x21, 0x11, make([]byte, maxProxyHeader)), "400"},
		{"v1, no end", "127.0.9.1", "PROXY " + strings.Repeat("x", maxProxyLine), "400"},
		{"v1, nonsense", "127.0.9.1", "PROXY TCP4 a b c d\r\n", "400"},
		{"not trusted", "127.0.8.1", proxyV2(0x21, 0x11, v4), "400"},
		{"not trusted, none", "127.0.8.1", "", "127.0.8.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := seenFrom(t, from(t, tt.source, addr), tt.header+headPlus())
			if host, _, err := net.SplitHostPort(got); err == nil && !strings.Contains(tt.want, ":") {
				got = host
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestProxiedPerIP: behind a proxy its clients are counted, and not it.
func TestProxiedPerIP(t *testing.T) {
	for _, proxy := range []bool{false, true} {
		_, addr := newServer(t, Config{MaxConnsPerIP: 1, ProxyProtocol: proxy, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.9.0/24")}})
		for client, want := range []int{101, 101, 101} {
			for round, want := range []int{want, 429} {
				c := from(t, "127.0.9.1", addr)
				ip := fmt.Sprintf("192.0.2.%d", client)
				if proxy {
					c.send([]byte("PROXY TCP4 " + ip + " 127.0.0.1 4711 80\r\n" + handshakeHead))
				} else {
					c.send([]byte(headPlus("X-Forwarded-For: " + ip)))
				}
				if got := c.readResponse().StatusCode; got != want {
					t.Errorf("client %d, round %d: got %d, want %d", client, round, got, want)
				}
			}
		}
	}
}

// TestToldTwice: who is told of by a PROXY header and X-Forwarded-For is counted once.
func TestToldTwice(t *testing.T) {
	srv, addr := newServer(t, Config{MaxConnsPerIP: 1, ProxyProtocol: true, TrustedProxies: []netip.Prefix{
		netip.MustParsePrefix("127.0.9.0/24"), netip.MustParsePrefix("10.0.0.0/8")}})
	c := from(t, "127.0.9.1", addr)
	c.send([]byte("PROXY TCP4 10.0.0.1 127.0.0.1 4711 80\r\n" + headPlus("X-Forwarded-For: 192.0.2.1")))
	c.expectUpgrade()
	srv.addresses.mu.Lock()
	defer srv.addresses.mu.Unlock()
	if got := srv.addresses.count; len(got) != 1 || got[netip.MustParseAddr("192.0.2.1")] != 1 {
		t.Errorf("counted: %v, want 192.0.2.1 once", got)
	}
}

// TestUnixProxy: a peer on a Unix socket is trusted if there are trusted proxies.
func TestUnixProxy(t *testing.T) {
	for _, trusted := range []bool{false, true} {
		cfg := Config{MaxConnsPerIP: 2}
		want := "invalid AddrPort"
		if trusted {
			cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			want = "192.0.2.1:0"
		}
		cfg.OnConnect = func(_ *Conn, r *http.Request) error { return &Refusal{418, r.RemoteAddr} }
		srv, _ := newServer(t, cfg)
		path := filepath.Join(t.TempDir(), "s")
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(ln) }() // Ends with Shutdown, awaited below.
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_ = srv.Shutdown(ctx)
			<-served
		})
		for range 2 {
			conn, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			if got := seenFrom(t, newClient(t, conn), headPlus("X-Forwarded-For: 192.0.2.1")); got != want {
				t.Errorf("trusted %t: got %s, want %s", trusted, got, want)
			}
		}
	}
}
