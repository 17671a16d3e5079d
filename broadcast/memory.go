package broadcast

import (
	"fmt"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
)

// MemoryPlan is how much memory each part of a server may take up at most, in bytes: see Config.MemoryBytes.
type MemoryPlan struct {
	Base       int64 // the program itself
	Logs       int64 // published messages that may still be read
	Workers    int64 // the workers' buffers, and compression
	Unfinished int64 // messages that arrive in pieces, and direct messages
	Handshakes int64 // requests that are not answered yet
	Conns      int64 // open connections

	MaxHandshakes int // how many handshakes fit into Handshakes
	MaxConns      int // how many connections fit into Conns
}

// Sum returns the sum of all parts.
func (p MemoryPlan) Sum() int64 {
	return p.Base + p.Logs + p.Workers + p.Unfinished + p.Handshakes + p.Conns
}

// String returns the plan as one line, in MiB.
func (p MemoryPlan) String() string {
	var b strings.Builder
	part := func(name string, n int64) { fmt.Fprintf(&b, "%s %.1f, ", name, float64(n)/(1<<20)) }
	part("base", p.Base)
	part("logs", p.Logs)
	part("workers", p.Workers)
	part("unfinished messages", p.Unfinished)
	part(fmt.Sprintf("%d handshakes", p.MaxHandshakes), p.Handshakes)
	part(fmt.Sprintf("%d connections", p.MaxConns), p.Conns)
	fmt.Fprintf(&b, "together %.1f MiB", float64(p.Sum())/(1<<20))
	return b.String()
}

// The memory of single parts, in bytes. Those of connections and handshakes are what they need at worst, and include
// what the garbage collector has not freed yet.
const (
	baseBytes       = 24 << 20
	connBytes       = 2560 // Most of it is for pongs that wait until the socket is writable.
	addressBytes    = 160  // See addresses.
	expiryBytes     = 160  // See expiries.
	handshakeBytes  = maxHeadBytes + 4<<10
	compressorBytes = 1100 << 10
	logOverhead     = 1 << 20 // Views keep segments from being freed, and the last segment is never full.
)

// logs returns how much memory published messages take up. This is the retention, half as much for what may be
// published during a pass (see Server.maxLag), and an eighth for what is kept for connections that skip (see
// feed.skip). With channels, views keep as much of what was dropped as is published during a pass (see
// shard.refresh).
func (cfg *Config) logs(encodings int64) int64 {
	// A log always keeps its newest message. As an event, a message may take twice its size.
	retain := int64(max(cfg.RetainBytes, cfg.MaxMessageBytes))
	ofEvents := int64(max(cfg.RetainBytes, 2*cfg.MaxMessageBytes))
	if cfg.Channels {
		return int64(cfg.RetainTotalBytes) + ofEvents*9/8 + 2*logOverhead
	}
	return ((encodings-1)*retain+ofEvents)*13/8 + encodings*logOverhead
}

// fitLogs lowers the retention if it is a default and would take more than a quarter of MemoryBytes.
func (cfg *Config) fitLogs(encodings int64, retainIsDefault, totalIsDefault bool) {
	most := cfg.MemoryBytes / 4
	if cfg.Channels {
		if totalIsDefault {
			cfg.RetainTotalBytes = int(max(min(int64(cfg.RetainTotalBytes), (most-2*logOverhead)*3/4), minRetain))
		}
		most = int64(cfg.RetainTotalBytes) / 4
	} else {
		most = (most/encodings - logOverhead) * 8 / 13
	}
	if retainIsDefault && most < int64(cfg.RetainBytes) {
		cfg.RetainBytes = int(max(most, minRetain))
	}
	if totalIsDefault {
		cfg.RetainTotalBytes = max(cfg.RetainTotalBytes, cfg.RetainBytes)
	}
}

