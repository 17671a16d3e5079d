package broadcast

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"strings"
	"sync"

	"github.com/crier-ws/crier/broadcast/framelog"
	"github.com/gobwas/ws"
)

// formKind is the protocol of a form.
type formKind uint8

const (
	formPlain  formKind = iota // WebSocket messages as they are.
	formIDs                    // WebSocket messages after a line with their ID: subprotocol crier.v1.
	formEvents                 // Server-sent events.
	formKinds
)

// String returns the kind's name as it appears in statistics.
func (k formKind) String() string { return [formKinds]string{"websocket", protocolIDs, "events"}[k] }

// form is one form in which messages go out. A message is encoded once for each form in use, not for each connection.
type form struct {
	// Immutable after construction.
	kind  formKind
	bits  int             // The window of compression is 2^bits bytes (RFC 7692, section 7.1.2); 0 is no compression.
	log   framelog.Config // Of the logs in this form.
	epoch string          // The first part of IDs.
	ping  []byte          // What keeps a connection alive.
}

// maxForms is the number of forms that there can be.
const maxForms = int(formKinds) * (2 + maxWindowBits - minWindowBits)

// formAt returns the index of a form in Server.forms.
func formAt(kind formKind, bits int) int {
	return int(kind)*maxForms/int(formKinds) + max(0, 1+bits-minWindowBits)
}

// newForms makes the forms that connections may ask for. The others are nil.
func newForms(cfg *Config) (forms [maxForms]*form) {
	total := 0
	if cfg.Channels {
		total = cfg.RetainTotalBytes
	}
	space := framelog.NewSpace(total, cfg.RetainAge)
	epoch := strings.ToLower(rand.Text()[:8])
	if cfg.Replication.Order != nil {
		epoch = cfg.Replication.Epoch
	}
	add := func(kind formKind, bits int, frameLen framelog.FrameLen, ping []byte) {
		forms[formAt(kind, bits)] = &form{kind: kind, bits: bits, epoch: epoch, ping: ping,
			log: framelog.Config{Retain: cfg.RetainBytes, FrameLen: frameLen, Space: space}}
	}
	for _, kind := range []formKind{formPlain, formIDs} {
		add(kind, 0, frameLen, pingFrame)
		for bits := minWindowBits; bits <= maxWindowBits && cfg.Compress; bits++ {
			add(kind, bits, frameLen, pingFrame)
		}
	}
	add(formEvents, 0, chunkLen, heartbeat)
	return forms
}

// pingFrame is a ping without payload: RFC 6455, section 5.5.2.
var pingFrame = appendFrame(nil, ws.OpPing, nil)

// outgoing is a message on its way into the logs of a channel. prepare does the costly part before their lock is
// taken. Owned by the publishing goroutine.
type outgoing struct {
	Message
	compressed [1 + maxWindowBits]*compressed // By bits; nil until it is prepared.
	lines      *bytes.Buffer                  // The message as lines of server-sent events; nil until it is prepared.
}

// compressed is a compressor, and the message that it has compressed.
type compressed struct {
	*compressor
	payload []byte // Borrowed from the compressor; nil if compression does not make the message smaller.
}

// compressors are pools of compressors, by the bits of their window.
var compressors [1 + maxWindowBits]sync.Pool

// linesPool pools the buffers of outgoing.lines.
var linesPool = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// prepare does the part of encoding in form f that does not depend on the message's ID. Payloads of less than least
// bytes are not compressed.
func (o *outgoing) prepare(f *form, least int) {
	switch {
	case f.kind == formEvents && o.lines == nil:
		o.lines = linesPool.Get().(*bytes.Buffer)
		o.lines.Reset()
		appendLines(o.lines, o.Message)
	case f.bits > 0 && o.compressed[f.bits] == nil && len(o.Payload) >= least:
		z, _ := compressors[f.bits].Get().(*compressor)
		if z == nil {
			z = newCompressor(f.bits)
		}
		c := &compressed{compressor: z}
		if p := z.compress(o.Payload); len(p) < len(o.Payload) {
			c.payload = p
		}
		o.compressed[f.bits] = c
	}
}

// recycle gives what prepare took back to the pools.
func (o *outgoing) recycle() {
	for bits, c := range o.compressed {
		if c != nil {
			compressors[bits].Put(c.compressor)
		}
	}
	if o.lines != nil && o.lines.Cap() <= 1<<20 {
		linesPool.Put(o.lines)
	}
}

// rsv1 marks a compressed message, in the first byte of its first frame: RFC 7692, section 6.
const rsv1 = 0x40

// storedHeader is the length of the header of a stored block: RFC 1951, section 3.2.4.
const storedHeader = 5

