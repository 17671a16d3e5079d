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

// numbered is an id.
func numbered(i int) string { return fmt.Sprintf("%0*d", idBytes, i) }

// many is a Source with many channels.
func many(channels int) *counter {
	c := &counter{of: make(map[string]int)}
	for i := range channels {
		c.of[fmt.Sprintf("channel %0100d", i)] = 1
	}
	return c
}

// TestManyAskers: no more of them are remembered than there may be servers, and one snapshot is for all.
func TestManyAskers(t *testing.T) {
	var sent []string
	p := newPresence(Config{Subject: "s"}, func(subject string, _ []byte) error {
		sent = append(sent, subject)
		return nil
	})
	p.src = many(1)
	for i := range 2 * mostOthers {
		p.hear(string(appendHead(nil, ask, numbered(i))))
	}
	if len(p.askers) != mostOthers {
		t.Errorf("got %d askers", len(p.askers))
	}
	if p.step() || !slices.Equal(sent, []string{"s.all"}) || len(p.askers) != 0 {
		t.Errorf("sent to %q, and %d askers are left", sent, len(p.askers))
	}
}

// TestAsking: no more than some are asked at a time, others when these have sent all, and who does not answer, again.
func TestAsking(t *testing.T) {
	p := newPresence(Config{}, nil)
	for i := range 10 {
		p.hear(string(appendNumbers(appendHead(nil, beat, numbered(i)), 5, 1000, 0)))
	}
	now := time.Now()
	first := p.wanted(now)
	if len(first) != mostAsked || len(p.wanted(now)) != 0 {
		t.Fatalf("asked %q", first)
	}
	p.hear(string(appendNumbers(appendHead(nil, snapshot, first[0]), 5, 1, 0, 1)))
	if next := p.wanted(now); len(next) != 1 || slices.Contains(first, next[0]) {
		t.Errorf("asked %q, then %q", first, next)
	}
	if again := p.wanted(now.Add(askAgain)); len(again) != mostAsked || slices.Contains(again, first[0]) {
		t.Errorf("asked %q, and in the end %q", first, again)
	}
}

// TestPace: a snapshot does not go out at once, whatever else comes, and beats go out meanwhile.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent, beats atomic.Int64
		p := newPresence(Config{}, func(_ string, m []byte) error {
			if sent.Add(int64(len(m))); kind(m[1]) == beat {
				beats.Add(1)
			}
			return nil
		})
		p.src = many(200_000)
		p.running.Go(p.run)
		defer p.Close()
		p.hear(string(appendHead(nil, ask, someID)))
		for range 100 {
			p.look()
			synctest.Wait()
		}
		if got := sent.Load(); got < stepBytes || got > stepBytes+2*partBytes {
			t.Errorf("%d bytes are sent at once", got)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := sent.Load(); got < 200_000*110 || beats.Load() < 5 {
			t.Errorf("%d bytes are sent in the end, and %d beats", got, beats.Load())
		}
	})
}

// TestComplain: what is wrong with others' messages is logged, once a second at the most.
func TestComplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newPresence(Config{Logger: slog.New(slog.NewTextHandler(&out, nil))}, nil)
		for range 100 {
			p.hear("x")
			time.Sleep(20 * time.Millisecond)
		}
		if got := strings.Count(out.String(), "left out"); got != 2 {
			t.Errorf("got %d lines in 2 s: %s", got, &out)
		}
	})
}

// TestParts: only all parts of one snapshot, one behind the other, make a server's counts whole.
func TestParts(t *testing.T) {
	for name, tt := range map[string]struct {
		parts [][4]uint64 // As of a snapshot.
		want  bool
	}{
		"all":            {[][4]uint64{{5, 1, 0, 0}, {5, 1, 1, 0}, {5, 1, 2, 1}}, true},
		"one is missing": {[][4]uint64{{5, 1, 0, 0}, {5, 1, 2, 1}}, false},
		"the first":      {[][4]uint64{{5, 1, 1, 0}, {5, 1, 2, 1}}, false},
		"the last":       {[][4]uint64{{5, 1, 0, 0}, {5, 1, 1, 0}}, false},
		"of two":         {[][4]uint64{{5, 1, 0, 0}, {5, 2, 1, 1}}, false},
		"too old":        {[][4]uint64{{3, 1, 0, 1}}, false},
		"begun anew":     {[][4]uint64{{5, 1, 0, 0}, {6, 2, 0, 0}, {6, 2, 1, 1}}, true},
	} {
		p := newPresence(Config{}, nil)
		p.hear(string(appendNumbers(appendHead(nil, beat, someID), 5, 1000, 1)))
		for _, numbers := range tt.parts {
			p.hear(string(appendNumbers(appendHead(nil, snapshot, someID), numbers[:]...)))
		}
		if got := p.others[someID].whole; got != tt.want {
			t.Errorf("%s: got %t, want %t", name, got, tt.want)
		}
	}
}
