// Package live serves a page that shows a broadcast server at work, and the data of that page: once a second a
// snapshot, sent as server-sent events through a small broadcast server of its own.
//
// While nobody has the page open, a few counters are read once a second and kept for five minutes, so that a page
// shows graphs as soon as it is opened. Everything else, such as finding the slowest connections, is done only
// while somebody looks.
//
//	live.go       the viewers, and the goroutine that takes samples and publishes snapshots
//	stream.go     GET /v1/live: the snapshots, through the small server
//	history.go    GET /v1/live/history: the samples of the last minutes
//	snapshot.go   the contents of a snapshot; process_linux.go: what the kernel knows
//	page.go       GET /: the page, assembled from page/ and clients/js
package live

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/crier-ws/crier/broadcast"
)

// Config configures a Live.
type Config struct {
	// Version is the version of the program.
	Version string

	// Node is the name of this server, such as its host name. The page leaves an empty one out.
	Node string

	// MemoryBytes is the bound on the memory of the process, or 0 for none.
	MemoryBytes int64

	// Cluster, if set, returns the state of this server's part in a cluster. It must not block.
	Cluster func() Cluster

	// Every is the time between two samples, and between two snapshots. Defaults to 1 s.
	Every time.Duration
}

// Upper bounds on the resources of a Live.
const (
	MaxViewers  = 32                // streams at a time
	MemoryBytes = 5 << 20           // of memory
	MaxFDs      = 3*MaxViewers + 10 // of file descriptors, with the viewers' connections
)

// Live serves the page and its data. All methods are safe for concurrent use.
type Live struct {
	// Immutable after construction.
	srv       *broadcast.Server
	cfg       Config
	proxy     *httputil.ReverseProxy
	transport *http.Transport
	patience  time.Duration
	started   time.Time
	ctx       context.Context // Done when Close has been called.
	cancel    context.CancelFunc
	wake      chan struct{} // Capacity 1: asks sample for a snapshot now.

	sampling sync.WaitGroup

	mu sync.Mutex

	// Guarded by mu.
	inner   *broadcast.Server // the server that viewers are connected to; nil before the first viewer
	viewers int
	first   chan struct{} // closed when there is a snapshot; nil while there are no viewers
	closed  bool
	history history
}

// New returns a Live for a server and starts to take samples. Close must be called to end that.
func New(srv *broadcast.Server, cfg Config) *Live {
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	l := &Live{srv: srv, cfg: cfg, patience: defaultPatience, started: time.Now(), wake: make(chan struct{}, 1)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.transport = &http.Transport{DialContext: l.dial, DisableKeepAlives: true, DisableCompression: true}
	l.proxy = l.newProxy()
	l.sampling.Go(l.sample) // Stopped and awaited by Close.
	return l
}

// closeTimeout is how long Close waits for viewers to close their connections.
const closeTimeout = time.Second

// Close ends all streams and the sampling, and waits for both. Later streams are refused.
func (l *Live) Close() {
	l.mu.Lock()
	l.closed = true
	inner := l.inner
	l.mu.Unlock()
	l.cancel()
	l.sampling.Wait()
	if inner == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = inner.Shutdown(ctx) // Viewers that have not left are cut off. A second Close gets ErrServerClosed.
	l.transport.CloseIdleConnections()
}

// Errors of enter.
var (
	errClosed = errors.New("the server is shutting down")
	errFull   = errors.New("too many viewers have this page open already")
)

// retain is how many bytes of the newest snapshots are kept, which is minutes, for viewers that reconnect.
const retain = 512 << 10

// enter makes the caller a viewer until leave, and waits for the first snapshot. After an error the caller is no
// viewer.
func (l *Live) enter(ctx context.Context) error {
	first, err := l.count()
	if err != nil {
		return err
	}
	select {
	case <-first:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-l.ctx.Done():
		err = errClosed
	}
	l.leave()
	return err
}

// count adds a viewer. first is closed when there is a snapshot.
func (l *Live) count() (first <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, errClosed
	case l.viewers == MaxViewers:
		return nil, errFull
	}
	if l.inner == nil {
		l.inner, err = broadcast.New(broadcast.Config{
			Shards: 1, Workers: 1, ReceiveOnly: true, MaxConns: 2 * MaxViewers,
			MaxMessageBytes: retain / 4, RetainBytes: retain, Slow: broadcast.SlowSkip,
			PingInterval: 10 * time.Second, CloseTimeout: closeTimeout / 2,
			Logger: slog.New(slog.DiscardHandler), // Viewers are not clients.
		})
		if err != nil {
			return nil, err
		}
	}
	l.viewers++
	if l.first == nil {
		l.first = make(chan struct{})
		select {
		case l.wake <- struct{}{}:
		default: // sample has been asked already.
		}
	}
	return l.first, nil
}

// leave removes the caller as a viewer.
func (l *Live) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.viewers--; l.viewers == 0 {
		l.first = nil
	}
}

// sample takes a sample at each tick, and publishes a snapshot at each tick and when the first viewer comes.
func (l *Live) sample() {
	ticker := time.NewTicker(l.cfg.Every)
	defer ticker.Stop()
	s := newSampler(l.srv, l.cfg, l.started)
	for {
		select {
		case now := <-ticker.C:
			stats := l.srv.Stats()
			l.publish(s, &stats, now)
			l.record(s.tick(&stats, now))
		case <-l.wake:
			stats := l.srv.Stats()
			l.publish(s, &stats, time.Now())
		case <-l.ctx.Done():
			return
		}
	}
}

// publish sends a snapshot to the viewers, if there are any.
func (l *Live) publish(s *sampler, stats *broadcast.Stats, now time.Time) {
	l.mu.Lock()
	inner, first := l.inner, l.first
	l.mu.Unlock()
	if first == nil {
		return
	}
	b, err := json.Marshal(s.snapshot(stats, now))
	if err != nil {
		panic(err) // A snapshot has no cycles, and no NaN or infinity.
	}
	// While the small server is behind or shuts down, this snapshot is lost.
	_ = inner.Publish(l.ctx, broadcast.Message{Kind: broadcast.Text, Payload: b})
	if s.announced != first {
		s.announced = first
		close(first)
	}
}
