package broadcast

import (
	"context"
	"errors"
	"slices"
	"sort"
	"sync"
	"time"
)

// Order gives the messages of several servers one order, in which each of them delivers what is
// published at any: see Config.Order. Its methods may be called from any goroutine.
type Order interface {
	// Submit takes a message of a connection. The payload is borrowed until it returns. It must not block:
	// who cannot take more calls Server.HoldPublishers in time.
	Submit(channel string, m Message)

	// Publish takes messages, of which all or none are to be published, and waits until they have their places: it
	// returns their ids. The payloads are borrowed until it returns. With an error, nothing was published as far
	// as is known. With OnceOf(ctx), they are those that were published before with the same, at any server, if that
	// was not long ago.
	Publish(ctx context.Context, messages []Addressed) (ids []uint64, err error)

	// Ahead says that a connection comes with an id above what Server.Delivered has said, and waits for that or for
	// Server.Current; it is said again as long as it waits. It must not block.
	Ahead()
}

type onceKey struct{}

// WithOnce returns a context for publishing messages that may have been published before. key identifies exactly these
// messages.
func WithOnce(ctx context.Context, key [32]byte) context.Context {
	return context.WithValue(ctx, onceKey{}, key)
}

// OnceOf returns the key of WithOnce. It says no if there is none.
func OnceOf(ctx context.Context) (key [32]byte, ok bool) {
	key, ok = ctx.Value(onceKey{}).([32]byte)
	return key, ok
}

// Errors of an Order, and of Deliver.
var (
	// ErrUnavailable: there is nobody at the moment to give messages their places. An Order's errors that
	// are for a while wrap it.
	ErrUnavailable = errors.New("broadcast: messages cannot be ordered")
	// ErrOrder: a message that Deliver was given has no place behind those before.
	ErrOrder = errors.New("broadcast: message is out of order")
)

// ids is which ids the messages of a channel have, of Config.Order. Those of other channels are between them, so
// they are kept as runs. A nil one stands for messages that are numbered from 1 on.
type ids struct {
	floor uint64 // What is missing here had this id or a lower one.
	runs  []idRun
}

// idRun is messages with one id behind the other.
type idRun struct{ number, id uint64 } // Of its first one.

// idRunBytes is what a run takes up.
const idRunBytes = 16

// at is the id of the place behind n messages: that of the n-th.
func (s *ids) at(n uint64) uint64 {
	if s == nil {
		return n
	}
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].number >= n }) - 1
	if i < 0 {
		return s.floor
	}
	return s.runs[i].id + n - 1 - s.runs[i].number
}

// before is how many messages lie before the place behind the message of an id. frames is how many there are.
func (s *ids) before(id, frames uint64) uint64 {
	if s == nil {
		return id
	}
	i := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].id > id }) - 1
	switch {
	case i < 0 && len(s.runs) == 0:
		return frames
	case i < 0:
		return s.runs[0].number
	}
	end := frames
	if i+1 < len(s.runs) {
		end = s.runs[i+1].number
	}
	return min(end, s.runs[i].number+id-s.runs[i].id+1)
}

// add notes the id of the message with a number, which is the next one.
func (s *ids) add(number, id uint64) {
	if n := len(s.runs); n > 0 {
		if last := s.runs[n-1]; id-last.id == number-last.number {
			return
		}
	}
	s.runs = append(s.runs, idRun{number, id})
}

// trim forgets runs of which none is kept. first is the number of the first message that is.
func (s *ids) trim(first uint64) {
	n := sort.Search(len(s.runs), func(i int) bool { return s.runs[i].number > first }) - 1
	if n > 0 {
		s.floor = s.at(s.runs[n].number)
		s.runs = s.runs[:copy(s.runs, s.runs[n:])]
	}
}

// note notes the id of the message that was put into the channel's log with a number. The channel's mutex must
// be held.
func (ch *channel) note(number, id uint64) {
	s := ch.ids
	was := cap(s.runs)
	if len(s.runs) == was {
		s.trim(ch.plain.log.First())
	}
	s.add(number, id)
	ch.plain.form.log.Space.Charge(int64(cap(s.runs)-was) * idRunBytes)
}

// tidyIDs forgets ids of messages that are not kept, and the room for them. The channel's mutex must be held.
func (ch *channel) tidyIDs() {
	s, log := ch.ids, &ch.plain.log
	was := cap(s.runs)
	switch s.trim(log.First()); {
	case log.Empty():
		*s = ids{floor: s.at(log.Frames())}
	case len(s.runs) < was/4:
		s.runs = slices.Clip(slices.Clone(s.runs))
	}
	ch.plain.form.log.Space.Charge(int64(cap(s.runs)-was) * idRunBytes)
}

