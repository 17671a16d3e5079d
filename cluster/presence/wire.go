package presence

import (
	"encoding/binary"
	"errors"
	"iter"
	"math"
	"time"

	"github.com/crier-ws/crier/broadcast"
)

// A message is, one behind the other: a byte for the version, one for the kind, the id of the server that it is from, and
//
//	beat      number, milliseconds to the next one, connections in all, counts
//	snapshot  number of the last beat before it began, number of the snapshot, number of the part,
//	          1 if that is the last one and else 0, counts
//	ask, bye  nothing
//
// Numbers are uvarints. counts is, up to the end of the message: length of a channel's name, name, connections.
const version = 1

type kind byte

const (
	beat     kind = 'b' // What has changed since the beat before.
	snapshot kind = 's' // A part of all that there is.
	ask      kind = 'a' // Send me a snapshot.
	bye      kind = 'e' // I end.
)

const (
	// idBytes is how long the id of a server is: letters and digits, as nuid.Next makes them.
	idBytes = 22
	// partBytes is how long a message is about, if all does not fit in one.
	partBytes = 32 << 10
	// mostBytes is how long a message may be.
	mostBytes = 2 * partBytes

	mostConns = 1 << 40     // In all.
	mostEvery = time.Minute // From one beat to the next.
)

var (
	errVersion = errors.New("it is of another version")
	errMessage = errors.New("it is malformed")
)

// message is a message that was decoded. Its strings are parts of what it was decoded from.
type message struct {
	kind kind
	from string
	seq  uint32 // Of a beat, or of the last one before a snapshot.

	// Of a beat.
	every time.Duration
	conns int

	// Of a snapshot.
	number, part uint32
	last         bool

	counts counts
}

// counts is channels with their connections, encoded and well formed.
type counts string

// all yields names, which are parts of s, and connections.
func (s counts) all() iter.Seq2[string, uint32] {
	return func(yield func(string, uint32) bool) {
		for r := (reader{rest: string(s)}); r.rest != ""; {
			if name, n := r.count(); !yield(name, n) {
				return
			}
		}
	}
}

// check says whether s is well formed.
func (s counts) check() error {
	for r := (reader{rest: string(s)}); r.rest != ""; {
		if name, _ := r.count(); r.bad || broadcast.CheckChannel(name) != nil {
			return errMessage
		}
	}
	return nil
}

// decode decodes a message. All of it is well formed, or the error is errVersion or errMessage.
func decode(s string) (m message, err error) {
	if len(s) < 2+idBytes || len(s) > mostBytes {
		return m, errMessage
	}
	if s[0] != version {
		return m, errVersion
	}
	m.kind, m.from = kind(s[1]), s[2:2+idBytes]
	if !validID(m.from) {
		return m, errMessage
	}
	r := reader{rest: s[2+idBytes:]}
	switch m.kind {
	case beat:
		m.seq = uint32(r.number(1, math.MaxUint32))
		m.every = time.Duration(r.number(1, uint64(mostEvery.Milliseconds()))) * time.Millisecond
		m.conns = int(r.number(0, mostConns))
	case snapshot:
		m.seq = uint32(r.number(0, math.MaxUint32))
		m.number = uint32(r.number(0, math.MaxUint32))
		m.part = uint32(r.number(0, math.MaxUint32))
		m.last = r.number(0, 1) == 1
	case ask, bye:
		r.bad = r.rest != ""
	default:
		r.bad = true
	}
	if r.bad {
		return m, errMessage
	}
	m.counts = counts(r.rest)
	return m, m.counts.check()
}

// validID says whether an id is fit to be a part of a subject.
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

// reader reads what is left of a message.
type reader struct {
	rest string
	bad  bool // Something was not as it should be.
}

// number reads a number within bounds.
func (r *reader) number(least, most uint64) uint64 {
	v, n := binary.Uvarint([]byte(r.rest[:min(len(r.rest), binary.MaxVarintLen64)]))
	if n <= 0 || v < least || v > most {
		r.rest, r.bad = "", true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count reads a channel's name and its connections.
func (r *reader) count() (name string, n uint32) {
	length := int(r.number(0, math.MaxUint16))
	if length > len(r.rest) {
		r.rest, r.bad = "", true
		return "", 0
	}
	name, r.rest = r.rest[:length], r.rest[length:]
	return name, uint32(r.number(0, math.MaxUint32))
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
