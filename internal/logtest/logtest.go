// Package logtest is for tests that read a log while it is written.
package logtest

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// Buffer is a log that any goroutine may write and read. The zero value is an empty one.
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

// String returns what there is.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// Has says whether s is in it.
func (b *Buffer) Has(s string) bool { return strings.Contains(b.String(), s) }

// Await waits until s is in it.
func (b *Buffer) Await(t testing.TB, s string) {
	t.Helper()
	const patience = 20 * time.Second // It is no measure.
	for deadline := time.Now().Add(patience); !b.Has(s); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the log has no %q:\n%s", s, b.String())
		}
	}
}
