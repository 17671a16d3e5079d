package broadcast

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// decoder is a connection without a socket, whose shard has no goroutine. The test passes it what recv would return,
// and looks at what was posted to the shard.
type decoder struct {
	srv      *Server
	c        *Conn
	w        *worker
	messages []string // "text:..." or "binary:..."
	tired    bool     // Each turn has done much before.
}

// newDecoder returns a decoder whose messages are recorded and not published.
func newDecoder(t testing.TB, maxMessage int) *decoder {
	t.Helper()
	d := publishingDecoder(t, maxMessage)
	d.srv.cfg.OnMessage = func(_ *Conn, m Message) (Message, bool) {
		kind := map[Kind]string{Text: "text:", Binary: "binary:"}[m.Kind]
		d.messages = append(d.messages, kind+string(m.Payload))
		return Message{}, false
	}
	return d
}

// publishingDecoder returns a decoder whose messages go into the log.
func publishingDecoder(t testing.TB, maxMessage int) *decoder {
	t.Helper()
	cfg, err := Config{MaxMessageBytes: maxMessage, Logger: slog.New(slog.DiscardHandler)}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	srv := &Server{cfg: cfg}
	srv.init()
	c := enroll(newShard(srv), 0, srv.forms[0])
	return &decoder{srv: srv, w: newWorker(), c: c}
}

// posted is what was posted to the shard since the last look.
type posted struct {
	ponged bool
	pong   string
	why    Reason // 0 if the connection goes on.
	status ws.StatusCode
	body   string // Of the close frame.
}

// recv passes b as one recv(2) would, and runs the turns that it takes.
func (d *decoder) recv(t testing.TB, b []byte) (verdict, posted) {
	t.Helper()
	if d.w.cost = 0; d.tired {
		d.w.cost = longTurn + 1
	}
	v := d.c.receive(d.w, d.w.buf[:copy(d.w.buf, b)])
	for d.c.setCostly(d.w.long()); v == later; d.c.setCostly(d.w.long()) {
		if !d.c.isCostly() {
			t.Fatal("what takes long waits among the short")
		}
		d.w.cost = 0
		v = d.c.decode(d.w, nil)
	}
	d.c.notifyShards(d.w)
	var got posted
	for _, p := range d.c.shard().inbox.takePosts() {
		if p.what&postPong != 0 {
			got.ponged, got.pong = true, lastPong(t, p.mail.pongs.frames)
		}
		if p.what&postClose != 0 {
			got.why = p.why
			op, body := splitFrame(t, p.mail.closing)
			if op != ws.OpClose || len(body) > 125 {
				t.Fatalf("got frame %q to close with", p.mail.closing)
			}
			got.body = string(body)
			if len(body) >= 2 {
				got.status = ws.StatusCode(binary.BigEndian.Uint16(body))
			}
		}
		p.mail.recycle()
	}
	return v, got
}

// lastPong returns the payload of the newest of some pongs.
func lastPong(t testing.TB, frames []byte) (payload string) {
	t.Helper()
	for len(frames) > 0 {
		n := frameLen(frames)
		op, p := splitFrame(t, frames[:n])
		if op != ws.OpPong {
			t.Fatalf("got %q among the pongs", frames)
		}
		payload, frames = string(p), frames[n:]
	}
	return payload
}

// splitFrame splits a frame of the server into opcode and payload.
func splitFrame(t testing.TB, b []byte) (ws.OpCode, []byte) {
	t.Helper()
	r := bytes.NewReader(b)
	h, err := ws.ReadHeader(r)
	if err != nil || h.Masked || h.Rsv != 0 || !h.Fin || h.Length != int64(r.Len()) {
		t.Fatalf("got frame %q: %+v, %v", b, h, err)
	}
	return h.OpCode, b[len(b)-r.Len():]
}

// outcome is the expected result of decoding a stream of frames.
type outcome struct {
	messages []string
	pong     string // The newest.
	why      Reason
	status   ws.StatusCode
}

func (o outcome) String() string {
	var b strings.Builder
	for _, m := range o.messages {
		fmt.Fprintf(&b, "%s, ", brief([]byte(m)))
	}
	fmt.Fprintf(&b, "pong %q, ", o.pong)
	if o.why != 0 {
		fmt.Fprintf(&b, "%v %d", o.why, o.status)
	}
	return b.String()
}

func (o outcome) equal(p outcome) bool {
	return slices.Equal(o.messages, p.messages) && o.pong == p.pong && o.why == p.why && o.status == p.status
}

// run decodes a stream in pieces of a size.
func (d *decoder) run(t testing.TB, stream []byte, chop int) (o outcome) {
	t.Helper()
	for b := range slices.Chunk(stream, min(chop, recvBytes)) {
		_, got := d.recv(t, b)
		if got.ponged {
			o.pong = got.pong
		}
		if got.why != 0 {
			o.why, o.status = got.why, got.status
		}
	}
	o.messages = d.messages
	return o
}

