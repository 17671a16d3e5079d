package cluster

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/crier-ws/crier/broadcast"
	"github.com/nats-io/nats.go"
)

// What may wait here of other servers' messages while this one is behind; more is dropped.
const (
	pendingMessages     = 16 << 10
	pendingBytes        = 16 << 20
	pendingMessageBytes = 1 << 10 // What one takes up beside its payload, with its headers as a map.
)

// inbound is what comes of other servers: one goroutine delivers it, and waits while the server is behind.
type inbound struct {
	f   *Fast
	srv *broadcast.Server // Set by Start.

	// From all subscriptions, so that there is one order. collect empties it at once.
	arrived chan *nats.Msg

	mu      sync.Mutex
	waiting []*nats.Msg // Guarded by mu.
	bytes   int         // Guarded by mu: of waiting.
	wake    bell

	heard origins // Owned by run.

	// Atomic.
	received, full, late, refused atomic.Uint64
	log                           seldom
}

func (in *inbound) init(f *Fast) {
	in.f, in.arrived, in.wake = f, make(chan *nats.Msg, 1024), newBell()
}

// collect takes what arrives, and drops what is too much, until the end.
func (in *inbound) collect() {
	for {
		select {
		case msg := <-in.arrived:
			in.mu.Lock()
			if len(in.waiting) < pendingMessages && in.bytes+weight(msg) <= pendingBytes {
				in.waiting = append(in.waiting, msg)
				in.bytes += weight(msg)
			} else {
				in.full.Add(1)
			}
			in.mu.Unlock()
			in.wake.ring()
		case <-in.f.ctx.Done():
			return
		}
	}
}

// weight is what a message takes up beside pendingMessageBytes: headers are a map.
func weight(msg *nats.Msg) int {
	weight := len(msg.Data)
	for name, values := range msg.Header {
		weight += 4 * len(name)
		for _, value := range values {
			weight += 32 + len(value)
		}
	}
	return weight
}

// run delivers what comes, until the end.
func (in *inbound) run() {
	for {
		in.mu.Lock()
		var msg *nats.Msg
		if len(in.waiting) > 0 {
			msg, in.waiting[0] = in.waiting[0], nil
			in.waiting = in.waiting[1:]
			in.bytes -= weight(msg)
		}
		in.mu.Unlock()
		if msg != nil {
			if err := in.take(msg); err != nil {
				return
			}
			continue
		}
		select {
		case <-in.wake:
		case <-in.f.ctx.Done():
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
		case origin == in.f.origin || number == 0 || number == in.heard.last(origin): // Two subscriptions had it.
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
	if !in.f.subs.takes(channel, msg.Sub) {
		return nil // It was left meanwhile.
	}
	defer in.f.subs.taken()
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

// drops is what was dropped, by why, with what NATS' client has dropped before.
func (in *inbound) drops(before uint64) map[string]uint64 {
	return map[string]uint64{"full": in.full.Load() + before, "late": in.late.Load(), "refused": in.refused.Load()}
}

// origins knows the number of the newest message of each server that was heard of lately: at most twice maxOrigins, however
// many NATS has messages of.
type origins struct{ now, was map[string]uint64 }

const maxOrigins = 1024

// last is the number of the newest message of an origin, or 0.
func (o *origins) last(origin string) uint64 {
	if n, known := o.now[origin]; known {
		return n
	}
	return o.was[origin]
}

// next says whether a number is above all that were heard of an origin.
func (o *origins) next(origin string, number uint64) bool {
	if number <= o.last(origin) {
		return false
	}
	if _, known := o.now[origin]; !known {
		if o.now == nil || len(o.now) >= maxOrigins {
			o.now, o.was = make(map[string]uint64), o.now
		}
		origin = strings.Clone(origin) // It is a part of a header.
	}
	o.now[origin] = number
	return true
}
