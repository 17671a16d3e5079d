// Package live is a page on which an operator sees a broadcast server at work, and what feeds it:
// once a second a snapshot, in a channel of a small server of its own, as server-sent events.
// Nothing is looked at as long as nobody has the page open.
//
//	live.go       who looks; the snapshots are made as long as somebody does
//	stream.go     GET /v1/live: the events, from the small server
//	snapshot.go   what is in one; process_linux.go: what the kernel knows
//	page.go       GET /: the page, of the files in page/ and clients/js
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

// Config is what a Live is made with.
type Config struct {
	// Version is the program's.
	Version string

	// MemoryBytes is what the process may take up, or 0: then that is not told.
	MemoryBytes int64

	// Every is how often there is a snapshot. Defaults to 1 s.
	Every time.Duration
}

// What a Live takes up at the most.
const (
	MaxViewers  = 32                // streams at a time
	MemoryBytes = 5 << 20           // of memory
	MaxFDs      = 3*MaxViewers + 10 // of file descriptors, with the viewers' connections
)

// Live serves the page and its stream. It may be used by any number of goroutines.
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

	sampling sync.WaitGroup

	mu      sync.Mutex
	inner   *broadcast.Server // Guarded by mu: what viewers are connected to; nil before the first.
	viewers int               // Guarded by mu.
	first   chan struct{}     // Guarded by mu: closed when there is a snapshot; nil while none are made.
	closed  bool              // Guarded by mu.
}

// New makes one for a server. Nothing runs before somebody looks; after that, Close must be called.
func New(srv *broadcast.Server, cfg Config) *Live {
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	l := &Live{srv: srv, cfg: cfg, patience: defaultPatience, started: time.Now()}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.transport = &http.Transport{DialContext: l.dial, DisableKeepAlives: true, DisableCompression: true}
	l.proxy = l.newProxy()
	return l
}

// closeTimeout is how long viewers have to take their leave.
const closeTimeout = time.Second

// Close ends all streams, and what makes the snapshots, and waits for that. Streams are refused
// from then on.
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
	_ = inner.Shutdown(ctx) // Who did not leave is cut off, and a second Close finds it closed.
	l.transport.CloseIdleConnections()
}

// Errors of enter.
var (
	errClosed = errors.New("the server is shutting down")
	errFull   = errors.New("too many look at this already")
)

// retain is how much of the newest snapshots is kept: minutes, for who comes back.
const retain = 512 << 10

// enter makes the caller a viewer, until leave, and waits until there is a snapshot. If it says
// no, there is nothing to leave.
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

// count counts a viewer in. first is closed when there is a snapshot.
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
			Logger: slog.New(slog.DiscardHandler), // Who looks is no client.
		})
		if err != nil {
			return nil, err
		}
	}
	l.viewers++
	if l.first == nil {
		l.first = make(chan struct{})
		inner, first := l.inner, l.first
		l.sampling.Go(func() { l.sample(inner, first) }) // Ends behind the last viewer; stopped and awaited by Close.
	}
	return l.first, nil
}

func (l *Live) leave() {
	l.mu.Lock()
	l.viewers--
	l.mu.Unlock()
}

// sample makes snapshots as long as somebody looks.
func (l *Live) sample(inner *broadcast.Server, first chan struct{}) {
	ticker := time.NewTicker(l.cfg.Every)
	defer ticker.Stop()
	s := sampler{srv: l.srv, cfg: l.cfg, started: l.started}
	for n := 0; ; n++ {
		b, err := json.Marshal(s.snapshot(time.Now()))
		if err != nil {
			panic(err) // It has no cycles, and no number that JSON has not.
		}
		// While it is behind, or shuts down, this one is left out.
		_ = inner.Publish(l.ctx, broadcast.Message{Kind: broadcast.Text, Payload: b})
		if n == 0 {
			close(first)
		}
		select {
		case <-ticker.C:
		case <-l.ctx.Done():
			return
		}
		if l.idle() {
			return
		}
	}
}

// idle says whether nobody looks any more. Then the next who does starts the snapshots again.
func (l *Live) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.viewers == 0 {
		l.first = nil
	}
	return l.viewers == 0
}
