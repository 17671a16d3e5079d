package conformance

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestUTF8 checks that text which is not valid UTF-8 (RFC 3629, section 4) is refused: RFC 6455, section 8.1.
func TestUTF8(t *testing.T) {
	valid := map[string]string{
		"ASCII":                  "Hello-\x00\x7f",
		"Greek":                  "\u03ba\u1f79\u03c3\u03bc\u03b5",
		"first of 2 bytes":       "\u0080",
		"last of 2 bytes":        "\u07ff",
		"first of 3 bytes":       "\u0800",
		"last before surrogates": "\ud7ff",
		"first after surrogates": "\ue000",
		"replacement":            "\ufffd",
		"noncharacters":          "\ufffe\uffff\U0001fffe",
		"first of 4 bytes":       "\U00010000",
		"the last":               "\U0010ffff",
		"byte order mark":        "\ufeffa",
		"combining":              "e\u0301",
	}
	invalid := map[string]string{ // The last byte is the first bad one.
		"continuation alone":      "\x80",
		"continuation, the last":  "\xbf",
		"after a whole one":       "\u03ba\x80",
		"no continuation":         "\xc3(",
		"3 bytes, no third":       "\xe2\x82(",
		"4 bytes, no fourth":      "\xf0\x90\x8c(",
		"overlong slash":          "\xc0",
		"overlong, 2 bytes":       "\xc1",
		"overlong, 3 bytes":       "\xe0\x80",
		"overlong, 3 bytes, last": "\xe0\x9f",
		"overlong, 4 bytes":       "\xf0\x80",
		"overlong, 4 bytes, last": "\xf0\x8f",
		"first surrogate":         "\xed\xa0",
		"last surrogate":          "\xed\xbf",
		"above U+10FFFF":          "\xf4\x90",
		"f5":                      "\xf5",
		"fe":                      "\xfe",
		"ff":                      "\xff",
	}
	var checks []check
	for name, s := range valid {
		if !utf8.ValidString(s) {
			t.Fatal(name)
		}
		checks = append(checks, check{"8.1", name, say(fin|opText, s), []frame{text(s)}, 0})
		for i := range len(s) + 1 { // Cut at each byte.
			checks = append(checks, check{"8.1", fmt.Sprintf("%s, cut at %d", name, i),
				join(say(opText, s[:i]), say(fin|opPing, "p"), say(opCont, ""), say(fin|opCont, s[i:])), []frame{pong("p"), text(s)}, 0})
		}
	}
	for name, s := range invalid {
		s = "Hello \u00b5 " + s
		checks = append(checks,
			check{"8.1", name, say(fin|opText, s), nil, 1007},
			check{"8.1", name + ", more after it", say(fin|opText, s+" and so on"), nil, 1007})
		for i := len(s) - 3; i <= len(s); i++ {
			checks = append(checks, check{"8.1", fmt.Sprintf("%s, cut at %d", name, i), join(say(opText, s[:i]), say(fin|opCont, s[i:])), nil, 1007})
		}
		checks = append(checks, check{"8.1", name + " in a close frame", say(fin|opClose, closing(1000, s)), nil, 1007})
	}
	for n := 1; n < 4; n++ {
		cut := "\U0001f4e3"[:n]
		checks = append(checks,
			check{"8.1", fmt.Sprintf("ends after %d of 4 bytes", n), say(fin|opText, cut), nil, 1007},
			check{"8.1", fmt.Sprintf("ends after %d of 4 bytes, in a last fragment", n), join(say(opText, ""), say(fin|opCont, cut)), nil, 1007},
			check{"8.1", fmt.Sprintf("ends after %d of 4 bytes, before an empty last fragment", n), join(say(opText, cut), say(fin|opCont, "")), nil, 1007})
	}
	checks = append(checks, check{"5.6", "binary is not text", say(fin|opBinary, "\xff\xfe\xc0"), []frame{binaryOf("\xff\xfe\xc0")}, 0})
	run(t, checks)
	t.Run("8.1/at_the_first_bad_byte", func(t *testing.T) {
		addr := start(t)
		for name, s := range invalid {
			for _, before := range []string{"", "Hello ", strings.Repeat("x", 5000), "\u03ba\u1f79"} {
				// Neither the frame nor the message is ever finished.
				unfinished := client{first: opText, payload: []byte(before + s), length: 8, declared: 100_000, mask: mask}
				for _, chop := range chops {
					p := open(t, addr)
					p.send(unfinished.bytes(), chop)
					p.expectClose(1007)
					p.Close()
				}
				p := open(t, addr)
				p.send(join(say(opText, before), say(opCont, s)), whole)
				p.expectClose(1007)
				p.Close()
				_ = name
			}
		}
	})
}
