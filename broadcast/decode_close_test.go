package broadcast

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/gobwas/ws"
)

// TestDecodeCloseStatus tries every status code up to 5000, and some beyond.
func TestDecodeCloseStatus(t *testing.T) {
	codes := []int{5001, 9999, 32768, 65535}
	for code := range 5001 {
		codes = append(codes, code)
	}
	d := newDecoder(t, 0)
	for _, code := range codes {
		want := outcome{why: ReasonProtocolError, status: 1002}
		switch {
		case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
			want = outcome{why: ReasonPeerClosed, status: ws.StatusCode(code)}
		}
		d.c.setReadPhase(readFrames)
		body := binary.BigEndian.AppendUint16(nil, uint16(code))
		if got := d.run(t, clientFrame(nil, true, ws.OpClose, body), math.MaxInt); !got.equal(want) {
			t.Errorf("status %d: got %v, want %v", code, got, want)
		}
	}
}

// TestDecodeCloseBody: a valid body is sent back as it is (RFC 6455, section 5.5.1).
func TestDecodeCloseBody(t *testing.T) {
	tests := []struct {
		name, body string
		why        Reason
		status     ws.StatusCode // Of the answer, if it is not an echo.
	}{
		{"nothing", "", ReasonPeerClosed, 0},
		{"one byte", "\x03", ReasonProtocolError, 1002},
		{"status", "\x03\xe8", ReasonPeerClosed, 0},
		{"reason", "\x03\xe8bye \u20ac", ReasonPeerClosed, 0},
		{"longest reason", "\x0f\xa0" + string(make([]byte, 123)), ReasonPeerClosed, 0},
		{"reason no text", "\x03\xe8\xff", ReasonInvalidPayload, 1007},
		{"reason cut", "\x03\xe8bye \xe2\x82", ReasonInvalidPayload, 1007},
		{"reason a surrogate", "\x03\xe8\xed\xa0\x80", ReasonInvalidPayload, 1007},
		{"bad status before bad reason", "\x03\xee\xff", ReasonProtocolError, 1002},
	}
	for _, tt := range tests {
		for _, chop := range chops {
			d := newDecoder(t, 0)
			var got posted
			for b := clientFrame(nil, true, ws.OpClose, []byte(tt.body)); len(b) > 0; {
				n := min(chop, len(b))
				if got.why != 0 {
					t.Fatalf("%s: closed before the frame was whole", tt.name)
				}
				_, got = d.recv(t, b[:n])
				b = b[n:]
			}
			if got.why != tt.why || tt.status == 0 && got.body != tt.body || tt.status != 0 && got.status != tt.status {
				t.Errorf("%s, chops of %d: got %v, status %d, body %q, want %v, status %d", tt.name, chop, got.why, got.status, got.body, tt.why, tt.status)
			}
			if d.c.readPhase() != readDiscard {
				t.Errorf("%s: still reads frames behind a close frame", tt.name)
			}
		}
	}
}

// TestDecodeNothingAfterClose: bytes after a close frame or a violation are discarded, in the same recv and in the
// next.
func TestDecodeNothingAfterClose(t *testing.T) {
	for name, last := range map[string][]byte{
		"close": stream("close \x03\xe8"), "violation": rawHeader(0x83, 0x80), "bad text": stream("text \xff"),
	} {
		d := newDecoder(t, 0)
		more := stream("text b", "ping c", "close \x03\xe9")
		if v, got := d.recv(t, append(append(stream("text a"), last...), more...)); v != over || got.why == 0 || got.ponged {
			t.Errorf("%s: got verdict %d, %+v, want it over and closed", name, v, got)
		}
		if v, got := d.recv(t, more); v != over || got != (posted{}) {
			t.Errorf("%s, next recv: got verdict %d, %+v, want nothing", name, v, got)
		}
		if len(d.messages) != 1 || d.messages[0] != "text:a" {
			t.Errorf("%s: got messages %q, want text:a", name, d.messages)
		}
	}
}
