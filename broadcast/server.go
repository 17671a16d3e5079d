package broadcast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/crier-ws/crier/broadcast/framelog"
	"github.com/crier-ws/crier/netpoll"
	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// Errors returned by a Server.
var (
	// ErrServerClosed: Shutdown has been called.
	ErrServerClosed = errors.New("broadcast: server is closed")
	// ErrTooLarge: a message to Publish is larger than MaxMessageBytes.
	ErrTooLarge = errors.New("broadcast: message is larger than allowed")
	// ErrNotText: a message of kind Text to Publish is not valid UTF-8.
	ErrNotText = errors.New("broadcast: text message is not valid UTF-8")
	// ErrKind: a message to Publish is neither Text nor Binary.
	ErrKind = errors.New("broadcast: message is neither text nor binary")
)

// Server is a broadcast server. Make one with New, give it listeners with
// Serve, end it with Shutdown. All methods may be called from any goroutine.
type Server struct {
	// Immutable after construction.
	cfg      Config
	log      *framelog.Log
	shards   []*shard
	poller   *netpoll.Poller
	queue    *queue
	greeting []byte // The frame.
	started  time.Time
	debug    bool          // The logger takes debug lines: one for each connection.
	stopTick chan struct{} // Closed by Shutdown.
	ticking  sync.WaitGroup

	opening opening
	holding holding

	// Atomic.
	open       atomic.Int64 // Connections that are open or closing, or about to be.
	behind     atomic.Bool  // Written by append and caughtUp, read by the reading sides.
	draining   atomic.Bool
	drainBegan atomic.Uint32
	stalled    atomic.Bool // A listener waits for the clock to try again.
	next       atomic.Uint32
	total      counters
	tlsLog     rarely
	shedLog    rarely

	mu        sync.Mutex
	listeners []*listener   // Guarded by mu.
	closing   bool          // Guarded by mu: Shutdown has been called.
	closed    chan struct{} // Closed when Shutdown begins.
}

// New makes a Server and starts its goroutines, a number that depends on the
// processors and not on the connections: Shutdown must be called to end them.
// The error joins all that is wrong with cfg, or says what the system refused
// (EMFILE, ENOMEM).
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	srv := &Server{
		cfg:      cfg,
		log:      framelog.New(cfg.RetainBytes, frameLen),
		started:  time.Now(),
		debug:    cfg.Logger.Enabled(context.Background(), slog.LevelDebug),
		stopTick: make(chan struct{}),
		closed:   make(chan struct{}),
	}
	if cfg.Greeting != "" {
		srv.greeting = appendFrame(nil, ws.OpText, []byte(cfg.Greeting))
	}
	if srv.poller, err = netpoll.Open(netpoll.Config{}); err != nil {
		return nil, fmt.Errorf("broadcast: %w", err)
	}
	if srv.queue, err = newQueue(cfg.Workers, newWorker); err != nil {
		return nil, errors.Join(err, srv.poller.Close())
	}
	for range cfg.Shards {
		srv.shards = append(srv.shards, newShard(srv))
	}
	for _, s := range srv.shards {
		go s.run() // Stopped and awaited by Shutdown.
	}
	srv.ticking.Go(srv.tick) // Stopped and awaited by Shutdown.
	return srv, nil
}

func newWorker() *worker {
	w := &worker{buf: make([]byte, recvBytes)}
	w.handshake.init()
	return w
}

