package broadcast

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Replication makes a server one of several that have the same channels: see Config.Replication. It has an Order or a
// Forward, but not both. The zero value is a server that is alone.
type Replication struct {
	// Order, if set, gives each message its place among the messages of all servers. What connections and Publish
	// publish goes to Order, and Replica.Deliver puts what Order has ordered into the channels. The numbers in IDs are
	// then those that Order gives.
	Order Order

	// Epoch is the first part of all message IDs, the same on all servers with this Order: 1 to 32 letters from a to z,
	// and digits. It is required with Order, and not used otherwise.
	Epoch string

	// HoldTime is how long a publishing connection may be held by Replica.HoldPublishers: after that time, it is closed
	// with 1013. It is used with Order only. Defaults to 30 s.
	HoldTime time.Duration

	// Forward, if set, gets each message that connections or Publish have published here, after the earlier messages of
	// the same publisher, and passes it to the other servers. Their messages arrive by Replica.DeliverForwarded. The
	// payload is borrowed until Forward returns. Forward must not block. Workers and callers of Publish call it
	// concurrently for different publishers.
	Forward func(channel string, m Message)

	// Follower, if set, selects the channels whose messages the server receives from others. A connection to another
	// channel waits for them for 2 s, and is then answered 503. If nil, the server receives all channels.
	Follower Follower
}

// replicated reports whether a connection may have to wait for messages of other servers before it is opened.
func (r *Replication) replicated() bool { return r.Order != nil || r.Follower != nil }

// validate calls check for each setting.
func (r *Replication) validate(check func(ok bool, field string, value any, want string)) {
	if r.Order != nil {
		_, _, ok := splitID(r.Epoch + "-1")
		check(ok, "Replication.Epoch", fmt.Sprintf("%q", r.Epoch), "1 to 32 letters from a to z, and digits")
	}
	check(r.Forward == nil || r.Order == nil, "Replication.Forward", "given", "no Order")
}

// Replica has the methods of a Server that replicate it, for programs such as package cluster. Methods are safe for
// concurrent use, except where they say otherwise. Only Deliver and DeliverForwarded block.
type Replica struct {
	srv *Server // Immutable.

	// Atomic: written by the methods below, read by workers and by the clock. Times are since Server.started.
	gated      atomic.Bool   // See HoldPublishers.
	gatedSince atomic.Int64  // When gated became true; or 0.
	delivered  atomic.Uint64 // See SetDelivered.
	currentAt  atomic.Int64  // See SetCurrent; or 0.

	ahead   aheadConns
	changes countChanges
}

// Replica returns the methods that replicate the server: see Config.Replication.
func (srv *Server) Replica() *Replica { return &srv.replica }

// Deliver appends a message with the ID that the Order has assigned to a channel's log. Calls for one channel must
// have rising IDs. Deliver blocks while the server is behind, as Server.PublishTo does. The payload is copied. Messages
// of channels without connections are retained, too. The error is ErrOrder if id is not above the ID of the channel's
// previous message or the server has no Order, ErrServerClosed or that of ctx, both unwrapped, or the reason why the
// message is invalid, as for PublishTo.
func (r *Replica) Deliver(ctx context.Context, id uint64, channel string, m Message) error {
	srv := r.srv
	if err := srv.checkTo(channel, m); err != nil {
		return err
	}
	if srv.cfg.Replication.Order == nil {
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

// DeliverForwarded is Server.PublishTo for a message that another server has forwarded: this server does not forward
// it. With an Order it returns ErrOrder.
func (r *Replica) DeliverForwarded(ctx context.Context, channel string, m Message) error {
	if r.srv.cfg.Replication.Order != nil {
		return ErrOrder
	}
	_, err := r.srv.publishTo(ctx, channel, m)
	return err
}

// forward gives a message that was published here to Replication.Forward. The payload is borrowed.
func (srv *Server) forward(channel string, m Message) {
	if hook := srv.cfg.Replication.Forward; hook != nil {
		hook(channel, m)
	}
}

// SetDelivered records that Deliver was given all messages up to an ID in the channels that the server receives. A
// client that comes from another server may have messages above this ID: it waits until the server has them, too. The
// ID must not decrease.
func (r *Replica) SetDelivered(id uint64) { r.delivered.Store(id) }

// SetCurrent records that every message ordered before a time has been delivered. A client that connected before that
// time with an ID above that of SetDelivered has the ID from an order that was lost: the client is told of a gap, and
// gets all retained messages. Times must not decrease.
func (r *Replica) SetCurrent(at time.Time) { r.currentAt.Store(int64(at.Sub(r.srv.started))) }

// StartAfter records that Deliver will not be given messages up to id, except in channels of StartChannel. Call
// StartAfter before the first call of Deliver and before Server.Serve. With a Follower, a later call applies to new
// channels, and to channels that have neither connections nor messages.
func (r *Replica) StartAfter(id uint64) {
	chs := &r.srv.channels
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

// HoldPublishers holds publishers, or resumes them if hold is false. Connections that publish are not read while they are
// held, so TCP pushes back on their peers. If they are held for longer than Replication.HoldTime, they are closed with
// 1013.
func (r *Replica) HoldPublishers(hold bool) {
	if hold {
		r.gatedSince.CompareAndSwap(0, max(1, int64(time.Since(r.srv.started))))
	} else {
		r.gatedSince.Store(0)
	}
	if r.gated.Swap(hold) && !hold {
		for _, ch := range r.srv.holding.awaited(func(ch *channel) bool { return !ch.isBehind() }) {
			r.srv.resume(ch)
		}
	}
}

// gatedTooLong reports whether held connections must be closed.
func (r *Replica) gatedTooLong() bool {
	since := time.Duration(r.gatedSince.Load())
	return since != 0 && r.gated.Load() && time.Since(r.srv.started)-since > r.srv.cfg.Replication.HoldTime
}
