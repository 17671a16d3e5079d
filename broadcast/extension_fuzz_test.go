package broadcast

import (
	"bytes"
	stdflate "compress/flate"
	"io"
	"strings"
	"testing"
)

func FuzzDeflateOffer(f *testing.F) {
	for _, s := range []string{
		"permessage-deflate; client_max_window_bits", "permessage-deflate; server_max_window_bits=\"10\", x; y=z",
		",, a ;b = \"c\" ,", "a b", "permessage-deflate;", "\"",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		bits, limited, ok := negotiateDeflate(list)
		if bits != 0 && (bits < minWindowBits || bits > maxWindowBits || !ok) {
			t.Errorf("%q: got %d, %t", list, bits, ok)
		}
		if limited && !strings.Contains(string(list), "server_max_window_bits") || bits != 0 && !limited && bits != maxWindowBits {
			t.Errorf("%q: got %d, limited %t", list, bits, limited)
		}
		if bits != 0 && !strings.Contains(strings.ToLower(string(list)), deflateName) {
			t.Errorf("%q: took what is not there", list)
		}
		// A list behind another one is a list, and the first offer that is good counts.
		if again, _, _ := negotiateDeflate(append(append([]byte(nil), list...), ", permessage-deflate"...)); ok && again == 0 || ok && bits != 0 && again != bits {
			t.Errorf("%q: got %d, with an offer behind it %d", list, bits, again)
		}
	})
}

// FuzzInflate compares with the standard library.
func FuzzInflate(f *testing.F) {
	const limit = 1 << 16
	z := newCompressor(maxWindowBits)
	for _, s := range []string{"", "Hello", strings.Repeat("abc", 1000), string(noise(300))} {
		f.Add(bytes.Clone(z.compress([]byte(s))))
	}
	f.Add([]byte("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"))
	var fl inflater
	f.Fuzz(func(t *testing.T, p []byte) {
		got, err := fl.inflate(p, limit)
		in := bytes.NewReader(append(append(append([]byte(nil), p...), flushEnd...), lastBlock...))
		want, wantErr := io.ReadAll(io.LimitReader(stdflate.NewReader(in), limit+1))
		switch {
		case len(want) > limit:
			if err != errTooLarge {
				t.Errorf("got %v, want %v", err, errTooLarge)
			}
		case wantErr != nil:
			if err == nil {
				t.Errorf("got %q, want an error as of the standard library: %v", got, wantErr)
			}
		case err == nil && !bytes.Equal(got, want):
			t.Errorf("got %q, want %q", got, want)
		case err != nil && in.Len() == 0: // All was used, to the end that was put behind it.
			t.Errorf("got %v, want %q", err, want)
		}
	})
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 127.0.0.1 4711 80\r\nGET /"))
	f.Add([]byte(proxyV2(0x21, 0x11, []byte{192, 0, 2, 1, 127, 0, 0, 1, 0x12, 0x67, 0, 80}) + "GET /"))
	f.Add([]byte(proxyV2(0x20, 0, nil)))
	f.Add([]byte(proxyV2(0x21, 0, []byte{0xea, 0, 1, 'x'})))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, refusal := readProxyHeader(b)
		n := p.length
		if n < 0 || n > len(b) || n > 0 && refusal != nil || n == 0 && p != (proxyHeader{}) || p.unknown && p.from.IsValid() {
			t.Errorf("%q: got %+v, %v", b, p, refusal)
		}
		if n == 0 && refusal == nil && len(b) > maxProxyHeader {
			t.Errorf("%d bytes, and it waits for more", len(b))
		}
		if n > 0 { // What follows does not matter, and less is not enough.
			if again, _ := readProxyHeader(b[:n]); again != p {
				t.Errorf("%q: got %+v, alone %+v", b, p, again)
			}
			if less, _ := readProxyHeader(b[:n-1]); less.length != 0 {
				t.Errorf("%q: without its last byte: got %+v", b, less)
			}
		}
	})
}
