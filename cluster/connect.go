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
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
)

// connect connects to NATS with the settings of cfg, which has its defaults, and with the options in more. The
// connection reconnects forever. While NATS is unreachable connect waits until ctx is done, see transient.
func (cfg *Config) connect(ctx context.Context, more ...nats.Option) (nc *nats.Conn, err error) {
	options := []nats.Option{
		nats.Name("crier"), nats.Timeout(cfg.Timeout), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.PingInterval(cfg.Timeout), nats.MaxPingsOutstanding(2), nats.FlusherTimeout(cfg.Timeout),
		nats.ReconnectBufSize(-1),   // Messages wait in the queues of this package, which keep their order.
		nats.IgnoreAuthErrorAbort(), // A user that NATS does not know now may be added later.
		nats.ErrorHandler(errorLogger(cfg.Logger)),
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
	err = cfg.retryTransient(ctx, servers, func() (err error) {
		if nc, err = nats.Connect(strings.Join(servers, ","), append(slices.Clip(options), more...)...); err != nil {
			err = connectErrors(servers, options, err)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cluster: connecting to NATS: %w", err)
	}
	return nc, nil
}

// connectErrors explains why connecting to servers has failed with err, which concerns at most one of them: it connects
// to each server alone, and returns all errors, joined. The errors name hosts and not URLs, which may contain a secret.
func connectErrors(servers []string, options []nats.Option, err error) error {
	errs := make([]error, len(servers))
	var attempts sync.WaitGroup
	for i, server := range servers {
		attempts.Go(func() { // Ends within the timeout of options; awaited below.
			addr, err := hostPort(server)
			if err == nil {
				var nc *nats.Conn
				if nc, err = nats.Connect(server, append(slices.Clip(options), nats.IgnoreDiscoveredServers())...); err == nil {
					nc.Close() // This server has become reachable: the next try will find it.
					return
				}
			}
			if errors.Is(err, nats.ErrNoServers) { // nats.go returns this for a refused connection.
				err = syscall.ECONNREFUSED
			}
			errs[i] = fmt.Errorf("%s: %w", addr, err)
		})
	}
	attempts.Wait()
	return cmp.Or(errors.Join(errs...), err)
}

// hostPort returns the address in the URL of a server, without user and password.
func hostPort(server string) (string, error) {
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(strings.TrimSpace(server))
	if err != nil {
		return "a server", errors.New("malformed URL, want nats://HOST:PORT")
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "4222")), nil
}

// NATS returns the address of the NATS server that the Ordered is connected to, or "" if there is none.
func (c *Ordered) NATS() string { return c.nc.ConnectedAddr() }

// NATS returns the address of the NATS server that the Fast is connected to, or "" if there is none.
func (f *Fast) NATS() string { return f.nc.ConnectedAddr() }

// options returns the connection options of an Ordered that differ from those of a Fast. The handlers must not block:
// nats.go calls them in one goroutine.
func (c *Ordered) options() []nats.Option {
	log := c.cfg.Logger
	logError := errorLogger(log)
	return []nats.Option{
		nats.ErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
			logError(nc, sub, err)
			if !errors.Is(err, nats.ErrPermissionViolation) {
				return
			}
			if strings.Contains(err.Error(), `Subscription to "`+nats.InboxPrefix) {
				c.inboxDenied.Store(true)
			}
			if _, after, ok := strings.Cut(err.Error(), `Publish to "`); ok {
				subject, _, _ := strings.Cut(after, `"`)
				c.publisher.noteDenied(subject)
			}
		}),
		nats.ConnectHandler(func(*nats.Conn) { c.connected.Store(true) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			c.connected.Store(false)
			c.outages.Add(1)
			c.catchUpSeq.Store(unknownSeq)
			if c.ctx.Err() == nil {
				log.Warn("lost the connection to NATS: publishers are held", "err", err)
			}
			c.publisher.wake.ring()
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			c.connected.Store(true)
			log.Info("reconnected to NATS", "server", nc.ConnectedAddr())
			c.publisher.wake.ring()
			c.recheck.ring()
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			c.connected.Store(false)
			if c.ctx.Err() == nil {
				c.fail(fmt.Errorf("%w: %v", ErrClosed, nc.LastError()))
			}
		}),
	}
}

// errorLogger returns a handler that logs errors which NATS reports outside of its answers, such as a missing
// permission. It logs the same error once a minute, and at most 20 lines a minute, as the errors contain names that
// clients choose.
func errorLogger(log *slog.Logger) nats.ErrHandler {
	const maxLines = 20
	var mu sync.Mutex
	logged := make(map[string]bool) // Guarded by mu: since began.
	var began time.Time             // Guarded by mu.
	return func(_ *nats.Conn, _ *nats.Subscription, err error) {
		mu.Lock()
		if time.Since(began) >= time.Minute {
			clear(logged)
			began = time.Now()
		}
		drop := logged[err.Error()] || len(logged) >= maxLines
		if !drop {
			logged[err.Error()] = true
		}
		mu.Unlock()
		if !drop {
			log.Warn("NATS reports an error", "err", err)
		}
	}
}
