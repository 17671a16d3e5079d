// Package presence tells servers how many connections channels have at all of them together. It knows core NATS, and counts;
// it does not know what messages are.
//
// Each server says at every beat what has changed since the one before, once for all others. A beat has a number:
// who misses one, or hears of a server for the first time, asks that for a snapshot of all that it has. Counts are absolute,
// and each is as old as the beat that it came in or behind: so it does not matter in which order snapshots and beats come, nor
// whether they come twice. Who has not been heard of for four beats is gone.
//
//   - presence.go: a server's part: what runs, and what can be asked
//   - speak.go: beats and snapshots, to others
//   - hear.go: what others say
//   - table.go: the counts of others
//   - wire.go: messages
//
// A beat takes about 40 bytes, and what has changed as many as the names of the channels and 3 for each. With very many servers
// beats become rarer: see beatPerServer.
package presence

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

// Source is whose connections others are told of: a *broadcast.Server, which says what its methods do.
type Source interface {
	Changed(most int) (names []string, many bool)
	Count(name string) int
	Occupied() []string
	Joined() int
}

// Config is what a Presence is made with.
type Config struct {
	// Subject is what messages have subjects below: Subject.all, and Subject.ID for each server. Nothing else may be there.
	Subject string

	// TableBytes is what the connections at other servers may take up, by their channels. What there is no room for is
	// in Connections, and not in Elsewhere. Defaults to DefaultTableBytes.
	TableBytes int

	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// DefaultTableBytes is room for some 100,000 channels that are at two other servers.
const DefaultTableBytes = 24 << 20

// MemoryBytes is what a Presence takes up at the most beside Config.TableBytes: what waits to be heard, what changed and
// has not been said, and a snapshot of 500,000 channels.
const MemoryBytes = 2*waitingBytes + 16<<20

// Presence is a server's part. Its methods may be called from any goroutine.
type Presence struct {
	// Immutable after Start.
	id   string
	cfg  Config
	src  Source
	nc   *nats.Conn // nil in tests.
	send func(subject string, message []byte) error
	subs []*nats.Subscription

	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // Capacity 1.

	speaker speaker // Owned by run.

	mu     sync.RWMutex
	others map[string]*other   // Guarded by mu.
	table  table               // Guarded by mu.
	askers map[string]struct{} // Guarded by mu: who wants a snapshot, by its id.
	said   time.Time           // Guarded by mu: when something was logged last that somebody else did.
}

// New makes a Presence on a connection, which it does not close. It is to be started, and in the end closed.
func New(nc *nats.Conn, cfg Config) *Presence {
	p := newPresence(cfg, nc.Publish)
	p.nc = nc
	return p
}

func newPresence(cfg Config, send func(string, []byte) error) *Presence {
	if cfg.TableBytes == 0 {
		cfg.TableBytes = DefaultTableBytes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	p := &Presence{
		id: nuid.Next(), cfg: cfg, send: send, wake: make(chan struct{}, 1),
		others: make(map[string]*other), askers: make(map[string]struct{}),
		table: table{of: make(map[string]*channel), most: cfg.TableBytes},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// What may wait to be heard, for each of two subscriptions. What is beyond it is not heard, and is missed soon.
const (
	waitingMessages = 4096
	waitingBytes    = 4 << 20
)

// Start begins to tell others of src, and to hear of them. The errors are those of NATS, which needs not answer.
func (p *Presence) Start(src Source) error {
	p.src = src
	for _, subject := range []string{p.subject(toAll), p.subject(p.id)} {
		sub, err := p.nc.Subscribe(subject, func(msg *nats.Msg) { p.hear(string(msg.Data)) })
		if err == nil {
			err = sub.SetPendingLimits(waitingMessages, waitingBytes)
		}
		if err != nil {
			return fmt.Errorf("presence: %w", err)
		}
		p.subs = append(p.subs, sub)
	}
	p.running.Go(p.run) // Stopped and awaited by Close.
	return nil
}

// toAll stands for the id of all.
const toAll = "all"

func (p *Presence) subject(id string) string { return p.cfg.Subject + "." + id }

// Close tells others that this server is gone, and hears nothing more. It waits as long as NATS takes nothing, until the
// connection gives up.
func (p *Presence) Close() {
	p.cancel()
	p.running.Wait()
	for _, sub := range p.subs {
		_ = sub.Unsubscribe() // If the connection is closed, there is none.
	}
}

// Servers is how many there are, this one among them.
func (p *Presence) Servers() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return 1 + len(p.others)
}

// Connections is how many all servers have together.
func (p *Presence) Connections() int {
	n := p.src.Joined()
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, o := range p.others {
		n += o.conns
	}
	return n
}

// Unlisted is how many of Connections are missing in what Elsewhere and Channels say: there is no room, or it
// is not known yet which channels they have.
func (p *Presence) Unlisted() (n int) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, o := range p.others {
		n += max(0, o.conns-int(o.counted.conns))
	}
	return n
}

// Elsewhere is how many connections a channel has at other servers.
func (p *Presence) Elsewhere(channel string) int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if ch := p.table.of[channel]; ch != nil {
		return int(ch.conns)
	}
	return 0
}

// Channels returns the names of the channels with connections at other servers which begin with prefix and come after another
// one: at most n, sorted. It looks at all there are.
func (p *Presence) Channels(prefix, after string, n int) []string {
	p.mu.RLock()
	names := p.table.list(prefix, after)
	p.mu.RUnlock()
	slices.Sort(names)
	return names[:min(n, len(names))]
}
