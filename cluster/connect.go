package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

// connect connects to NATS as cfg (with its defaults) says, and reconnects for ever. connect waits for NATS until ctx
// is done: see passes. The options in more are added to those of cfg.
func (cfg *Config) connect(ctx context.Context, more ...nats.Option) (nc *nats.Conn, err error) {
	options := []nats.Option{
		nats.Name("crier"), nats.Timeout(cfg.Timeout), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.PingInterval(cfg.Timeout), nats.MaxPingsOutstanding(2), nats.FlusherTimeout(cfg.Timeout),
		nats.ReconnectBufSize(-1),   // What cannot be sent waits here, in its order, and not there.
		nats.IgnoreAuthErrorAbort(), // Who it does not know today it may know tomorrow.
		nats.ErrorHandler(says(cfg.Logger)),
	}
	if cfg.Credentials != "" {
		options = append(options, nats.UserCredentials(cfg.Credentials))
	}
	if cfg.NKey != "" {
		option, err := nats.NkeyOptionFromSeed(cfg.NKey)
		if err != nil {
			option = func(*nats.Options) error { return fmt.Errorf("%s: %w", cfg.NKey, err) }
		}
		options = append(options, option)
	}
	if cfg.CA != "" {
		options = append(options, nats.RootCAs(cfg.CA))
	}
	if cfg.Cert != "" {
		options = append(options, nats.ClientCert(cfg.Cert, cfg.Key))
	}
	servers := strings.Split(strings.Join(cfg.Servers, ","), ",")
	err = cfg.reachable(ctx, servers, func() (err error) {
		if nc, err = nats.Connect(strings.Join(servers, ","), append(slices.Clip(options), more...)...); err != nil {
			err = refusals(servers, options, err)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cluster: connecting to NATS: %w", err)
	}
	return nc, nil
}

// refusals is why each server cannot be connected to: err is that of one of them, or says only that there is none. A URL may have a
// secret in it, and is not part of that.
func refusals(servers []string, options []nats.Option, err error) error {
	errs := make([]error, len(servers))
	var asked sync.WaitGroup
	for i, server := range servers {
		asked.Go(func() {
			addr, err := hostPort(server)
			if err == nil {
				var nc *nats.Conn
				if nc, err = nats.Connect(server, append(slices.Clip(options), nats.IgnoreDiscoveredServers())...); err == nil {
					nc.Close() // It is there now.
					return
				}
			}
			if errors.Is(err, nats.ErrNoServers) { // That is what nats.go makes of it.
				err = syscall.ECONNREFUSED
			}
			errs[i] = fmt.Errorf("%s: %w", addr, err)
		})
	}
	asked.Wait()
	return cmp.Or(errors.Join(errs...), err)
}

// hostPort is where a server is.
func hostPort(server string) (string, error) {
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(strings.TrimSpace(server))
	if err != nil {
		return "a server", errors.New("its URL is none")
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "4222")), nil
}

// NATS is the address of the server of NATS that it is connected to, or empty.
func (c *Cluster) NATS() string { return c.nc.ConnectedAddr() }

// NATS is the address of the server of NATS that it is connected to, or empty.
func (f *Fast) NATS() string { return f.nc.ConnectedAddr() }

// options are what differs in a Cluster.
func (c *Cluster) options() []nats.Option {
	log := c.cfg.Logger
	say := says(log)
	return []nats.Option{
		nats.ErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
			say(nc, sub, err)
			if errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `Subscription to "`+nats.InboxPrefix) {
				c.unheard.Store(true)
			}
			if _, after, ok := strings.Cut(err.Error(), `Publish to "`); ok && errors.Is(err, nats.ErrPermissionViolation) {
				subject, _, _ := strings.Cut(after, `"`)
				c.out.deny(subject)
			}
		}),
		nats.ConnectHandler(func(*nats.Conn) { c.connected.Store(true) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.connected.Store(false)
			c.outages.Add(1)
			c.upTo.Store(unknown)
			if c.ctx.Err() == nil {
				log.Warn("NATS is gone: publishers wait", "err", err)
			}
			c.out.look()
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			c.connected.Store(true)
			log.Info("NATS is back", "server", nc.ConnectedAddr())
			c.out.look()
			c.doubt.ring()
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			c.connected.Store(false)
			if c.ctx.Err() == nil {
				c.fail(fmt.Errorf("%w: %v", ErrClosed, nc.LastError()))
			}
		}),
	}
}

// says logs what NATS says beside its answers, such as that something is not permitted: the same once a minute, and in a minute not more
// than 20 lines, as there is a name in it that clients may choose.
func says(log *slog.Logger) nats.ErrHandler {
	const most = 20
	var mu sync.Mutex
	said := make(map[string]bool) // In this minute.
	var begun time.Time
	return func(_ *nats.Conn, _ *nats.Subscription, err error) {
		mu.Lock()
		if time.Since(begun) >= time.Minute {
			clear(said)
			begun = time.Now()
		}
		again := said[err.Error()] || len(said) >= most
		if !again {
			said[err.Error()] = true
		}
		mu.Unlock()
		if !again {
			log.Warn("NATS says", "err", err)
		}
	}
}

// bell wakes a goroutine. Rung while that is awake, it has one more round.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

// ring does not block.
func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// seldom allows one thing a second. It may be used by any number of goroutines.
type seldom struct{ last atomic.Int64 } // In nanoseconds since 1970.

func (s *seldom) due() bool {
	now, last := time.Now().UnixNano(), s.last.Load()
	return now-last >= int64(time.Second) && s.last.CompareAndSwap(last, now)
}