// chops are the sizes of pieces in which each stream is decoded: byte by byte, unaligned, as Ethernet would deliver
// it, and whole.
var chops = []int{1, 997, 1460, math.MaxInt}

type decodeCase struct {
	name   string
	stream []byte
	want   outcome
}

const testMaxMessage = 70000

func runDecode(t *testing.T, tests []decodeCase) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, chop := range chops {
				if chop == 1 && len(tt.stream) > 4096 {
					chop = 61 // Byte by byte takes long under the race detector.
				}
				d := newDecoder(t, testMaxMessage)
				if got := d.run(t, tt.stream, chop); !got.equal(tt.want) {
					t.Errorf("chops of %d: got %v, want %v", chop, got, tt.want)
				}
				if d.c.in != nil {
					t.Errorf("chops of %d: keeps a buffer while nothing is unfinished", chop)
				}
			}
		})
	}
}

// stream concatenates frames. Each is "op payload", where op is text, binary, cont, ping, pong or close, with a + if
// it is not the last fragment.
func stream(frames ...string) (b []byte) {
	ops := map[string]ws.OpCode{"text": ws.OpText, "binary": ws.OpBinary, "cont": ws.OpContinuation,
		"ping": ws.OpPing, "pong": ws.OpPong, "close": ws.OpClose}
	for _, f := range frames {
		name, payload, _ := strings.Cut(f, " ")
		name, unfinished := strings.CutSuffix(name, "+")
		op, ok := ops[name]
		if !ok {
			panic("no frame " + name)
		}
		b = clientFrame(b, !unfinished, op, []byte(payload))
	}
	return b
}

// rawHeader returns a header with the given bytes, and the test's mask if second has the mask bit.
func rawHeader(first, second byte, length ...byte) []byte {
	b := append([]byte{first, second}, length...)
	if second&0x80 != 0 {
		b = append(b, testMask[:]...)
	}
	return b
}

func failed(why Reason, status ws.StatusCode, messages ...string) outcome {
	return outcome{messages: messages, why: why, status: status}
}

func broken(messages ...string) outcome { return failed(ReasonProtocolError, 1002, messages...) }
func noText(messages ...string) outcome { return failed(ReasonInvalidPayload, 1007, messages...) }
func huge(messages ...string) outcome   { return failed(ReasonTooLarge, 1009, messages...) }
func fine(messages ...string) outcome   { return outcome{messages: messages} }

func TestDecodeLengths(t *testing.T) {
	var tests []decodeCase
	for _, n := range []int{0, 1, 3, 4, 125, 126, 127, 65534, 65535, 65536, 65537, testMaxMessage} {
		p := strings.Repeat("0123456789", n/10+1)[:n]
		tests = append(tests,
			decodeCase{fmt.Sprintf("text of %d", n), stream("text "+p, "text .", "text "+p), fine("text:"+p, "text:.", "text:"+p)},
			decodeCase{fmt.Sprintf("binary of %d", n), stream("binary " + p), fine("binary:" + p)},
			decodeCase{fmt.Sprintf("fragments of %d", n), stream("text+ "+p[:n/2], "cont+", "cont "+p[n/2:]), fine("text:" + p)})
	}
	runDecode(t, tests)
}

func TestDecodeLengthForms(t *testing.T) {
	runDecode(t, []decodeCase{
		{"16 bits for 0", rawHeader(0x82, 0xfe, 0, 0), broken()},
		{"16 bits for 125", rawHeader(0x82, 0xfe, 0, 125), broken()},
		{"64 bits for 0", rawHeader(0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0), broken()},
		{"64 bits for 125", rawHeader(0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 125), broken()},
		{"64 bits for 65535", rawHeader(0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff), broken()},
		{"64 bits, top bit", rawHeader(0x82, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0), broken()},
		{"64 bits, all bits", rawHeader(0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255), broken()},
		{"64 bits, largest", rawHeader(0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255), huge()},
		{"64 bits, one too many", rawHeader(0x82, 0xff, 0, 0, 0, 0, 0, 1, 0x11, 0x71), huge()},
	})
}

