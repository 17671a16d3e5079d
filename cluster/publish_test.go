package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/nats-io/nats.go/jetstream"
)

// newPublisher returns a publisher with queued messages, written as "channel number".
func newPublisher(minBatch int, queued ...string) *publisher {
	c := &Ordered{cfg: OrderedConfig{}.withDefaults()}
	p := &c.publisher
	p.init(c)
	p.minBatch = minBatch
	for _, text := range queued {
		channel, _, _ := strings.Cut(text, " ")
		m := broadcast.Message{Kind: broadcast.Text, Payload: []byte(text)}
		p.queue = append(p.queue, &entry{channel: channel, message: m, batchLen: 1})
	}
	return p
}

// takeTexts calls takeSendable until it returns nothing, as sendQueued does, and returns what it takes.
func takeTexts(p *publisher) (batches [][]string) {
	for batch := p.takeSendable(); len(batch) > 0; batch = p.takeSendable() {
		var texts []string
		for _, e := range batch {
			p.sending[e.channel] = true
			texts = append(texts, string(e.message.Payload))
		}
		p.sent = append(p.sent, batch...)
		batches = append(batches, texts)
	}
	return batches
}

// TestTakeSendable checks what may be on its way at a time: one batch, or one message of each channel.
func TestTakeSendable(t *testing.T) {
	queued := []string{"a 1", "a 2", "b 1", "a 3", "c 1", "b 2"}
	for name, tt := range map[string]struct {
		minBatch int
		want     string
		left     int
	}{
		"with replicas":              {2, "[[a 1 a 2 b 1 a 3 c 1 b 2]]", 0},
		"one replica, few messages":  {7, "[[a 1] [b 1] [c 1]]", 3},
		"one replica, many messages": {6, "[[a 1 a 2 b 1 a 3 c 1 b 2]]", 0},
		"no batches":                 {0, "[[a 1] [b 1] [c 1]]", 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(tt.minBatch, queued...)
			if got := fmt.Sprint(takeTexts(p)); got != tt.want || len(p.queue) != tt.left {
				t.Errorf("got %s and %d queued, want %s and %d", got, len(p.queue), tt.want, tt.left)
			}
		})
	}
}

// TestOldest checks that a message which waits in the queue counts although a later one of another channel was sent.
func TestOldest(t *testing.T) {
	p := newPublisher(0, "a 1", "a 2", "b 1")
	p.held = true // As without a connection to NATS.
	start := time.Now()
	for i, e := range p.queue {
		e.queuedAt = start.Add(time.Duration(i) * time.Second)
	}
	takeTexts(p)
	for i, seconds := range []time.Duration{0, 1, 1, 1} {
		if got := p.oldest().Sub(start); got != seconds*time.Second {
			t.Errorf("step %d: got a message of second %v, want %d", i, got, seconds)
		}
		switch i {
		case 0:
			p.acknowledge(&jetstream.PubAck{Sequence: 1, Duplicate: true})
			p.publishCounts()
		case 1:
			takeTexts(p)
		case 2:
			p.publishCounts()
		}
	}
}

// TestChannelOrder acknowledges and rejects messages of a stream without batches: a channel's next message is taken
// when the outcome of the one before is known, and the order of each channel stays.
func TestChannelOrder(t *testing.T) {
	var queued []string
	for i := range 60 {
		queued = append(queued, fmt.Sprint(string("abc"[i%3]), " ", i))
	}
	p := newPublisher(0, queued...)
	sent := make(map[string][]string)
	for round := 0; len(p.queue)+len(p.sent) > 0; round++ {
		for _, batch := range takeTexts(p) {
			channel, _, _ := strings.Cut(batch[0], " ")
			sent[channel] = append(sent[channel], batch[0])
		}
		if len(p.sent) > 3 {
			t.Fatalf("got %d messages on their way, want one for each channel", len(p.sent))
		}
		if round%2 == 0 {
			p.acknowledge(&jetstream.PubAck{Sequence: uint64(round + 1), Duplicate: true})
		} else {
			p.rejectSent(len(p.sent)-1, errors.New("refused"))
		}
	}
	for channel, got := range sent {
		var want []string
		for _, text := range queued {
			if strings.HasPrefix(text, channel) {
				want = append(want, text)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("channel %s: got %q, want %q", channel, got, want)
		}
	}
}
