package crier

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// Client follows one channel. Make one with New. Its methods are safe for concurrent use.
type Client struct {
	// Immutable after construction.
	cfg Config

	// Atomic: written by Follow, read by Send. nil without a connection.
	conn atomic.Pointer[connection]

	// following is held while Follow runs.
	following sync.Mutex

	// Guarded by following.
	id         string        // The newest ID: where the next connection begins.
	retryAfter time.Duration // From the last refusal; 0 for none.
	tries      int           // Waits since the last success.
	connected  bool          // There has been a connection.
}

// New returns a client of the channel that cfg describes. It does not connect: Follow does. The error lists all
// faults of cfg.
func New(cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Client{cfg: cfg, id: cfg.Since}, nil
}

// Follow connects, and calls f with each event, in order, until one of the following happens:
//
//   - ctx is done: Follow returns ctx.Err().
//   - f returns an error: Follow returns it. The event counts as not received.
//   - Another try would fail in the same way: Follow returns a *FatalError.
//
// In all other cases of a lost or refused connection it waits, and connects again. If Follow is called again, it
// begins after the newest ID. It returns ErrFollowing if another call is running.
//
// f is called by the goroutine that called Follow, which reads nothing meanwhile: the server closes or skips a client
// that is too slow. If the client has sent messages over the connection, Follow takes up to 3 s for the closing
// handshake, so that none of them is lost. Follow leaves no goroutine behind.
func (c *Client) Follow(ctx context.Context, f func(Event) error) error {
	if !c.following.TryLock() {
		return ErrFollowing
	}
	defer c.following.Unlock()
	for {
		err := c.followOnce(ctx, f)
		var stopped *stopError
		var fatal *FatalError
		switch {
		case errors.As(err, &stopped):
			return stopped.err
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &fatal):
			return err
		}
		wait := c.nextWait(err)
		if c.cfg.Lost != nil {
			c.cfg.Lost(err, wait)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// nextWait returns how long to wait after err. The jitter is full (from zero), since clients that were lost together
// must not reconnect together, and Retry-After is added to it: libraries for retries offer neither.
func (c *Client) nextWait(err error) time.Duration {
	var closed *ClosedError
	if errors.As(err, &closed) && closed.Code == int(ws.StatusPolicyViolation) {
		return c.cfg.MaxBackoff + rand.N(c.cfg.MaxBackoff+1) // Too slow, or not allowed: it may happen again.
	}
	bound := c.cfg.MaxBackoff
	if c.cfg.Backoff < bound>>c.tries {
		bound = c.cfg.Backoff << c.tries
	}
	c.tries++
	return c.retryAfter + rand.N(bound+1)
}

// followOnce connects, and reads until the connection is lost or f returns an error.
func (c *Client) followOnce(ctx context.Context, f func(Event) error) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	c.connected = true
	began := time.Now()
	c.conn.Store(conn)
	if c.cfg.Connected != nil {
		c.cfg.Connected()
	}
	err = conn.read(ctx, c.cfg.Silence, func(binary bool, message []byte) error {
		return c.receive(binary, message, f)
	})
	c.conn.Store(nil)
	conn.end(err)
	if time.Since(began) > c.cfg.MaxBackoff {
		c.tries = 0
	}
	return err
}

// receive passes a message on to f, and moves the position of the client.
func (c *Client) receive(binary bool, message []byte, f func(Event) error) error {
	word, e, err := parseEvent(binary, message)
	if err != nil {
		return &FatalError{err}
	}
	switch word {
	case "at":
		// With since, a gap may follow. If the connection broke in between, the client would never learn of the gap.
		if c.id == "" {
			c.id = e.ID
		}
		return nil
	case "id", "gap", "direct":
	default:
		return nil // From a later version of the server.
	}
	if err := f(e); err != nil {
		return &stopError{err}
	}
	switch word {
	case "id":
		c.id, c.tries = e.ID, 0
	case "gap":
		c.id = e.To
	}
	return nil
}