// Serve accepts connections on ln until Shutdown is called, and then returns
// ErrServerClosed. It takes ln over and closes it. ln must have a file
// descriptor, like *net.TCPListener and *net.UnixListener; what it wraps
// beyond that (TLS) is not used. Several listeners may be served at once.
func (srv *Server) Serve(ln net.Listener) error {
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
	<-srv.closed
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

// adopt makes an accepted fd a connection that is to send a handshake.
func (srv *Server) adopt(fd int) {
	c := &Conn{fd: int32(fd), shard: srv.shards[srv.next.Add(1)%uint32(len(srv.shards))]}
	c.since = srv.clock() + milliseconds(srv.cfg.HandshakeTimeout)
	// Owned until it is registered: so who ends it meanwhile leaves the fd to us.
	c.enter(0)
	if !srv.opening.add(c) {
		unix.Close(fd)
		return
	}
	const events = netpoll.Readable | netpoll.Writable | netpoll.ReadHangup | netpoll.EdgeTriggered
	if err := srv.poller.Add(fd, events, c.event); err != nil {
		srv.opening.remove(c)
		unix.Close(fd)
		srv.total.shed.Add(1)
		srv.shedLine(err)
		return
	}
	if !c.leave() {
		srv.queue.push(c)
	}
}

// abandon ends a connection that was never open.
func (srv *Server) abandon(c *Conn) {
	if srv.opening.remove(c) {
		c.kill()
	}
}

// admit counts a connection in, or says why it cannot be.
func (srv *Server) admit() *Refusal {
	if srv.draining.Load() {
		return &Refusal{503, "the server is shutting down"}
	}
	if n := srv.open.Add(1); srv.cfg.MaxConns > 0 && n > int64(srv.cfg.MaxConns) {
		srv.open.Add(-1)
		return &Refusal{503, fmt.Sprintf("all %d connections are taken", srv.cfg.MaxConns)}
	}
	return nil
}

// ended counts a connection out.
func (srv *Server) ended(c *Conn) {
	srv.open.Add(-1)
	srv.total.disconnect[c.why].Add(1)
	if srv.debug {
		srv.cfg.Logger.Debug("disconnected", "fd", c.fd, "reason", c.why)
	}
}

// Publish sends m to every open connection. The payload is copied. It waits
// while the server (never a consumer) is behind: while there is more than half
// the retention that not all connections have been offered. It returns
// ErrTooLarge, ErrNotText, ErrKind, ErrServerClosed or what ctx says; with an
// error, nothing was published.
func (srv *Server) Publish(ctx context.Context, m Message) error {
	if err := srv.check(m); err != nil {
		return err
	}
	for {
		select {
		case <-srv.closed:
			return ErrServerClosed
		default:
		}
		ready := srv.holding.ready(&srv.behind)
		if ready == nil {
			srv.append(m)
			srv.wakeShards()
			return nil
		}
		select {
		case <-ready:
		case <-srv.closed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// check says what is wrong with a message that did not come from a peer.
func (srv *Server) check(m Message) error {
	switch {
	case len(m.Payload) > srv.cfg.MaxMessageBytes:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(m.Payload), srv.cfg.MaxMessageBytes)
	case m.Kind == Text && !utf8.Valid(m.Payload):
		return ErrNotText
	case m.Kind != Text && m.Kind != Binary:
		return fmt.Errorf("%w: kind %d", ErrKind, m.Kind)
	}
	return nil
}

// append puts a message into the log. The shards must be woken after it.
func (srv *Server) append(m Message) {
	var header [ws.MaxHeaderSize]byte
	lag := srv.log.Append(appendHeader(header[:0], ws.OpCode(m.Kind), len(m.Payload)), m.Payload)
	srv.total.messages.Add(1)
	srv.total.bytesIn.Add(uint64(len(m.Payload)))
	if lag > srv.mayLag() {
		srv.behind.Store(true) // Before the shards are woken: one of them clears it.
	}
}

func (srv *Server) wakeShards() {
	for _, s := range srv.shards {
		s.wakeUp()
	}
}

// Stats returns the present state and the totals.
func (srv *Server) Stats() Stats {
	t := &srv.total
	st := Stats{
		Open:               int(srv.open.Load()),
		Handshakes:         srv.opening.len(),
		Held:               srv.holding.len(),
		Accepted:           t.accepted.Load(),
		Shed:               t.shed.Load(),
		Upgraded:           t.upgraded.Load(),
		Refused:            make(map[int]uint64),
		TLS:                t.tls.Load(),
		HandshakeTimeouts:  t.timedOut.Load(),
		HandshakeAbandoned: t.abandoned.Load(),
		Disconnects:        make(map[string]uint64),
		Messages:           t.messages.Load(),
		BytesIn:            t.bytesIn.Load(),
		Writes:             t.writes.Load(),
		BytesOut:           t.bytesOut.Load(),
		Skips:              t.skips.Load(),
		Holds:              t.holds.Load(),
		Pings:              t.pings.Load(),
	}
	for status := range t.refused {
		if n := t.refused[status].Load(); n > 0 {
			st.Refused[status] = uint64(n)
		}
	}
	for r := ReasonPeerClosed; r < reasons; r++ {
		if n := t.disconnect[r].Load(); n > 0 {
			st.Disconnects[r.String()] = n
		}
	}
	return st
}

// refusals counts a refused handshake. A status that is no error's counts as
// 500.
func (t *counters) refusals(status int) {
	if status < 400 || status >= len(t.refused) {
		status = 500
	}
	t.refused[status].Add(1)
}

// Shutdown ends the server: it stops accepting, lets everyone get what has
// been published, closes all connections with 1001 over DrainTime and waits
// for their peers. When ctx is done, what is left is cut off and ctx's error
// returned. It returns when all goroutines of the server have ended, those in
// a hook that does not return excepted. A second call returns ErrServerClosed
// at once.
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
	return err
}

// await looks again and again until a thing is done or ctx is.
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

// stop ends everything: first those that make work, then those that do it.
func (srv *Server) stop() {
	close(srv.stopTick)
	srv.ticking.Wait()
	srv.opening.mu.Lock()
	srv.opening.closed = true
	srv.opening.mu.Unlock()
	for _, c := range srv.opening.expired(0) {
		c.kill()
	}
	for _, s := range srv.shards {
		s.stop.Store(true)
		s.wakeUp()
		<-s.done
	}
	// What workers do now, they do for the last time: every connection they
	// leave is closed. A hook may keep one for ever.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = srv.await(ctx, func() bool {
		quiet := srv.queue.quiet() // If so, nothing is posted any more.
		srv.behind.Store(false)
		srv.resume()
		for _, s := range srv.shards {
			s.finishAll()
		}
		return quiet && srv.queue.quiet()
	})
	for _, s := range srv.shards {
		s.reader.Close()
	}
	if err := srv.poller.Close(); err != nil {
		srv.cfg.Logger.Error("closing the poller", "err", err)
	}
	srv.queue.close()
}
