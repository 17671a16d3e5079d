package broadcast

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/netpoll"
	"golang.org/x/sys/unix"
)

// Errors returned by a Server.
var (
	// ErrServerClosed: Shutdown was called.
	ErrServerClosed = errors.New("broadcast: server is closed")
	// ErrTooLarge: the message is larger than Config.MaxMessageBytes.
	ErrTooLarge = errors.New("broadcast: message is larger than allowed")
	// ErrNotText: a message of kind Text is not valid UTF-8.
	ErrNotText = errors.New("broadcast: text message is not valid UTF-8")
	// ErrChannel: no channel can have this name.
	ErrChannel = errors.New("broadcast: invalid channel name")
	// ErrKind: the message is neither of kind Text nor of kind Binary.
	ErrKind = errors.New("broadcast: message is neither text nor binary")
	// ErrBusy: too many direct messages wait to be sent, see Conn.Send.
	ErrBusy = errors.New("broadcast: too many direct messages wait to be sent")
	// ErrClosed: the connection is closed or being closed. It is a net.ErrClosed.
	ErrClosed = fmt.Errorf("broadcast: connection is closed: %w", net.ErrClosed)
)

// Server is a broadcast server. Make one with New, and serve with Run, or with Serve and Shutdown. All methods are
// safe for concurrent use.
type Server struct {
	// Immutable after construction.
	cfg         Config
	forms       [maxForms]*form // See formAt.
	addresses   *addresses      // nil if Config has neither MaxConnsPerIP nor TrustedProxies.
	page        pageAnswer
	extras      extras
	directBytes directBytes
	limiter     *limiter // nil without a rate.
	origins     origins
	shards      []*shard
	poller      poller
	queue       *queue
	started     time.Time
	seed        maphash.Seed  // Of the IDs of connections.
	stopTick    chan struct{} // Closed by stop.
	ticking     sync.WaitGroup
	closed      chan struct{} // Closed when Shutdown begins.
	ended       chan struct{} // Closed when all connections are gone, and no shard runs.
	stopped     chan struct{} // Closed when Shutdown is about to return.

	// Each has a mutex or atomic fields of its own.
	opening    opening
	holding    holding
	unfinished unfinished
	replica    Replica

	channels channels
	root     *channel      // Immutable after construction: the channel whose name is empty, which is never dropped.
	numbers  atomic.Uint64 // Written under channels.mu, read by enter: the number before a new channel's first message.

	// Atomic.
	open          atomic.Int64  // Written by workers and shards: connections that are open or closing, or about to be.
	draining      atomic.Bool   // Written by Shutdown, read by workers and shards.
	drainBegan    atomic.Uint32 // Written by Shutdown before draining, read by shards: a time of clock.
	acceptStalled atomic.Bool   // Set by workers, cleared by the clock: a listener cannot accept.
	nextShard     atomic.Uint32 // Written and read by adopt.
	total         counters
	pumps         atomic.Int64 // Written by pumps, read by stop: pumps that are running.
	tlsLog        logLimiter
	shedLog       logLimiter
	deniedLog     logLimiter
	proxyLog      logLimiter
	slowLog       logLimiter

	mu        sync.Mutex
	listeners []*listener // Guarded by mu.
	closing   bool        // Guarded by mu: Shutdown has been called.
}

// New makes a Server and starts its goroutines, whose number depends on the processors and not on the connections.
// Shutdown ends them. The error joins everything that is wrong with cfg, or is the error of the system (EMFILE,
// ENOMEM).
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.WithDefaults()
	if err != nil {
		return nil, err
	}
	srv := &Server{
		cfg:       cfg,
		addresses: newAddresses(&cfg),
		page:      newPageAnswer(cfg.Page),
		limiter:   newLimiter(&cfg),
		started:   time.Now(),
		seed:      maphash.MakeSeed(),
		stopTick:  make(chan struct{}),
		closed:    make(chan struct{}),
		ended:     make(chan struct{}),
		stopped:   make(chan struct{}),
	}
	srv.init()
	srv.unfinished.most = cfg.memory.Unfinished
	srv.origins, _ = parseOrigins(cfg.Origins) // Found valid above.
	labelled("poller", func() { srv.poller, err = netpoll.Open(netpoll.Config{}) })
	if err != nil {
		return nil, fmt.Errorf("broadcast: %w", err)
	}
	labelled("worker", func() { srv.queue, err = newQueue(cfg.Workers, newWorker) })
	if err != nil {
		return nil, errors.Join(err, srv.poller.Close())
	}
	for range cfg.Shards {
		srv.shards = append(srv.shards, newShard(srv))
	}
	for _, s := range srv.shards {
		go labelled(fmt.Sprint("shard ", s.index), s.run) // Stopped and awaited by stop.
	}
	srv.ticking.Go(func() { labelled("clock", srv.runClock) }) // Stopped and awaited by stop.
	return srv, nil
}