// plan divides up cfg.MemoryBytes, or returns an error that says how much is needed. It may lower RetainBytes and
// RetainTotalBytes if they are defaults.
func (cfg *Config) plan(retainIsDefault, totalIsDefault bool) (p MemoryPlan, err error) {
	total := cfg.MemoryBytes
	encodings := int64(formKinds)                                                   // Plain, with ids, events.
	perWorker := int64(recvBytes+64<<10+2*keptBytes) + 2*int64(cfg.MaxMessageBytes) // The lines of events.
	if cfg.Compress {
		const windows = maxWindowBits - minWindowBits + 1
		encodings += 2 * windows
		// What is inflated, what it was, and the frames of all encodings at once.
		perWorker += 2*int64(cfg.MaxMessageBytes) + windows*(compressorBytes+int64(cfg.MaxMessageBytes))
	}
	cfg.fitLogs(encodings, retainIsDefault, totalIsDefault)
	p.Base = baseBytes
	p.Logs = cfg.logs(encodings)
	p.Workers = int64(cfg.Workers) * perWorker
	p.Unfinished = max(total/8, 4*int64(cfg.MaxMessageBytes))
	p.MaxHandshakes = int(min(max(total/24/handshakeBytes, 64), 1<<16))
	p.Handshakes = int64(p.MaxHandshakes) * handshakeBytes
	each := int64(connBytes)
	if cfg.MaxConnsPerIP > 0 || len(cfg.TrustedProxies) > 0 {
		each += addressBytes
	}
	if cfg.Authorize != nil {
		each += expiryBytes
	}
	const fewest = 16
	rest := total - p.Sum()
	if rest < fewest*each {
		return p, fmt.Errorf("broadcast: Config.MemoryBytes is %d, want at least %d: %v",
			total, total-rest+fewest*each, p)
	}
	p.MaxConns = int(min(rest/each, 1<<30))
	if cfg.MaxConns > 0 {
		p.MaxConns = min(p.MaxConns, cfg.MaxConns)
	}
	p.Conns = int64(p.MaxConns) * each
	return p, nil
}

// unfinished counts the memory of messages that arrive in pieces, of all connections together.
type unfinished struct {
	most  int64        // Immutable after construction. 0 means no bound, and nothing is counted.
	bytes atomic.Int64 // Written and read by any goroutine: capacities of buffers, except those of victims.

	mu sync.Mutex
	// Guarded by mu: connections with at least largeMessage bytes, and their sizes, by the bit length of the sizes.
	large   [64]map[*Conn]int64
	victims map[*Conn]struct{} // Guarded by mu: connections that must give way, which are no longer in large.
}

// largeMessage is the size of an unfinished message from which on its connection may have to give way.
const largeMessage = 4 << 10

// grew records that c's buffers have grown from counted to n bytes, and returns the connection that has to give way:
// nil if there is room, c itself, or one of those that have the most (up to the next power of two).
func (u *unfinished) grew(c *Conn, counted, n int64) (victim *Conn) {
	if n < largeMessage && u.bytes.Add(n-counted) <= u.most {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if n >= largeMessage {
		if _, is := u.victims[c]; is {
			return c
		}
		delete(u.class(counted), c)
		u.class(n)[c] = n
		u.bytes.Add(n - counted)
	}
	if u.bytes.Load() <= u.most {
		return nil
	}
	for k := len(u.large) - 1; k > bits.Len64(uint64(n)); k-- {
		for victim, size := range u.large[k] {
			delete(u.large[k], victim)
			u.bytes.Add(-size)
			if u.victims == nil {
				u.victims = make(map[*Conn]struct{})
			}
			u.victims[victim] = struct{}{}
			return victim
		}
	}
	return c
}

// class returns the connections with about n bytes. The mutex must be held.
func (u *unfinished) class(n int64) map[*Conn]int64 {
	k := bits.Len64(uint64(n))
	if u.large[k] == nil {
		u.large[k] = make(map[*Conn]int64)
	}
	return u.large[k]
}

// shrank records that c has freed all of its n bytes.
func (u *unfinished) shrank(c *Conn, n int64) {
	if n >= largeMessage {
		u.mu.Lock()
		defer u.mu.Unlock()
		if _, is := u.victims[c]; is {
			delete(u.victims, c)
			return
		}
		delete(u.class(n), c)
	}
	u.bytes.Add(-n)
}

// isVictim reports whether c has to give way.
func (u *unfinished) isVictim(c *Conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, is := u.victims[c]
	return is
}

// scarce reports whether more than three quarters of the bound are used.
func (u *unfinished) scarce() bool { return u.bytes.Load() > u.most-u.most/4 }

// countKept counts the memory of c's unfinished bytes, and returns false if c must give way. If there is no room, a
// connection with more unfinished bytes gives way first.
func (c *Conn) countKept() bool {
	in, srv := c.in, c.shard().srv
	n := int64(cap(in.rest) + cap(in.payload))
	if n <= in.counted || srv.unfinished.most == 0 {
		return true
	}
	victim := srv.unfinished.grew(c, in.counted, n)
	in.counted = n
	if victim == c {
		return false
	}
	if victim != nil {
		victim.set(evicted)
		if victim.acquire(0) {
			srv.queue.push(victim) // Otherwise its owner sees the flag, or the clock if it is held: see onTick.
		}
	}
	return true
}

// evict closes c if its unfinished bytes have to give way to those of others.
func (c *Conn) evict() {
	if c.readPhase() == readFrames && c.in != nil && c.shard().srv.unfinished.isVictim(c) {
		c.freeInbound()
		c.violated(errCrowded)
	}
}
