package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestInboundBytes checks that the queue of messages of other servers is bounded with their headers, which may be as
// large as NATS accepts.
func TestInboundBytes(t *testing.T) {
	f := &Fast{}
	f.ctx, f.cancel = t.Context(), func() {}
	f.inbound.init(f)
	go f.inbound.collect()                                          // Ends with the context of the test.
	large := nats.Header{"X": []string{strings.Repeat("x", 1<<20)}} // Shared here; each message of NATS has its own.
	for range 1000 {
		f.inbound.arrived <- &nats.Msg{Subject: "CRIER.fast.a", Header: large}
	}
	for len(f.inbound.arrived) > 0 {
		time.Sleep(time.Millisecond)
	}
	f.inbound.mu.Lock()
	defer f.inbound.mu.Unlock()
	size := 0
	for _, m := range f.inbound.queue {
		size += m.Size()
	}
	if limit := inboundBytes + inboundMessages*inboundMessageBytes; size > 2*limit {
		t.Errorf("got %d MiB queued, counted as %d bytes, want at most %d MiB", size>>20, f.inbound.bytes, limit>>20)
	}
}

// TestCannotBeLapped has a stream of 1 GiB whose older half (by sequence number) is small messages. Half a second later
// the stream must be asked again: one message of 1 MiB makes it drop everything before the reader's next message.
func TestCannotBeLapped(t *testing.T) {
	const small, large = 100, 1 << 20
	info := &jetstream.StreamInfo{Config: jetstream.StreamConfig{MaxBytes: 1 << 30}}
	info.State = jetstream.StreamState{FirstSeq: 1, LastSeq: 2000, Msgs: 2000, Bytes: 1000*small + 1000*large}
	c := &Ordered{lastInfo: info, lastInfoAt: time.Now().Add(-500 * time.Millisecond)}
	c.delivered.Store(1000)
	c.deliveredAt.Store(time.Now().UnixNano())
	if c.cannotBeLapped() {
		t.Errorf("got true half a second later, with only %d bytes before the next message, want false", 1000*small)
	}
}
