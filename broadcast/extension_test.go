package broadcast

import "testing"

// TestNegotiateDeflate: RFC 7692, sections 5.1 and 7.1, and RFC 6455, section 9.1.
func TestNegotiateDeflate(t *testing.T) {
	const malformed = -1
	tests := []struct {
		offers string
		want   int // bits, 0 for none
	}{
		{"", 0},
		{"permessage-deflate", 15},
		{"Permessage-Deflate", 15},
		{" \tpermessage-deflate\t ", 15},
		{"permessage-deflate; client_max_window_bits", 15},
		{"permessage-deflate; client_max_window_bits=8", 15},
		{"permessage-deflate; client_max_window_bits; server_max_window_bits=10", 10},
		{"permessage-deflate;server_max_window_bits=8", 8},
		{"permessage-deflate\t;\tserver_max_window_bits = 9", 9},
		{"permessage-deflate; server_max_window_bits=15", 15},
		{`permessage-deflate; server_max_window_bits="10"`, 10},
		{"permessage-deflate; server_no_context_takeover; client_no_context_takeover", 15},
		// The first that can be taken is.
		{"permessage-deflate; server_max_window_bits=10, permessage-deflate", 10},
		{"permessage-deflate; mystery, permessage-deflate; server_max_window_bits=12", 12},
		{"x-webkit-deflate-frame, permessage-deflate", 15},
		{"mux; max-channels=4; flow-control, , permessage-deflate; server_max_window_bits=11", 11},
		// What makes an offer fall away.
		{"x-webkit-deflate-frame", 0},
		{"permessage-deflated", 0},
		{"permessage-deflate; mystery", 0},
		{"permessage-deflate; mystery=1", 0},
		{"permessage-deflate; Server_No_Context_Takeover", 0},
		{"permessage-deflate; server_no_context_takeover; server_no_context_takeover", 0},
		{"permessage-deflate; client_no_context_takeover; client_no_context_takeover", 0},
		{"permessage-deflate; server_max_window_bits=10; server_max_window_bits=10", 0},
		{"permessage-deflate; client_max_window_bits; client_max_window_bits=10", 0},
		{"permessage-deflate; server_no_context_takeover=1", 0},
		{"permessage-deflate; client_no_context_takeover=true", 0},
		{"permessage-deflate; server_max_window_bits", 0},
		{"permessage-deflate; server_max_window_bits=7", 0},
		{"permessage-deflate; server_max_window_bits=16", 0},
		{"permessage-deflate; server_max_window_bits=20", 0},
		{"permessage-deflate; server_max_window_bits=08", 0},
		{"permessage-deflate; server_max_window_bits=010", 0},
		{"permessage-deflate; server_max_window_bits=1x", 0},
		{"permessage-deflate; server_max_window_bits=-9", 0},
		{"permessage-deflate; client_max_window_bits=16", 0},
		{"permessage-deflate; client_max_window_bits=07", 0},
		// What is no list of extensions.
		{"permessage-deflate;", malformed},
		{"permessage-deflate; ;", malformed},
		{"permessage-deflate; server_max_window_bits=", malformed},
		{`permessage-deflate; server_max_window_bits="10`, malformed},
		{`permessage-deflate; server_max_window_bits=""`, malformed},
		{`permessage-deflate; server_max_window_bits="1 0"`, malformed},
		{"permessage-deflate server_max_window_bits=10", malformed},
		{"permessage-deflate; server_max_window_bits=10 11", malformed},
		{"permessage-deflate; server_max_window_bits=10=11", malformed},
		{"permessage-deflate, =", malformed},
		{"permessage/deflate", malformed},
		{"; server_max_window_bits=10", malformed},
	}
	for _, tt := range tests {
		bits, _, ok := negotiateDeflate([]byte(tt.offers))
		if !ok {
			bits = malformed
		}
		if bits != tt.want {
			t.Errorf("%q: got %d, want %d", tt.offers, bits, tt.want)
		}
	}
}

// TestDeflateAnswer: the size of the window is answered if it was offered, and only then:
// RFC 7692, section 7.1.2.1.
func TestDeflateAnswer(t *testing.T) {
	const answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for offer, want := range map[string]string{
		"permessage-deflate":                                                        answer,
		"permessage-deflate; client_max_window_bits=9":                              answer,
		"permessage-deflate; server_max_window_bits=15":                             answer + "; server_max_window_bits=15",
		"permessage-deflate; server_max_window_bits=14":                             answer + "; server_max_window_bits=14",
		"permessage-deflate; server_max_window_bits=8":                              answer + "; server_max_window_bits=8",
		"permessage-deflate; mystery; server_max_window_bits=8, permessage-deflate": answer,
		"permessage-deflate, permessage-deflate; server_max_window_bits=8":          answer,
	} {
		bits, limited, ok := negotiateDeflate([]byte(offer))
		if got := string(appendDeflateAnswer(nil, bits, limited)); got != want || !ok {
			t.Errorf("%q: got %q, want %q", offer, got, want)
		}
	}
}
