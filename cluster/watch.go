package cluster

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// watcher is the state of Ordered.watch, which owns it. It checks the stream now and then, and whether the reader
// receives what the stream holds.
type watcher struct {
	c *Ordered

	last   *jetstream.StreamInfo // The last answer, or nil.
	lastAt time.Time             // When it was asked for.

	failingSince time.Time // Since when the stream does not answer or has no majority; zero if it does.
	missingSince time.Time // Since when NATS reports that the stream does not exist; zero if it does.
	movedAt      time.Time // When the connection was last moved to another NATS server.

	delivered   uint64    // The sequence number that was delivered at the last check.
	progressAt  time.Time // When the reader was last seen to progress, or to have everything.
	markedAt    time.Time // When the first marker since then was sent, to see whether the reader progresses.
	restartedAt time.Time // When the reader was last restarted because of that.
}

// watch checks whether the stream is still the same one (a consumer would wait in another one for its next message),
// whether it answers, and whether the reader progresses. If the server reads only some channels, watch also keeps the
// reader close to the head: otherwise messages of other channels that the stream drops would look like lost ones.
func (c *Ordered) watch() {
	w := &watcher{c: c, delivered: c.delivered.Load(), progressAt: time.Now()}
	timer := time.NewTimer(c.nextCheck(nil, nil, 0))
	defer timer.Stop()
	moreAsked, pauseOver := c.moreAsked, (<-chan time.Time)(nil)
	for {
		select {
		case <-timer.C:
		case <-c.recheck:
		case <-moreAsked: // One marker serves all clients that ask within the next 100 ms.
			c.sendMarker()
			moreAsked, pauseOver = nil, time.After(100*time.Millisecond)
			continue
		case <-pauseOver:
			moreAsked = c.moreAsked
			continue
		case <-c.ctx.Done():
			return
		}
		next, err := w.checkStream()
		if err != nil {
			c.fail(err)
			return
		}
		timer.Reset(next)
	}
}

// checkStream checks the stream and the reader once, and returns how long to wait until the next check. An error means
// that this server cannot continue.
func (w *watcher) checkStream() (next time.Duration, err error) {
	c := w.c
	if c.inboxDenied.Swap(false) { // It may be permitted again, and nats.go subscribes only when it reconnects.
		_ = c.nc.ForceReconnect()
	}
	at, delivered := time.Now(), c.delivered.Load()
	info, err := c.streamInfo(c.ctx)
	answers := err == nil && hasMajority(info.Cluster)
	w.noteAnswer(answers, at)
	if answers {
		w.afterOutage(info.State.LastSeq)
	}
	if err == nil && info.State.LastSeq < delivered { // It was rolled back, or its leader lags.
		if seq, err := c.putMarker(c.ctx); err == nil {
			c.checkSeq(seq, delivered)
		}
	}
	rolledBack := c.rolledBack.Load()
	switch {
	case errors.Is(err, ErrReplaced):
		return 0, err
	case w.isDeleted(err, at):
		return 0, ErrDeleted
	case err == nil && rolledBack != nil:
		return 0, *rolledBack
	case err != nil:
		return min(c.nextCheck(w.last, nil, 0), time.Second), nil
	}
	if c.delivered.Load() < info.State.LastSeq && !c.isFarFromTail(info) && c.interest.filters() != nil {
		c.sendMarker()
	}
	next = c.nextCheck(w.last, info, at.Sub(w.lastAt))
	w.checkReader(info.State.LastSeq)
	w.last, w.lastAt = info, at
	return next, nil
}

// isDeleted reports whether NATS has answered for twice Config.Timeout that the stream does not exist. While it starts,
// NATS may answer so for a moment. err is the error of the last request, which was made at a time.
func (w *watcher) isDeleted(err error, at time.Time) bool {
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		w.missingSince = time.Time{}
		return false
	}
	if w.missingSince.IsZero() {
		w.missingSince = at
	}
	return at.Sub(w.missingSince) >= 2*w.c.cfg.Timeout
}

// noteAnswer notes whether the stream, with a majority, answered the request that was made at the time at. The stream
// counts as silent only after twice Config.Timeout. Otherwise all servers would be unready while the stream elects a
// leader, which takes seconds.
func (w *watcher) noteAnswer(answers bool, at time.Time) {
	c := w.c
	switch {
	case answers:
		w.failingSince = time.Time{}
	case w.failingSince.IsZero():
		w.failingSince = at
	}
	silent := !answers && time.Since(w.failingSince) >= 2*c.cfg.Timeout
	if c.silent.Swap(silent) != silent {
		c.publisher.updateHold()
	}
	if silent {
		c.catchUpSeq.Store(unknownSeq)
	}
	patience := 3 * c.cfg.Timeout
	if silent && c.connected.Load() && at.Sub(w.failingSince) > patience && at.Sub(w.movedAt) > patience {
		w.movedAt = at // This NATS server may be cut off from the others, which may have a majority.
		_ = c.nc.ForceReconnect()
	}
}

// unknownSeq is no sequence number of the stream.
const unknownSeq = math.MaxUint64

// afterOutage restarts the reader when the stream answers again, which is sooner than the reader misses its
// consumer. It makes the server ready when the reader has delivered all that the stream holds now, up to last.
func (w *watcher) afterOutage(last uint64) {
	c := w.c
	if c.catchUpSeq.Load() != unknownSeq {
		return
	}
	outages := c.outages.Load()
	if c.interest.filters() != nil { // The last message may be of a channel that this server does not read.
		seq, err := c.putMarker(c.ctx)
		if err != nil {
			return
		}
		last = seq
	}
	if c.catchUpSeq.Store(last); c.outages.Load() != outages { // The connection was lost again in the meantime.
		c.catchUpSeq.Store(unknownSeq)
	}
	w.progressAt = time.Now()
	c.restartReader(errReconnected)
}

