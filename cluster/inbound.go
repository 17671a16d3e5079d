package cluster

import (
	"errors"
	"strings"
	"sync/atomic"

	"github.com/crier-ws/crier/broadcast"
	"github.com/nats-io/nats.go"
)

// What may wait here of other servers' messages while this one is behind; NATS' client drops more.
const (
	pendingMessages     = 16 << 10
	pendingBytes        = 16 << 20
	pendingMessageBytes = 1 << 10 // What one takes up beside its payload, with its headers as a map.
)

// inbound is what comes of other servers: one goroutine delivers it, and waits while the server is behind.
type inbound struct {
	f   *Fast
	srv *broadcast.Server                 // Set by subscribe.
	sub atomic.Pointer[nats.Subscription] // Written by subscribe, read by drops.

	heard origins // Owned by run.

	// Atomic.
	received, late, refused atomic.Uint64
	log                     seldom
}

// subscribe has NATS send what other servers forward. Here it is all channels; one subscription for each of the channels that
// somebody here listens to would be made and ended here.
func (in *inbound) subscribe(srv *broadcast.Server) error {
	in.srv = srv
	sub, err := in.f.nc.SubscribeSync(in.f.prefix + "*")
	if err != nil {
		return err
	}
	in.sub.Store(sub)
	return sub.SetPendingLimits(pendingMessages, pendingBytes)
}

// run delivers what comes, until the end.
func (in *inbound) run() {
	sub := in.sub.Load()
	for {
		msg, err := sub.NextMsgWithContext(in.f.ctx)
		if errors.Is(err, nats.ErrSlowConsumer) { // Once, each time that it begins to drop.
			continue
		}
		if err != nil { // The end, or ErrClosed.
			return
		}
		if err := in.take(msg); errors.Is(err, broadcast.ErrServerClosed) {
			return
		}
	}
}

// take delivers a message, unless it is one of this server, which has come back by an old connection, or comes too late. What has
// no header of ours somebody else has published: it is delivered, too.
func (in *inbound) take(msg *nats.Msg) error {
	if h := msg.Header.Get(fromHeader); h != "" {
		origin, number, ok := from(h)
		switch {
		case !ok:
			in.refuse(msg, errors.New("its header "+fromHeader+" is none"))
			return nil
		case origin == in.f.origin || number == 0:
			return nil
		case !in.heard.next(origin, number):
			in.late.Add(1)
			return nil
		}
	}
	m := broadcast.Message{Kind: broadcast.Text, Payload: msg.Data}
	if msg.Header.Get(kindHeader) == "binary" {
		m.Kind = broadcast.Binary
	}
	channel, ok := channelIn(in.f.prefix, msg.Subject)
	if !ok {
		in.refuse(msg, errors.New("its subject is no channel's"))
		return nil
	}
	switch err := in.srv.DeliverForwarded(in.f.ctx, channel, m); {
	case err == nil:
		in.received.Add(1)
	case in.f.ctx.Err() != nil || errors.Is(err, broadcast.ErrServerClosed):
		return err
	default:
		in.refuse(msg, err)
	}
	return nil
}

// refuse counts a message that cannot be delivered.
func (in *inbound) refuse(msg *nats.Msg, err error) {
	in.refused.Add(1)
	if in.log.due() {
		in.f.cfg.Logger.Warn("a message of NATS is left out", "subject", msg.Subject, "err", err)
	}
}

func (in *inbound) drops() map[string]uint64 {
	full := 0
	if sub := in.sub.Load(); sub != nil {
		if n, err := sub.Dropped(); err == nil { // Not when it is closed.
			full = n
		}
	}
	return map[string]uint64{"full": uint64(full), "late": in.late.Load(), "refused": in.refused.Load()}
}

// origins knows the number of the newest message of each server that was heard of lately: at most twice maxOrigins, however
// many NATS has messages of.
type origins struct{ now, was map[string]uint64 }

const maxOrigins = 1024

// next says whether a number is above all that were heard of an origin.
func (o *origins) next(origin string, number uint64) bool {
	last, known := o.now[origin]
	if !known {
		last = o.was[origin]
	}
	if number <= last {
		return false
	}
	if !known {
		if o.now == nil || len(o.now) >= maxOrigins {
			o.now, o.was = make(map[string]uint64), o.now
		}
		origin = strings.Clone(origin) // It is a part of a header.
	}
	o.now[origin] = number
	return true
}
