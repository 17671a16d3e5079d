// Package logtest has a buffer for tests that read a log while it is written.
package logtest

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// Buffer holds a log. The zero value is empty. Its methods are safe for concurrent use.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // Guarded by mu.
}

// Write appends p, which it copies.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns the content.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Has reports whether the log contains s.
func (b *Buffer) Has(s string) bool { return strings.Contains(b.String(), s) }

// Await waits until the log contains s, and fails t if that takes longer than 20 s.
func (b *Buffer) Await(t testing.TB, s string) {
	t.Helper()
	const patience = 20 * time.Second
	for deadline := time.Now().Add(patience); !b.Has(s); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log has no %q:\n%s", s, b.String())
		}
	}
}
