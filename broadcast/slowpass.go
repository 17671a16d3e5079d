package broadcast

import (
	"context"
	"runtime/pprof"
	"sync/atomic"
	"time"
)

// watch records the progress of the pass that a shard makes, so that a slow pass can be explained.
type watch struct {
	// Atomic: written by the shard, read by the clock. The clock logs, so that no shard waits for the logger.
	slow  atomic.Pointer[[]any] // The log arguments of a slow pass that is over. The clock clears it.
	feed  atomic.Pointer[feed]  // The feed of the running pass; nil between passes.
	began atomic.Int64          // A time.Duration after Server.started; written before feed.
	at    atomic.Int64          // About how many connections the pass has visited.

	// Owned by the shard.
	before  effort        // The shard's effort when the pass began.
	posts   uint64        // How many posts the shard has read from its inbox so far.
	stepped time.Duration // When the last step ended.
	longest time.Duration // How long the longest step took.

	lastLogged time.Duration // Owned by the clock: when it last logged that a pass is still running.
}

// effort is what a shard had done at one moment.
type effort struct {
	writes, bytes, posts uint64
	cpu                  time.Duration // Of the whole process; 0 if it was not measured.
}

// cpuFrom is the number of connections from which on the processor time of a pass is measured, which takes a system
// call.
const cpuFrom = 1000

// effort returns what the shard has done so far. count resets it, but never during a pass.
func (s *shard) effort(f *feed) effort {
	e := effort{writes: s.writes, bytes: s.bytes, posts: s.watch.posts}
	if len(f.open) >= cpuFrom {
		e.cpu = cpuTime()
	}
	return e
}

// beginPass is called before a pass. Times are after Server.started.
func (w *watch) beginPass(f *feed, now time.Duration) {
	w.before = f.shard.effort(f)
	w.stepped, w.longest = now, 0
	w.at.Store(0)
	w.began.Store(int64(now))
	w.feed.Store(f)
}

// noteStep is called after every inboxEvery connections of a pass. passed is how many it has visited.
func (w *watch) noteStep(passed int, now time.Duration) {
	w.at.Store(int64(passed))
	w.longest = max(w.longest, now-w.stepped)
	w.stepped = now
}

// endPass is called after a pass. since is when the first new message of the pass was published, or 0 if there was
// none.
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

// passArgs returns the log arguments that describe every pass.
func (f *feed) passArgs(took time.Duration) []any {
	form := f.encoding.form
	return []any{"shard", f.shard.index, "channel", f.encoding.channel.name,
		"form", form.kind.String(), "deflate_bits", form.bits, "took", took}
}

// logSlow logs the last slow pass, at most one a second. It also logs a running pass that has taken ten times
// Config.SlowPass, as it may never end, and logs it again after each further ten times. The clock calls logSlow.
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
	srv.cfg.Logger.Error("a pass does not end",
		append(f.passArgs(now-time.Duration(w.began.Load())), "passed", w.at.Load(),
			"hint", "a goroutine profile shows what the goroutine with the label crier=\"shard N\" is doing")...)
}

// labelled calls f. Profiles show this goroutine, and those that f starts, under a name.
func labelled(name string, f func()) {
	pprof.Do(context.Background(), pprof.Labels("crier", name), func(context.Context) { f() })
}
