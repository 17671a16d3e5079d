package broadcast

import (
	"sync"

	"github.com/crier-ws/crier/broadcast/framelog"
	"github.com/gobwas/ws"
)

// form is one form in which messages go out: plain frames, or frames compressed with
// one size of window. A message is encoded once for each that is read, and not for
// each connection.
type form struct {
	// Immutable after construction.
	log  framelog.Config // of the logs that have it
	bits int             // The window's size, RFC 7692, section 7.1.2; 0 for plain frames.

	compressors sync.Pool
}

// newForms makes the forms that connections may ask for. The plain one comes first, and
// the one for a window of n bits at 1 + n - minWindowBits.
func newForms(cfg *Config) []*form {
	total := 0
	if cfg.Channels {
		total = cfg.RetainTotalBytes
	}
	log := framelog.Config{Retain: cfg.RetainBytes, FrameLen: frameLen, Space: framelog.NewSpace(total, cfg.RetainAge)}
	all := []*form{{log: log}}
	if !cfg.Compress {
		return all
	}
	for bits := minWindowBits; bits <= maxWindowBits; bits++ {
		f := &form{log: log, bits: bits}
		f.compressors.New = func() any { return newCompressor(bits) }
		all = append(all, f)
	}
	return all
}

// formFor returns the index of the form for a window of so many bits, 0 for none.
func formFor(bits int) int { return max(0, 1+bits-minWindowBits) }

// maxForms is how many there can be.
const maxForms = 2 + maxWindowBits - minWindowBits

// frame is a message in one form.
type frame struct {
	header  [ws.MaxHeaderSize]byte
	size    int // of the header; 0 if it was not encoded
	payload []byte
	z       *compressor // has the payload
}

// encode encodes a message. m is borrowed as long as the frame is used.
func (srv *Server) encode(f *frame, form *form, m Message) {
	f.payload = m.Payload
	compressed := byte(0)
	if form.bits > 0 && len(m.Payload) >= srv.cfg.CompressMinBytes {
		f.z = form.compressors.Get().(*compressor)
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

// append puts a message into a channel's logs. The channel must be woken after it.
func (srv *Server) append(ch *channel, m Message) {
	var lag uint64
	if srv.cfg.Compress {
		lag = srv.appendAll(ch, m)
	} else {
		var f frame
		srv.encode(&f, srv.forms[0], m)
		lag = ch.plain.log.Append(f.header[:f.size], f.payload)
	}
	srv.total.messages.Add(1)
	srv.total.bytesIn.Add(uint64(len(m.Payload)))
	if lag > srv.mayLag() || srv.full() {
		ch.behind.Store(true) // Before the shards are woken: one of them clears it.
	}
}

// appendAll puts a message into each log that is read, at the same place among the
// others, and returns how far the slowest shard is behind. It compresses before it
// takes the lock; under it, only for what began to be read meanwhile.
func (srv *Server) appendAll(ch *channel, m Message) (lag uint64) {
	var frames [maxForms]frame
	ch.mu.Lock()
	var read [maxForms]bool
	for e := &ch.plain; e != nil; e = e.next {
		read[formFor(e.form.bits)] = true
	}
	ch.mu.Unlock()
	for i := range frames {
		if read[i] {
			srv.encode(&frames[i], srv.forms[i], m)
		}
	}
	ch.mu.Lock()
	for e := &ch.plain; e != nil; e = e.next {
		f := &frames[formFor(e.form.bits)]
		if f.size == 0 {
			srv.encode(f, e.form, m)
		}
		lag = max(lag, e.log.Append(f.header[:f.size], f.payload))
	}
	ch.mu.Unlock()
	for i := range frames {
		if z := frames[i].z; z != nil {
			srv.forms[i].compressors.Put(z)
		}
	}
	return lag
}
