package broadcast

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// origins lists the web sites whose pages may connect: see Config.Origins.
type origins []originRule

// originRule is one entry of the list.
type originRule struct {
	text   string // As browsers write it, in lower case: RFC 6454, section 6.2. With a suffix, the scheme and "://".
	suffix string // For "*." at the front of the host: what must follow the labels that the star stands for.
}

// parseOrigins reads Config.Origins.
func parseOrigins(list []string) (all origins, err error) {
	var errs []error
	for _, text := range list {
		rule, err := parseOrigin(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("broadcast: Config.Origins has %q, want %w", text, err))
		}
		all = append(all, rule)
	}
	return all, errors.Join(errs...)
}

var (
	errOrigin  = errors.New("https://example.com, https://example.com:8443, https://*.example.com, file:// or null")
	errAnyPage = errors.New("no list, which lets every page connect")
	errStar    = errors.New(`"*." only at the front of the host, for whole labels, as in https://*.example.com`)
	errSocket  = errors.New("the origin of the page, which starts with http:// or https://, not the WebSocket's")
	errHost    = errors.New("a host as browsers send it: labels separated by dots, " +
		"an IPv4 address such as 127.0.0.1, or an IPv6 address such as [::1]")
	errPort = errors.New("a port from 1 to 65535")
)

// parseOrigin reads an entry. What no browser sends is an error.
func parseOrigin(text string) (originRule, error) {
	text = strings.ToLower(text)
	switch {
	case text == "null":
		return originRule{text: text}, nil
	case text == "*":
		return originRule{}, errAnyPage
	}
	u, err := url.Parse(text)
	if err != nil || !strings.HasPrefix(text, u.Scheme+"://") || u.Path+u.RawQuery+u.Fragment != "" || u.User != nil ||
		strings.ContainsAny(text, "?#") {
		return originRule{}, errOrigin
	}
	switch web := u.Scheme == "http" || u.Scheme == "https"; {
	case u.Scheme == "ws" || u.Scheme == "wss":
		return originRule{}, errSocket
	case web && u.Host == "":
		return originRule{}, errOrigin
	case !web && strings.Contains(u.Host, "*"):
		return originRule{}, errStar
	case !web: // Files, extensions and applications: browsers send the origin as it is.
		return originRule{text: text}, nil
	}
	return parseWebOrigin(u)
}

// parseWebOrigin reads an entry of the scheme http or https.
func parseWebOrigin(u *url.URL) (originRule, error) {
	host, wild := strings.CutPrefix(u.Hostname(), "*.")
	if strings.Contains(host, "*") {
		return originRule{}, errStar
	}
	host, isIP, err := browserHost(host)
	switch {
	case err != nil:
		return originRule{}, err
	case wild && isIP: // An address has no subdomains.
		return originRule{}, errHost
	}
	if p := u.Port(); p != "" {
		port, err := strconv.ParseUint(p, 10, 16)
		if err != nil || port == 0 {
			return originRule{}, errPort
		}
		// Browsers leave the default port out, RFC 6454, section 6.2.
		if port != map[string]uint64{"http": 80, "https": 443}[u.Scheme] {
			host += fmt.Sprintf(":%d", port)
		}
	}
	if wild {
		// A star may stand for everything below a top-level domain: many sites have a top-level domain of their own
		// (https://*.internal), and no list of public suffixes stays right.
		return originRule{text: u.Scheme + "://", suffix: "." + host}, nil
	}
	return originRule{text: u.Scheme + "://" + host}, nil
}

// browserHost returns a host in the form in which browsers have it in the header Origin (URL Standard, "host
// serializing"): international names in Punycode, addresses in their shortest form.
func browserHost(host string) (browsers string, isIP bool, err error) {
	if strings.Contains(host, ":") {
		ip, err := netip.ParseAddr(host)
		switch {
		case err != nil || ip.Zone() != "":
			return "", false, errHost
		case ip.Is4In6(): // Not as IPv4 behind ::ffff:, which netip writes.
			b := ip.As16()
			high, low := uint16(b[12])<<8|uint16(b[13]), uint16(b[14])<<8|uint16(b[15])
			return fmt.Sprintf("[::ffff:%x:%x]", high, low), true, nil
		}
		return "[" + ip.String() + "]", true, nil
	}
	host, err = idnaProfile.ToASCII(host)
	if err != nil || !areLabels(strings.TrimSuffix(host, ".")) {
		return "", false, errHost
	}
	// A host whose last label is a number is an IPv4 address to a browser, and 127.1 becomes 127.0.0.1.
	name := strings.TrimSuffix(host, ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	if _, err := strconv.ParseUint(last, 0, 64); err == nil || strings.Trim(last, "0123456789") == "" {
		if ip, err := netip.ParseAddr(host); err != nil || !ip.Is4() {
			return "", false, errHost
		}
		return host, true, nil
	}
	return host, false, nil
}

// idnaProfile is what browsers do to names: UTS #46 without transitional processing, underscores allowed.
var idnaProfile = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))

// areLabels reports whether host consists of labels separated by dots.
func areLabels(host string) bool {
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || strings.ContainsFunc(label, func(r rune) bool {
			return r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z')
		}) {
			return false
		}
	}
	return true
}

// allow reports whether a page of the origin may connect.
func (o origins) allow(origin string) bool {
	origin = strings.ToLower(origin)
	for _, rule := range o {
		rest, ok := strings.CutPrefix(origin, rule.text)
		if ok && rule.suffix != "" {
			rest, ok = strings.CutSuffix(rest, rule.suffix)
			ok = ok && areLabels(rest)
			rest = ""
		}
		if ok && rest == "" {
			return true
		}
	}
	return false
}

// checkOrigin refuses a request from a page whose origin is not listed. Browsers send the page's origin, and they send
// the user's cookies to any server (RFC 6455, section 10.2). A request without Origin does not come from a browser's
// page.
func (o origins) checkOrigin(r *request) *Refusal {
	if len(o) == 0 || r.origins == 0 || r.origins == 1 && o.allow(string(r.origin)) {
		return nil
	}
	return &Refusal{http.StatusForbidden, "pages of this origin may not connect"}
}
