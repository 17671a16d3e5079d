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

// fromHeader says who has forwarded a message, and the number that it has among those: the origin, - and the number, to the
// base of 36. NATS promises the order of one connection only, and crier comes back with another one, perhaps to another
// server, while messages of the old one are still on their way.
const fromHeader = "Crier-From"

// outbox is what is to be forwarded, in the order in which it came, and bounded: one goroutine hands it to NATS, so that nobody
// else waits for a socket.
type outbox struct {
	f    *Fast
	wake bell

	mu      sync.Mutex
	waiting []parcel // Guarded by mu.

	// Atomic.
	messages, bytes            atomic.Int64 // Of waiting, and of what run has taken and not handed over.
	forwarded                  atomic.Uint64
	full, old, refused, closed atomic.Uint64

	// Owned by run.
	number uint64 // Of the last message.
	msg    nats.Msg
}

// parcel is a message to be forwarded.
type parcel struct {
	channel string
	kind    broadcast.Kind
	payload []byte
	at      time.Time
}

// parcelBytes is what one takes up at the most beside its payload: its place in a slice, which may have as many free ones.
const parcelBytes = 128

func (o *outbox) init(f *Fast) {
	o.f, o.wake = f, newBell()
	o.msg.Header = nats.Header{}
}

// Forward is broadcast.Config's: it takes a message, or drops it if too many wait. It does not block.
func (f *Fast) Forward(channel string, m broadcast.Message) {
	o := &f.out
	if !o.reserve(len(m.Payload)) {
		o.full.Add(1)
		return
	}
	p := parcel{channel, m.Kind, slices.Clone(m.Payload), time.Now()}
	o.mu.Lock()
	o.waiting = append(o.waiting, p)
	o.mu.Unlock()
	o.wake.ring()
}

// reserve says whether there is room for a message, and takes it up.
func (o *outbox) reserve(payload int) bool {
	messages, bytes := o.messages.Add(1), o.bytes.Add(int64(payload+parcelBytes))
	if messages <= int64(o.f.cfg.Queue) && bytes <= int64(o.f.cfg.QueueBytes) {
		return true
	}
	o.release(payload)
	return false
}

// release gives back what a message took up.
func (o *outbox) release(payload int) {
	o.bytes.Add(-int64(payload + parcelBytes))
	o.messages.Add(-1)
}

// run hands messages to NATS, until the end.
func (o *outbox) run() {
	var batch []parcel
	for {
		o.mu.Lock()
		batch, o.waiting = o.waiting, batch[:0]
		o.mu.Unlock()
		for i := range batch {
			o.send(&batch[i])
			o.release(len(batch[i].payload))
			batch[i] = parcel{}
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-o.wake:
		case <-o.f.ctx.Done():
			return
		}
	}
}

// reconnectPoll is how often it is looked whether there is a connection again.
const reconnectPoll = 20 * time.Millisecond

// send hands a message to the connection, once. While there is none it waits, until the message is too old.
func (o *outbox) send(p *parcel) {
	for o.f.ctx.Err() == nil {
		if time.Since(p.at) > o.f.cfg.Timeout {
			o.old.Add(1)
			return
		}
		err := o.publish(p.channel, p.kind, p.payload, o.number+1)
		if errors.Is(err, nats.ErrReconnectBufExceeded) { // Nothing of it was sent.
			select {
			case <-time.After(reconnectPoll):
			case <-o.f.ctx.Done():
			}
			continue
		}
		o.number++
		if err == nil {
			o.forwarded.Add(1)
			return
		}
		o.refused.Add(1)
		if !errors.Is(err, nats.ErrMaxPayload) { // The socket took nothing for too long.
			_ = o.f.nc.ForceReconnect()
		}
		return
	}
	o.closed.Add(1)
}

// publish hands a message with a number to the connection. NATS' client writes it with those behind it, in a goroutine of
// its own, but when there is much of it: then it may wait for the socket, for Config.Timeout.
func (o *outbox) publish(channel string, kind broadcast.Kind, payload []byte, number uint64) error {
	h := o.msg.Header
	h.Set(fromHeader, o.f.origin+"-"+strconv.FormatUint(number, 36))
	if kind == broadcast.Binary {
		h.Set(kindHeader, "binary")
	} else {
		h.Del(kindHeader)
	}
	o.msg.Subject, o.msg.Data = subjectIn(o.f.prefix, channel), payload
	return o.f.nc.PublishMsg(&o.msg)
}

// probe publishes what is none, with the number 0, to find out whether it may be. Called before run is.
func (o *outbox) probe() error { return o.publish("", broadcast.Text, nil, 0) }

// from is what a header says: who has forwarded a message, and its number. It says no if it is none of ours.
func from(header string) (origin string, number uint64, ok bool) {
	origin, digits, _ := strings.Cut(header, "-")
	number, err := strconv.ParseUint(digits, 36, 64)
	return origin, number, err == nil && origin != "" && len(origin) <= 64
}

func (o *outbox) drops() map[string]uint64 {
	return map[string]uint64{"full": o.full.Load(), "old": o.old.Load(), "refused": o.refused.Load(), "closed": o.closed.Load()}
}

// drain waits until all that waits was handed over and NATS has it, or until ctx is done.
func (o *outbox) drain(ctx context.Context) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for o.messages.Load() > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			o.f.cfg.Logger.Error("messages are lost that were on their way to NATS", "messages", o.messages.Load())
			return
		}
	}
	if _, ok := ctx.Deadline(); ok && o.f.connected.Load() {
		_ = o.f.nc.FlushWithContext(ctx)
	}
}
