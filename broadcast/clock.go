package broadcast

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/netpoll"
	"golang.org/x/sys/unix"
)

// clock returns the milliseconds since the server was made. The value wraps around after 49 days: compare it with
// before.
func (srv *Server) clock() uint32 { return uint32(time.Since(srv.started).Milliseconds()) }

// reportEvery is how often the totals are logged.
const reportEvery = time.Minute

// tidyEvery is how often memory that is no longer needed is freed.
const tidyEvery = 10 * time.Second

func (srv *Server) tidyEvery() time.Duration {
	if age := srv.cfg.RetainAge; age > 0 {
		return min(tidyEvery, max(time.Second, age/8))
	}
	return tidyEvery
}

// runClock is the goroutine of the server's clock, which has the server's only timers. Server.stop ends it by closing
// stopTick, and waits for it.
func (srv *Server) runClock() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	report := time.NewTicker(reportEvery)
	defer report.Stop()
	tidy := time.NewTicker(srv.tidyEvery())
	defer tidy.Stop()
	for {
		select {
		case <-srv.stopTick:
			return
		case <-report.C:
			srv.report("totals")
		case <-tidy.C:
			srv.tidy()
			if srv.limiter != nil {
				srv.limiter.sweep(time.Now())
			}
		case <-ticker.C:
			srv.onTick()
		}
	}
}

// onTick does what is due by time.
func (srv *Server) onTick() {
	srv.forms[0].log.Space.Advance(time.Since(srv.started))
	srv.expireHandshakes()
	srv.acceptAgain()
	srv.resumeWithinRate(false)
	srv.replica.ahead.recheck(srv)
	if srv.channels.tidySoon.Swap(false) {
		srv.tidy()
	}
	for _, c := range srv.holding.takeLeaving() {
		srv.queue.push(c)
	}
	if srv.replica.gatedTooLong() {
		for _, ch := range srv.holding.awaited(nil) { // Each checks gatedTooLong when it is resumed.
			srv.resume(ch)
		}
	}
	// Messages of another channel may have been what exceeded the limit, so check every channel that is behind.
	for _, ch := range srv.holding.awaited((*channel).isBehind) {
		srv.caughtUp(ch)
	}
	for _, s := range srv.shards {
		s.watch.logSlow(srv, time.Since(srv.started))
		s.ticked.Store(true) // Pairs with the swap in shard.round.
		s.wakeUp()
	}
}

// expireHandshakes ends connections that took too long: opening ones, and refused ones whose peers have not gone.
func (srv *Server) expireHandshakes() { endHandshakes(srv.opening.takeExpired(srv.clock())) }

// endHandshakes closes connections that were taken out of Server.opening, and answers those that were not answered.
func endHandshakes(conns []*Conn) {
	var buf []byte
	for _, c := range conns {
		if !c.acquire(0) {
			c.kill() // The worker that owns the reading side answers, and releases the connection: see turn and upgrade.
			continue
		}
		// Owned, so that no worker answers at the same time.
		if buf == nil {
			buf = make([]byte, maxHeadBytes)
		}
		c.tooLate(buf)
		c.kill()
		c.release()
	}
}

// tooLate answers a connection whose handshake was ended before the connection was open, unless it was answered
// already. The rest of the request that has arrived is read into buf. The caller owns the reading side.
func (c *Conn) tooLate(buf []byte) {
	if c.readPhase() == readHead {
		var req request
		req.parseBegun(c.begunHead(buf))
		c.refuseLate(&req)
	}
}

// refuseLate refuses req, whose connection must close.
func (c *Conn) refuseLate(req *request) {
	c.setReadPhase(readEnd)
	srv := c.shard().srv
	refusal := errTooLate
	if srv.draining.Load() {
		refusal = errShuttingDown
		srv.total.countRefusal(refusal.Status)
	} else {
		srv.total.timedOut.Add(1)
	}
	_, _ = c.shard().sockets.send(int(c.fd), [][]byte{srv.appendRefusal(nil, refusal, req)})
}

// begunHead returns what has arrived of c's request head, without a PROXY header. It is in buf, or in c.in.
func (c *Conn) begunHead(buf []byte) []byte {
	if c.in != nil && c.in.handed {
		return c.in.rest
	}
	n := 0
	if c.in != nil {
		n = copy(buf, c.in.rest)
	}
	if k, _ := c.shard().sockets.recv(int(c.fd), buf[n:]); k > 0 {
		n += k
	}
	head := buf[:n]
	if c.in == nil || !c.in.proxied {
		return head
	}
	p, refusal := readProxyHeader(head)
	if refusal != nil || p.length == 0 {
		return nil
	}
	return head[p.length:]
}

var errTooLate = &Refusal{http.StatusRequestTimeout, "the handshake took too long"}

// acceptAgain gives every listener a turn if one of them is accept stalled: no event reports that memory or fds are
// available again.
func (srv *Server) acceptAgain() {
	if !srv.acceptStalled.Swap(false) {
		return
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	for _, l := range srv.listeners {
		l.event(netpoll.Readable)
	}
}

// report logs the totals at info level.
func (srv *Server) report(msg string) {
	st := srv.Stats()
	srv.cfg.Logger.Info(msg, "open", st.Open, "handshakes", st.Handshakes,
		"accepted", st.Accepted, "upgraded", st.Upgraded, "refused", st.Refused, "shed", st.Shed,
		"disconnects", st.Disconnects, "messages", st.Messages, "bytes_in", st.BytesIn,
		"writes", st.Writes, "bytes_out", st.BytesOut, "skips", st.Skips, "holds", st.Holds)
}

// shedLine logs, at most once a second, that connections are closed at accept for lack of fds or memory.
func (srv *Server) shedLine(err error) {
	if !srv.shedLog.allow(srv.clock()) {
		return
	}
	hint := "the kernel is short of memory"
	if err == unix.EMFILE || err == unix.ENFILE {
		hint = "raise the fd limit (ulimit -n, LimitNOFILE, fs.file-max) or set a maximum of connections"
	}
	srv.cfg.Logger.Error("connections are shed at accept", "err", err,
		"total", srv.total.shed.Load(), "open", srv.open.Load(), "hint", hint)
}

// logLimiter limits a kind of log line to one a second. The zero value is ready.
type logLimiter struct{ last atomic.Uint32 } // Server.clock of the last line, plus 1. Any goroutine.

// allow reports whether a line may be logged now.
func (r *logLimiter) allow(now uint32) bool {
	last := r.last.Load()
	return (last == 0 || now-(last-1) >= 1000) && r.last.CompareAndSwap(last, now+1)
}
