package admin

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"sync"
)

// Bounds of what once remembers: the length of a key, and how many results.
const (
	maxKey     = 255
	maxResults = 50_000

	// resultBytes is what one takes up with its key.
	resultBytes = 600
)

// once sees to it that what has a key is done once. It remembers the newest keys, as many
// as have maxResults together.
type once struct {
	mu      sync.Mutex
	of      map[hash]*list.Element // Guarded by mu: of *outcome.
	order   list.List              // Guarded by mu: the oldest first.
	results int                    // Guarded by mu.
}

// hash stands for a key, or for what was asked for with it.
type hash [sha256.Size]byte

// outcome is what a thing came to.
type outcome struct {
	key, body hash
	done      chan struct{}

	// Written before done is closed.
	results []published
	err     error
}

var errPanicked = errors.New("it was not done: see the server's log")

// do does a thing, unless it has been done under this key: then it returns what that came to.
// It waits for one that is being done. What failed can be done again. With errKeyReused, the key
// was another body's.
func (o *once) do(ctx context.Context, key, body hash, thing func(context.Context) ([]published, error)) ([]published, error) {
	for {
		now, mine := o.enter(key, body)
		if mine {
			now.err = errPanicked
			defer o.settle(now)
			now.results, now.err = thing(ctx)
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

// enter returns the outcome of a key, and whether it is for the caller to bring it about.
func (o *once) enter(key, body hash) (now *outcome, mine bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if was := o.of[key]; was != nil {
		return was.Value.(*outcome), false
	}
	if o.of == nil {
		o.of = make(map[hash]*list.Element)
	}
	now = &outcome{key: key, body: body, done: make(chan struct{})}
	o.of[key] = o.order.PushBack(now)
	return now, true
}

// settle makes an outcome known, forgets it if it is an error, and others if there are too many.
func (o *once) settle(now *outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.results += len(now.results)
	close(now.done)
	if now.err != nil {
		o.forget(o.of[now.key])
	}
	for e := o.order.Front(); e != nil && o.results > maxResults; {
		next := e.Next()
		select {
		case <-e.Value.(*outcome).done:
			o.forget(e)
		default: // It is being done.
		}
		e = next
	}
}

func (o *once) forget(e *list.Element) {
	was := o.order.Remove(e).(*outcome)
	delete(o.of, was.key)
	o.results -= len(was.results)
}
