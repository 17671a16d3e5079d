package presence

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// numbered returns the ID of a made-up server.
func numbered(i int) string { return fmt.Sprintf("%0*d", idBytes, i) }

// sourceOf returns a Source with so many channels, each with one connection.
func sourceOf(channels int) *counter {
	c := &counter{byName: make(map[string]int)}
	for i := range channels {
		c.byName[fmt.Sprintf("channel %0100d", i)] = 1
	}
	return c
}

// TestManyAskers checks that no more askers are remembered than there may be servers, and that they share one snapshot.
func TestManyAskers(t *testing.T) {
	var sent []string
	p := newPresence(Config{Subject: "s"}, func(subject string, _ []byte) error {
		sent = append(sent, subject)
		return nil
	})
	p.src = sourceOf(1)
	for i := range 2 * maxOthers {
		p.receive(string(appendHead(nil, ask, numbered(i))))
	}
	if len(p.askers) != maxOthers {
		t.Errorf("got %d askers, want %d", len(p.askers), maxOthers)
	}
	if p.sendStep() || !slices.Equal(sent, []string{"s.all"}) || len(p.askers) != 0 {
		t.Errorf("sent to %q with %d askers left, want one message to s.all", sent, len(p.askers))
	}
}

// TestAsking checks that few servers are asked at a time, others when these have sent everything, and a server that
// does not answer again.
func TestAsking(t *testing.T) {
	p := newPresence(Config{}, nil)
	for i := range 10 {
		p.receive(string(appendNumbers(appendHead(nil, beat, numbered(i)), 5, 1000, 0)))
	}
	now := time.Now()
	first := p.serversToAsk(now)
	if len(first) != maxAsked || len(p.serversToAsk(now)) != 0 {
		t.Fatalf("asked %q, want %d servers, once", first, maxAsked)
	}
	p.receive(string(appendNumbers(appendHead(nil, snapshot, first[0]), 5, 1, 0, 1)))
	if next := p.serversToAsk(now); len(next) != 1 || slices.Contains(first, next[0]) {
		t.Errorf("asked %q, then %q, want one new server", first, next)
	}
	if again := p.serversToAsk(now.Add(askAgain)); len(again) != maxAsked || slices.Contains(again, first[0]) {
		t.Errorf("asked %q, and at last %q, want the servers that have not answered", first, again)
	}
}

// TestPace checks that a snapshot is sent step by step, however often run is woken, and that beats are sent meanwhile.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent, beats atomic.Int64
		p := newPresence(Config{}, func(_ string, m []byte) error {
			if sent.Add(int64(len(m))); kind(m[1]) == beat {
				beats.Add(1)
			}
			return nil
		})
		p.src = sourceOf(200_000)
		p.running.Go(p.run)
		defer p.Close()
		p.receive(string(appendHead(nil, ask, someID)))
		for range 100 {
			p.wakeRun()
			synctest.Wait()
		}
		if got := sent.Load(); got < stepBytes || got > stepBytes+2*partBytes {
			t.Errorf("got %d bytes sent at once, want about %d", got, stepBytes)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := sent.Load(); got < 200_000*110 || beats.Load() < 5 {
			t.Errorf("got %d bytes and %d beats sent after 5 s, want all of the snapshot and at least 5", got, beats.Load())
		}
	})
}

// TestLogOnce checks that malformed messages are logged at most once a second.
func TestLogOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newPresence(Config{Logger: slog.New(slog.NewTextHandler(&out, nil))}, nil)
		for range 100 {
			p.receive("x")
			time.Sleep(20 * time.Millisecond)
		}
		if got := strings.Count(out.String(), "ignored a message"); got != 2 {
			t.Errorf("got %d lines in 2 s, want 2:\n%s", got, &out)
		}
	})
}

// TestParts checks that only all parts of one snapshot, in their order, make the counts of a server complete.
func TestParts(t *testing.T) {
	for name, tt := range map[string]struct {
		parts [][4]uint64 // The numbers of snapshot messages, see wire.go.
		want  bool
	}{
		"all":                       {[][4]uint64{{5, 1, 0, 0}, {5, 1, 1, 0}, {5, 1, 2, 1}}, true},
		"a middle part is missing":  {[][4]uint64{{5, 1, 0, 0}, {5, 1, 2, 1}}, false},
		"the first part is missing": {[][4]uint64{{5, 1, 1, 0}, {5, 1, 2, 1}}, false},
		"the last part is missing":  {[][4]uint64{{5, 1, 0, 0}, {5, 1, 1, 0}}, false},
		"parts of two snapshots":    {[][4]uint64{{5, 1, 0, 0}, {5, 2, 1, 1}}, false},
		"too old":                   {[][4]uint64{{3, 1, 0, 1}}, false},
		"a second snapshot":         {[][4]uint64{{5, 1, 0, 0}, {6, 2, 0, 0}, {6, 2, 1, 1}}, true},
	} {
		p := newPresence(Config{}, nil)
		p.receive(string(appendNumbers(appendHead(nil, beat, someID), 5, 1000, 1)))
		for _, numbers := range tt.parts {
			p.receive(string(appendNumbers(appendHead(nil, snapshot, someID), numbers[:]...)))
		}
		if got := p.others[someID].complete; got != tt.want {
			t.Errorf("%s: got complete %t, want %t", name, got, tt.want)
		}
	}
}
