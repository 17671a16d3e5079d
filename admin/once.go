package admin

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"sync"
)

const (
	maxKey     = 255    // bytes of a key
	maxResults = 50_000 // results that are remembered, of all keys together

	// resultBytes is the memory of one result and its key.
	resultBytes = 600
)

// once makes sure that an operation with a key runs once. It remembers the newest keys, up to maxResults results. The
// zero value is ready to use. It is safe for concurrent use.
type once struct {
	mu sync.Mutex

	// Guarded by mu.
	byKey   map[hash]*list.Element // elements of order
	order   list.List              // of *outcome, oldest first
	results int                    // of all outcomes in order
}

// hash is the hash of a key, or of the body that was sent with it.
type hash [sha256.Size]byte

// outcome is the result of an operation, or an operation that is running.
type outcome struct {
	// Immutable after construction.
	key, body hash
	done      chan struct{}

	// Owned by the goroutine that runs the operation until it closes done; immutable afterwards.
	results []published
	err     error
}

var errPanicked = errors.New("it was not done: see the server's log")

// do runs publish, unless an operation with this key has succeeded: then it returns the results of that one. It waits
// while an operation with this key is running, until ctx is done. An operation that failed can run again. If the key
// was used with another body, do returns errKeyReused.
func (o *once) do(ctx context.Context, key, body hash, publish operation) ([]published, error) {
	for {
		now, mine := o.enter(key, body)
		if mine {
			now.err = errPanicked
			defer o.settle(now)
			now.results, now.err = publish(ctx)
			return now.results, now.err
		}
		select {
		case <-now.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if now.err == nil && now.body != body {
			return nil, errKeyReused
		}
		if now.err == nil {
			return now.results, nil
		}
	}
}

// enter returns the outcome of a key, and reports whether the caller must run the operation.
func (o *once) enter(key, body hash) (now *outcome, mine bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if was := o.byKey[key]; was != nil {
		return was.Value.(*outcome), false
	}
	if o.byKey == nil {
		o.byKey = make(map[hash]*list.Element)
	}
	now = &outcome{key: key, body: body, done: make(chan struct{})}
	o.byKey[key] = o.order.PushBack(now)
	return now, true
}

// settle publishes an outcome to the goroutines that wait for it. It forgets the outcome if it is an error, and the
// oldest outcomes if there are too many.
func (o *once) settle(now *outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.results += len(now.results)
	close(now.done)
	if now.err != nil {
		o.forget(o.byKey[now.key])
	}
	for e := o.order.Front(); e != nil && o.results > maxResults; {
		next := e.Next()
		select {
		case <-e.Value.(*outcome).done:
			o.forget(e)
		default: // The operation is running.
		}
		e = next
	}
}

// forget removes an outcome. The caller holds mu.
func (o *once) forget(e *list.Element) {
	was := o.order.Remove(e).(*outcome)
	delete(o.byKey, was.key)
	o.results -= len(was.results)
}
