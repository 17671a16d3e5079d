package conformance

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// deflate compresses a message in pieces of a size: RFC 7692, section 7.2.1.
func deflate(t testing.TB, p []byte, level, piece int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	for len(p) > 0 {
		n := min(piece, len(p))
		_, _ = w.Write(p[:n])
		_ = w.Flush()
		p = p[n:]
	}
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff"))
}

// inflate inflates a message: RFC 7692, section 7.2.2.
func inflate(t testing.TB, p []byte) []byte {
	t.Helper()
	b, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(p), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
	if err != nil {
		t.Fatalf("the server's message cannot be inflated: %v", err)
	}
	return b
}

// TestDeflate checks that messages of many sizes arrive, compressed in many ways and with each window size that a client
// may request.
func TestDeflate(t *testing.T) {
	addr := start(t)
	defer bystander(t, addr)()
	words := strings.Fields("to be or not that is the question whether tis nobler in mind suffer slings and arrows")
	prose := func(n int) []byte {
		var b []byte
		for len(b) < n {
			b = append(append(b, words[rand.IntN(len(words))]...), ' ')
		}
		return b[:n]
	}
	offers := []string{
		"permessage-deflate",
		"permessage-deflate; client_max_window_bits",
		"permessage-deflate; client_no_context_takeover; server_no_context_takeover",
	}
	for bits := 8; bits <= 15; bits++ {
		offers = append(offers, fmt.Sprintf("permessage-deflate; server_max_window_bits=%d; client_max_window_bits=%d", bits, bits))
	}
	for _, offer := range offers {
		t.Run(strings.ReplaceAll(offer, " ", ""), func(t *testing.T) {
			p := open(t, addr, "Sec-WebSocket-Extensions: "+offer)
			for _, size := range []int{0, 1, 16, 64, 256, 511, 512, 1024, 4096, 65535, 65536, 131072} {
				for _, level := range []int{flate.HuffmanOnly, flate.NoCompression, flate.BestSpeed, flate.BestCompression} {
					message := prose(size)
					z := deflate(t, message, level, []int{whole, 1000}[rand.IntN(2)])
					fragment := []int{whole, 256, 1000}[rand.IntN(3)]
					var send []byte
					for first := byte(rsv1 | opText); ; first = opCont {
						n := min(fragment, len(z))
						last := byte(0)
						if n == len(z) {
							last = fin
						}
						send = append(send, say(last|first, string(z[:n]))...)
						if z = z[n:]; len(z) == 0 {
							break
						}
					}
					p.send(send, []int{whole, 997}[rand.IntN(2)])
					got, err := p.read()
					if err != nil {
						t.Fatal(err)
					}
					payload := got.payload
					switch got.first {
					case fin | rsv1 | opText:
						payload = inflate(t, payload)
					case fin | opText:
						if size >= 1024 {
							t.Errorf("%d bytes of prose came uncompressed", size)
						}
					}
					if got.first&^rsv1 != fin|opText || !bytes.Equal(payload, message) {
						t.Fatalf("size %d: got %v", size, got)
					}
				}
			}
		})
	}
}

// TestDeflateViolations checks that invalid compressed frames are refused: RFC 7692, sections 6 and 7.2.
func TestDeflateViolations(t *testing.T) {
	addr := start(t)
	defer bystander(t, addr)()
	hello := string(deflate(t, []byte("Hello"), flate.BestSpeed, whole))
	bomb := string(deflate(t, make([]byte, maxMessage+1), flate.BestCompression, whole))
	tests := []struct {
		section, name string
		send          []byte
		code          uint16
	}{
		{"6.1", "RSV1 on a continuation", join(say(rsv1|opText, hello[:2]), say(fin|rsv1|opCont, hello[2:])), 1002},
		{"6.1", "RSV1 on the continuation of a plain message", join(say(opText, "a"), say(fin|rsv1|opCont, hello)), 1002},
		{"6.1", "RSV1 on a ping", say(fin|rsv1|opPing, ""), 1002},
		{"6.1", "RSV1 on a pong", say(fin|rsv1|opPong, ""), 1002},
		{"6.1", "RSV1 on a close", say(fin|rsv1|opClose, ""), 1002},
		{"6", "RSV2", say(fin|rsv1|rsv2|opText, hello), 1002},
		{"6", "RSV3", say(fin|rsv1|rsv3|opText, hello), 1002},
		{"7.2.2", "no deflate", say(fin|rsv1|opText, "\xff\xff\xff\xff"), 1007},
		{"7.2.2", "an unfinished block", say(fin|rsv1|opText, "\x00\x05\x00\xfa\xffHe"), 1007},
		{"8.1", "bad UTF-8 inside", say(fin|rsv1|opText, string(deflate(t, []byte("a\xc0"), flate.BestSpeed, whole))), 1007},
		{"8", "a bomb", say(fin|rsv1|opBinary, bomb), 1009},
	}
	for _, tt := range tests {
		t.Run(strings.ReplaceAll(tt.section+"/"+tt.name, " ", "_"), func(t *testing.T) {
			for _, chop := range chops {
				p := open(t, addr, "Sec-WebSocket-Extensions: permessage-deflate")
				p.send(tt.send, chop)
				p.expectClose(tt.code)
				p.Close()
			}
		})
	}
}
