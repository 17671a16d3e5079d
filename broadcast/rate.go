package broadcast

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// RatePolicy is what happens to a connection that publishes more than its rate.
type RatePolicy uint8

const (
	// RateHold holds the connection: it is read more slowly, and TCP pushes back on its peer.
	RateHold RatePolicy = iota
	// RateClose closes the connection with 1008 (RFC 6455, section 7.4.1). The message that exceeded the rate is not
	// published.
	RateClose
)

// limiter bounds what each connection publishes: see Config.Rate. It has the quotas of connections that have
// published lately.
type limiter struct {
	// Immutable after construction.
	messages, bytes rate.Limit
	burst           int
	burstBytes      int
	policy          RatePolicy
	closeTimeout    time.Duration

	mu     sync.Mutex
	quotas map[*Conn]*quota // Guarded by mu.
	held   []*Conn          // Guarded by mu: not read while they are over their rate. Their reading sides stay owned.
}

// quota is how much one connection may still publish. It is guarded by limiter.mu.
type quota struct {
	messages, bytes *rate.Limiter
	until           time.Time // The connection may publish again at this time.
}

// newLimiter returns nil if cfg sets no rate.
func newLimiter(cfg *Config) *limiter {
	if cfg.Rate == 0 && cfg.RateBytes == 0 {
		return nil
	}
	limit := func(r float64) rate.Limit {
		if r == 0 {
			return rate.Inf
		}
		return rate.Limit(r)
	}
	return &limiter{
		messages: limit(cfg.Rate), burst: cfg.Burst,
		bytes: limit(cfg.RateBytes), burstBytes: cfg.BurstBytes,
		policy: cfg.OverRate, closeTimeout: cfg.CloseTimeout, quotas: make(map[*Conn]*quota),
	}
}

// spend takes a message of n bytes from c's quota, and reports whether it may be published. With RateHold it may, and
// c is then held until it is within its rate again.
//
// A connection that the server is closing is not held: otherwise its peer's close frame, which comes after the
// messages, would not be read. Until CloseTimeout such a connection may publish what its rate would have allowed.
func (l *limiter) spend(c *Conn, n int, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.quotas[c]
	if q == nil {
		q = &quota{messages: rate.NewLimiter(l.messages, l.burst), bytes: rate.NewLimiter(l.bytes, l.burstBytes)}
		l.quotas[c] = q
	}
	if l.policy == RateClose {
		return q.messages.AllowN(now, 1) && q.bytes.AllowN(now, n)
	}
	wait := q.messages.ReserveN(now, 1).DelayFrom(now)
	for n > 0 { // A message may be larger than a burst.
		k := min(n, l.burstBytes)
		wait = max(wait, q.bytes.ReserveN(now, k).DelayFrom(now))
		n -= k
	}
	q.until = now.Add(wait)
	return wait <= l.closeTimeout || !c.has(leaving)
}

// isOverRate reports whether c must be held, because it has published more than its rate allows by now. l may be nil.
func (l *limiter) isOverRate(c *Conn) bool {
	if l == nil || l.policy == RateClose {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.isOverRateLocked(c, time.Now())
}

// isOverRateLocked is isOverRate for a caller that holds mu.
func (l *limiter) isOverRateLocked(c *Conn, now time.Time) bool {
	q := l.quotas[c]
	return q != nil && q.until.After(now) && !c.has(leaving)
}

// holdIfOver holds c until it is within its rate again. It returns false if c may publish now. The caller owns c's
// reading side. l may be nil.
func (l *limiter) holdIfOver(c *Conn) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isOverRateLocked(c, time.Now()) {
		return false
	}
	l.held = append(l.held, c)
	return true
}

// takeDue removes and returns the held connections that may publish again or must close, or all of them if all is
// set.
func (l *limiter) takeDue(now time.Time, all bool) (conns []*Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := l.held[:0]
	for _, c := range l.held {
		if all || c.has(closed|evicted) || !l.isOverRateLocked(c, now) {
			conns = append(conns, c)
		} else {
			left = append(left, c)
		}
	}
	clear(l.held[len(left):])
	l.held = left
	return conns
}

// forget drops c's quota. l may be nil.
func (l *limiter) forget(c *Conn) {
	if l != nil {
		l.mu.Lock()
		delete(l.quotas, c)
		l.mu.Unlock()
	}
}

// sweep drops the quotas that are full again.
func (l *limiter) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := func(r *rate.Limiter) bool {
		return r.Limit() == rate.Inf || r.TokensAt(now) >= math.Nextafter(float64(r.Burst()), 0)
	}
	for c, q := range l.quotas {
		if full(q.messages) && full(q.bytes) {
			delete(l.quotas, c)
		}
	}
}

// resumeWithinRate gives a turn to the connections held by their rate that may publish again or must close, or to all
// of them.
func (srv *Server) resumeWithinRate(all bool) {
	if l := srv.limiter; l != nil {
		for _, c := range l.takeDue(time.Now(), all) {
			srv.queue.push(c)
		}
	}
}