// markEvery is how often an idle reader that may have nothing to read is checked with a marker. It may have nothing to
// read although the stream grows, because of other channels and of markers of other servers.
const markEvery = time.Minute

// checkReader checks whether the reader receives what the stream holds, up to last, and restarts it if not: its
// consumer may be on a NATS server that is stuck. If the reader has not progressed for a while, checkReader sends a
// marker and waits for that.
func (w *watcher) checkReader(last uint64) {
	c, now, timeout := w.c, time.Now(), w.c.cfg.Timeout
	delivered := c.delivered.Load()
	if delivered != w.delivered || delivered >= last {
		w.delivered, w.progressAt = delivered, now
	}
	upTo := c.catchUpSeq.Load()
	// Whether some of the messages up to last are certainly for this server.
	owed := c.interest.filters() == nil || c.readingHistory() || delivered < upTo && upTo != unknownSeq
	marked := w.markedAt.After(w.progressAt)
	if now.Sub(w.progressAt) > timeout && (marked || owed || now.Sub(w.markedAt) > markEvery) {
		if !marked {
			w.markedAt = now
		}
		c.sendMarker() // Again at each check: nats.go notices a lost message only when a later one arrives.
	}
	waited := now.Sub(w.markedAt)
	c.stuck.Store(marked && waited > 2*timeout)
	if marked && waited > timeout && now.Sub(w.restartedAt) > timeout {
		w.restartedAt = now
		c.restartReader(errStuck)
	}
}

// Reasons why an Ordered or a Fast is not ready. docs/operations.md says what to do about each.
var (
	errNotReachable = errors.New("NATS is not reachable")
	errSilent       = errors.New("the stream does not answer: check that NATS has a majority")
	errNotReceiving = errors.New("this server does not receive what the stream holds: check that it may create consumers")
	errCatchingUp   = errors.New("NATS is reachable again, and messages published meanwhile have not all arrived yet")
	errRefused      = errors.New("NATS refuses a subscription of this server: check its permissions and limits")
)

// Reasons to restart the reader.
var (
	errReconnected = errors.New("NATS is reachable again")
	errStuck       = errors.New("NATS does not send what the stream holds")
)

// restartReader makes the reader create another consumer.
func (c *Ordered) restartReader(reason error) {
	if cancel := c.cancelReading.Load(); cancel != nil {
		(*cancel)(reason)
	}
}

// nextCheck returns how long watch waits before it checks again. If the stream drops messages, the wait is at most an
// eighth of the time in which it would drop all that it holds. The rate comes from last and now, two answers that may
// be nil, and the time between them.
func (c *Ordered) nextCheck(last, now *jetstream.StreamInfo, between time.Duration) time.Duration {
	wait := c.cfg.Timeout
	if c.maxAge > 0 {
		wait = min(wait, c.maxAge/8)
	}
	if c.cfg.Channels && (now == nil || now.Config.MaxBytes > 0 || now.Config.MaxMsgs > 0) {
		wait = min(wait, time.Second)
	}
	if last != nil && now != nil && now.State.FirstSeq > last.State.FirstSeq {
		held, dropped := now.State.LastSeq+1-now.State.FirstSeq, now.State.FirstSeq-last.State.FirstSeq
		wait = min(wait, time.Duration(float64(between)*float64(held)/float64(dropped)/8))
	}
	return max(wait, 100*time.Millisecond)
}

// hasMajority reports whether the stream has a leader that has heard of most replicas within ten seconds, the time
// after which NATS itself notices a missing majority. Without a majority another NATS server may still answer.
// replicas is nil if NATS is a single server.
func hasMajority(replicas *jetstream.ClusterInfo) bool {
	if replicas == nil {
		return true
	}
	alive := 1 // The leader.
	for _, replica := range replicas.Replicas {
		if !replica.Offline && replica.Active < 10*time.Second {
			alive++
		}
	}
	return replicas.Leader != "" && alive > (len(replicas.Replicas)+1)/2
}

// isFarFromTail reports whether the reader's next message is in the newer half of what the stream keeps.
func (c *Ordered) isFarFromTail(info *jetstream.StreamInfo) bool {
	next, cfg, state := c.delivered.Load()+1, &info.Config, &info.State
	if cfg.MaxAge > 0 && info.TimeStamp.Sub(time.Unix(0, c.deliveredAt.Load())) > cfg.MaxAge/2 { // Both by NATS' clock.
		return false
	}
	if cfg.MaxBytes <= 0 && cfg.MaxMsgs <= 0 && next >= state.FirstSeq {
		return true
	}
	return next >= state.FirstSeq+(state.LastSeq+1-state.FirstSeq)/2
}

// checkSeq compares the sequence number of a new message with the one that was delivered last when it was sent. If
// it is not above that, the stream was rolled back, and watch is told.
func (c *Ordered) checkSeq(seq, delivered uint64) {
	if seq > delivered {
		return
	}
	err := fmt.Errorf("%w: a new message is number %d, and this server has delivered up to %d",
		ErrRolledBack, seq, delivered)
	c.rolledBack.CompareAndSwap(nil, &err)
	c.recheck.ring()
}

// fail reports on the channel of Failed that this server cannot continue. Only the first error counts.
func (c *Ordered) fail(err error) {
	select {
	case c.failed <- err:
	default:
	}
}
