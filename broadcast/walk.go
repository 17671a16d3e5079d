package broadcast

import (
	"context"
	"math"
	"time"
)

// walk visits the open connections of one shard that a filter selects. A shard may have half a million of them, so a
// walk can be interrupted: see Server.walkAll.
//
// It goes from the end of each list to its start. When a connection leaves a list, the last one moves to its place, and
// the walk has visited that one. So the walk misses no connection that stays; it may visit one twice, and it may miss
// those that join during the walk. The shard's list of feeds changes in the same way.
type walk struct {
	// Immutable after construction.
	filter ConnFilter
	feeds  []*feed       // The feeds of filter.Channel in this shard. Unused if that is nil.
	arrive func(f *feed) // If not nil, is called before the first visit to a feed.
	visit  func(c *Conn)
	limit  time.Duration // How long step may take.

	// Owned by the shard.
	feed *feed // The current one.
	k    int   // Its index in the list of feeds.
	left int   // How many of its connections have not been visited: those with the lowest indexes.
	done bool
}

// walkEvery is how many connections a walk visits between two looks at the time.
const walkEvery = 64

// walkStep is how long a walk keeps a shard from other work.
const walkStep = 10 * time.Millisecond

// newWalk returns a walk through the connections of s.
func (s *shard) newWalk(filter ConnFilter) *walk {
	w := &walk{filter: filter, k: math.MaxInt, limit: walkStep}
	if filter.Channel == nil {
		return w
	}
	ch := s.srv.channel(*filter.Channel)
	if ch == nil {
		return w
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for e := &ch.plain; e != nil; e = e.next {
		for f := e.feeds; f != nil; f = f.next {
			if f.shard == s {
				w.feeds = append(w.feeds, f)
			}
		}
	}
	return w
}

// list returns the feeds to walk through, which change from visit to visit.
func (w *walk) list(s *shard) []*feed {
	if w.filter.Channel != nil {
		return w.feeds
	}
	return s.feeds
}

// step continues until the end, or until it has taken its time. Called by the shard.
func (w *walk) step(s *shard) {
	began, visited := time.Now(), 0
	for w.k = min(w.k, len(w.list(s))-1); w.k >= 0; w.k = min(w.k, len(w.list(s))) - 1 {
		f := w.list(s)[w.k]
		if f != w.feed { // It may be in the place of another one that is empty now.
			if w.feed, w.left = f, math.MaxInt; w.arrive != nil {
				w.arrive(f)
			}
		}
		for w.left = min(w.left, len(f.open)); w.left > 0; w.left = min(w.left-1, len(f.open)) {
			if visited++; visited%walkEvery == 0 && time.Since(began) >= w.limit {
				return
			}
			if c := f.open[w.left-1]; w.filter.selects(c) {
				w.visit(c)
			}
		}
	}
	w.done = true
}

// walkAll makes a walk through each shard, all at the same time. It goes a step at a time, so that a shard does its
// other work between two steps. The error is ErrServerClosed or that of ctx; then a shard may be in its last step.
func (srv *Server) walkAll(ctx context.Context, walks []*walk) error {
	for done := false; !done; {
		err := srv.awaitShards(ctx, func(i int, s *shard) {
			if !walks[i].done {
				walks[i].step(s)
			}
		})
		if err != nil {
			return err
		}
		done = true
		for _, w := range walks {
			done = done && w.done
		}
	}
	return nil
}
