package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestInboundBytes: what waits is bounded with its headers, which may have as much as NATS takes.
func TestInboundBytes(t *testing.T) {
	f := &Fast{}
	f.ctx, f.cancel = t.Context(), func() {}
	f.in.init(f)
	go f.in.collect()
	big := nats.Header{"X": []string{strings.Repeat("x", 1<<20)}} // Shared here; from NATS each has its own.
	for range 1000 {
		f.in.arrived <- &nats.Msg{Subject: "CRIER.fast.a", Header: big}
	}
	for len(f.in.arrived) > 0 {
		time.Sleep(time.Millisecond)
	}
	f.in.mu.Lock()
	defer f.in.mu.Unlock()
	size := 0
	for _, m := range f.in.waiting {
		size += m.Size()
	}
	if size > 2*(pendingBytes+pendingMessages*pendingMessageBytes) {
		t.Errorf("%d MiB wait, counted as %d bytes; at most %d MiB are planned for", size>>20, f.in.bytes, (pendingBytes+pendingMessages*pendingMessageBytes)>>20)
	}
}

// TestSurely: a stream of 1 GiB whose older half (by number) is small messages: it is looked again half a second later, as
// one message of 1 MiB has the stream drop all that is before what comes next.
func TestSurely(t *testing.T) {
	const small, large = 100, 1 << 20
	info := &jetstream.StreamInfo{Config: jetstream.StreamConfig{MaxBytes: 1 << 30}}
	info.State = jetstream.StreamState{FirstSeq: 1, LastSeq: 2000, Msgs: 2000, Bytes: 1000*small + 1000*large}
	c := &Cluster{seen: info, seenAt: time.Now().Add(-500 * time.Millisecond)}
	c.delivered.Store(1000)
	c.deliveredAt.Store(time.Now().UnixNano())
	if c.surely() {
		t.Error(fmt.Sprint("surely, half a second later: ", 1000*small, " bytes are before what comes next"))
	}
}
