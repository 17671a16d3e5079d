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
		if isProxyHeader(name) {
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

// proxyHeaders are what proxies, gateways and CDNs add to requests.
var proxyHeaders = []string{
	"Upgrade", "Forwarded", "Via", "Cdn-Loop", "Client-Ip", "True-Client-Ip", "Proxy-Client-Ip", "Proxy-Connection",
	"Max-Forwards", "Remote-Addr", "Fly-Client-Ip", "Fastly-Client-Ip", "Cloudfront-Viewer-Address",
}

// proxyPrefixes are how names of further ones begin.
var proxyPrefixes = []string{
	"X-Forwarded", "X-Real-", "X-Original-", "X-Client-", "X-Cluster-", "X-Envoy-", "X-Request-", "X-Amz", "X-Azure-",
	"X-Appengine-", "X-Cloud-Trace-", "X-Proxy", "X-Scheme", "X-Varnish", "X-Nginx-", "X-Haproxy-", "X-Remote-",
	"X-Host", "X-Correlation-", "X-Tailscale-", "Tailscale-", "Cf-", "Fly-", "Ngrok-",
}

// isProxyHeader reports whether a header, in canonical form, is one that browsers do not send and proxies do.
func isProxyHeader(name string) bool {
	return slices.Contains(proxyHeaders, name) ||
		slices.ContainsFunc(proxyPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
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
