package broadcast

import (
	"bytes"
	stdflate "compress/flate"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// inflated inflates a message with the standard library.
func inflated(t testing.TB, p []byte) []byte {
	t.Helper()
	got, err := io.ReadAll(stdflate.NewReader(io.MultiReader(bytes.NewReader(p), strings.NewReader(flushEnd+lastBlock))))
	if err != nil {
		t.Fatalf("the standard library cannot inflate %s: %v", brief(p), err)
	}
	return got
}

// noise returns n bytes that cannot be compressed.
func noise(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(p)
	return p
}

func TestCompress(t *testing.T) {
	messages := map[string][]byte{
		"none":  {},
		"one":   []byte("x"),
		"text":  []byte(strings.Repeat("to be or not to be, ", 100)),
		"noise": noise(100_000),
		"mixed": append(bytes.Repeat([]byte("abc"), 50_000), noise(70_000)...),
		"large": bytes.Repeat(noise(1000), 1000),
	}
	for bits := minWindowBits; bits <= maxWindowBits; bits++ {
		z := newCompressor(bits)
		var f inflater
		for name, m := range messages {
			for range 2 { // The second must not need the first.
				p := z.compress(m)
				if !bytes.Equal(inflated(t, p), m) {
					t.Fatalf("%d bits, %s: the standard library inflates something else", bits, name)
				}
				if got, err := f.inflate(p, len(m)); err != nil || !bytes.Equal(got, m) {
					t.Fatalf("%d bits, %s: got %s, %v", bits, name, brief(got), err)
				}
			}
		}
	}
}

// TestCompressWindow: a repetition within the window is compressed, and one farther back is not.
func TestCompressWindow(t *testing.T) {
	for bits := minWindowBits; bits <= maxWindowBits; bits++ {
		z := newCompressor(bits)
		window := 1 << bits
		far := noise(window + 1)
		if got := len(z.compress(append(far, far...))); got < 2*len(far) {
			t.Errorf("%d bits: %d bytes twice are compressed to %d: refers back further than the window", bits, len(far), got)
		}
		near := noise(window / 2)
		if got := len(z.compress(append(near, near...))); got > len(near)*3/2 {
			t.Errorf("%d bits: %d bytes twice are compressed to %d", bits, len(near), got)
		}
	}
}

// TestInflate checks the examples of RFC 7692, section 7.2.3.
func TestInflate(t *testing.T) {
	tests := []struct {
		name, in, want string
		err            error
	}{
		{"one block", "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello", nil},
		{"no compression", "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello", nil},
		{"last block", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello", nil},
		{"last block, no octet behind it", "\xf3\x48\xcd\xc9\xc9\x07\x00", "Hello", nil},
		{"two blocks", "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello", nil},
		{"empty", "\x00", "", nil},
		{"nothing", "", "", errDeflate},
		{"wrong octet behind the last block", "\xf3\x48\xcd\xc9\xc9\x07\x00\x01", "", errDeflate},
		{"more behind the last block", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00\x00", "", errDeflate},
		{"reserved block type", "\x06\x00", "", errDeflate},
		{"length and its complement differ", "\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00", "", errDeflate},
		{"cut in a stored block", "\x00\x05\x00\xfa\xff\x48\x65", "", errDeflate},
		{"refers to before the start", "\x02\x0a\x00", "", errDeflate},
		{"too large", "\xf2\x48\xcd\xc9\xc9\x07\x00", "", errTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			limit := 5
			if tt.err == errTooLarge {
				limit = 4
			}
			var f inflater
			for range 2 { // The second time with what the first has left behind.
				got, err := f.inflate([]byte(tt.in), limit)
				if !errors.Is(err, tt.err) || string(got) != tt.want {
					t.Errorf("got %q, %v, want %q, %v", got, err, tt.want, tt.err)
				}
			}
		})
	}
}

// TestInflateBomb: inflating stops at the limit.
func TestInflateBomb(t *testing.T) {
	const limit = 100_000
	bomb := bytes.Clone(newCompressor(maxWindowBits).compress(make([]byte, 64<<20)))
	var f inflater
	if _, err := f.inflate(bomb, limit); !errors.Is(err, errTooLarge) {
		t.Fatalf("got %v, want %v", err, errTooLarge)
	}
	if got := cap(f.out); got > 2*limit {
		t.Errorf("a bomb of %d bytes took up %d, at a limit of %d", len(bomb), got, limit)
	}
	if got, err := f.inflate([]byte("\xf2\x48\xcd\xc9\xc9\x07\x00"), limit); err != nil || string(got) != "Hello" {
		t.Errorf("after it: got %q, %v", got, err)
	}
}

// deflatingDecoder returns a decoder whose connection has negotiated compression.
func deflatingDecoder(t testing.TB, maxMessage int) *decoder {
	t.Helper()
	d := newDecoder(t, maxMessage)
	d.srv.cfg.Compress = true
	d.srv.init()
	d.srv.join(d.c, "", d.srv.forms[formAt(formPlain, maxWindowBits)], position{})
	return d
}

// bitWriter writes bits as RFC 1951, section 3.1.1, packs them.
type bitWriter struct {
	b    []byte
	bits uint64
	n    uint
}

func (w *bitWriter) put(bits uint64, n uint) {
	w.bits |= bits << w.n
	for w.n += n; w.n >= 8; w.n -= 8 {
		w.b = append(w.b, byte(w.bits))
		w.bits >>= 8
	}
}

// laborious returns about n bytes that inflate to nothing and take long for it: blocks with code tables of their own
// (RFC 1951, section 3.2.7) and no data.
func laborious(n int) []byte {
	var w bitWriter
	for len(w.b) < n {
		w.put(0, 1)  // Not the last.
		w.put(2, 2)  // With code tables:
		w.put(0, 5)  // 257 literals,
		w.put(0, 5)  // a distance,
		w.put(14, 4) // 18 lengths of code lengths, in an order of their own:
		lengths := map[int]uint64{18: 1, 1: 2, 0: 2}
		for _, symbol := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1} {
			w.put(lengths[symbol], 3)
		}
		w.put(0, 1) // 138 and 118 zeros,
		w.put(138-11, 7)
		w.put(0, 1)
		w.put(118-11, 7)
		w.put(3, 2) // a length of 1 for the end of the block, and for the distance.
		w.put(3, 2)
		w.put(0, 1) // The end of the block.
	}
	w.put(0, 3) // An empty stored block, whose lengths are cut off.
	w.put(0, 7)
	return w.b
}

// TestInflateLanes: a message that may take long to inflate, because of its size before or after, is inflated in long
// turns only, and its cost counts.
func TestInflateLanes(t *testing.T) {
	z := newCompressor(maxWindowBits)
	const budget = longTurn * deflatedPerCost
	tests := []struct {
		name  string
		p     []byte
		cost  int // of the turn before
		first verdict
		least int // What it costs at least.
	}{
		{"small", z.compress([]byte("hello")), 0, short, 1},
		{"small, in a turn that is long by now", z.compress([]byte("hello")), longTurn + 1, later, 1},
		{"inflates to much", z.compress(make([]byte, 100_000)), 0, later, 100_000 / inflatePerCost},
		{"comes to much", laborious(2 * budget), 0, later, 2 * budget / deflatedPerCost},
		{"comes to little less", laborious(budget - 100), 0, short, (budget - 100) / deflatedPerCost},
	}
	for _, tt := range tests {
		d := deflatingDecoder(t, 1<<20)
		frame := frameWith(rsv1, true, ws.OpBinary, bytes.Clone(tt.p))
		d.w.cost = tt.cost
		v := d.c.receive(d.w, d.w.buf[:copy(d.w.buf, frame)])
		if v != tt.first {
			t.Errorf("%s: got verdict %d, want %d", tt.name, v, tt.first)
		}
		if v == later {
			if !d.w.long() || len(d.messages) != 0 {
				t.Errorf("%s: it is to wait with a cost of %d, and %d messages", tt.name, d.w.cost, len(d.messages))
			}
			d.c.setCostly(true)
			d.w.cost = 0
			v = d.c.decode(d.w, nil)
		}
		if v != short || len(d.messages) != 1 || d.w.cost-tt.cost < tt.least && tt.cost == 0 {
			t.Errorf("%s: in the end: verdict %d, %d messages, cost %d, want a message and %d", tt.name, v, len(d.messages), d.w.cost, tt.least)
		}
	}
}

// TestPublishCosts: with compression, a plain message costs as much as compressing it may take.
func TestPublishCosts(t *testing.T) {
	d := deflatingDecoder(t, 1<<20)
	d.srv.cfg.OnMessage = nil
	d.recv(t, clientFrame(nil, true, ws.OpText, bytes.Repeat([]byte("x"), longTurn*inflatePerCost)))
	if !d.w.long() {
		t.Errorf("got a cost of %d, want a long turn", d.w.cost)
	}
}

// TestHeldStaysLong: a connection that waits for a long turn still does so after it was held.
func TestHeldStaysLong(t *testing.T) {
	srv := quietServer(t, Config{Compress: true, Shards: 1})
	srv.queue = &queue{}
	z := newCompressor(maxWindowBits)
	k := &floodSockets{sends: frameWith(rsv1, true, ws.OpBinary, z.compress(make([]byte, 100_000)))}
	srv.shards[0].sockets = k
	c := enroll(srv.shards[0], firstFD, srv.forms[formAt(formPlain, maxWindowBits)])
	c.acquire(0)
	w := newWorker()
	c.turn(w)
	if !c.isCostly() {
		t.Fatal("it does not wait for a long turn: the test shows nothing")
	}
	c.channel().behind.Store(true)
	w.cost = 0
	c.turn(w)
	if !c.isCostly() || srv.holding.connCount() != 1 {
		t.Errorf("long %t, %d held, want it to be held and long", c.isCostly(), srv.holding.connCount())
	}
}

// frameWith returns a client's frame with reserved bits.
func frameWith(rsv byte, fin bool, op ws.OpCode, payload []byte) []byte {
	b := clientFrame(nil, fin, op, payload)
	b[0] |= rsv
	return b
}

// TestDecodeCompressed: compressed messages, fragmented and in pieces (RFC 7692, section 6).
func TestDecodeCompressed(t *testing.T) {
	const limit = 300_000
	z := newCompressor(maxWindowBits)
	compress := func(s string) []byte { return bytes.Clone(z.compress([]byte(s))) }
	hello := compress("Hello")
	long := strings.Repeat("a long message ", 10_000)
	stream := func(frames ...[]byte) []byte { return bytes.Join(frames, nil) }
	tests := []struct {
		name   string
		stream []byte
		want   outcome
	}{
		{"text", frameWith(rsv1, true, ws.OpText, hello), outcome{messages: []string{"text:Hello"}}},
		{"binary", frameWith(rsv1, true, ws.OpBinary, compress("\xff\xfe")), outcome{messages: []string{"binary:\xff\xfe"}}},
		{"not compressed", clientFrame(nil, true, ws.OpText, []byte("Hello")), outcome{messages: []string{"text:Hello"}}},
		{"empty", frameWith(rsv1, true, ws.OpText, []byte{0}), outcome{messages: []string{"text:"}}},
		{"long", frameWith(rsv1, true, ws.OpText, compress(long)), outcome{messages: []string{"text:" + long}}},
		{"noise", frameWith(rsv1, true, ws.OpBinary, compress(string(noise(limit)))), outcome{messages: []string{"binary:" + string(noise(limit))}}},
		{"in fragments, a ping between", stream(
			frameWith(rsv1, false, ws.OpText, hello[:2]),
			clientFrame(nil, true, ws.OpPing, []byte("p")),
			clientFrame(nil, false, ws.OpContinuation, nil),
			clientFrame(nil, true, ws.OpContinuation, hello[2:])),
			outcome{messages: []string{"text:Hello"}, pong: "p"}},
		{"first fragment empty", stream(
			frameWith(rsv1, false, ws.OpText, nil),
			clientFrame(nil, true, ws.OpContinuation, hello)),
			outcome{messages: []string{"text:Hello"}}},
		{"one after the other", stream(
			frameWith(rsv1, true, ws.OpText, hello),
			clientFrame(nil, true, ws.OpText, []byte("plain")),
			frameWith(rsv1, false, ws.OpText, hello[:3]),
			clientFrame(nil, true, ws.OpContinuation, hello[3:]),
			clientFrame(nil, false, ws.OpText, []byte("pl")),
			clientFrame(nil, true, ws.OpContinuation, []byte("ain"))),
			outcome{messages: []string{"text:Hello", "text:plain", "text:Hello", "text:plain"}}},
		{"code point cut at a fragment", stream(
			frameWith(rsv1, false, ws.OpText, compress("\u00e4")[:2]),
			clientFrame(nil, true, ws.OpContinuation, compress("\u00e4")[2:])),
			outcome{messages: []string{"text:\u00e4"}}},
		{"bad UTF-8", frameWith(rsv1, true, ws.OpText, compress("\xff")), outcome{why: ReasonInvalidPayload, status: 1007}},
		{"bad UTF-8 in fragments", stream(
			frameWith(rsv1, false, ws.OpText, compress("\xff")[:1]),
			clientFrame(nil, true, ws.OpContinuation, compress("\xff")[1:])),
			outcome{why: ReasonInvalidPayload, status: 1007}},
		{"no deflate", frameWith(rsv1, true, ws.OpText, []byte("Hello")), outcome{why: ReasonInvalidPayload, status: 1007}},
		{"too large inflated", frameWith(rsv1, true, ws.OpBinary, compress(strings.Repeat("x", limit+1))), outcome{why: ReasonTooLarge, status: 1009}},
		{"too large compressed", frameWith(rsv1, true, ws.OpBinary, noise(limit+deflateOverhead(limit)+1)), outcome{why: ReasonTooLarge, status: 1009}},
		{"too large in fragments", stream(
			frameWith(rsv1, false, ws.OpBinary, noise(limit)),
			clientFrame(nil, true, ws.OpContinuation, noise(deflateOverhead(limit)+1))),
			outcome{why: ReasonTooLarge, status: 1009}},
		{"plain ones have no overhead", clientFrame(nil, true, ws.OpBinary, noise(limit+1)), outcome{why: ReasonTooLarge, status: 1009}},
		{"RSV1 on a continuation", stream(
			frameWith(rsv1, false, ws.OpText, hello[:2]),
			frameWith(rsv1, true, ws.OpContinuation, hello[2:])),
			outcome{why: ReasonProtocolError, status: 1002}},
		{"RSV1 on a continuation of a plain one", stream(
			clientFrame(nil, false, ws.OpText, []byte("H")),
			frameWith(rsv1, true, ws.OpContinuation, hello)),
			outcome{why: ReasonProtocolError, status: 1002}},
		{"RSV1 on a new message inside one", stream(
			frameWith(rsv1, false, ws.OpText, hello[:2]),
			frameWith(rsv1, true, ws.OpText, hello)),
			outcome{why: ReasonProtocolError, status: 1002}},
		{"RSV1 on a ping", frameWith(rsv1, true, ws.OpPing, nil), outcome{why: ReasonProtocolError, status: 1002}},
		{"RSV1 on a close", frameWith(rsv1, true, ws.OpClose, nil), outcome{why: ReasonProtocolError, status: 1002}},
		{"RSV1 and RSV2", frameWith(0x60, true, ws.OpText, hello), outcome{why: ReasonProtocolError, status: 1002}},
		{"RSV2", frameWith(0x20, true, ws.OpText, hello), outcome{why: ReasonProtocolError, status: 1002}},
		{"RSV3", frameWith(0x10, true, ws.OpText, hello), outcome{why: ReasonProtocolError, status: 1002}},
		{"reserved opcode", frameWith(rsv1, true, 3, hello), outcome{why: ReasonProtocolError, status: 1002}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, chop := range chops {
				if chop == 1 && len(tt.stream) > 10_000 {
					continue
				}
				if got := deflatingDecoder(t, limit).run(t, tt.stream, chop); !got.equal(tt.want) {
					t.Errorf("in chops of %d: got %v, want %v", chop, got, tt.want)
				}
			}
		})
	}
	t.Run("not negotiated", func(t *testing.T) {
		want := outcome{why: ReasonProtocolError, status: 1002}
		if got := newDecoder(t, limit).run(t, frameWith(rsv1, true, ws.OpText, hello), 1); !got.equal(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
