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

// compressor compresses messages into the payloads of frames (RFC 7692, section 7.2.1). Its window starts empty with
// each message: no context takeover. Owned by one goroutine at a time.
type compressor struct {
	w   *flate.Writer
	out bytes.Buffer
}

// newCompressor returns a compressor with a window of 2^bits bytes.
func newCompressor(bits int) *compressor {
	z := &compressor{}
	w, err := flate.NewWriterWindow(&z.out, 1<<bits)
	if err != nil {
		panic(err) // The size is in its range.
	}
	z.w = w
	return z
}

// flushEnd is the end of each flushed block. It is left out of a compressed message.
const flushEnd = "\x00\x00\xff\xff"

// compress returns p compressed. The result is valid until the next call. p is borrowed.
func (z *compressor) compress(p []byte) []byte {
	z.out.Reset()
	z.w.Reset(&z.out)
	// Writing to a buffer never fails.
	_, _ = z.w.Write(p)
	_ = z.w.Flush()
	return bytes.TrimSuffix(z.out.Bytes(), []byte(flushEnd))
}

// inflater inflates messages (RFC 7692, section 7.2.2). Its window starts empty with each message. Owned by one
// worker at a time.
type inflater struct {
	r   io.ReadCloser // A flate.Resetter; nil before the first use.
	rd  yieldingReader
	in  []byte
	out []byte // The last output, whole or partial.
}

// yieldingReader yields the processor now and then: a MiB of empty blocks takes a fifth of a second to inflate, and
// there is no output during which inflate could yield.
type yieldingReader struct {
	bytes.Reader
	n int
}

// yieldEvery is the number of bytes between two yields.
const yieldEvery = 512

// ReadByte returns the next byte. flate calls it for everything but the content of stored blocks.
func (r *yieldingReader) ReadByte() (byte, error) {
	if r.n++; r.n%yieldEvery == 0 {
		runtime.Gosched()
	}
	return r.Reader.ReadByte()
}

// inflaters pools inflaters. Their buffers are as large as the largest message was; the garbage collector frees those
// that are not used for two cycles.
var inflaters = sync.Pool{New: func() any { return new(inflater) }}

// errDeflate: a peer's compressed message cannot be inflated.
var errDeflate = errors.New("compressed message cannot be inflated")

// lastBlock is an empty last block, which makes a message a complete stream.
const lastBlock = "\x01\x00\x00\xff\xff"

// inflate returns the inflated p, valid until the next call. It returns errTooLarge as soon as there are more than
// limit bytes, and errDeflate if p is malformed. It allocates in proportion to the output, not to a declared length.
// p is borrowed.
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
		runtime.Gosched() // At least once a window: a short turn may be ready to run on this processor.
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

// endedCleanly reports whether the message ended where its stream did. A peer may end the message with a last block
// of its own, followed by a zero byte (RFC 7692, section 7.2.3.4).
func (f *inflater) endedCleanly() bool {
	const appended = len(flushEnd) + len(lastBlock) // By inflate.
	switch n := f.rd.Len(); n {
	case 0, appended:
		return true
	case appended + 1:
		return f.in[len(f.in)-n] == 0
	}
	return false
}

// inflateMessage publishes a compressed message. p is borrowed. The cost of inflating cannot be known in advance. So
// a short turn inflates what is small, and gives up when the output becomes large; the message then waits for a long
// turn, which starts it again from the beginning.
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

// mayCompress reports whether a header marks a message as compressed where that is allowed: in the first frame of a
// message (RFC 7692, section 6).
func mayCompress(h ws.Header) bool {
	return h.Rsv == rsv1>>4 && (h.OpCode == ws.OpText || h.OpCode == ws.OpBinary)
}

// deflateOverhead returns how much larger than a message of n bytes its compressed form may be. Incompressible data
// takes 5 bytes more for each block of 64 KiB (RFC 1951, section 3.2.4), or for each smaller block of a sender that
// flushes often.
func deflateOverhead(n int) int { return n>>6 + 1<<10 }
