package presence

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

var someID = strings.Repeat("aZ", idBytes/2)

// encoded is what a message is sent as.
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

func TestDecode(t *testing.T) {
	some := counts(appendCount(appendCount(appendCount(nil, "", 1), "news/ü", 0), strings.Repeat("x", 255), math.MaxUint32))
	for _, m := range []message{
		{kind: beat, from: someID, seq: math.MaxUint32, every: time.Minute, conns: mostConns, counts: some},
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

func TestMalformed(t *testing.T) {
	head := func(k kind, id string) string { return string(appendHead(nil, k, id)) }
	numbers := func(n ...uint64) string { return string(appendNumbers(nil, n...)) }
	fine := head(beat, someID) + numbers(1, 1000, 1)
	for name, s := range map[string]string{
		"nothing":          "",
		"short":            head(ask, someID)[:10],
		"no kind":          head(0, someID),
		"wildcard as id":   head(ask, ">"+someID[1:]),
		"dot in an id":     head(ask, "."+someID[1:]),
		"too much":         head(ask, someID) + "x",
		"number 0":         head(beat, someID) + numbers(0, 1000, 1),
		"number too large": head(beat, someID) + numbers(1<<32, 1000, 1),
		"no next beat":     head(beat, someID) + numbers(1, 0, 1),
		"beat too late":    head(beat, someID) + numbers(1, uint64(mostEvery.Milliseconds())+1, 1),
		"very many":        head(beat, someID) + numbers(1, 1000, mostConns+1),
		"numbers missing":  head(beat, someID) + numbers(1, 1000),
		"endless number":   head(beat, someID) + strings.Repeat("\xff", 11),
		"neither 0 nor 1":  head(snapshot, someID) + numbers(1, 1, 1, 2),
		"name cut off":     fine + "\x05abc",
		"no connections":   fine + "\x03abc",
		"connections":      fine + "\x03abc" + numbers(1<<32),
		"name not UTF-8":   fine + "\x01\xff\x01",
		"control in name":  fine + "\x01\n\x01",
		"name too long":    fine + numbers(256) + strings.Repeat("x", 256) + "\x01",
		"one name is bad":  fine + "\x01a\x01\x01\n\x01",
		"far too long":     fine + strings.Repeat("\x01a\x01", mostBytes/3),
	} {
		if m, err := decode(s); err != errMessage {
			t.Errorf("%s: got %+v, %v", name, m, err)
		}
	}
	if _, err := decode("\x02" + fine[1:]); err != errVersion {
		t.Errorf("another version: got %v", err)
	}
}

// FuzzDecode: whatever comes, what was decoded is well formed, and is what it would be sent as.
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
		p.hear(s)
		p.hear(s)
		m, err := decode(s)
		if err != nil {
			if len(p.others) > 0 || len(p.askers) > 0 {
				t.Errorf("%q: %v, and it was heard", s, err)
			}
			return
		}
		if got, err := decode(encoded(&m)); err != nil || got.seq != m.seq || got.kind != m.kind || got.part != m.part {
			t.Errorf("%q: got %+v, and again %+v, %v", s, m, got, err)
		}
		if p.table.bytes > p.table.most {
			t.Errorf("%q: the table has %d bytes", s, p.table.bytes)
		}
		for _, o := range p.others {
			p.table.clear(&o.counted)
			if o.counted.conns != 0 {
				t.Errorf("%q: %d connections are left", s, o.counted.conns)
			}
		}
		if p.table.bytes != 0 || len(p.table.of) != 0 {
			t.Errorf("%q: %d bytes are left", s, p.table.bytes)
		}
	})
}

// BenchmarkHear is what a part of a snapshot costs who hears it, by channel.
func BenchmarkHear(b *testing.B) {
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
			p.hear(m)
		}
		p.forget(someID, p.others[someID])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/channels, "ns/channel")
}
