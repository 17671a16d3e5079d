package cluster

import (
	"strings"
	"testing"
)

// FuzzSubject checks that each channel has a subject of one token without wildcards, which stands for that channel
// only.
func FuzzSubject(f *testing.F) {
	for _, name := range []string{
		"", "news", "news/sport", "a.b", "*", ">", "=", "=2f", "ü b", "\x00", strings.Repeat("x", 255),
	} {
		f.Add(name)
	}
	c := &Ordered{cfg: OrderedConfig{Config: Config{Stream: "CRIER"}}}
	f.Fuzz(func(t *testing.T, name string) {
		subject := c.subject(name)
		token, ok := strings.CutPrefix(subject, "CRIER.")
		if !ok || token == "" || strings.ContainsAny(token, ".*> \t\r\n") {
			t.Errorf("%q: got the subject %q, want one token without wildcards", name, subject)
		}
		if got, ok := c.channel(subject); !ok || got != name {
			t.Errorf("%q: got channel %q, %t from its subject %q", name, got, ok, subject)
		}
		raw := "CRIER." + name
		if again, ok := c.channel(raw); ok && c.subject(again) == raw && strings.ContainsAny(name, "*>. ") {
			t.Errorf("%q: got channel %q for a subject with wildcards, want none", raw, again)
		}
	})
}

// TestNoSubject lists subjects that stand for no channel.
func TestNoSubject(t *testing.T) {
	c := &Ordered{cfg: OrderedConfig{Config: Config{Stream: "CRIER"}}}
	for _, subject := range []string{
		"OTHER.news", "CRIER", "CRIER.=2", "CRIER.a=", "CRIER.=zz", "CRIER.==", "CRIER.==abc-", "CRIER.==61",
	} {
		if got, ok := c.channel(subject); ok {
			t.Errorf("%q: got channel %q, want none", subject, got)
		}
	}
}
