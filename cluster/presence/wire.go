package presence

import (
	"encoding/binary"
	"errors"
	"iter"
	"math"
	"time"

	"github.com/crier-ws/crier/broadcast"
)

// A message begins with one byte for the version, one for the kind, and the ID of the server that sends it. Then
// come, by kind:
//
//	beat      number of the beat, milliseconds to the next one, connections in all channels, counts
//	snapshot  number of the last beat before it, number of the snapshot, number of the part from 0 on,
//	          1 for the last part and 0 for others, counts
//	ask, bye  nothing
//
// Numbers are uvarints. counts repeats, up to the end of the message: length of the channel's name, name, connections.
const version = 1

type kind byte

const (
	beat     kind = 'b' // What has changed since the last beat.
	snapshot kind = 's' // A part of all counts.
	ask      kind = 'a' // Asks the receiver for a snapshot.
	bye      kind = 'e' // The sender ends.
)

const (
	idBytes         = 22            // Length of the ID of a server: letters and digits.
	partBytes       = 32 << 10      // Approximate length of a message if not everything fits into one.
	maxMessageBytes = 2 * partBytes // The longest message that is accepted.

	maxConns    = 1 << 40     // The most connections of a server.
	maxInterval = time.Minute // The longest time from one beat to the next.
)

var (
	errVersion   = errors.New("it has another protocol version: run the same version of crier on all servers")
	errMalformed = errors.New("malformed message")
)

// message is a decoded message. Its strings share memory with what it was decoded from.
type message struct {
	kind kind
	from string
	seq  uint32 // Of a beat: its number. Of a snapshot: the number of the last beat before it.

	// Of a beat.
	every time.Duration
	conns int

	// Of a snapshot.
	number, part uint32
	last         bool

	counts counts
}

// counts is a list of channels with their connections, encoded and well formed.
type counts string

// all yields the names, which share memory with s, and their connections.
func (s counts) all() iter.Seq2[string, uint32] {
	return func(yield func(string, uint32) bool) {
		for d := (decoder{rest: string(s)}); d.rest != ""; {
			if name, n := d.count(); !yield(name, n) {
				return
			}
		}
	}
}

// validate returns errMalformed if s is not well formed.
func (s counts) validate() error {
	for d := (decoder{rest: string(s)}); d.rest != ""; {
		if name, _ := d.count(); d.bad || broadcast.CheckChannel(name) != nil {
			return errMalformed
		}
	}
	return nil
}

// decode decodes a message. It returns errVersion or errMalformed if any part of the message is not well formed.
func decode(s string) (m message, err error) {
	if len(s) < 2+idBytes || len(s) > maxMessageBytes {
		return m, errMalformed
	}
	if s[0] != version {
		return m, errVersion
	}
	m.kind, m.from = kind(s[1]), s[2:2+idBytes]
	if !validID(m.from) {
		return m, errMalformed
	}
	d := decoder{rest: s[2+idBytes:]}
	switch m.kind {
	case beat:
		m.seq = uint32(d.number(1, math.MaxUint32))
		m.every = time.Duration(d.number(1, uint64(maxInterval.Milliseconds()))) * time.Millisecond
		m.conns = int(d.number(0, maxConns))
	case snapshot:
		m.seq = uint32(d.number(0, math.MaxUint32))
		m.number = uint32(d.number(0, math.MaxUint32))
		m.part = uint32(d.number(0, math.MaxUint32))
		m.last = d.number(0, 1) == 1
	case ask, bye:
		d.bad = d.rest != ""
	default:
		d.bad = true
	}
	if d.bad {
		return m, errMalformed
	}
	m.counts = counts(d.rest)
	return m, m.counts.validate()
}

// validID reports whether an ID may be a part of a subject.
func validID(id string) bool {
	for i := range len(id) {
		switch ch := id[i]; {
		case ch >= '0' && ch <= '9', ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z':
		default:
			return false
		}
	}
	return len(id) == idBytes
}

// decoder decodes the fields of a message one after the other. After a malformed field, bad is set and rest is empty.
type decoder struct {
	rest string
	bad  bool
}

// number decodes a number from least to most.
func (d *decoder) number(least, most uint64) uint64 {
	v, n := binary.Uvarint([]byte(d.rest[:min(len(d.rest), binary.MaxVarintLen64)]))
	if n <= 0 || v < least || v > most {
		d.rest, d.bad = "", true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count decodes the name of a channel and its connections.
func (d *decoder) count() (name string, n uint32) {
	length := int(d.number(0, math.MaxUint16))
	if length > len(d.rest) {
		d.rest, d.bad = "", true
		return "", 0
	}
	name, d.rest = d.rest[:length], d.rest[length:]
	return name, uint32(d.number(0, math.MaxUint32))
}

func appendHead(b []byte, k kind, from string) []byte {
	return append(append(b, version, byte(k)), from...)
}

func appendNumbers(b []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func appendCount(b []byte, name string, n int) []byte {
	b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
	return binary.AppendUvarint(b, uint64(min(n, math.MaxUint32)))
}