// debug reports whether the logger takes debug lines, which are logged for each connection. This may change.
func (srv *Server) debug() bool {
	return srv.cfg.Logger.Enabled(context.Background(), slog.LevelDebug)
}

// init makes the maps and the root channel.
func (srv *Server) init() {
	srv.forms = newForms(&srv.cfg)
	srv.channels.byName = make(map[string]*channel)
	srv.holding.byChannel = make(map[*channel]*waiters)
	srv.root = srv.enter("")
	srv.replica.srv = srv
}

func newWorker() *worker {
	w := &worker{buf: make([]byte, recvBytes)}
	w.handshake.init()
	return w
}

// Serve accepts connections on ln until Shutdown is called. Serve returns ErrServerClosed when Shutdown is done, so
// that a program may end its main function after Serve without cutting clients off. Serve takes ln over and closes
// it. ln must have a file descriptor, like *net.TCPListener and *net.UnixListener; a layer on top of the descriptor,
// such as TLS, is bypassed: see Handler. Several listeners may be served at once.
func (srv *Server) Serve(ln net.Listener) error {
	if ln == nil {
		return errors.New("broadcast: the listener is nil")
	}
	l, err := newListener(srv, ln)
	if err != nil {
		ln.Close()
		return err
	}
	if err := srv.listen(l); err != nil {
		unix.Close(l.reserve)
		unix.Close(l.fd)
		ln.Close()
		return err
	}
	<-srv.stopped
	return ErrServerClosed
}

func (srv *Server) listen(l *listener) error {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.closing {
		return ErrServerClosed
	}
	if err := srv.poller.Add(l.fd, netpoll.Readable|netpoll.EdgeTriggered, l.event); err != nil {
		return fmt.Errorf("broadcast: listener: %w", err)
	}
	srv.listeners = append(srv.listeners, l)
	return nil
}

// adopt makes an accepted fd an opening connection. from, if not nil, has the request that net/http has read.
func (srv *Server) adopt(fd int, from *handover) {
	// The lobby only tells the connection's shard: no pass visits the connection before it is open.
	c := newConn(fd, srv.shards[srv.nextShard.Add(1)%uint32(len(srv.shards))].lobby)
	c.since = srv.clock() + milliseconds(srv.cfg.HandshakeTimeout)
	c.setCostly(srv.cfg.Authorize != nil) // Authorize may take long, so open connections go first.
	if from != nil {
		from.give(c)
	}
	if !srv.checkPeer(c) {
		srv.unadopt(c)
		return
	}
	// The reading side is owned until the fd is registered, so that a goroutine that ends c meanwhile does not close
	// it.
	c.acquire(0)
	if !srv.opening.track(c) { // Accepted just before the listener was closed.
		c.tooLate(make([]byte, maxHeadBytes))
		c.freeInbound()
		srv.unadopt(c)
		return
	}
	const events = netpoll.Readable | netpoll.Writable | netpoll.ReadHangup | netpoll.EdgeTriggered
	if err := srv.poller.Add(fd, events, c.event); err != nil {
		srv.opening.claim(c)
		srv.unadopt(c)
		srv.total.shed.Add(1)
		srv.shedLine(err)
		return
	}
	if from != nil || !c.relinquish() { // No event tells of a request that was read already.
		srv.queue.push(c)
	}
}

// unadopt undoes what adopt has begun.
func (srv *Server) unadopt(c *Conn) {
	srv.addresses.unregister(c)
	unix.Close(int(c.fd))
	srv.extras.discard(c)
}

