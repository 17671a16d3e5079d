package broadcast

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"

	"github.com/pires/go-proxyproto"
)

// addresses knows where connections come from: how many there are of each address,
// and the client's address where a proxy told it. Only with Config.MaxConnsPerIP or
// Config.TrustedProxies.
type addresses struct {
	// Immutable.
	most    int
	trusted []netip.Prefix

	mu    sync.Mutex
	count map[netip.Addr]int       // Guarded by mu.
	of    map[*Conn]netip.AddrPort // Guarded by mu.
}

func newAddresses(cfg *Config) *addresses {
	if cfg.MaxConnsPerIP == 0 && len(cfg.TrustedProxies) == 0 {
		return nil
	}
	return &addresses{
		most: cfg.MaxConnsPerIP, trusted: cfg.TrustedProxies,
		count: make(map[netip.Addr]int), of: make(map[*Conn]netip.AddrPort),
	}
}

// trusts says whether an address is a trusted proxy's. The zero one is of a Unix
// socket.
func (a *addresses) trusts(ip netip.Addr) bool {
	if !ip.IsValid() {
		return len(a.trusted) > 0
	}
	for _, p := range a.trusted {
		if p.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}

// group is what is counted as one: an IPv4 address, or the /64 network that one
// IPv6 subscriber has (RFC 6177).
func group(ip netip.Addr) netip.Addr {
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		p, _ := ip.Prefix(64) // It is at most 128.
		return p.Addr()
	}
	return ip
}

// enter notes that c comes from an address, and says no if there are too many of it.
// An address that was noted for c before is forgotten.
func (a *addresses) enter(c *Conn, from netip.AddrPort) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forget(c)
	g := group(from.Addr())
	if a.most > 0 && a.count[g] >= a.most {
		return false
	}
	a.count[g]++
	a.of[c] = from
	return true
}

// leave forgets c. a may be nil.
func (a *addresses) leave(c *Conn) {
	if a != nil {
		a.mu.Lock()
		a.forget(c)
		a.mu.Unlock()
	}
}

func (a *addresses) forget(c *Conn) {
	from, ok := a.of[c]
	if !ok {
		return
	}
	delete(a.of, c)
	g := group(from.Addr())
	if a.count[g]--; a.count[g] == 0 {
		delete(a.count, g)
	}
}

// told returns what was noted for c. a may be nil.
func (a *addresses) told(c *Conn) (from netip.AddrPort, ok bool) {
	if a == nil {
		return from, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	from, ok = a.of[c]
	return from, ok
}

// client is the address that a request comes from, when the peer is at from: that
// itself, or if it is a trusted proxy's, the last one in X-Forwarded-For that is not.
// What stands in front of that anybody could have written.
func (a *addresses) client(from netip.AddrPort, forwarded []byte) (netip.AddrPort, *Refusal) {
	list := string(forwarded)
	for a.trusts(from.Addr()) && list != "" {
		i := strings.LastIndexByte(list, ',')
		entry := strings.Trim(list[i+1:], " \t")
		list = list[:max(i, 0)]
		if entry == "" {
			continue
		}
		ip, err := parseForwarded(entry)
		if err != nil {
			return from, badRequest("malformed X-Forwarded-For header")
		}
		from = ip
	}
	return from, nil
}

// parseForwarded reads an address, which some proxies write with its port.
func parseForwarded(s string) (netip.AddrPort, error) {
	if from, err := netip.ParseAddrPort(s); err == nil {
		return from, nil
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return netip.AddrPortFrom(ip, 0), err
}

var errManyOfAddress = &Refusal{http.StatusTooManyRequests, "too many connections from this address"}

// Limits of a PROXY header, see the specification "The PROXY protocol", sections 2.1
// and 2.2.
const (
	maxProxyLine   = 107
	maxProxyHeader = 2 << 10 // More than proxies send: addresses, and some fields behind them.
)

// proxyHeader reads the PROXY header, version 1 or 2, that b starts with, and returns
// its length: 0 if it is not all there. from is zero for a connection of the proxy's
// own (LOCAL, UNKNOWN).
func proxyHeader(b []byte) (n int, from netip.AddrPort, refusal *Refusal) {
	bad := func(err error) *Refusal {
		return badRequest(fmt.Sprintf("want a PROXY protocol header in front of the request: %v", err))
	}
	switch v1, v2 := b[:min(len(b), len(proxyproto.SIGV1))], b[:min(len(b), len(proxyproto.SIGV2))]; {
	case bytes.HasPrefix(proxyproto.SIGV2, v2):
		if len(b) < 16 {
			return 0, from, nil
		}
		n = 16 + int(binary.BigEndian.Uint16(b[14:]))
		if n > maxProxyHeader {
			return 0, from, bad(proxyproto.ErrInvalidLength)
		}
	case bytes.HasPrefix(proxyproto.SIGV1, v1):
		n = bytes.IndexByte(b, '\n') + 1
		if n == 0 && len(b) < maxProxyLine {
			return 0, from, nil
		}
	default:
		return 0, from, bad(proxyproto.ErrNoProxyProtocol)
	}
	if n > len(b) {
		return 0, from, nil
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b[:n]), max(n, maxProxyLine)))
	if err != nil {
		return 0, from, bad(err)
	}
	if src, _, ok := h.TCPAddrs(); ok && !h.Command.IsLocal() {
		from = src.AddrPort()
	}
	return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), nil
}
