package presence

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

var someID = strings.Repeat("aZ", idBytes/2)

// encoded returns a message as it is sent.
func encoded(m *message) string {
	b := appendHead(nil, m.kind, m.from)
	switch m.kind {
	case beat:
		b = appendNumbers(b, uint64(m.seq), uint64(m.every.Milliseconds()), uint64(m.conns))
	case snapshot:
		last := uint64(0)
		if m.last {
			last = 1
		}
		b = appendNumbers(b, uint64(m.seq), uint64(m.number), uint64(m.part), last)
	}
	for name, n := range m.counts.all() {
		b = appendCount(b, name, int(n))
	}
	return string(b)
}

// TestDecode checks that messages are decoded to what was encoded.
func TestDecode(t *testing.T) {
	b := appendCount(appendCount(nil, "", 1), "news/ü", 0)
	some := counts(appendCount(b, strings.Repeat("x", 255), math.MaxUint32))
	for _, m := range []message{
		{kind: beat, from: someID, seq: math.MaxUint32, every: time.Minute, conns: maxConns, counts: some},
		{kind: beat, from: someID, seq: 1, every: time.Millisecond},
		{kind: snapshot, from: someID, seq: 7, number: 8, part: 9, last: true, counts: some},
		{kind: snapshot, from: someID},
		{kind: ask, from: someID},
		{kind: bye, from: someID},
	} {
		if got, err := decode(encoded(&m)); err != nil || got != m {
			t.Errorf("got %+v, %v, want %+v", got, err, m)
		}
	}
}

// TestMalformed lists malformed messages.
func TestMalformed(t *testing.T) {
	head := func(k kind, id string) string { return string(appendHead(nil, k, id)) }
	numbers := func(n ...uint64) string { return string(appendNumbers(nil, n...)) }
	fine := head(beat, someID) + numbers(1, 1000, 1)
	for name, s := range map[string]string{
		"empty":              "",
		"short":              head(ask, someID)[:10],
		"unknown kind":       head(0, someID),
		"wildcard as id":     head(ask, ">"+someID[1:]),
		"dot in an id":       head(ask, "."+someID[1:]),
		"trailing bytes":     head(ask, someID) + "x",
		"number 0":           head(beat, someID) + numbers(0, 1000, 1),
		"number too large":   head(beat, someID) + numbers(1<<32, 1000, 1),
		"interval 0":         head(beat, someID) + numbers(1, 0, 1),
		"interval too long":  head(beat, someID) + numbers(1, uint64(maxInterval.Milliseconds())+1, 1),
		"too many conns":     head(beat, someID) + numbers(1, 1000, maxConns+1),
		"numbers missing":    head(beat, someID) + numbers(1, 1000),
		"endless number":     head(beat, someID) + strings.Repeat("\xff", 11),
		"flag not 0 or 1":    head(snapshot, someID) + numbers(1, 1, 1, 2),
		"name cut off":       fine + "\x05abc",
		"count missing":      fine + "\x03abc",
		"count too large":    fine + "\x03abc" + numbers(1<<32),
		"name not UTF-8":     fine + "\x01\xff\x01",
		"control in name":    fine + "\x01\n\x01",
		"name too long":      fine + numbers(256) + strings.Repeat("x", 256) + "\x01",
		"second name is bad": fine + "\x01a\x01\x01\n\x01",
		"message too long":   fine + strings.Repeat("\x01a\x01", maxMessageBytes/3),
	} {
		if m, err := decode(s); err != errMalformed {
			t.Errorf("%s: got %+v, %v, want %v", name, m, err, errMalformed)
		}
	}
	if _, err := decode("\x02" + fine[1:]); err != errVersion {
		t.Errorf("another version: got %v, want %v", err, errVersion)
	}
}

// FuzzDecode checks that a message which was decoded is well formed, encodes to the same, and can be received twice.
func FuzzDecode(f *testing.F) {
	some := counts(appendCount(appendCount(nil, "news", 1), "sport", 300))
	for _, m := range []message{
		{kind: beat, from: someID, seq: 5, every: time.Second, conns: 301, counts: some},
		{kind: snapshot, from: someID, seq: 5, number: 1, part: 0, last: true, counts: some},
		{kind: ask, from: someID}, {kind: bye, from: someID},
	} {
		f.Add(encoded(&m))
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := newPresence(Config{TableBytes: 1000}, nil)
		p.receive(s)
		p.receive(s)
		m, err := decode(s)
		if err != nil {
			if len(p.others) > 0 || len(p.askers) > 0 {
				t.Errorf("%q: got %v, and it changed the counts", s, err)
			}
			return
		}
		if got, err := decode(encoded(&m)); err != nil || got.seq != m.seq || got.kind != m.kind || got.part != m.part {
			t.Errorf("%q: got %+v, and %+v, %v after encoding it again", s, m, got, err)
		}
		if p.table.bytes > p.table.maxBytes {
			t.Errorf("%q: got a table of %d bytes, want at most %d", s, p.table.bytes, p.table.maxBytes)
		}
		for _, o := range p.others {
			p.table.removeAll(&o.counts)
			if o.counts.conns != 0 {
				t.Errorf("%q: got %d connections after all were removed, want 0", s, o.counts.conns)
			}
		}
		if p.table.bytes != 0 || len(p.table.byName) != 0 {
			t.Errorf("%q: got %d bytes after all were removed, want 0", s, p.table.bytes)
		}
	})
}

// BenchmarkReceive measures receiving counts, for each channel.
func BenchmarkReceive(b *testing.B) {
	p := newPresence(Config{TableBytes: 1 << 30}, nil)
	var parts []string
	const channels = 100_000
	for i := 0; i < channels; {
		m := appendNumbers(appendHead(nil, beat, someID), uint64(len(parts)+1), 1000, channels)
		for ; i < channels && len(m) < partBytes; i++ {
			m = appendCount(m, fmt.Sprintf("room/%015d", i), 1)
		}
		parts = append(parts, string(m))
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range parts {
			p.receive(m)
		}
		p.forgetLocked(someID, p.others[someID])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/channels, "ns/channel")
}
