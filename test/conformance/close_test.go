package conformance

import (
	"fmt"
	"strings"
	"testing"
)

// TestClose checks the answers to close frames: RFC 6455, sections 5.5.1 and 7.4.
func TestClose(t *testing.T) {
	var checks []check
	add := func(section, name string, send []byte, code uint16) {
		checks = append(checks, check{section, name, send, nil, code})
	}
	add("5.5.1", "without a body", say(fin|opClose, ""), noStatus)
	add("5.5.1", "body of one byte", say(fin|opClose, "\x03"), 1002)
	add("5.5.1", "with a reason", say(fin|opClose, closing(1000, "bye")), 1000)
	add("5.5.1", "reason of 123 bytes", say(fin|opClose, closing(1000, strings.Repeat("x", 123))), 1000)
	add("5.5.1", "reason of 124 bytes", say(fin|opClose, closing(1000, strings.Repeat("x", 124))), 1002)
	add("5.5.1", "reason cut in a code point", say(fin|opClose, closing(1000, "\xf0\x9f\x93")), 1007)
	add("5.5.1", "twice", join(say(fin|opClose, closing(1000, "")), say(fin|opClose, closing(1001, ""))), 1000)
	add("5.5.1", "a message behind it", join(say(fin|opClose, closing(1000, "")), say(fin|opText, "too late")), 1000)
	add("5.5.1", "a ping behind it", join(say(fin|opClose, closing(1000, "")), say(fin|opPing, "too late")), 1000)
	add("5.5.1", "a violation behind it", join(say(fin|opClose, closing(1000, "")), say(fin|rsv1|rsv2|rsv3|opCont, "")), 1000)
	add("5.5.1", "256 KiB behind it", join(say(fin|opClose, closing(1000, "")), say(fin|opBinary, strings.Repeat("x", 256<<10))), 1000)
	add("5.4", "in the middle of a message", join(say(opText, "frag"), say(fin|opClose, closing(1000, ""))), 1000)
	add("5.4", "in the middle of a message, its end behind it", join(say(opText, "frag"), say(fin|opClose, closing(1000, "")), say(fin|opCont, "ment")), 1000)
	add("5.5.1", "behind a message", join(say(fin|opText, "last"), say(fin|opClose, closing(1000, ""))), 1000)
	run(t, checks)
}

// isAllowed reports whether a peer may send a code in a close frame: RFC 6455, sections 7.4.1 and 7.4.2, and the codes
// 1012 to 1014, which were registered later.
func isAllowed(code int) bool {
	switch code {
	case 1004, 1005, 1006:
		return false
	}
	return code >= 1000 && code <= 1014 || code >= 3000 && code <= 4999
}

func TestCloseCodes(t *testing.T) {
	addr := start(t)
	defer bystander(t, addr)()
	for code := 0; code <= 5001; code++ {
		if code == 5001 {
			code = 65535
		}
		want := uint16(code)
		if !isAllowed(code) {
			want = 1002
		}
		for _, reason := range []string{"", "reason"} {
			p := open(t, addr)
			p.send(say(fin|opClose, closing(uint16(code), reason)), whole)
			p.expectClose(want)
			p.Close()
			if t.Failed() {
				t.Fatal(fmt.Sprint("code ", code))
			}
		}
	}
}