// idAt is ids.at, for who does not hold the channel's mutex.
func (ch *channel) idAt(n uint64) uint64 {
	if ch.ids == nil {
		return n
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.ids.at(n)
}

// Deliver puts a message into a channel's log, at the place that Config.Order has given it: after all messages with lower
// IDs. It blocks while the server is behind, as PublishTo does. Messages of a channel must come in their order. Deliver
// returns ErrOrder if an ID is not above that of the channel's previous message, and ErrServerClosed or the error of ctx
// unwrapped. Messages of channels without a connection are kept as well.
func (srv *Server) Deliver(ctx context.Context, id uint64, channel string, m Message) error {
	if err := srv.checkTo(channel, m); err != nil {
		return err
	}
	if srv.cfg.Order == nil {
		return ErrOrder
	}
	ch := srv.enter(channel)
	defer srv.leave(ch)
	if id <= ch.idAt(ch.plain.log.Frames()) {
		return ErrOrder
	}
	for {
		if ready, err := srv.ready(ctx, ch); err != nil {
			return err
		} else if ready {
			break
		}
	}
	at := time.Since(srv.started)
	srv.appendToLogs(ch, m, id)
	ch.wake(at)
	return nil
}

// Delivered records that Deliver was given all messages up to an ID in the channels that the server receives, or that
// there are none. Clients that come from another server may have messages up to this ID. The ID must not decrease.
func (srv *Server) Delivered(id uint64) { srv.delivered.Store(id) }

// Current records that every message ordered before a time has been delivered. A client that connected before that time
// with an ID above that of Delivered has the ID from an order that was lost: the client is told of a gap, and gets all
// retained messages. Times must not decrease.
func (srv *Server) Current(at time.Time) { srv.currentAt.Store(int64(at.Sub(srv.started))) }

// BeginBehind records that Deliver will not be given messages up to an ID, except in channels of Begin. Call BeginBehind
// before the first call of Deliver and before Serve, or for channels of a Follower without connections.
func (srv *Server) BeginBehind(id uint64) {
	chs := &srv.channels
	chs.mu.Lock()
	defer chs.mu.Unlock()
	chs.floor = max(chs.floor, id)
	for _, ch := range chs.byName {
		if !ch.pinned {
			ch.mu.Lock()
			if ch.conns == 0 && ch.plain.log.Empty() {
				ch.ids.floor = max(ch.ids.floor, id)
			}
			ch.mu.Unlock()
		}
	}
}

// HoldPublishers stops reading connections that publish, until it is called with false: TCP pushes back on their
// peers, for Config.HoldTime at the most. It does not block.
func (srv *Server) HoldPublishers(hold bool) {
	if hold {
		srv.gatedSince.CompareAndSwap(0, max(1, int64(time.Since(srv.started))))
	} else {
		srv.gatedSince.Store(0)
	}
	if srv.gated.Swap(hold) && !hold {
		for _, ch := range srv.holding.awaited(func(ch *channel) bool { return !ch.isBehind() }) {
			srv.resume(ch)
		}
	}
}

// gatedTooLong reports whether held connections are to be closed.
func (srv *Server) gatedTooLong() bool {
	since := time.Duration(srv.gatedSince.Load())
	return since != 0 && srv.gated.Load() && time.Since(srv.started)-since > srv.cfg.HoldTime
}

// aheadTime is how long a connection that comes from a server that had delivered more waits for this one.
const aheadTime = 2 * time.Second

// errAhead is no refusal: the request is to be looked at again.
var errAhead = &Refusal{503, "wait"}

// errBehind refuses who would have to wait for too long, and might be better off at another server.
var errBehind = &Refusal{503, "this server has not received all messages of the channel yet"}

// ahead returns errAhead if c must wait until this server receives c's channel and has delivered what c received from
// another server, and errBehind if c has waited too long. The channel must be entered, so that it stays followed.
func (c *Conn) ahead(channel string, p position) *Refusal {
	srv := c.shard().srv
	follower := srv.cfg.Follower
	epoch, id, _ := splitID(p.since)
	ahead := srv.cfg.Order != nil && epoch == srv.cfg.Epoch && id > srv.delivered.Load() && !c.outlived()
	if (follower == nil || follower.Follow(channel)) && !ahead {
		return nil
	}
	in, now := c.inbound(), time.Since(srv.started)
	if in.aheadSince == 0 {
		in.aheadSince = max(1, now)
	}
	if ahead {
		srv.cfg.Order.Ahead()
	}
	if now-in.aheadSince < aheadTime {
		return errAhead
	}
	return errBehind
}

// outlived says whether c has waited, and all was delivered that there was when it came.
func (c *Conn) outlived() bool {
	return c.in != nil && c.in.aheadSince != 0 && time.Duration(c.shard().srv.currentAt.Load()) > c.in.aheadSince
}

// early is connections that wait, see Conn.ahead. Their reading side stays owned.
type early struct {
	mu    sync.Mutex
	conns []*Conn // Guarded by mu.
}

func (e *early) add(c *Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conns = append(e.conns, c)
}

// goOn has them look again.
func (e *early) goOn(srv *Server) {
	e.mu.Lock()
	conns := e.conns
	e.conns = nil
	e.mu.Unlock()
	for _, c := range conns {
		srv.queue.push(c)
	}
}
