package broadcast

import (
	"sync/atomic"
	"time"
)

// counters are the server's totals. Atomic: written by any goroutine, read by Server.Stats.
type counters struct {
	accepted   atomic.Uint64
	shed       atomic.Uint64
	upgraded   atomic.Uint64
	refused    [600]atomic.Uint32 // By HTTP status: see countRefusal.
	tls        atomic.Uint64
	denied     atomic.Uint64
	timedOut   atomic.Uint64
	abandoned  atomic.Uint64
	disconnect [reasons]atomic.Uint64
	messages   atomic.Uint64
	bytesIn    atomic.Uint64
	writes     atomic.Uint64
	bytesOut   atomic.Uint64
	skips      atomic.Uint64
	holds      atomic.Uint64
	rateHolds  atomic.Uint64
	perIP      atomic.Uint64
	pings      atomic.Uint64
	deliveries atomic.Uint64
	kinds      [formKinds]atomic.Int64 // Open connections by the kind of their form.
	passes     histogram
	latency    histogram
}

// observePass counts a pass. Times are after Server.started. since is when the first new message of the pass was
// published, or 0 if there was none.
func (t *counters) observePass(began, ended, since time.Duration) {
	t.passes.observe(ended - began)
	if since != 0 {
		t.latency.observe(ended - since)
	}
}

// Stats is a snapshot of a server's state and of its totals since New. The
// fields are read one after the other, so they need not add up exactly while
// the server is busy.
type Stats struct {
	Open       int            // open connections
	OpenByKind map[string]int // open connections by what they asked for: "websocket", "crier.v1" or "events"
	MaxConns   int            // the limit of open connections, or 0
	Handshakes int            // opening connections: their handshakes are not finished
	Held       int            // connections that are not read because the server is behind

	Accepted           uint64            // TCP connections accepted
	Shed               uint64            // connections closed at accept for lack of fds or memory
	ShedPerIP          uint64            // connections answered 429 at accept because of MaxConnsPerIP
	Upgraded           uint64            // handshakes answered with 101
	Refused            map[int]uint64    // handshakes refused, by HTTP status
	TLS                uint64            // connections that sent TLS to this plain port
	Denied             uint64            // handshakes that Authorize refused; Refused counts them as well
	HandshakeTimeouts  uint64            // handshakes not finished within HandshakeTimeout
	HandshakeAbandoned uint64            // handshakes that the peer ended before they were finished
	Disconnects        map[string]uint64 // ended connections, by Reason

	Messages  uint64 // messages published
	BytesIn   uint64 // payload bytes published
	Writes    uint64 // system calls that wrote messages
	BytesOut  uint64 // bytes of messages written, headers included
	Skips     uint64 // times that a slow connection skipped to the newest message
	Holds     uint64 // times that a publisher was held because the server was behind
	RateHolds uint64 // times that a publisher was held because it was over its rate
	Pings     uint64 // pings sent

	Deliveries uint64    // messages that the kernel has taken whole, counted once for each connection
	Passes     Histogram // durations of passes, which write what is new in a channel to the connections of a shard
	Latency    Histogram // times from publishing the first new message of a pass to the end of the pass

	Channels int    // channels that have connections or messages
	Queued   int    // connections and listeners that wait for a worker
	Busy     int    // workers that are not idle
	Workers  int    // all workers
	Refusals uint64 // turns for which the pool refused a goroutine; it does so only after Shutdown, so this stays 0
	LogBytes int64  // memory that published messages take up, in bytes
	Segments int    // pieces of memory that published messages are in

	// ShardLag is the time since the slowest shard finished its last round. Shards make ten rounds a second, unless a
	// pass takes longer.
	ShardLag     time.Duration
	SlowestBytes uint64 // the greatest lag of a blocked connection in the last pass of its feed, in bytes
}

// Stats returns the present state and the totals. It does not block.
func (srv *Server) Stats() Stats {
	t := &srv.total
	st := Stats{
		Open:               int(srv.open.Load()),
		Handshakes:         srv.opening.len(),
		Held:               srv.holding.connCount(),
		Accepted:           t.accepted.Load(),
		Shed:               t.shed.Load(),
		ShedPerIP:          t.perIP.Load(),
		Upgraded:           t.upgraded.Load(),
		Refused:            make(map[int]uint64),
		TLS:                t.tls.Load(),
		Denied:             t.denied.Load(),
		HandshakeTimeouts:  t.timedOut.Load(),
		HandshakeAbandoned: t.abandoned.Load(),
		Disconnects:        make(map[string]uint64),
		OpenByKind:         make(map[string]int),
		MaxConns:           srv.cfg.MaxConns,
		Messages:           t.messages.Load(),
		BytesIn:            t.bytesIn.Load(),
		Writes:             t.writes.Load(),
		BytesOut:           t.bytesOut.Load(),
		Skips:              t.skips.Load(),
		Holds:              t.holds.Load(),
		RateHolds:          t.rateHolds.Load(),
		Pings:              t.pings.Load(),
		Deliveries:         t.deliveries.Load(),
		Passes:             t.passes.snapshot(),
		Latency:            t.latency.snapshot(),
		Refusals:           srv.queue.refusals.Load(),
		LogBytes:           srv.forms[0].log.Space.Taken(),
		Segments:           int(srv.forms[0].log.Space.Segments()),
	}
	st.Channels = srv.channels.len()
	st.Queued, st.Busy, st.Workers = srv.queue.state()
	for _, s := range srv.shards {
		st.ShardLag = max(st.ShardLag, time.Since(srv.started)-time.Duration(s.lastRound.Load()))
		st.SlowestBytes = max(st.SlowestBytes, s.slowest.Load())
	}
	for status := range t.refused {
		if n := t.refused[status].Load(); n > 0 {
			st.Refused[status] = uint64(n)
		}
	}
	for kind := range t.kinds {
		st.OpenByKind[formKind(kind).String()] = int(t.kinds[kind].Load())
	}
	for _, r := range Reasons() {
		if n := t.disconnect[r].Load(); n > 0 {
			st.Disconnects[r.String()] = n
		}
	}
	return st
}

// countRefusal counts a refused handshake. A status that does not stand for an error counts as 500.
func (t *counters) countRefusal(status int) {
	if status < 400 || status >= len(t.refused) {
		status = 500
	}
	t.refused[status].Add(1)
}