// encode returns a prepared message as a frame of this form. id is the message's ID. The frame is head, which is
// appended to dst, and then payload, which is borrowed from o.
func (f *form) encode(dst []byte, o *outgoing, id uint64) (head, payload []byte) {
	if f.kind == formEvents {
		var line [64]byte
		first := append(f.appendID(append(line[:0], "id: "...), id), '\n')
		dst = appendChunkSize(dst, len(first)+o.lines.Len()-len(crlf))
		return append(dst, first...), o.lines.Bytes()
	}
	payload = o.Payload
	var first byte
	if c := o.compressed[f.bits]; c != nil && c.payload != nil {
		payload, first = c.payload, rsv1
	}
	var line []byte
	if f.kind == formIDs {
		var room [64]byte
		line = room[:0]
		if first != 0 {
			// The ID is a stored block of its own (RFC 1951, section 3.2.4), so that the compressed message after it is
			// the same in all forms with this window.
			line = room[:storedHeader]
		}
		line = append(f.appendID(append(line, "id: "...), id), '\n')
		if first != 0 {
			n := len(line) - storedHeader
			line[1], line[2], line[3], line[4] = byte(n), 0, ^byte(n), 0xff
		}
	}
	at := len(dst)
	dst = appendHeader(dst, ws.OpCode(o.Kind), len(line)+len(payload))
	dst[at] |= first
	return append(dst, line...), payload
}

// appendID appends the ID of a message. IDs count from 1: 0 stands for the place before the first message.
func (f *form) appendID(dst []byte, id uint64) []byte {
	return strconv.AppendUint(append(append(dst, f.epoch...), '-'), id, 10)
}

// appendDirect appends a message for one connection alone, which has no ID. The payload is copied.
func (f *form) appendDirect(dst []byte, m Message) []byte {
	switch f.kind {
	case formIDs:
		dst = appendHeader(dst, ws.OpCode(m.Kind), len(directLine)+len(m.Payload))
		return append(append(dst, directLine...), m.Payload...)
	case formEvents:
		var b bytes.Buffer
		appendLines(&b, m)
		dst = appendChunkSize(dst, b.Len()-len(crlf))
		return append(dst, b.Bytes()...)
	}
	return appendFrame(dst, ws.OpCode(m.Kind), m.Payload)
}

// directLine is the line before a direct message in the form with IDs.
const directLine = "direct: -\n"

// appendHello appends what a connection gets first if it will get the messages after the ID at. If messages are
// missing that the client asked for, gap is the ID after which they are missing, as the client wrote it; otherwise
// gap is empty.
func (f *form) appendHello(dst []byte, greeting string, at uint64, gap string) []byte {
	switch f.kind {
	case formIDs:
		dst = appendFrame(dst, ws.OpText, append(append(f.appendID([]byte("at: "), at), '\n'), greeting...))
		if gap != "" {
			dst = f.appendGap(dst, gap, at)
		}
	case formEvents:
		return f.appendHelloEvents(dst, greeting, at, gap)
	default:
		if greeting != "" {
			dst = appendFrame(dst, ws.OpText, []byte(greeting))
		}
	}
	return dst
}

// appendGap appends the notice that the messages after one ID, up to and including another, are missing.
func (f *form) appendGap(dst []byte, from string, to uint64) []byte {
	line := f.appendID([]byte(from+" "), to)
	switch f.kind {
	case formIDs:
		return appendFrame(dst, ws.OpText, append([]byte("gap: "), append(line, '\n')...))
	case formEvents:
		return appendChunk(dst, "event: gap\nid: "+string(f.appendID(nil, to))+"\ndata: "+string(line)+"\n\n")
	}
	return dst
}

// closingBytes returns what ends a connection of this form: the close frame itself for WebSockets. closeFrame is
// borrowed.
func (f *form) closingBytes(closeFrame []byte) []byte {
	if f.kind != formEvents {
		return closeFrame
	}
	return closingEvents(closeFrame)
}

// appendLines appends a message as the lines of a server-sent event, and the end of its chunk.
func appendLines(b *bytes.Buffer, m Message) {
	name := ""
	lines := bytes.Count(m.Payload, crlf[:1]) + bytes.Count(m.Payload, crlf[1:])
	switch {
	case m.Kind == Binary:
		name = "binary"
	case len("data: \n")*lines > len(m.Payload)+4096:
		name = "text" // Mostly line ends: as lines of data it would be several times as large.
	default:
		appendData(b, m.Payload)
		b.WriteString("\n\r\n")
		return
	}
	b.WriteString("event: " + name + "\ndata: ")
	b.Grow(base64.StdEncoding.EncodedLen(len(m.Payload)) + 4)
	b.Write(base64.StdEncoding.AppendEncode(b.AvailableBuffer(), m.Payload))
	b.WriteString("\n\n\r\n")
}

// appendData appends text as lines of data. Each of the three line ends that the standard knows (HTML, section 9.2.6)
// ends a line; clients get them as line feeds.
func appendData(b *bytes.Buffer, text []byte) {
	for {
		b.WriteString("data: ")
		i := bytes.IndexAny(text, "\r\n")
		if i < 0 {
			b.Write(text)
			b.WriteByte('\n')
			return
		}
		b.Write(text[:i])
		b.WriteByte('\n')
		if bytes.HasPrefix(text[i:], crlf) {
			i++
		}
		text = text[i+1:]
	}
}
