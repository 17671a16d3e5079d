package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// starting does a part of the start. NATS says beside its answers what it does not permit, and gives none then: if this server
// needs that, it ends f's context, and is the error. As long as f waits, the log says so.
func (c *Cluster) starting(ctx context.Context, f func(context.Context) error) error {
	ctx, end := context.WithCancelCause(ctx)
	said := c.nc.ErrorHandler()
	c.nc.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		if c.needs(err) {
			end(err)
			return
		}
		said(nc, sub, err)
	})
	var waiting sync.WaitGroup
	waiting.Go(func() { c.sayWaiting(ctx) })
	err := f(ctx)
	c.nc.SetErrorHandler(said)
	cause := context.Cause(ctx)
	end(nil)
	waiting.Wait()
	if err != nil && errors.Is(cause, nats.ErrPermissionViolation) {
		return fmt.Errorf("cluster: stream %s: %w", c.cfg.Stream, cause)
	}
	return err
}

// needs says whether an error is that NATS does not permit what a server cannot be without. It can be without its presence, and
// consumers end by themselves.
func (c *Cluster) needs(err error) bool {
	return errors.Is(err, nats.ErrPermissionViolation) &&
		!strings.Contains(err.Error(), `"`+c.cfg.Stream+".presence.") && !strings.Contains(err.Error(), `"$JS.API.CONSUMER.DELETE.`)
}

// sayWaiting tells what of the stream is waited for, and why, until ctx is done.
func (c *Cluster) sayWaiting(ctx context.Context) {
	w := &waiting{cfg: &c.cfg}
	ticker := time.NewTicker(quietFor)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		err := errors.New("NATS does not answer: has it a majority?")
		if why := c.waits.Load(); why != nil {
			err = *why
		}
		if !c.connected.Load() {
			err = errNotReachable
		}
		w.say(err, "stream", c.cfg.Stream, "read", c.delivered.Load())
	}
}

// waitsFor notes what Start waits for.
func (c *Cluster) waitsFor(err error) { c.waits.Store(&err) }

// subjectsOverlap is a code of JetStream's errors.
const subjectsOverlap jetstream.ErrorCode = 10065

// noStream is why there is no stream, in more words than NATS has.
func (c *Cluster) noStream(err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: stream %s: %w", ErrNoJetStream, c.cfg.Stream, err)
	case fails(err, subjectsOverlap):
		err = fmt.Errorf("for its subjects, %s.*: %w", c.cfg.Stream, err)
	}
	return fmt.Errorf("cluster: stream %s: %w", c.cfg.Stream, err)
}
