package broadcast

import (
	"fmt"
	"math/bits"
	"strings"
	"sync"
	"sync/atomic"
)

// MemoryPlan is what a server may take up at the most, in bytes: see
// Config.MemoryBytes.
type MemoryPlan struct {
	Base       int64 // the program itself
	Logs       int64 // messages that were published and may be read yet
	Workers    int64 // their buffers, and compression
	Unfinished int64 // messages that come in pieces
	Handshakes int64 // requests that are not answered yet
	Conns      int64 // open connections

	MaxHandshakes int // how many fit
	MaxConns      int
}

// Sum is all together.
func (p MemoryPlan) Sum() int64 {
	return p.Base + p.Logs + p.Workers + p.Unfinished + p.Handshakes + p.Conns
}

// String returns the plan in a line of MiB.
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

// What parts take up. Those of connections and handshakes are more than they need at
// rest, for what they need at their worst and for what the collector has not collected.
const (
	baseBytes       = 24 << 20
	connBytes       = 2560 // Most of it is pongs that wait for a socket with room.
	addressBytes    = 160  // See addresses.
	expiryBytes     = 160  // See lapses.
	handshakeBytes  = maxHeadBytes + 4<<10
	compressorBytes = 1100 << 10
	logOverhead     = 1 << 20 // Views hold on to segments, and the last one is never full.
)

// logs is what messages take up that were published. Beside the retention that is what may
// be published during a pass, half as much (see Server.mayLag), and what is kept for those that
// skip (see feed.skip), an eighth. With channels, views hold as much again as a
// pass does of what was dropped (see shard.refresh).
func (cfg *Config) logs(encodings int64) int64 {
	// The newest message is always there, twice as large as an event.
	retain := int64(max(cfg.RetainBytes, cfg.MaxMessageBytes))
	ofEvents := int64(max(cfg.RetainBytes, 2*cfg.MaxMessageBytes))
	if cfg.Channels {
		return int64(cfg.RetainTotalBytes) + ofEvents*9/8 + 2*logOverhead
	}
	return ((encodings-1)*retain+ofEvents)*13/8 + encodings*logOverhead
}

// fitLogs makes the retention less where it is a default and too much for a quarter of all.
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

// plan divides up cfg.MemoryBytes, or says why it cannot. It may make less what is a default
// of RetainBytes and RetainTotalBytes.
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
		return p, fmt.Errorf("broadcast: Config.MemoryBytes is %d, want at least %d: %v", total, total-rest+fewest*each, p)
	}
	p.MaxConns = int(min(rest/each, 1<<30))
	if cfg.MaxConns > 0 {
		p.MaxConns = min(p.MaxConns, cfg.MaxConns)
	}
	p.Conns = int64(p.MaxConns) * each
	return p, nil
}

// unfinished is what messages that come in pieces take up, all together.
type unfinished struct {
	most  int64        // Immutable. 0 is no bound, and nothing is counted.
	bytes atomic.Int64 // Capacities of buffers, but of those that are to go.

	mu      sync.Mutex
	large   [64]map[*Conn]int64 // Guarded by mu: those with largeMessage or more and their sizes, by their sizes' numbers of bits.
	victims map[*Conn]struct{}  // Guarded by mu: those that are to go, which are in large no more.
}

// largeMessage is from what on a connection may have to give way.
const largeMessage = 4 << 10

// grew notes that what c keeps has grown from counted to n bytes, and says who has to
// give way for that: nobody, c itself, or one that keeps more (to the next power of two,
// the most).
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

// class is those with about n bytes. The mutex must be held.
func (u *unfinished) class(n int64) map[*Conn]int64 {
	k := bits.Len64(uint64(n))
	if u.large[k] == nil {
		u.large[k] = make(map[*Conn]int64)
	}
	return u.large[k]
}

// shrank notes that c keeps nothing more, of n bytes.
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

// isVictim says whether c has to give way.
func (u *unfinished) isVictim(c *Conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, is := u.victims[c]
	return is
}

// scarce says whether there is little room left.
func (u *unfinished) scarce() bool { return u.bytes.Load() > u.most-u.most/4 }

// countKept notes how much c keeps of what is unfinished, and says whether it may. Another one
// that keeps more gives way before it.
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
			srv.queue.push(victim) // Else its owner sees the flag, or goOn if it is held.
		}
	}
	return true
}

// evict closes c if what it keeps has to give way to others.
func (c *Conn) evict() {
	if c.readPhase == readFrames && c.in != nil && c.shard().srv.unfinished.isVictim(c) {
		c.freeInbound()
		c.violated(errCrowded)
	}
}
