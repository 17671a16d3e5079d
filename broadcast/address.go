package broadcast

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/pires/go-proxyproto"
)

// addresses counts the connections of each address, and holds the clients' addresses that proxies have reported. It is
// used only with Config.MaxConnsPerIP or Config.TrustedProxies.
type addresses struct {
	// Immutable.
	most    int
	trusted []netip.Prefix

	mu     sync.Mutex
	counts map[netip.Addr]int       // Guarded by mu.
	byConn map[*Conn]netip.AddrPort // Guarded by mu.

	// Connections above the limit, which stay until they are refused.
	crowds  map[netip.Addr]int   // Guarded by mu: how many of each address.
	crowded map[*Conn]netip.Addr // Guarded by mu.
}

func newAddresses(cfg *Config) *addresses {
	if cfg.MaxConnsPerIP == 0 && len(cfg.TrustedProxies) == 0 {
		return nil
	}
	return &addresses{
		most: cfg.MaxConnsPerIP, trusted: unmapped(cfg.TrustedProxies),
		counts: make(map[netip.Addr]int), byConn: make(map[*Conn]netip.AddrPort),
		crowds: make(map[netip.Addr]int), crowded: make(map[*Conn]netip.Addr),
	}
}

// unmapped returns networks with IPv4-mapped ones (RFC 4291, section 2.5.5.2) as IPv4.
func unmapped(networks []netip.Prefix) []netip.Prefix {
	networks = slices.Clone(networks)
	for i, p := range networks {
		if p.Addr().Is4In6() {
			networks[i] = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
	}
	return networks
}

// isUnmatchable reports whether no address is in a network: it is not valid, or it has IPv4-mapped addresses and
// others.
func isUnmatchable(p netip.Prefix) bool { return !p.IsValid() || p.Addr().Is4In6() && p.Bits() < 96 }

// trusts reports whether ip is the address of a trusted proxy. The zero address is that of a Unix socket.
func (a *addresses) trusts(ip netip.Addr) bool {
	if !ip.IsValid() {
		return len(a.trusted) > 0
	}
	for _, p := range a.trusted {
		if p.Contains(ip.Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// group returns the address under which ip is counted: an IPv4 address itself, or the /64 network of an IPv6 address,
// which belongs to one subscriber (RFC 6177).
func group(ip netip.Addr) netip.Addr {
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		p, _ := ip.Prefix(64) // It is at most 128.
		return p.Addr()
	}
	return ip
}

// register records the address of c, in place of one recorded before. It returns false if there are too many
// connections from that address. A trusted proxy's own address stands for any number of unknown clients, so its
// connections are not limited.
func (a *addresses) register(c *Conn, from netip.AddrPort) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgetLocked(c)
	g := group(from.Addr())
	if a.most > 0 && a.counts[g] >= a.most && !a.trusts(from.Addr()) {
		return false
	}
	a.counts[g]++
	a.byConn[c] = from
	return true
}

// minCrowd is how many connections above the limit may always wait to be refused, however small the limit is.
const minCrowd = 16

// crowd lets c, whose address has too many connections, stay until its request is refused. It returns false if too many
// connections of the address already do.
func (a *addresses) crowd(c *Conn, from netip.AddrPort) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := group(from.Addr())
	if a.crowds[g] >= max(a.most, minCrowd) {
		return false
	}
	a.crowds[g]++
	a.crowded[c] = g
	return true
}

// unregister forgets c's address. a may be nil.
func (a *addresses) unregister(c *Conn) {
	if a != nil {
		a.mu.Lock()
		a.forgetLocked(c)
		a.mu.Unlock()
	}
}

// forgetLocked is unregister for a caller that holds mu. a must not be nil.
func (a *addresses) forgetLocked(c *Conn) {
	if g, ok := a.crowded[c]; ok {
		delete(a.crowded, c)
		if a.crowds[g]--; a.crowds[g] == 0 {
			delete(a.crowds, g)
		}
	}
	from, ok := a.byConn[c]
	if !ok {
		return
	}
	delete(a.byConn, c)
	g := group(from.Addr())
	if a.counts[g]--; a.counts[g] == 0 {
		delete(a.counts, g)
	}
}

// clientOf returns the address that was recorded for c. a may be nil.
func (a *addresses) clientOf(c *Conn) (from netip.AddrPort, ok bool) {
	if a == nil {
		return from, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	from, ok = a.byConn[c]
	return from, ok
}

// client returns the address that a request comes from, given the peer's address and all lists of X-Forwarded-For:
// the peer's, or if that is a trusted proxy, the last one in the lists that is not. Each entry was written by the hop
// after it. So an entry that an untrusted hop wrote may be made up, and so may all entries before that one.
//
// An entry that is not an address, such as that of a proxy that does not know its client or hides it, also ends the
// search. client is then the address of the trusted proxy that wrote the entry, and unreadable is the entry.
func (a *addresses) client(from netip.AddrPort, forwarded []byte) (client netip.AddrPort, unreadable string) {
	list := string(forwarded)
	for a.trusts(from.Addr()) && list != "" {
		i := strings.LastIndexByte(list, ',')
		entry := strings.Trim(list[i+1:], " \t")
		list = list[:max(i, 0)]
		if entry == "" {
			continue
		}
		ip, ok := parseForwarded(entry)
		if !ok {
			return from, entry
		}
		from = ip
	}
	return from, ""
}

// parseForwarded reads an IP address, which some proxies write in brackets or with a port. A zone means something
// only on the host that wrote it.
func parseForwarded(s string) (netip.AddrPort, bool) {
	from, err := netip.ParseAddrPort(s)
	if err != nil {
		if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
			s = strings.TrimSuffix(inner, "]")
		}
		var ip netip.Addr
		ip, err = netip.ParseAddr(s)
		from = netip.AddrPortFrom(ip, 0)
	}
	return netip.AddrPortFrom(from.Addr().WithZone("").Unmap(), from.Port()), err == nil
}

// Limits of a PROXY header, see the specification "The PROXY protocol", sections 2.1
// and 2.2.
const (
	maxProxyLine   = 107
	maxProxyHeader = 2 << 10 // More than proxies send: addresses, and some fields after them.
)

// proxyHeader is the content of a PROXY header.
type proxyHeader struct {
	length int            // Of the header; 0 if it is not complete.
	from   netip.AddrPort // The client's address, or zero if the header does not contain one.

	// The connection is of a client whose address the proxy cannot tell, and not of the proxy itself (LOCAL).
	unknown bool
}

// readProxyHeader reads the PROXY header, version 1 or 2, that b starts with.
func readProxyHeader(b []byte) (p proxyHeader, refusal *Refusal) {
	bad := func(err error) *Refusal {
		return badRequest(fmt.Sprintf("want a PROXY protocol header in front of the request: %v", err))
	}
	n := 0
	switch v1, v2 := b[:min(len(b), len(proxyproto.SIGV1))], b[:min(len(b), len(proxyproto.SIGV2))]; {
	case bytes.HasPrefix(proxyproto.SIGV2, v2):
		if len(b) < 16 {
			return p, nil
		}
		n = 16 + int(binary.BigEndian.Uint16(b[14:]))
		if n > maxProxyHeader {
			return p, bad(proxyproto.ErrInvalidLength)
		}
	case bytes.HasPrefix(proxyproto.SIGV1, v1):
		n = bytes.IndexByte(b, '\n') + 1
		if n == 0 && len(b) < maxProxyLine {
			return p, nil
		}
	default:
		return p, bad(proxyproto.ErrNoProxyProtocol)
	}
	if n > len(b) {
		return p, nil
	}
	// The library refuses the command PROXY with the family UNSPEC. The specification, section 2.2, lets a receiver
	// use the real addresses, as it does in version 1 (UNKNOWN).
	if bytes.HasPrefix(b, unspecified) {
		return proxyHeader{length: n, unknown: true}, nil
	}
	h, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b[:n]), max(n, maxProxyLine)))
	if err != nil {
		return p, bad(err)
	}
	from := sourceOf(h)
	local := h.Command.IsLocal() && h.Version != 1 // The library takes UNKNOWN for LOCAL.
	return proxyHeader{n, from, !from.IsValid() && !local}, nil
}

// unspecified begins a header of version 2 with the command PROXY and the family UNSPEC.
var unspecified = append(bytes.Clone(proxyproto.SIGV2), 0x21, 0)

// sourceOf returns the client's address, or zero if h does not contain an IP address. A proxy that clients reach over
// UDP (HTTP/3) reports UDP, although its connection to this server is TCP.
func sourceOf(h *proxyproto.Header) (from netip.AddrPort) {
	if h.Command.IsLocal() {
		return from
	}
	switch addr := h.SourceAddr.(type) {
	case *net.TCPAddr:
		from = addr.AddrPort()
	case *net.UDPAddr:
		from = addr.AddrPort()
	}
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}
