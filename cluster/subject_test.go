package cluster

import (
	"strings"
	"testing"
)

// FuzzSubject: each channel has a subject of one token without wildcards, and is that subject's.
func FuzzSubject(f *testing.F) {
	for _, name := range []string{"", "news", "news/sport", "a.b", "*", ">", "=", "=2f", "ü b", "\x00", strings.Repeat("x", 255)} {
		f.Add(name)
	}
	c := &Cluster{cfg: Config{Stream: "CRIER"}}
	f.Fuzz(func(t *testing.T, name string) {
		subject := c.subject(name)
		token, ok := strings.CutPrefix(subject, "CRIER.")
		if !ok || token == "" || strings.ContainsAny(token, ".*> \t\r\n") {
			t.Errorf("%q: got the subject %q", name, subject)
		}
		if got, ok := c.channel(subject); !ok || got != name {
			t.Errorf("%q: got %q, %t back from %q", name, got, ok, subject)
		}
		if again, ok := c.channel("CRIER." + name); ok && c.subject(again) == "CRIER."+name && strings.ContainsAny(name, "*>. ") {
			t.Errorf("%q is a subject", name)
		}
	})
}

func TestNoSubject(t *testing.T) {
	c := &Cluster{cfg: Config{Stream: "CRIER"}}
	for _, subject := range []string{"OTHER.news", "CRIER", "CRIER.=2", "CRIER.a=", "CRIER.=zz", "CRIER.==", "CRIER.==abc-", "CRIER.==61"} {
		if got, ok := c.channel(subject); ok {
			t.Errorf("%q: got %q", subject, got)
		}
	}
}
