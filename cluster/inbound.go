package cluster

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/crier-ws/crier/broadcast"
	"github.com/nats-io/nats.go"
)

// The most messages of other servers, and bytes, that are queued while this server is behind. The rest is dropped.
const (
	inboundMessages     = 16 << 10
	inboundBytes        = 16 << 20
	inboundMessageBytes = 1 << 10 // What a message takes up beside queuedBytes.
)

// inbound is the bounded queue of messages of other servers. One goroutine delivers them, and waits while the server is
// behind.
type inbound struct {
	f       *Fast              // Immutable.
	replica *broadcast.Replica // Immutable after Start.

	// Written by NATS' client, for all subscriptions, so that there is one order. Read by collect, which never waits.
	arrived chan *nats.Msg
	wake    bell // Rung when a message is queued.

	mu    sync.Mutex
	queue []*nats.Msg // Guarded by mu.
	bytes int         // Guarded by mu: queuedBytes of queue.

	origins origins // Owned by run.

	// Atomic: written by run (full by collect), read by Stats.
	received, full, late, refused atomic.Uint64
	refusedLog                    oncePerSecond
}

func (in *inbound) init(f *Fast) {
	in.f, in.arrived, in.wake = f, make(chan *nats.Msg, 1024), newBell()
}

// collect queues messages that arrive, and drops those that exceed the bounds, until the Fast is closed.
func (in *inbound) collect() {
	for {
		select {
		case msg := <-in.arrived:
			in.mu.Lock()
			if len(in.queue) < inboundMessages && in.bytes+queuedBytes(msg) <= inboundBytes {
				in.queue = append(in.queue, msg)
				in.bytes += queuedBytes(msg)
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

// queuedBytes returns what the payload and the headers of a message take up. The headers are a map.
func queuedBytes(msg *nats.Msg) int {
	n := len(msg.Data)
	for name, values := range msg.Header {
		n += 4 * len(name)
		for _, value := range values {
			n += 32 + len(value)
		}
	}
	return n
}

// run delivers queued messages, until the Fast or the server is closed.
func (in *inbound) run() {
	for {
		in.mu.Lock()
		var msg *nats.Msg
		if len(in.queue) > 0 {
			msg, in.queue[0] = in.queue[0], nil
			in.queue = in.queue[1:]
			in.bytes -= queuedBytes(msg)
		}
		in.mu.Unlock()
		if msg != nil {
			if err := in.deliver(msg); err != nil {
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

// deliver passes a message to the server. It ignores messages of this server, which an old connection may bring back,
// and drops those that arrive after newer ones of their origin. A message without originHeader is of another program,
// and is delivered. An error means that nothing more can be delivered.
func (in *inbound) deliver(msg *nats.Msg) error {
	if h := msg.Header.Get(originHeader); h != "" {
		origin, number, ok := parseOrigin(h)
		switch {
		case !ok:
			in.refuse(msg, errors.New("malformed header "+originHeader))
			return nil
		case origin == in.f.origin || number == 0 || number == in.origins.last(origin): // The last: from two subscriptions.
			return nil
		case !in.origins.advance(origin, number):
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
		in.refuse(msg, errors.New("its subject does not stand for a channel"))
		return nil
	}
	if !in.f.subscriptions.beginDelivery(channel, msg.Sub) {
		return nil // This server has left the channel.
	}
	defer in.f.subscriptions.endDelivery()
	switch err := in.replica.DeliverForwarded(in.f.ctx, channel, m); {
	case err == nil:
		in.received.Add(1)
	case in.f.ctx.Err() != nil || errors.Is(err, broadcast.ErrServerClosed):
		return err
	default:
		in.refuse(msg, err)
	}
	return nil
}

// refuse counts and logs a message that cannot be delivered.
func (in *inbound) refuse(msg *nats.Msg, err error) {
	in.refused.Add(1)
	if in.refusedLog.allow() {
		in.f.cfg.Logger.Warn("skipped a message of another server", "subject", msg.Subject, "err", err)
	}
}

// drops returns how many messages were dropped, by reason, with those that NATS' client has dropped.
func (in *inbound) drops(byClient uint64) map[string]uint64 {
	return map[string]uint64{"full": in.full.Load() + byClient, "late": in.late.Load(), "refused": in.refused.Load()}
}

// origins has the number of the newest message of each origin that was heard of lately. It holds at most twice
// maxOrigins, however many origins there are: when current is full, it replaces previous.
type origins struct{ current, previous map[string]uint64 }

const maxOrigins = 1024

// last returns the number of the newest message of an origin, or 0.
func (o *origins) last(origin string) uint64 {
	if n, known := o.current[origin]; known {
		return n
	}
	return o.previous[origin]
}

// advance notes a number of an origin. It returns false if the number is not above all earlier ones.
func (o *origins) advance(origin string, number uint64) bool {
	if number <= o.last(origin) {
		return false
	}
	if _, known := o.current[origin]; !known {
		if o.current == nil || len(o.current) >= maxOrigins {
			o.current, o.previous = make(map[string]uint64), o.current
		}
		origin = strings.Clone(origin) // It shares memory with the header.
	}
	o.current[origin] = number
	return true
}
