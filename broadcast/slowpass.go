package broadcast

import (
	"context"
	"runtime/pprof"
	"sync/atomic"
	"time"
)

// watch is what a shard says of the pass that it makes, so that one that takes long can be
// explained.
type watch struct {
	// Written by the shard, read by the clock, which logs: whatever a log waits for, no shard does.
	slow  atomic.Pointer[[]any] // What is to be said of a pass that took long, until it is.
	feed  atomic.Pointer[feed]  // nil between passes.
	began atomic.Int64          // A time.Duration after Server.started; written before feed.
	at    atomic.Int64          // How many connections the pass has behind it, some less.

	// Owned by the shard.
	before  effort        // The shard's at the beginning of the pass.
	posts   uint64        // How many it has read from its inbox so far.
	stepped time.Duration // When the last step was over.
	longest time.Duration // What the longest step took.

	lastLogged time.Duration // Owned by the clock: when it logged last that a pass goes on.
}

// effort is what a shard had done at one moment.
type effort struct {
	writes, bytes, posts uint64
	cpu                  time.Duration // The whole process'; 0 if that was not asked for.
}

// cpuFrom is how many connections a pass must have for its processor time to be asked for: that is
// a system call.
const cpuFrom = 1000

// effort is what the shard has done. count makes it begin anew, which is never within a pass.
func (s *shard) effort(f *feed) effort {
	e := effort{writes: s.writes, bytes: s.bytes, posts: s.watch.posts}
	if len(f.open) >= cpuFrom {
		e.cpu = cpuTime()
	}
	return e
}

// beginPass is called before a pass.
func (w *watch) beginPass(f *feed, now time.Duration) {
	w.before = f.shard.effort(f)
	w.stepped, w.longest = now, 0
	w.at.Store(0)
	w.began.Store(int64(now))
	w.feed.Store(f)
}

// noteStep is called every inboxEvery connections of a pass.
func (w *watch) noteStep(passed int, now time.Duration) {
	w.at.Store(int64(passed))
	w.longest = max(w.longest, now-w.stepped)
	w.stepped = now
}

// endPass is called after a pass that was due since a time, or 0 if there was nothing new.
func (w *watch) endPass(f *feed, since, now time.Duration) {
	w.feed.Store(nil)
	began := time.Duration(w.began.Load())
	if slow := f.shard.srv.cfg.SlowPass; slow == 0 || now-began < slow {
		return
	}
	w.noteStep(len(f.open), now)
	after := f.shard.effort(f)
	args := append(f.passArgs(now-began),
		"connections", len(f.open), "blocked", f.offFastPath,
		"writes", after.writes-w.before.writes, "bytes", after.bytes-w.before.bytes,
		"posts", after.posts-w.before.posts, "longest_step", w.longest)
	if since != 0 {
		args = append(args, "waited", began-since)
	}
	if w.before.cpu != 0 && after.cpu != 0 {
		args = append(args, "cpu", after.cpu-w.before.cpu)
	}
	w.slow.Store(&args)
}

// passArgs are what a line of the log says of every pass.
func (f *feed) passArgs(took time.Duration) []any {
	form := f.encoding.form
	return []any{"shard", f.shard.index, "channel", f.encoding.channel.name, "form", form.kind.String(), "deflate_bits", form.bits, "took", took}
}

// logSlow logs the last pass that took long, at most one a second, and one that goes on for ten times as long, and
// again after as long: it may never end. Called by the clock.
func (w *watch) logSlow(srv *Server, now time.Duration) {
	if args := w.slow.Load(); args != nil && srv.slowLog.allow(srv.clock()) {
		w.slow.CompareAndSwap(args, nil)
		srv.cfg.Logger.Warn("slow pass", *args...)
	}
	every := 10 * srv.cfg.SlowPass
	f := w.feed.Load()
	if f == nil || every == 0 || now-max(time.Duration(w.began.Load()), w.lastLogged) < every {
		return
	}
	w.lastLogged = now
	srv.cfg.Logger.Error("a pass goes on and on", append(f.passArgs(now-time.Duration(w.began.Load())), "passed", w.at.Load(),
		"hint", "a profile of goroutines says where the one with the label crier=\"shard N\" is")...)
}

// labelled calls f on a goroutine that profiles show under a name, with those that it starts.
func labelled(name string, f func()) {
	pprof.Do(context.Background(), pprof.Labels("crier", name), func(context.Context) { f() })
}
