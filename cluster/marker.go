package cluster

import (
	"context"
	"fmt"
	"time"
)

// markerToken begins the last token of subjects of markers. No channel has such a subject, see subjectIn.
const markerToken = "=="

// markerSubject returns the subject of this server's markers. When the reader has read a marker, it has all messages
// before it. The consumer's count of pending messages does not show that: it may be on a replica that lags.
func (c *Ordered) markerSubject() string {
	return c.cfg.Stream + "." + markerToken + c.publisher.idPrefix
}

// markerPayload returns the payload of a marker: the time since OpenOrdered was called.
func (c *Ordered) markerPayload() []byte { return []byte(time.Since(c.opened).String()) }

// putMarker puts a marker into the stream, and returns its sequence number. It waits for NATS, at most Config.Timeout.
func (c *Ordered) putMarker(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	ack, err := c.js.Publish(ctx, c.markerSubject(), c.markerPayload())
	if err != nil {
		return 0, fmt.Errorf("putting a marker into the stream: %w", err)
	}
	return ack.Sequence, nil
}

// sendMarker sends a marker to the stream without waiting for the answer. The marker may be lost.
func (c *Ordered) sendMarker() {
	if err := c.nc.Publish(c.markerSubject(), c.markerPayload()); err != nil {
		c.cfg.Logger.Debug("sending a marker failed", "err", err)
	}
}
