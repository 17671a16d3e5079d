package broadcast

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/crier-ws/crier/broadcast/framelog"
)

// position is where in a channel a connection wants to begin. The zero one is its head.
type position struct {
	since string // An id that was checked: behind that message.
	last  uint64 // So many messages before the head.
}

// position is what the request's query asks for, or what is wrong with it. Last-Event-ID
// counts more: a browser that comes back asks with the query that it asked with first.
func (r *request) position() (p position, refusal *Refusal) {
	query := r.query()
	if !strings.Contains(query, "since=") && !strings.Contains(query, "last=") && r.lastEventID == nil {
		return p, nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return p, badRequest("malformed query: " + err.Error())
	}
	p.since = values.Get("since")
	if _, _, ok := splitID(p.since); !ok && values.Has("since") {
		return p, badRequest(fmt.Sprintf("since is %q, want an id, as %s", p.since, exampleID))
	}
	if values.Has("last") {
		if p.last, err = strconv.ParseUint(values.Get("last"), 10, 32); err != nil {
			return p, badRequest(fmt.Sprintf("last is %q, want how many messages", values.Get("last")))
		}
	}
	if values.Has("since") && values.Has("last") {
		return p, badRequest("want since or last, and not both")
	}
	if len(r.lastEventID) > 0 {
		p = position{since: string(r.lastEventID)}
		if _, _, ok := splitID(p.since); !ok {
			return p, badRequest(fmt.Sprintf("Last-Event-ID is %q, want an id, as %s", p.since, exampleID))
		}
	}
	return p, nil
}

const exampleID = "k3j5b2qa-42"

// splitID takes an id apart.
func splitID(id string) (epoch string, number uint64, ok bool) {
	epoch, digits, _ := strings.Cut(id, "-")
	number, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || digits[0] == '+' || len(epoch) == 0 || len(epoch) > 32 {
		return "", 0, false
	}
	return epoch, number, !strings.ContainsFunc(epoch, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
}

// place puts c's cursor to a position in the log of its encoding. at is how many messages
// lie before it. gap is the id that was asked for, if messages behind it are missing. The channel's mutex
// must be held.
func (c *Conn) place(p position) (at uint64, gap string) {
	e := c.feed().encoding
	if p == (position{}) {
		c.cursor = e.log.Head()
		return e.log.Frames(), "" // The mutex keeps both together.
	}
	var v framelog.View
	e.log.Load(&v)
	defer v.Reset()
	at = v.Frames - min(p.last, v.Frames)
	if p.since != "" {
		ids := e.channel.ids
		epoch, id, _ := splitID(p.since)
		at = ids.before(id, v.Frames)
		switch {
		case epoch != e.form.epoch, at > v.Frames, ids != nil && id > c.shard().srv.delivered.Load():
			at, gap = v.First, p.since // Of another time: all that there is, is new to it.
		case ids != nil && id < ids.floor:
			gap = p.since
		}
	}
	if at < v.First {
		at = v.First
		if p.since != "" {
			gap = p.since
		}
	}
	c.cursor = v.Seek(at)
	return at, gap
}

// maxBackfill is how many messages are put into the log of a form that begins to be read. It
// takes about 0.2 us for each, during which the channel stands still.
const maxBackfill = 1 << 16

// backfill fills the log of an encoding that was not read with the newest messages of the plain
// one: at most so many bytes and maxBackfill messages. They are not compressed: that may take
// long. The channel's mutex must be held.
func (e *encoding) backfill(most uint64) {
	var v framelog.View
	plain := &e.channel.plain
	plain.log.Load(&v)
	defer v.Reset()
	first := v.First
	if held := v.Head - v.Tail; held > most {
		first = v.Number(v.Boundary(v.Head - most))
	}
	first = max(first, v.Frames-min(v.Frames, maxBackfill))
	e.log.Init(&e.form.log, 0, first)
	var frame []byte
	for at, number := v.Seek(first), first; number < v.Frames; number++ {
		frame, at = v.Frame(frame[:0], at)
		o := outgoing{Message: messageOf(frame)}
		if e.form.kind == formEvents {
			o.prepare(e.form, 0)
		}
		var room [128]byte
		head, payload := e.form.frame(room[:0], &o, e.channel.ids.at(number+1))
		e.log.Append(head, payload)
		o.free()
	}
}

// messageOf takes a plain frame apart.
func messageOf(frame []byte) Message {
	return Message{Kind(frame[0] & 0x0f), frame[headerSize(frame):]}
}
