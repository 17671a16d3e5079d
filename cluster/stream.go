package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// awaitStream calls openStream until it succeeds, fails for a reason that does not pass, or ctx is done.
func (c *Ordered) awaitStream(ctx context.Context) error {
	for {
		err := c.openStream(ctx)
		if err == nil || ctx.Err() != nil || !c.mayAppear(err) {
			return err
		}
		c.setWaitReason(err)
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return err
		}
	}
}

// publishesSlowly is what a stream without batches means.
const publishesSlowly = "it stores one message of a channel after the other, which is slower"

// openStream finds or creates the stream, checks its settings, and finds the sequence number to begin with.
func (c *Ordered) openStream(ctx context.Context) error {
	var err error
	timeout := c.cfg.Timeout
	c.js, err = jetstream.New(c.nc, jetstream.WithPublishAsyncTimeout(timeout), jetstream.WithDefaultTimeout(timeout))
	if err != nil {
		return fmt.Errorf("cluster: JetStream: %w", err)
	}
	stream, err := c.js.Stream(ctx, c.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = c.js.CreateStream(ctx, jetstream.StreamConfig{
			Name: c.cfg.Stream, Subjects: []string{c.cfg.Stream + ".*"}, Storage: jetstream.FileStorage,
			Replicas: c.cfg.Replicas, MaxBytes: c.cfg.MaxBytes, MaxAge: c.cfg.MaxAge, Duplicates: c.wantedDedupWindow(),
			AllowAtomicPublish: true, // NATS before 2.12 ignores it.
		})
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // Another server has just created it.
			stream, err = c.js.Stream(ctx, c.cfg.Stream)
		}
	}
	if err != nil {
		return c.streamError(err)
	}
	info := stream.CachedInfo()
	if err := c.checkSettings(&info.Config); err != nil {
		return err
	}
	c.maxPayload = int(c.nc.MaxPayload())
	if limit := int(info.Config.MaxMsgSize); limit > 0 {
		c.maxPayload = min(c.maxPayload, limit)
	}
	switch {
	case !info.Config.AllowAtomicPublish:
		c.cfg.Logger.Info("the stream does not accept batches: "+publishesSlowly,
			"hint", "with NATS 2.12.1 or later: nats stream edit "+c.cfg.Stream+" --allow-batch, and restart crier")
	case info.Config.Replicas > 1:
		c.publisher.minBatch = 2
	default:
		c.publisher.minBatch = minBatchSingle
	}
	c.streamCreated = info.Created
	c.epoch = strconv.FormatInt(info.Created.UnixNano(), 36)
	c.maxAge, c.dedupWindow = info.Config.MaxAge, info.Config.Duplicates
	if c.startSeq = info.State.LastSeq + 1; !c.cfg.Channels {
		c.startSeq, err = c.historyStart(ctx, nil, info)
	}
	return err
}

// wantedDedupWindow returns the dedup window of a new stream: as long as a message may be sent again.
func (c *Ordered) wantedDedupWindow() time.Duration {
	const most = 10 * time.Minute
	if c.cfg.MaxAge > 0 { // NATS allows at most that.
		return min(most, c.cfg.MaxAge)
	}
	return most
}

// checkSettings returns an ErrStream that lists the settings which differ from the wanted ones, or nil.
func (c *Ordered) checkSettings(is *jetstream.StreamConfig) error {
	var differences []string
	want := func(ok bool, setting string, is, wanted any) {
		if !ok {
			differences = append(differences, fmt.Sprintf("%s is %v, wanted %v", setting, is, wanted))
		}
	}
	cfg := &c.cfg
	want(slices.Equal(is.Subjects, []string{cfg.Stream + ".*"}), "subjects", is.Subjects, cfg.Stream+".*")
	want(is.Retention == jetstream.LimitsPolicy, "retention", is.Retention, jetstream.LimitsPolicy)
	want(is.Storage == jetstream.FileStorage, "storage", is.Storage, jetstream.FileStorage)
	want(!is.NoAck, "no ack", is.NoAck, false)
	want(!is.Sealed, "sealed", is.Sealed, false)
	want(is.Discard == jetstream.DiscardOld, "discard", is.Discard, jetstream.DiscardOld)
	want(is.MaxMsgsPerSubject <= 0, "max msgs per subject", is.MaxMsgsPerSubject, -1)
	want(cfg.Replicas == 0 || is.Replicas == cfg.Replicas, "replicas", is.Replicas, cfg.Replicas)
	want(cfg.MaxBytes == 0 || is.MaxBytes == cfg.MaxBytes, "max bytes", is.MaxBytes, cfg.MaxBytes)
	want(cfg.MaxAge == 0 || is.MaxAge == cfg.MaxAge, "max age", is.MaxAge, cfg.MaxAge)
	if len(differences) == 0 {
		return nil
	}
	kind := ErrStream
	if is.Storage != jetstream.FileStorage || is.Retention != jetstream.LimitsPolicy || is.Sealed {
		kind = ErrUnalterable
	}
	return fmt.Errorf("%w: %s: %s", kind, cfg.Stream, strings.Join(differences, ", "))
}

// streamInfo asks NATS for the state of the stream. It returns ErrReplaced if the stream is not the one of OpenOrdered.
func (c *Ordered) streamInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, c.cfg.Stream)
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	// A lower last sequence number does not show a replaced stream: a former leader may answer without the newest
	// messages.
	if !info.Created.Equal(c.streamCreated) {
		return nil, ErrReplaced
	}
	return info, nil
}
