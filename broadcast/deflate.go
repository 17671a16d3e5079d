package broadcast

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/klauspost/compress/flate"
)

// compressor makes messages the payload of compressed frames, RFC 7692, section
// 7.2.1. Its window starts empty with each message: no context takeover.
type compressor struct {
	w   *flate.Writer
	out bytes.Buffer
}

// newCompressor makes one whose window has 2^bits bytes.
func newCompressor(bits int) *compressor {
	z := &compressor{}
	w, err := flate.NewWriterWindow(&z.out, 1<<bits)
	if err != nil {
		panic(err) // The size is in its range.
	}
	z.w = w
	return z
}

// flushEnd is what ends each flushed block, and is left out of a message.
const flushEnd = "\x00\x00\xff\xff"

// compress returns p compressed, valid until the next call.
func (z *compressor) compress(p []byte) []byte {
	z.out.Reset()
	z.w.Reset(&z.out)
	// Neither fails: a buffer takes everything.
	_, _ = z.w.Write(p)
	_ = z.w.Flush()
	return bytes.TrimSuffix(z.out.Bytes(), []byte(flushEnd))
}

// inflater inflates messages, RFC 7692, section 7.2.2. Its window starts empty with
// each.
type inflater struct {
	r   io.ReadCloser // A flate.Resetter; nil until it is first used.
	rd  yieldingReader
	in  []byte
	out []byte // What came out last, whole or not.
}

// yieldingReader lets others have the processor now and then: a MiB of blocks with
// nothing in them takes a fifth of a second, and nothing comes out meanwhile.
type yieldingReader struct {
	bytes.Reader
	n int
}

const yieldEvery = 512

// ReadByte is how flate reads but for stored blocks.
func (r *yieldingReader) ReadByte() (byte, error) {
	if r.n++; r.n%yieldEvery == 0 {
		runtime.Gosched()
	}
	return r.Reader.ReadByte()
}

// inflaters has those that no worker uses at the moment. They keep their buffers, which
// are as large as the largest message was, until the collector has come by twice.
var inflaters = sync.Pool{New: func() any { return new(inflater) }}

// errDeflate: what a peer compressed cannot be inflated.
var errDeflate = errors.New("compressed message cannot be inflated")

// lastBlock is an empty last block, so that a message is a whole stream.
const lastBlock = "\x01\x00\x00\xff\xff"

// inflate returns what p inflates to, valid until the next call; errTooLarge as
// soon as that is more than limit bytes; or errDeflate. It allocates as much as
// comes out, and no more. p is borrowed until it returns.
func (f *inflater) inflate(p []byte, limit int) ([]byte, error) {
	f.in = append(append(append(f.in[:0], p...), flushEnd...), lastBlock...)
	f.out = f.out[:0]
	f.rd.Reset(f.in)
	if f.r == nil {
		f.r = flate.NewReader(&f.rd)
	} else if err := f.r.(flate.Resetter).Reset(&f.rd, nil); err != nil {
		return nil, err
	}
	for out := f.out[:0]; ; {
		if len(out) == cap(out) {
			out = append(out, 0)[:len(out)]
		}
		n, err := f.r.Read(out[len(out):min(cap(out), limit+1)])
		out = out[:len(out)+n]
		f.out = out
		runtime.Gosched() // After a window at the most: what is short may need this processor.
		switch {
		case len(out) > limit:
			return nil, errTooLarge
		case err == io.EOF && f.endedCleanly():
			return out, nil
		case err != nil:
			return nil, errDeflate
		}
	}
}

// endedCleanly says whether the message ended where its stream did. A peer may end it
// with a last block of its own, and an octet of zeros behind that, RFC 7692,
// section 7.2.3.4.
func (f *inflater) endedCleanly() bool {
	const behind = len(flushEnd) + len(lastBlock)
	switch n := f.rd.Len(); n {
	case 0, behind:
		return true
	case behind + 1:
		return f.in[len(f.in)-n] == 0
	}
	return false
}

// inflateMessage publishes a message that came compressed. p is borrowed. What it takes cannot be
// told before: so a short turn takes what is short in any case, and goes on as long as not
// much comes out. The rest waits for a long turn, and starts anew.
func (c *Conn) inflateMessage(w *worker, op ws.OpCode, p []byte) verdict {
	if w.long() {
		return later
	}
	most := c.shard().srv.cfg.MaxMessageBytes
	limit := most
	if !c.isCostly() {
		if len(p) > longTurn*deflatedPerCost {
			w.cost = longTurn + 1
			return later
		}
		limit = min(limit, longTurn*inflatePerCost)
	}
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	compressed := len(p)
	p, err := f.inflate(p, limit)
	w.cost += 1 + max(compressed/deflatedPerCost, len(f.out)/inflatePerCost)
	if err == errTooLarge && limit < most {
		return later
	}
	if err == nil && op == ws.OpText && !utf8.Valid(p) {
		err = errText
	}
	if err != nil {
		return c.violated(err)
	}
	return c.publishMessage(w, Message{Kind(op), p})
}

// mayCompress says whether a header marks a message as compressed, and may: the
// first frame of a message, RFC 7692, section 6.
func mayCompress(h ws.Header) bool {
	return h.Rsv == rsv1>>4 && (h.OpCode == ws.OpText || h.OpCode == ws.OpBinary)
}

// deflateOverhead is how much larger than itself a message of n bytes may come
// compressed: what cannot be compressed takes 5 bytes more for each 64 KiB (RFC
// 1951, section 3.2.4), or for less where its sender flushes often.
func deflateOverhead(n int) int { return n>>6 + 1<<10 }
