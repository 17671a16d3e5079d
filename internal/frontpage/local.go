package frontpage

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Local reports whether r comes from a browser on this host that connected directly: from a loopback address, to a
// name of this host, without a sign of a proxy. A request that a proxy on this host forwards must not get the page,
// since its client may be anywhere. A page of another site whose name was made to resolve to this host (DNS
// rebinding) has that name in Host.
func Local(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() || !isLocalHost(r.Host) {
		return false
	}
	// Browsers use HTTP/1.1. Proxies often use HTTP/1.0, and the usual configurations for WebSockets
	// send Connection: upgrade with every request.
	if !r.ProtoAtLeast(1, 1) || listHas(r.Header.Values("Connection"), "upgrade") {
		return false
	}
	for name := range r.Header {
		if !isBrowserHeader(name) {
			return false
		}
	}
	return true
}

// isLocalHost reports whether a Host header names this host, in a way that no DNS server decides. RFC 6761,
// section 6.3, reserves localhost.
func isLocalHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// browserHeaders are the headers that a browser sends when it opens a page, and X-Requested-With, which libraries and
// embedded browsers add. The headers of proxies cannot be listed: each product has its own.
var browserHeaders = []string{
	"Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Alt-Used", "Authorization", "Cache-Control",
	"Connection", "Content-Length", "Cookie", "Device-Memory", "Dnt", "Downlink", "Dpr", "Ect", "If-Modified-Since",
	"If-None-Match", "Keep-Alive", "Origin", "Pragma", "Priority", "Purpose", "Referer", "Rtt", "Save-Data",
	"Service-Worker-Navigation-Preload", "Te", "Upgrade-Insecure-Requests", "User-Agent", "Viewport-Width", "Width",
	"X-Purpose", "X-Requested-With",
}

// isBrowserHeader reports whether a header, in canonical form, is one that browsers send. Names that begin with Sec-
// are reserved for browsers (the Fetch standard, section 2.2.2).
func isBrowserHeader(name string) bool {
	return strings.HasPrefix(name, "Sec-") || slices.Contains(browserHeaders, name)
}

// listHas reports whether a token is in lists of tokens, RFC 9110, section 5.6.1.
func listHas(lists []string, token string) bool {
	for item := range strings.SplitSeq(strings.Join(lists, ","), ",") {
		if strings.EqualFold(strings.TrimSpace(item), token) {
			return true
		}
	}
	return false
}
