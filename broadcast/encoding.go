package broadcast

import (
	"sync"
	"sync/atomic"

	"github.com/crier-ws/crier/broadcast/framelog"
	"github.com/gobwas/ws"
)

// encoding is one form in which messages go out, with a log of its own: plain
// frames, or frames compressed with one size of window. A message is encoded once
// for each that is read, and not for each connection.
type encoding struct {
	// Immutable after construction.
	log  *framelog.Log
	bits int // The window's size, RFC 7692, section 7.1.2; 0 for plain frames.

	conns int         // Guarded by Server.order: the connections that read it, if compressed.
	read  atomic.Bool // Written under Server.order: conns > 0.

	compressors sync.Pool
}

// newEncodings makes the encodings that connections may ask for. The plain one
// comes first, and the one for a window of n bits at 1 + n - minWindowBits.
func newEncodings(cfg *Config) []*encoding {
	all := []*encoding{{log: framelog.New(cfg.RetainBytes, frameLen)}}
	if !cfg.Compress {
		return all
	}
	for bits := minWindowBits; bits <= maxWindowBits; bits++ {
		e := &encoding{log: framelog.New(cfg.RetainBytes, frameLen), bits: bits}
		e.compressors.New = func() any { return newCompressor(bits) }
		all = append(all, e)
	}
	return all
}

// encodingFor returns the index of the encoding for a window of so many bits, 0 for
// none.
func encodingFor(bits int) int { return max(0, 1+bits-minWindowBits) }

// join counts a connection in, and returns the place in the log from which on it
// gets everything.
func (srv *Server) join(e *encoding) uint64 {
	if e.bits > 0 {
		srv.order.Lock()
		defer srv.order.Unlock()
		e.conns++
		e.read.Store(true)
	}
	return e.log.Head()
}

// part counts a connection out. What nobody reads is not kept.
func (srv *Server) part(e *encoding) {
	if e.bits == 0 {
		return
	}
	srv.order.Lock()
	defer srv.order.Unlock()
	if e.conns--; e.conns == 0 {
		e.read.Store(false)
		e.log.Clear()
	}
}

// frame is a message in one encoding.
type frame struct {
	header  [ws.MaxHeaderSize]byte
	size    int // of the header; 0 if it was not encoded
	payload []byte
	z       *compressor // has the payload
}

// encode encodes a message. m is borrowed as long as the frame is used.
func (srv *Server) encode(f *frame, e *encoding, m Message) {
	f.payload = m.Payload
	compressed := byte(0)
	if e.bits > 0 && len(m.Payload) >= srv.cfg.CompressMinBytes {
		f.z = e.compressors.Get().(*compressor)
		if p := f.z.compress(m.Payload); len(p) < len(m.Payload) {
			f.payload, compressed = p, rsv1
		}
	}
	f.size = len(appendHeader(f.header[:0], ws.OpCode(m.Kind), len(f.payload)))
	f.header[0] |= compressed
}

// rsv1 marks a compressed message in the first byte of its first frame, RFC 7692,
// section 6.
const rsv1 = 0x40

// append puts a message into the logs. The shards must be woken after it.
func (srv *Server) append(m Message) {
	var lag uint64
	if len(srv.encodings) == 1 {
		var f frame
		srv.encode(&f, srv.encodings[0], m)
		lag = srv.encodings[0].log.Append(f.header[:f.size], f.payload)
	} else {
		lag = srv.appendAll(m)
	}
	srv.total.messages.Add(1)
	srv.total.bytesIn.Add(uint64(len(m.Payload)))
	if lag > srv.mayLag() {
		srv.behind.Store(true) // Before the shards are woken: one of them clears it.
	}
}

// appendAll puts a message into each log that is read, at the same place among the
// others, and returns how far the slowest shard is behind. It compresses before it
// takes the lock; under it, only for what began to be read meanwhile.
func (srv *Server) appendAll(m Message) (lag uint64) {
	var frames [2 + maxWindowBits - minWindowBits]frame
	for i, e := range srv.encodings {
		if e.bits == 0 || e.read.Load() {
			srv.encode(&frames[i], e, m)
		}
	}
	srv.order.Lock()
	for i, e := range srv.encodings {
		if e.bits > 0 && e.conns == 0 {
			continue
		}
		f := &frames[i]
		if f.size == 0 {
			srv.encode(f, e, m)
		}
		lag = max(lag, e.log.Append(f.header[:f.size], f.payload))
	}
	srv.order.Unlock()
	for i, e := range srv.encodings {
		if z := frames[i].z; z != nil {
			e.compressors.Put(z)
		}
	}
	return lag
}

// lag is how far the slowest shard is behind in the log where that is most, in bytes.
func (srv *Server) lag() (lag uint64) {
	for _, e := range srv.encodings {
		lag = max(lag, e.log.Lag())
	}
	return lag
}
