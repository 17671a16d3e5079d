package cluster

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/nats-io/nats.go"
)

// originHeader has the origin of a forwarded message, a dash, and the number of the message among those of its origin,
// in base 36. NATS keeps the order of one connection only. When crier reconnects, perhaps to another NATS server,
// messages of the old connection may still be on their way.
const originHeader = "Crier-From"

// outbox is the bounded queue of messages that are forwarded, in their order. One goroutine hands them to NATS, so that
// workers never wait for a socket.
type outbox struct {
	f    *Fast // Immutable.
	wake bell  // Rung when a message is queued.

	mu    sync.Mutex
	queue []parcel // Guarded by mu.

	// Atomic: written by Forward and run. They count queue, and what run has taken and not handed over yet.
	messages, bytes atomic.Int64

	// Atomic: written by Forward (full) and run, read by Stats.
	forwarded                  atomic.Uint64
	full, old, refused, closed atomic.Uint64 // Drops by reason, see FastStats.

	// Owned by run, and by Start before.
	lastNumber uint64   // Of the last message that was handed to NATS.
	msg        nats.Msg // Reused for each message.
}

// parcel is a message that is forwarded.
type parcel struct {
	channel  string
	kind     broadcast.Kind
	payload  []byte // A copy.
	queuedAt time.Time
}

// parcelBytes is what a parcel takes up beside its payload: its place in a slice that may be half empty.
const parcelBytes = 128

func (o *outbox) init(f *Fast) {
	o.f, o.wake = f, newBell()
	o.msg.Header = nats.Header{}
}

// Forward implements broadcast.Replication.Forward. It queues a copy of the message, or drops the message if the queue
// is full. It does not block.
func (f *Fast) Forward(channel string, m broadcast.Message) {
	o := &f.outbox
	if !o.reserve(len(m.Payload)) {
		o.full.Add(1)
		return
	}
	p := parcel{channel, m.Kind, slices.Clone(m.Payload), time.Now()}
	o.mu.Lock()
	o.queue = append(o.queue, p)
	o.mu.Unlock()
	o.wake.ring()
}

// reserve takes up room for a message. It returns false if there is none.
func (o *outbox) reserve(payload int) bool {
	messages, bytes := o.messages.Add(1), o.bytes.Add(int64(payload+parcelBytes))
	if messages <= int64(o.f.cfg.Queue) && bytes <= int64(o.f.cfg.QueueBytes) {
		return true
	}
	o.release(payload)
	return false
}

// release gives the room of a message back.
func (o *outbox) release(payload int) {
	o.bytes.Add(-int64(payload + parcelBytes))
	o.messages.Add(-1)
}

// run hands queued messages to NATS, until the Fast is closed.
func (o *outbox) run() {
	var parcels []parcel
	for {
		o.mu.Lock()
		parcels, o.queue = o.queue, parcels[:0]
		o.mu.Unlock()
		for i := range parcels {
			o.send(&parcels[i])
			o.release(len(parcels[i].payload))
			parcels[i] = parcel{}
		}
		if len(parcels) > 0 {
			continue
		}
		select {
		case <-o.wake:
		case <-o.f.ctx.Done():
			return
		}
	}
}

// reconnectPoll is how often send checks whether there is a connection again.
const reconnectPoll = 20 * time.Millisecond

// send hands a message to the connection, once. Without a connection it waits until the message is too old.
func (o *outbox) send(p *parcel) {
	for o.f.ctx.Err() == nil {
		if time.Since(p.queuedAt) > o.f.cfg.Timeout {
			o.old.Add(1)
			return
		}
		err := o.publish(p.channel, p.kind, p.payload, o.lastNumber+1)
		if errors.Is(err, nats.ErrReconnectBufExceeded) { // Not connected: no byte was sent.
			select {
			case <-time.After(reconnectPoll):
			case <-o.f.ctx.Done():
			}
			continue
		}
		o.lastNumber++
		if err == nil {
			o.forwarded.Add(1)
			return
		}
		o.refused.Add(1)
		if !errors.Is(err, nats.ErrMaxPayload) { // The socket was blocked for too long.
			_ = o.f.nc.ForceReconnect()
		}
		return
	}
	o.closed.Add(1)
}

// publish hands a message with a number to the connection. nats.go buffers it, and writes it in a goroutine of its own
// with later ones. When the buffer is full, publish waits for the socket, at most Config.Timeout. The payload is
// borrowed until publish returns.
func (o *outbox) publish(channel string, kind broadcast.Kind, payload []byte, number uint64) error {
	h := o.msg.Header
	h.Set(originHeader, o.f.origin+"-"+strconv.FormatUint(number, 36))
	if kind == broadcast.Binary {
		h.Set(kindHeader, "binary")
	} else {
		h.Del(kindHeader)
	}
	o.msg.Subject, o.msg.Data = subjectIn(o.f.prefix, channel), payload
	return o.f.nc.PublishMsg(&o.msg)
}

// publishProbe publishes a message with the number 0, which other servers ignore. NATS reports a denial of it. Called
// before run starts.
func (o *outbox) publishProbe() error { return o.publish("", broadcast.Text, nil, 0) }

// parseOrigin parses an originHeader. It returns false if the header is malformed.
func parseOrigin(header string) (origin string, number uint64, ok bool) {
	origin, digits, _ := strings.Cut(header, "-")
	number, err := strconv.ParseUint(digits, 36, 64)
	return origin, number, err == nil && origin != "" && len(origin) <= 64
}

// drops returns how many messages were dropped, by reason.
func (o *outbox) drops() map[string]uint64 {
	return map[string]uint64{
		"full": o.full.Load(), "old": o.old.Load(), "refused": o.refused.Load(), "closed": o.closed.Load(),
	}
}

// drain waits until all queued messages were handed over and NATS has processed them, or until ctx is done.
func (o *outbox) drain(ctx context.Context) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for o.messages.Load() > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			o.f.cfg.Logger.Error("messages are lost on their way to NATS", "messages", o.messages.Load())
			return
		}
	}
	if _, ok := ctx.Deadline(); ok && o.f.connected.Load() {
		_ = o.f.nc.FlushWithContext(ctx)
	}
}
