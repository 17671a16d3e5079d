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

// runStep calls step, which is a part of the start, and logs what it waits for. NATS does not answer a request that its
// permissions deny, and reports the denial separately. If the server needs that permission, runStep cancels the context
// of step and returns the denial.
func (c *Ordered) runStep(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	handler := c.nc.ErrorHandler()
	c.nc.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		if c.isNeeded(err) {
			cancel(err)
			return
		}
		handler(nc, sub, err)
	})
	var logging sync.WaitGroup
	logging.Go(func() { c.logWaiting(ctx) }) // Ends with ctx; awaited below.
	err := step(ctx)
	c.nc.SetErrorHandler(handler)
	cause := context.Cause(ctx)
	cancel(nil)
	logging.Wait()
	if err != nil && errors.Is(cause, nats.ErrPermissionViolation) {
		return fmt.Errorf("cluster: stream %s: %w", c.cfg.Stream, cause)
	}
	return err
}

// isNeeded reports whether err denies a permission that a server needs. It needs neither presence nor the permission
// to delete consumers, which expire by themselves.
func (c *Ordered) isNeeded(err error) bool {
	return errors.Is(err, nats.ErrPermissionViolation) &&
		!strings.Contains(err.Error(), `"`+c.cfg.Stream+".presence.") &&
		!strings.Contains(err.Error(), `"$JS.API.CONSUMER.DELETE.`)
}

// logWaiting logs what the start waits for, until ctx is done.
func (c *Ordered) logWaiting(ctx context.Context) {
	w := &waitLog{cfg: &c.cfg.Config}
	ticker := time.NewTicker(silentWait)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		reason := errors.New("NATS does not answer: check that it has a majority")
		if known := c.waitReason.Load(); known != nil {
			reason = *known
		}
		if !c.connected.Load() {
			reason = errNotReachable
		}
		w.report(reason, "stream", c.cfg.Stream, "read", c.delivered.Load())
	}
}

// setWaitReason notes what the start waits for. It pairs with the load in logWaiting.
func (c *Ordered) setWaitReason(reason error) { c.waitReason.Store(&reason) }

// subjectsOverlap is the error code of JetStream for a stream with subjects of another one.
const subjectsOverlap jetstream.ErrorCode = 10065

// streamError adds to err why the stream is not available.
func (c *Ordered) streamError(err error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders),
		errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: stream %s: %w", ErrNoJetStream, c.cfg.Stream, err)
	case hasCode(err, subjectsOverlap):
		err = fmt.Errorf("subjects %s.*: %w", c.cfg.Stream, err)
	}
	return fmt.Errorf("cluster: stream %s: %w", c.cfg.Stream, err)
}