// checkPeer checks the address of a new connection, and reports whether the connection may stay, even if only until
// its request has arrived and is refused.
func (srv *Server) checkPeer(c *Conn) bool {
	if most := srv.cfg.memory.MaxHandshakes; most > 0 && srv.opening.len() >= most {
		srv.total.countRefusal(errManyHandshakes.Status)
		return c.turnAway(errManyHandshakes)
	}
	a := srv.addresses
	if a == nil {
		return true
	}
	from := c.RemoteAddr()
	if a.trusts(from.Addr()) {
		if srv.cfg.ProxyProtocol && (c.in == nil || !c.in.handed) {
			c.inbound().proxied = true
		}
		return true
	}
	if !from.IsValid() || a.most == 0 || a.register(c, from) {
		return true
	}
	if a.crowd(c, from) {
		c.inbound().refusal = errManyAtAccept
		return true
	}
	srv.total.perIP.Add(1)
	return c.turnAway(errManyAtAccept)
}

// Memory returns how Config.MemoryBytes is divided up, or the zero plan if MemoryBytes is 0.
func (srv *Server) Memory() MemoryPlan { return srv.cfg.memory }

// abandon ends a connection that was never open.
func (srv *Server) abandon(c *Conn) {
	if srv.opening.claim(c) {
		c.kill()
	}
}

// admit counts a connection in, or returns why it is refused.
func (srv *Server) admit() *Refusal {
	if srv.draining.Load() {
		return errShuttingDown
	}
	if n := srv.open.Add(1); srv.cfg.MaxConns > 0 && n > int64(srv.cfg.MaxConns) {
		srv.open.Add(-1)
		return &Refusal{503, fmt.Sprintf("all %d connections are taken", srv.cfg.MaxConns)}
	}
	return nil
}

// countOut counts a connection out.
func (srv *Server) countOut(c *Conn) {
	srv.open.Add(-1)
	srv.part(c)
	srv.total.disconnect[c.why].Add(1)
	if srv.debug() {
		srv.cfg.Logger.Debug("disconnected", "fd", c.fd, "reason", c.why)
	}
}

// Shutdown ends the server. It stops accepting, sends the connections what has been published, closes them with 1001
// over DrainTime, and waits for their peers. Handshakes that have not finished when Shutdown begins are refused with
// 503. When ctx is done, Shutdown cuts off the remaining connections and returns ctx's error. Shutdown returns when all
// goroutines of the server have ended, or after about 10 seconds if a hook does not return. A second call returns
// ErrServerClosed at once.
//
// A hook must not call Shutdown and wait for it, since Shutdown waits for running hooks: in OnConnect it would wait
// until ctx is done. Start a goroutine for the call instead.
func (srv *Server) Shutdown(ctx context.Context) error {
	srv.mu.Lock()
	if srv.closing {
		srv.mu.Unlock()
		return ErrServerClosed
	}
	srv.closing = true
	listeners := slices.Clone(srv.listeners)
	srv.mu.Unlock()
	for _, l := range listeners {
		l.close()
	}
	close(srv.closed)
	srv.drainBegan.Store(srv.clock())
	srv.draining.Store(true)
	err := srv.await(ctx, func() bool { return srv.open.Load() == 0 })
	srv.stop()
	close(srv.stopped)
	return err
}

// await polls until done returns true or ctx is done.
func (srv *Server) await(ctx context.Context, done func() bool) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// stopTime is how long stop waits for hooks, and for pumps.
const stopTime = 5 * time.Second

// stop ends everything: first what makes work, then what does it.
func (srv *Server) stop() {
	close(srv.stopTick)
	srv.ticking.Wait()
	srv.opening.mu.Lock()
	srv.opening.closed = true
	srv.opening.mu.Unlock()
	endHandshakes(srv.opening.takeExpired(0)) // All of them.
	for _, s := range srv.shards {
		s.stop.Store(true)
		s.wakeUp()
		<-s.done
	}
	// Workers release every connection in its next turn, because all of them are closed. A hook may block a worker for
	// ever, so this waits for stopTime at most.
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	_ = srv.await(ctx, func() bool {
		quiet := srv.queue.quiet() // Only workers post.
		srv.replica.gated.Store(false)
		srv.replica.ahead.recheck(srv)
		for _, ch := range srv.holding.awaited(nil) {
			ch.behind.Store(false)
			srv.resume(ch)
		}
		srv.resumeWithinRate(true)
		for _, s := range srv.shards {
			s.finishAll()
		}
		return quiet && srv.queue.quiet()
	})
	close(srv.ended)
	if err := srv.poller.Close(); err != nil {
		srv.cfg.Logger.Error("closing the poller", "err", err)
	}
	srv.queue.close()
	_ = srv.await(ctx, func() bool { return srv.pumps.Load() == 0 }) // Their own deadline is earlier: see pump.released.
}
