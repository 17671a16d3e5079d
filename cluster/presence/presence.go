package presence

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Source has the counts of this server that others are told of. A *broadcast.Replica is one, and documents the methods.
type Source interface {
	Changed(most int) (names []string, many bool)
	Count(name string) int
	Occupied() []string
	Joined() int
}

// Config configures a Presence.
type Config struct {
	// Subject is the prefix of the subjects of messages, without the last dot: they are Subject.all, and Subject.ID
	// for each server. Other programs must not publish there.
	Subject string

	// TableBytes is how many bytes the counts of channels at other servers may take up. Connections that exceed it are
	// in Connections and Unlisted, and not in Elsewhere. Defaults to DefaultTableBytes.
	TableBytes int

	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// DefaultTableBytes is room for about 100,000 channels that each have connections at two other servers.
const DefaultTableBytes = 24 << 20

// MemoryBytes is the most memory that a Presence takes up beside Config.TableBytes: messages that were not received
// yet, changes that were not sent yet, and a snapshot of 500,000 channels.
const MemoryBytes = 2*pendingBytes + 16<<20

// Presence is the part of one server. Methods are safe for concurrent use, except Start and Close. Methods that return
// counts do not wait for NATS.
type Presence struct {
	// Immutable after New.
	id     string
	cfg    Config
	nc     *nats.Conn // nil in tests.
	send   func(subject string, message []byte) error
	ctx    context.Context
	cancel context.CancelFunc // Called by Close.
	wake   chan struct{}      // Capacity 1: written by wakeRun.

	// Immutable after Start.
	src  Source
	subs []*nats.Subscription

	running sync.WaitGroup // run; Close waits for it.

	sender sender // Owned by run.

	mu       sync.RWMutex
	others   map[string]*other   // Guarded by mu: by their IDs.
	table    table               // Guarded by mu.
	askers   map[string]struct{} // Guarded by mu: the IDs of servers that have asked for a snapshot.
	loggedAt time.Time           // Guarded by mu: when logLocked last logged something.
}

// New returns a Presence on a connection, which it does not close. Call Start, and Close in the end.
func New(nc *nats.Conn, cfg Config) *Presence {
	p := newPresence(cfg, nc.Publish)
	p.nc = nc
	return p
}

// newPresence returns a Presence that sends with send, which borrows the message until it returns.
func newPresence(cfg Config, send func(subject string, message []byte) error) *Presence {
	if cfg.TableBytes == 0 {
		cfg.TableBytes = DefaultTableBytes
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	p := &Presence{
		id: rand.Text()[:idBytes], cfg: cfg, send: send, wake: make(chan struct{}, 1),
		others: make(map[string]*other), askers: make(map[string]struct{}),
		table: table{byName: make(map[string]*channel), maxBytes: cfg.TableBytes},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// How much NATS' client may queue for each of the two subscriptions. What exceeds it is lost, and noticed by its
// number.
const (
	pendingMessages = 4096
	pendingBytes    = 4 << 20
)

// Start begins to tell others of src, and to receive their messages. It does not wait for NATS to answer, and returns
// errors of NATS' client.
func (p *Presence) Start(src Source) error {
	p.src = src
	for _, subject := range []string{p.subject(toAll), p.subject(p.id)} {
		sub, err := p.nc.Subscribe(subject, func(msg *nats.Msg) { p.receive(string(msg.Data)) })
		if err == nil {
			err = sub.SetPendingLimits(pendingMessages, pendingBytes)
		}
		if err != nil {
			return fmt.Errorf("presence: %w", err)
		}
		p.subs = append(p.subs, sub)
	}
	p.running.Go(p.run) // Close stops it and waits for it.
	return nil
}

// toAll stands in a subject for the IDs of all servers.
const toAll = "all"

func (p *Presence) subject(id string) string { return p.cfg.Subject + "." + id }

// Close tells other servers that this one ends, and receives nothing more. While NATS accepts nothing, it waits
// until the connection gives up.
func (p *Presence) Close() {
	p.cancel()
	p.running.Wait()
	for _, sub := range p.subs {
		_ = sub.Unsubscribe() // It fails if the connection is closed, which ends the subscription as well.
	}
}

// Servers returns how many servers there are, with this one.
func (p *Presence) Servers() int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return 1 + len(p.others)
}

// Connections returns how many connections all servers have together.
func (p *Presence) Connections() int {
	n := p.src.Joined()
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, o := range p.others {
		n += o.conns
	}
	return n
}

// Unlisted returns how many connections at other servers are missing in Elsewhere and Channels: there is no room for
// their channels in the table, or a snapshot has not arrived yet.
func (p *Presence) Unlisted() (n int) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, o := range p.others {
		n += max(0, o.conns-int(o.counts.conns))
	}
	return n
}

// Elsewhere returns how many connections a channel has at other servers.
func (p *Presence) Elsewhere(channel string) int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if ch := p.table.byName[channel]; ch != nil {
		return int(ch.conns)
	}
	return 0
}

// Channels returns the sorted names of channels that have connections at other servers, begin with prefix and are
// greater than after: at most n. An empty after stands for all. The call takes time in proportion to all such channels.
func (p *Presence) Channels(prefix, after string, n int) []string {
	p.mu.RLock()
	names := p.table.names(prefix, after)
	p.mu.RUnlock()
	slices.Sort(names)
	return names[:min(n, len(names))]
}