func TestDecodeTooLarge(t *testing.T) {
	most := strings.Repeat("m", testMaxMessage)
	half := most[:testMaxMessage/2]
	runDecode(t, []decodeCase{
		{"just right", stream("text " + most), fine("text:" + most)},
		{"one too many", stream("text ok", "text "+most+"x"), huge("text:ok")},
		{"fragments just right", stream("text+ "+half, "cont "+half), fine("text:" + most)},
		{"fragments one too many", stream("text+ "+half, "cont "+half+"x"), huge()},
		{"third fragment too many", stream("binary+ "+half, "cont+ "+half, "cont x"), huge()},
		{"empty fragment behind the most", stream("binary+ "+most, "cont"), fine("binary:" + most)},
		{"the sum starts anew with each message", stream("text+ "+half, "cont "+half, "text+ "+half, "cont "+half),
			fine("text:"+most, "text:"+most)},
		{"ping between does not count", stream("text+ "+half, "ping "+most[:125], "cont "+half),
			outcome{messages: []string{"text:" + most}, pong: most[:125]}},
	})
}

// TestDecodeLengthOverflow: the length of a fragment is added to that of the message so far. No declared length may
// pass the limit by an overflow of that sum.
func TestDecodeLengthOverflow(t *testing.T) {
	runDecode(t, []decodeCase{
		{"largest length behind a fragment", append(stream("binary+ x"),
			rawHeader(0x80, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255)...), huge()},
	})
}

func TestDecodeFragments(t *testing.T) {
	runDecode(t, []decodeCase{
		{"two", stream("text+ ab", "cont cd"), fine("text:abcd")},
		{"many", stream("binary+ a", "cont+ b", "cont+", "cont+ c", "cont d"), fine("binary:abcd")},
		{"all empty", stream("text+", "cont+", "cont"), fine("text:")},
		{"ping between", stream("text+ ab", "ping 1", "cont+ cd", "ping 2", "pong 3", "cont ef"),
			outcome{messages: []string{"text:abcdef"}, pong: "2"}},
		{"close between", stream("text+ ab", "close \x03\xe8", "cont cd"), failed(ReasonPeerClosed, 1000)},
		{"continuation of nothing", stream("cont x"), broken()},
		{"unfinished continuation of nothing", stream("cont+ x"), broken()},
		{"continuation behind the last", stream("text+ a", "cont b", "cont c"), broken("text:ab")},
		{"text inside", stream("text+ a", "text b"), broken()},
		{"binary inside", stream("text+ a", "binary+ b"), broken()},
		{"two messages", stream("text+ a", "cont b", "binary+ c", "cont d"), fine("text:ab", "binary:cd")},
	})
}

func TestDecodeControl(t *testing.T) {
	p125 := strings.Repeat("p", 125)
	runDecode(t, []decodeCase{
		{"ping", stream("ping"), outcome{}},
		{"ping of 125", stream("ping " + p125), outcome{pong: p125}},
		{"ping of 126", stream("ping x", "ping "+p125+"p"), outcome{pong: "x", why: ReasonProtocolError, status: 1002}},
		{"ping of 16 bits", rawHeader(0x89, 0xfe, 0, 5), broken()},
		{"pings and messages", stream("text a", "ping 1", "text b", "ping 2", "text c"),
			outcome{messages: []string{"text:a", "text:b", "text:c"}, pong: "2"}},
		{"unsolicited pong", stream("pong x", "text a"), fine("text:a")},
		{"pong of 126", stream("pong " + p125 + "p"), broken()},
		{"close of 126", stream("close \x03\xe8" + p125), broken()},
		{"fragmented ping", stream("ping+ x"), broken()},
		{"fragmented pong", stream("pong+ x"), broken()},
		{"fragmented close", stream("close+ \x03\xe8"), broken()},
	})
}

func TestDecodeHeaders(t *testing.T) {
	var tests []decodeCase
	for op := byte(0); op < 16; op++ {
		if op < 3 || op >= 8 && op <= 10 {
			continue
		}
		tests = append(tests, decodeCase{fmt.Sprintf("opcode %d", op), rawHeader(0x80|op, 0x80), broken()})
	}
	for rsv := byte(1); rsv < 8; rsv++ {
		for _, op := range []byte{1, 2, 8, 9, 10} {
			tests = append(tests, decodeCase{fmt.Sprintf("rsv %03b of opcode %d", rsv, op), rawHeader(0x80|rsv<<4|op, 0x80), broken()})
		}
	}
	for _, op := range []byte{1, 2, 8, 9, 10} {
		tests = append(tests, decodeCase{fmt.Sprintf("unmasked opcode %d", op), rawHeader(0x80|op, 0), broken()})
	}
	tests = append(tests,
		decodeCase{"unmasked with payload", append(stream("text a"), 0x81, 1, 'x'), broken("text:a")},
		decodeCase{"nothing is decoded behind a violation", append(rawHeader(0xff, 0x80), stream("text a", "ping b")...), broken()},
		decodeCase{"mask of zeros", []byte{0x81, 0x82, 0, 0, 0, 0, 'h', 'i'}, fine("text:hi")})
	runDecode(t, tests)
}
