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

// awaitStream is open, but waits while the stream may come.
func (c *Cluster) awaitStream(ctx context.Context) error {
	for {
		err := c.open(ctx)
		if err == nil || ctx.Err() != nil || !c.mayCome(err) {
			return err
		}
		c.waitsFor(err)
		select {
		case <-time.After(tryEvery):
		case <-ctx.Done():
			return err
		}
	}
}

// open finds or makes the stream, and where to begin in it.
func (c *Cluster) open(ctx context.Context) error {
	var err error
	if c.js, err = jetstream.New(c.nc, jetstream.WithPublishAsyncTimeout(c.cfg.Timeout), jetstream.WithDefaultTimeout(c.cfg.Timeout)); err != nil {
		return fmt.Errorf("cluster: JetStream: %w", err)
	}
	stream, err := c.js.Stream(ctx, c.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = c.js.CreateStream(ctx, jetstream.StreamConfig{
			Name: c.cfg.Stream, Subjects: []string{c.cfg.Stream + ".*"}, Storage: jetstream.FileStorage,
			Replicas: c.cfg.Replicas, MaxBytes: c.cfg.MaxBytes, MaxAge: c.cfg.MaxAge, Duplicates: c.duplicates(),
			AllowAtomicPublish: true, // NATS before 2.12 does not know it, and lets it be.
		})
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // Another crier was faster.
			stream, err = c.js.Stream(ctx, c.cfg.Stream)
		}
	}
	if err != nil {
		return c.noStream(err)
	}
	info := stream.CachedInfo()
	if err := c.check(&info.Config); err != nil {
		return err
	}
	c.largest = int(c.nc.MaxPayload())
	if most := int(info.Config.MaxMsgSize); most > 0 {
		c.largest = min(c.largest, most)
	}
	if several := info.Config.Replicas > 1; several && !info.Config.AllowAtomicPublish {
		c.cfg.Logger.Info("the stream takes no batches: messages of one publisher may change their order when it gets another leader",
			"hint", "with NATS 2.12.1 or later: nats stream edit "+c.cfg.Stream+" --allow-batch, and start crier again")
	} else {
		c.out.atomic = several
	}
	c.created = info.Created
	c.epoch = strconv.FormatInt(info.Created.UnixNano(), 36)
	c.maxAge, c.remembers = info.Config.MaxAge, info.Config.Duplicates
	if c.begin = info.State.LastSeq + 1; !c.cfg.Channels {
		c.begin, err = c.historyFrom(ctx, nil, info)
	}
	return err
}

// duplicates is how long the stream is to know the messages' ids: for as long as one may be sent again.
func (c *Cluster) duplicates() time.Duration {
	const most = 10 * time.Minute
	if c.cfg.MaxAge > 0 { // NATS allows no more.
		return min(most, c.cfg.MaxAge)
	}
	return most
}

// check says in what way a stream is not as it is wanted.
func (c *Cluster) check(is *jetstream.StreamConfig) error {
	var wrong []string
	want := func(ok bool, what string, is, wanted any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s is %v, wanted %v", what, is, wanted))
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
	if len(wrong) == 0 {
		return nil
	}
	as := ErrStream
	if is.Storage != jetstream.FileStorage || is.Retention != jetstream.LimitsPolicy || is.Sealed {
		as = ErrUnalterable
	}
	return fmt.Errorf("%w: %s: %s", as, cfg.Stream, strings.Join(wrong, ", "))
}

// info asks for the state of the stream. The error is ErrReplaced if it is another one than it was.
func (c *Cluster) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, c.cfg.Stream)
	if err != nil {
		return nil, err
	}
	info := stream.CachedInfo()
	if !info.Created.Equal(c.created) { // Its newest message says nothing: who was the leader may not know it any more.
		return nil, ErrReplaced
	}
	return info, nil
}
