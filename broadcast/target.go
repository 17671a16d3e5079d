package broadcast

import (
	"bytes"
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
		if err != nil || u.Host == "" || u.User != nil || !isHost([]byte(u.Host)) || bytes.IndexByte(r.target, '#') >= 0 {
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

// malformedTarget refuses a target, and says what is wrong with it and where. It quotes nothing of it: tokens stand there.
func malformedTarget(target []byte) *Refusal {
	const malformed = "malformed request target: "
	path, _, _ := bytes.Cut(target, []byte("?"))
	if i := slices.IndexFunc(target, isNotVisible); i >= 0 {
		return badRequest(fmt.Sprintf(malformed+"byte %d is 0x%02x, which is no visible ASCII character; write it as %%%02X", i+1, target[i], target[i]))
	}
	if i := bytes.IndexByte(target, '#'); i >= 0 {
		return badRequest(fmt.Sprintf(malformed+"byte %d is a #, which begins a fragment, and those are not sent; write it as %%23", i+1))
	}
	if i := badEscape(path); i >= 0 {
		return badRequest(fmt.Sprintf(malformed+"byte %d is a percent sign without two hexadecimal digits after it; write a percent sign as %%25", i+1))
	}
	return badRequest(malformed + "want a path that starts with /, or the whole URL of one")
}

// isHost says whether b is a host and perhaps a port, or empty: RFC 9110, section 7.2,
// and RFC 3986, section 3.2.2.
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

// isBelow says whether a path is below another one, without looking at dots.
func isBelow(p []byte, path string) bool {
	rest, ok := bytes.CutPrefix(p, []byte(path))
	return ok && (path[len(path)-1] == '/' || len(rest) > 0 && rest[0] == '/')
}

// maxChannelName is how long a channel's name may be, in bytes.
const maxChannelName = 255

// channel is the name of the channel that the path names, given the path under which
// they are, or with what to refuse it.
func (r *request) channel(path string) (string, *Refusal) {
	p, _ := r.path() // It was checked.
	name, err := url.PathUnescape(strings.TrimPrefix(string(p[len(path):]), "/"))
	if err != nil {
		return "", badRequest("malformed request target: " + err.Error())
	}
	if err := CheckChannel(name); err != nil {
		return "", badRequest(err.Error())
	}
	return name, nil
}

// CheckChannel says whether a channel can have a name: see Config.Channels. The error
// is an ErrChannel.
func CheckChannel(name string) error {
	switch {
	case len(name) > maxChannelName:
		return fmt.Errorf("%w: its name has %d bytes, at most %d", ErrChannel, len(name), maxChannelName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w: its name is not valid UTF-8", ErrChannel)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%w: its name has a control character", ErrChannel)
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
