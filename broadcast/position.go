package broadcast

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/crier-ws/crier/broadcast/framelog"
	"github.com/crier-ws/crier/internal/queryparam"
)

// position is where in a channel's history a connection begins. The zero value is the channel's head.
type position struct {
	since string // The ID of the message after which it begins, or unknownID.
	last  uint64 // How many messages before the head it begins.
}

// exampleID is an ID for error texts.
const exampleID = "k3j5b2qa-42"

// unknownID stands for an ID that this server cannot have given out. No message has it, so a connection with it begins
// with the oldest message that is kept, and is told of a gap.
const unknownID = "-"

// position returns where the request asks to begin, or why it is refused. An ID that a client has stored by itself
// takes precedence over the parameters since and last: a browser that reconnects repeats the URL that it began with.
// Parameters that do not apply are ignored. An ID that another server gave out is no error, because an EventSource does
// not reconnect after an error.
func (r *request) position() (p position, refusal *Refusal) {
	query := r.query()
	if id := r.storedID(query); id != "" {
		p.since = id
		if _, _, ok := splitID(id); ok {
			return p, nil
		}
		if r.upgrade {
			return p, badRequest(fmt.Sprintf("Last-Event-ID is %q, want an ID like %s", id, exampleID))
		}
		p.since = unknownID
		return p, nil
	}
	if p.since = queryparam.Last(query, queryparam.Named("since")); p.since != "" {
		if _, _, ok := splitID(p.since); !ok {
			return p, badRequest(fmt.Sprintf("since is %q, want an ID like %s", p.since, exampleID))
		}
		return p, nil
	}
	if last := queryparam.Last(query, queryparam.Named("last")); last != "" {
		var err error
		if p.last, err = strconv.ParseUint(last, 10, 32); err != nil {
			return p, badRequest(fmt.Sprintf("last is %q, want a number of messages", last))
		}
	}
	return p, nil
}

// storedID returns the ID with which a client of server-sent events reconnects, or "" if it has none. Polyfills that
// cannot set the header put it into the query.
func (r *request) storedID(query string) string {
	if len(r.lastEventID) > 0 || r.upgrade {
		return string(r.lastEventID)
	}
	return queryparam.Last(query, isStoredID)
}

// isStoredID reports whether a parameter of the query has one of the names under which polyfills send the last ID:
// lastEventId, Last-Event-ID, last_event_id and evs_last_event_id.
func isStoredID(name string) bool {
	name = strings.TrimPrefix(strings.ToLower(name), "evs_")
	return name == "lasteventid" || name == "last-event-id" || name == "last_event_id"
}

// splitID splits an ID into its epoch and its number.
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

// placeCursor sets c's cursor to a position in the log of its encoding. at is the number of messages before the
// cursor. gap is the requested ID if messages after it are missing. The channel's mutex must be held.
func (r *receiver) placeCursor(p position) (at uint64, gap string) {
	e := r.feed().encoding
	if p == (position{}) {
		r.cursor = e.log.Head()
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
		case epoch != e.form.epoch, at > v.Frames, ids != nil && id > r.shard().srv.replica.delivered.Load():
			at, gap = v.First, p.since // From another epoch: all messages are new to the client.
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
	r.cursor = v.Seek(at)
	return at, gap
}

// maxBackfill is how many messages are copied into the log of a form that gets its first reader. Each takes about 0.2
// us, during which nothing is published in the channel.
const maxBackfill = 1 << 16

// backfill fills the log of an encoding that gets its first reader with the newest messages of the plain encoding: at
// most maxBytes bytes and maxBackfill messages. The messages are not compressed, because compressing could take long.
// The channel's mutex must be held.
func (e *encoding) backfill(maxBytes uint64) {
	var v framelog.View
	plain := &e.channel.plain
	plain.log.Load(&v)
	defer v.Reset()
	first := v.First
	if held := v.Head - v.Tail; held > maxBytes {
		first = v.Number(v.Boundary(v.Head - maxBytes))
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
		head, payload := e.form.encode(room[:0], &o, e.channel.ids.at(number+1))
		e.log.Append(head, payload)
		o.recycle()
	}
}

// messageOf returns the message of a plain frame.
func messageOf(frame []byte) Message {
	return Message{Kind(frame[0] & 0x0f), frame[headerSize(frame):]}
}
