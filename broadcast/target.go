package broadcast

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// query is the target's query as it was written.
func (r *request) query() string {
	_, query, _ := bytes.Cut(r.target, []byte("?"))
	return string(query)
}

// path is the target's path, without its query and as it was written. The
// target may be in absolute form, RFC 9112, section 3.2.2.
func (r *request) path() (p []byte, ok bool) {
	if r.target[0] != '/' {
		u, err := url.ParseRequestURI(string(r.target))
		if err != nil || u.Host == "" || u.User != nil || !isHost([]byte(u.Host)) ||
			bytes.IndexByte(r.target, '#') >= 0 {
			return nil, false
		}
		switch u.Scheme {
		case "http", "https", "ws", "wss":
		default:
			return nil, false
		}
		return []byte("/" + strings.TrimPrefix(u.EscapedPath(), "/")), true
	}
	p, _, _ = bytes.Cut(r.target, []byte("?"))
	// A fragment is never sent, RFC 9112, section 3.2; a proxy may take it for the end of
	// the path. Other characters that RFC 3986 has no place for do come from browsers.
	return p, badEscape(p) < 0 && bytes.IndexByte(r.target, '#') < 0
}

// malformedTarget returns a refusal that describes what is wrong with a target, and where. The refusal quotes nothing
// of the target, which may contain a token.
func malformedTarget(target []byte) *Refusal {
	const malformed = "malformed request target: "
	path, _, _ := bytes.Cut(target, []byte("?"))
	if i := slices.IndexFunc(target, isNotVisible); i >= 0 {
		return badRequest(fmt.Sprintf(malformed+"byte %d is 0x%02x, want printable ASCII without spaces; "+
			"write it as %%%02X", i+1, target[i], target[i]))
	}
	if i := bytes.IndexByte(target, '#'); i >= 0 {
		return badRequest(fmt.Sprintf(malformed+"byte %d is a #, which starts a fragment; "+
			"remove the fragment, or write %%23 for a #", i+1))
	}
	if i := badEscape(path); i >= 0 {
		return badRequest(fmt.Sprintf(malformed+"byte %d is a percent sign without two hexadecimal digits after it; "+
			"write %%25 for a percent sign", i+1))
	}
	return badRequest(malformed + "want a path that starts with /, or the whole URL of one")
}

// isHost reports whether b is a host and perhaps a port, or empty: RFC 9110, section 7.2, and RFC 3986, section
// 3.2.2.
func isHost(b []byte) bool {
	host, port := b, []byte(nil)
	if i := bytes.LastIndexByte(b, ':'); i >= 0 && bytes.IndexByte(b[i:], ']') < 0 {
		host, port = b[:i], b[i+1:]
		if _, err := strconv.ParseUint("0"+string(port), 10, 16); err != nil {
			return false
		}
	}
	if ip, ok := bytes.CutPrefix(host, []byte("[")); ok {
		ip, ok = bytes.CutSuffix(ip, []byte("]"))
		addr, err := netip.ParseAddr(string(ip))
		return ok && err == nil && addr.Is6() && addr.Zone() == ""
	}
	for _, c := range host {
		if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'z') && bytes.IndexByte([]byte("-._~!$&'()*+,;=%"), c) < 0 {
			return false
		}
	}
	return badEscape(host) < 0
}

// serves reports whether p, the path of a request, is path or, if below is set, a path below it. Dots are not
// resolved. An empty path matches any p.
func serves(p []byte, path string, below bool) bool {
	rest, ok := cutPath(p, path)
	return ok && (path == "" || len(rest) == 0 || below && (path[len(path)-1] == '/' || rest[0] == '/'))
}

// cutPath returns the part of p that follows path. A percent-encoded character equals the plain one (RFC 3986,
// section 6.2.2), except for the slash: an encoded slash separates nothing.
func cutPath(p []byte, path string) (rest []byte, ok bool) {
	for path != "" {
		if len(p) == 0 {
			return nil, false
		}
		got, n := pathByte(p)
		want, m := pathByte([]byte(path[:min(len(path), 3)]))
		if got != want || got == '/' && n != m {
			return nil, false
		}
		p, path = p[n:], path[m:]
	}
	return p, true
}

// pathByte returns the first byte of a path whose escapes are whole, decoded, and how many bytes it takes up.
func pathByte(p []byte) (b byte, n int) {
	if p[0] != '%' {
		return p[0], 1
	}
	return unhex(p[1])<<4 | unhex(p[2]), 3
}

// checkPath returns nil if a request can ask for path. Otherwise the error's text says what Config.Path must be.
func checkPath(path string) error {
	switch {
	case path == "":
		return nil
	case path[0] != '/':
		return errors.New("a path that starts with /")
	case len(path) > maxPath:
		return fmt.Errorf("at most %d bytes", maxPath)
	case strings.ContainsAny(path, "?#"):
		return errors.New("a path without a query or a fragment")
	case strings.Contains(path, `\`):
		return errors.New(`/ instead of \, which browsers replace`)
	case !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl):
		return errors.New("UTF-8 without control characters")
	case badEscape([]byte(path)) >= 0:
		return errors.New("two hexadecimal digits after each percent sign, which itself is written %25")
	}
	for segment := range strings.SplitSeq(path, "/") {
		if name, err := url.PathUnescape(segment); err == nil && (name == "." || name == "..") {
			return fmt.Errorf("no segment %s, which clients resolve before the request", segment)
		}
	}
	return nil
}

// maxPath leaves room for the rest of a request's head.
const maxPath = 2 << 10

// maxChannelName is how long a channel's name may be, in bytes.
const maxChannelName = 255

// channelName returns the name of the channel that the request's path names below path, or the refusal if it names
// none.
func (r *request) channelName(path string) (string, *Refusal) {
	p, _ := r.path() // It was checked.
	rest, _ := cutPath(p, path)
	name, err := url.PathUnescape(strings.TrimPrefix(string(rest), "/"))
	if err != nil {
		return "", badRequest("malformed request target: " + err.Error())
	}
	if err := CheckChannel(name); err != nil {
		return "", badRequest(strings.TrimPrefix(err.Error(), "broadcast: "))
	}
	return name, nil
}

// CheckChannel returns an ErrChannel if a channel cannot have the name: see Config.Channels.
func CheckChannel(name string) error {
	switch {
	case len(name) > maxChannelName:
		return fmt.Errorf("%w: %d bytes long, want at most %d", ErrChannel, len(name), maxChannelName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: not valid UTF-8", ErrChannel)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%w: contains a control character", ErrChannel)
	}
	return nil
}

// badEscape returns the place of the first percent sign that two hexadecimal digits do not follow, RFC 3986, section
// 2.1, or -1.
func badEscape(p []byte) int {
	for i, b := range p {
		if b == '%' && (len(p) < i+3 || !isHex(p[i+1]) || !isHex(p[i+2])) {
			return i
		}
	}
	return -1
}

func isHex(b byte) bool { return isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'f' }

// unhex returns the value of a hexadecimal digit.
func unhex(b byte) byte {
	if isDigit(b) {
		return b - '0'
	}
	return b | 0x20 - 'a' + 10
}
