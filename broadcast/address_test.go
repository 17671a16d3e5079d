package broadcast

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crier-ws/crier/internal/logtest"
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
	over.send([]byte(handshakeHead))
	if r := over.readResponse(); r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" {
		t.Errorf("got %d, Retry-After %q", r.StatusCode, r.Header.Get("Retry-After"))
	}
	if line, _ := over.br.ReadString('\n'); !strings.Contains(line, "too many connections") {
		t.Errorf("got body %q", line)
	}
	over.expectEOF()
	over.Close()
	other := from(t, "127.0.7.2", addr)
	other.send([]byte(handshakeHead))
	other.expectUpgrade()
	a.Close()
	b.Close()
	eventually(t, "two to be forgotten", func() bool {
		srv.addresses.mu.Lock()
		defer srv.addresses.mu.Unlock()
		return len(srv.addresses.byConn) == 1 && len(srv.addresses.counts) == 1
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

// whoAmI starts a server that refuses everybody with the address that it sees.
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

// seenFrom sends bytes, and returns the address in the answer or the answer's status.
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

// proxies are networks of trusted proxies: those that tests connect from, and one that only headers name.
var proxies = []netip.Prefix{netip.MustParsePrefix("127.0.9.0/24"), netip.MustParsePrefix("10.0.0.0/8")}

func TestForwarded(t *testing.T) {
	addr := whoAmI(t, Config{TrustedProxies: proxies})
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
		{"127.0.9.1", "X-Forwarded-For: ::ffff:192.0.2.1", "192.0.2.1:0"},
		{"127.0.9.1", "X-Forwarded-For: [::ffff:192.0.2.1]:99", "192.0.2.1:99"},
		{"127.0.9.1", "X-Forwarded-For: 192.0.2.1, ::ffff:10.0.0.1", "192.0.2.1:0"},
		{"127.0.9.1", "X-Forwarded-For: fe80::1%eth0", "[fe80::1]:0"},
		{"127.0.9.1", "X-Forwarded-For: [fe80::1%eth0]:99", "[fe80::1]:99"},
		{"127.0.9.1", "X-Forwarded-For:", "127.0.9.1"},
		{"127.0.9.1", "X-Forwarded-For: , ,\r\nX-Forwarded-For: ", "127.0.9.1"},
		{"127.0.9.1", "X-Forwarded-For:\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For:", "192.0.2.1:0"},
		{"127.0.9.1", "X-Forwarded-For: 192.0.2.1, " + strings.Repeat("10.0.0.1,", 500), "192.0.2.1:0"},
		{"127.0.8.1", "X-Forwarded-For: 192.0.2.1", "127.0.8.1"},
		{"127.0.8.1", "X-Forwarded-For: unknown", "127.0.8.1"},
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

// TestForwardedUnreadable: an entry that is not an address keeps nobody out, entries before it are not believed, and
// the log shows the entry.
func TestForwardedUnreadable(t *testing.T) {
	var log logtest.Buffer
	addr := whoAmI(t, Config{TrustedProxies: proxies, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	requests := 0
	for _, entry := range []string{
		"unknown", "unix:", "_hidden", "-", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:70000", "1.2.3", "01.2.3.4", "2001:db8::1:54321x",
		"2001:db8::1]", "[2001:db8::1", "[2001:db8::1]x", "[]", `"192.0.2.1"`, "for=192.0.2.1", "example.com", "192.0.2.1 192.0.2.2",
		"\xff\xfe", strings.Repeat("x", 4000),
	} {
		for _, tt := range []struct{ list, want string }{
			{entry, "127.0.9.1"},
			{"203.0.113.66, " + entry, "127.0.9.1"},
			{entry + ", 192.0.2.1", "192.0.2.1"},
			{"203.0.113.66," + entry + ",10.0.0.7", "10.0.0.7"},
		} {
			requests++
			got := seenFrom(t, from(t, "127.0.9.1", addr), headPlus("X-Forwarded-For: "+tt.list))
			if host, _, _ := net.SplitHostPort(got); host != tt.want {
				t.Errorf("%.40q: got %s, want %s", tt.list, got, tt.want)
			}
		}
	}
	log.Await(t, "level=WARN")
	if said := log.String(); !strings.Contains(said, "entry=unknown") || strings.Count(said, "level=WARN") >= requests {
		t.Errorf("after %d requests the log is\n%s", requests, said)
	}
}

// TestProxyIsNotCounted: clients that a trusted proxy cannot tell apart do not keep each other out.
func TestProxyIsNotCounted(t *testing.T) {
	_, addr := newServer(t, Config{TrustedProxies: proxies, MaxConnsPerIP: 1})
	for _, tt := range []struct {
		list string
		want []int
	}{
		{"unknown", []int{101, 101, 101}},
		{"unknown, 10.0.0.7", []int{101, 101, 101}},
		{"10.0.0.7", []int{101, 101}},
		{"unknown, 192.0.2.1", []int{101, 429}},
	} {
		for i, want := range tt.want {
			c := from(t, "127.0.9.1", addr)
			c.send([]byte(headPlus("X-Forwarded-For: " + tt.list)))
			if got := c.readResponse().StatusCode; got != want {
				t.Errorf("%q, connection %d: got %d, want %d", tt.list, i+1, got, want)
			}
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
	mapped := slices.Concat(netip.MustParseAddr("::ffff:192.0.2.1").AsSlice(), v6[16:])
	field := []byte{0xea, 0, 2, 'x', 'y'}
	withTLV := slices.Concat(v4, field)
	proxied := from(t, "127.0.9.1", addr).LocalAddr().(*net.TCPAddr).IP.String()
	tests := []struct{ name, source, header, want string }{
		{"v2", "127.0.9.1", proxyV2(0x21, 0x11, v4), "192.0.2.1:4711"},
		{"v2, with a field behind", "127.0.9.1", proxyV2(0x21, 0x11, withTLV), "192.0.2.1:4711"},
		{"v2, IPv6", "127.0.9.1", proxyV2(0x21, 0x21, v6), "[2001:db8::1]:4711"},
		{"v2, over UDP", "127.0.9.1", proxyV2(0x21, 0x12, v4), "192.0.2.1:4711"},
		{"v2, IPv6 over UDP", "127.0.9.1", proxyV2(0x21, 0x22, v6), "[2001:db8::1]:4711"},
		{"v2, IPv4 in IPv6", "127.0.9.1", proxyV2(0x21, 0x21, mapped), "192.0.2.1:4711"},
		{"v2, the proxy's own", "127.0.9.1", proxyV2(0x20, 0, nil), proxied},
		{"v2, the proxy's own, with addresses", "127.0.9.1", proxyV2(0x20, 0x11, withTLV), proxied},
		{"v2, the proxy's own, cut addresses", "127.0.9.1", proxyV2(0x20, 0x11, v4[:3]), proxied},
		{"v2, unspecified", "127.0.9.1", proxyV2(0x21, 0, nil), proxied},
		{"v2, unspecified, with a field", "127.0.9.1", proxyV2(0x21, 0, field), proxied},
		{"v2, unspecified, with rubbish", "127.0.9.1", proxyV2(0x21, 0, []byte("\r\n\r\nx")), proxied},
		{"v2, a Unix socket", "127.0.9.1", proxyV2(0x21, 0x31, make([]byte, 216)), proxied},
		{"v2, a Unix socket, with a field", "127.0.9.1", proxyV2(0x21, 0x32, append(make([]byte, 216), field...)), proxied},
		{"v1", "127.0.9.1", "PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\n", "192.0.2.1:4711"},
		{"v1, IPv6", "127.0.9.1", "PROXY TCP6 2001:db8::1 ::1 4711 80\r\n", "[2001:db8::1]:4711"},
		{"v1, unknown", "127.0.9.1", "PROXY UNKNOWN\r\n", proxied},
		{"v1, unknown, with addresses", "127.0.9.1", "PROXY UNKNOWN 192.0.2.1 127.0.0.1 4711 80\r\n", proxied},
		{"none", "127.0.9.1", "", "400"},
		{"v2, unspecified, but a stream", "127.0.9.1", proxyV2(0x21, 1, nil), "400"},
		{"v2, unspecified, too long", "127.0.9.1", proxyV2(0x21, 0, make([]byte, maxProxyHeader)), "400"},
		{"v2, another command", "127.0.9.1", proxyV2(0x22, 0x11, v4), "400"},
		{"v2, another family", "127.0.9.1", proxyV2(0x21, 0x41, v4), "400"},
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

// TestProxiedPerIP: the clients of a proxy are counted, and the proxy is not.
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

// TestProxyAndForwarded: X-Forwarded-For after a PROXY header counts if the header names a trusted proxy, or is for
// the proxy's own connection. Otherwise the client may have written it.
func TestProxyAndForwarded(t *testing.T) {
	addr := whoAmI(t, Config{ProxyProtocol: true, TrustedProxies: proxies})
	for _, tt := range []struct{ name, header, want string }{
		{"a trusted proxy", "PROXY TCP4 10.0.0.1 127.0.0.1 4711 80\r\n", "192.0.2.1"},
		{"a client", "PROXY TCP4 203.0.113.66 127.0.0.1 4711 80\r\n", "203.0.113.66"},
		{"the proxy itself", proxyV2(0x20, 0, nil), "192.0.2.1"},
		{"unknown", "PROXY UNKNOWN\r\n", "127.0.9.1"},
		{"unspecified", proxyV2(0x21, 0, nil), "127.0.9.1"},
		{"a Unix socket", proxyV2(0x21, 0x31, make([]byte, 216)), "127.0.9.1"},
	} {
		got := seenFrom(t, from(t, "127.0.9.1", addr), tt.header+headPlus("X-Forwarded-For: 192.0.2.1"))
		if host, _, _ := net.SplitHostPort(got); host != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestReportedTwice: a client that both a PROXY header and X-Forwarded-For report is counted once.
func TestReportedTwice(t *testing.T) {
	srv, addr := newServer(t, Config{MaxConnsPerIP: 1, ProxyProtocol: true, TrustedProxies: proxies})
	c := from(t, "127.0.9.1", addr)
	c.send([]byte("PROXY TCP4 10.0.0.1 127.0.0.1 4711 80\r\n" + headPlus("X-Forwarded-For: 192.0.2.1")))
	c.expectUpgrade()
	srv.addresses.mu.Lock()
	defer srv.addresses.mu.Unlock()
	if got := srv.addresses.counts; len(got) != 1 || got[netip.MustParseAddr("192.0.2.1")] != 1 {
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

// TestTrustedNetworks: an IPv4-mapped network is the IPv4 network that it stands for, and zones do not count. A
// network that no address can be in is an error.
func TestTrustedNetworks(t *testing.T) {
	a := newAddresses(&Config{TrustedProxies: []netip.Prefix{
		netip.MustParsePrefix("::ffff:10.0.0.0/104"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("192.0.2.1/24"),
	}})
	for ip, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "11.1.2.3": false, "fe80::1%eth0": true, "fe80::1": true, "fec0::1": false,
		"192.0.2.255": true, "192.0.3.1": false, "::a01:203": false,
	} {
		if got := a.trusts(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: got %t, want %t", ip, got, want)
		}
	}
	for _, bad := range []netip.Prefix{{}, netip.MustParsePrefix("::ffff:0:0/95"), netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), 33)} {
		if _, err := New(Config{TrustedProxies: []netip.Prefix{bad}}); err == nil || !strings.Contains(err.Error(), "Config.TrustedProxies is ") {
			t.Errorf("%v: got %v", bad, err)
		}
	}
}
