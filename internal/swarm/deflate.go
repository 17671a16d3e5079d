package swarm

import (
	"bytes"
	"io"
	"strings"

	"github.com/klauspost/compress/flate"
)

// inflater inflates compressed messages for all connections of a loop. A server that compresses a message once for all
// sends the same bytes to each connection: the inflater does the work only for the first one.
type inflater struct {
	r    io.ReadCloser // A flate.Resetter.
	rd   bytes.Reader
	tail strings.Reader

	compressed, plain []byte // The newest message.
}

// flushEnd ends a message that is inflated, RFC 7692, section 7.2.2, and lastBlock makes it
// a whole stream.
const (
	flushEnd  = "\x00\x00\xff\xff"
	lastBlock = "\x01\x00\x00\xff\xff"
)

// inflate returns what p inflates to, valid until the next call, or an error if it cannot,
// or is more than the largest message.
func (f *inflater) inflate(p []byte) ([]byte, error) {
	if bytes.Equal(p, f.compressed) && len(p) > 0 {
		return f.plain, nil
	}
	f.rd.Reset(p)
	f.tail.Reset(flushEnd + lastBlock)
	stream := io.MultiReader(&f.rd, &f.tail)
	if f.r == nil {
		f.r = flate.NewReader(stream)
	} else if err := f.r.(flate.Resetter).Reset(stream, nil); err != nil {
		return nil, err
	}
	f.compressed = append(f.compressed[:0], p...)
	out := bytes.NewBuffer(f.plain[:0])
	_, err := io.Copy(out, io.LimitReader(f.r, maxPayload+1))
	f.plain = out.Bytes()
	if err == nil && len(f.plain) > maxPayload {
		err = errFrame
	}
	if err != nil {
		f.compressed = f.compressed[:0]
	}
	return f.plain, err
}
