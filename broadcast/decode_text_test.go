package broadcast

import (
	"fmt"
	"testing"

	"github.com/gobwas/ws"
)

// manyRunes has code points of one, two, three and four bytes.
const manyRunes = "a\u00e9\u20ac\U0001F600z"

// TestDecodeTextCut cuts a text between two fragments at each place, and each of the frames again between two recvs.
func TestDecodeTextCut(t *testing.T) {
	var tests []decodeCase
	for i := range len(manyRunes) + 1 {
		tests = append(tests,
			decodeCase{fmt.Sprintf("fragments at %d", i), stream("text+ "+manyRunes[:i], "ping p", "cont "+manyRunes[i:]),
				outcome{messages: []string{"text:" + manyRunes}, pong: "p"}})
	}
	tests = append(tests,
		decodeCase{"whole", stream("text " + manyRunes), fine("text:" + manyRunes)},
		decodeCase{"binary need not be text", stream("binary \xff\xfe", "binary+ \xe2", "cont \xff"), fine("binary:\xff\xfe", "binary:\xe2\xff")},
		decodeCase{"check starts anew", stream("binary+ \xe2\x82", "cont", "text \u20ac", "text+ \xe2\x82", "cont \xac"),
			fine("binary:\xe2\x82", "text:\u20ac", "text:\u20ac")},
		decodeCase{"cut at the end", stream("text ab\xe2\x82"), noText()},
		decodeCase{"cut at the end of fragments", stream("text+ ab\xe2", "cont \x82"), noText()},
		decodeCase{"cut, then empty last fragment", stream("text+ ab\xe2\x82", "cont"), noText()},
		decodeCase{"bad in the first fragment", stream("text ok", "text+ a\xffb", "cont x"), noText("text:ok")},
		decodeCase{"bad in the last fragment", stream("text+ ab", "cont a\xff"), noText()},
		decodeCase{"bad across fragments", stream("text+ ab\xe2", "cont a"), noText()},
		decodeCase{"overlong across fragments", stream("text+ \xe0", "cont+ \x80"), noText()},
		decodeCase{"surrogate", stream("text \xed\xa0\x80"), noText()},
	)
	runDecode(t, tests)
}

// TestDecodeTextFailsAtOnce: the connection fails with the first byte that makes the text invalid, although the frame
// is not complete (RFC 6455, section 8.1).
func TestDecodeTextFailsAtOnce(t *testing.T) {
	texts := []string{"\xff", "ab\xc0\x80", "abc\xe2\x82a", "\u20ac\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x80\x80\x80", "abcd\x80", "a\xe0\x80\x80"}
	for _, text := range texts {
		for _, fragmented := range []bool{false, true} {
			frame := clientFrame(nil, true, ws.OpText, []byte(text+"and more"))
			if fragmented {
				frame = append(stream("text+ \u00e9", "cont+"), clientFrame(nil, true, ws.OpContinuation, []byte(text+"and more"))...)
			}
			want := len(frame) - len(text+"and more") + firstBad([]byte(text))
			d := newDecoder(t, 0)
			got := len(frame)
			for i := range frame {
				if _, told := d.recv(t, frame[i:i+1]); told.why != 0 {
					if told.why != ReasonInvalidPayload || told.status != 1007 {
						t.Errorf("%q: got %v %d, want %v 1007", text, told.why, told.status, ReasonInvalidPayload)
					}
					got = i
					break
				}
			}
			if got != want {
				t.Errorf("%q, fragmented %t: failed with byte %d, want %d", text, fragmented, got, want)
			}
		}
	}
}
