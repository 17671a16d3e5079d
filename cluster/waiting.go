package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How long the start may wait before the log says so without a reason, how often it does after that, and how often
// NATS is tried.
const (
	quietFor = time.Second
	sayEvery = 10 * time.Second
	tryEvery = 500 * time.Millisecond
)

// waiting tells what a start waits for. Its methods may be called from any goroutine.
type waiting struct {
	cfg *Config
	mu  sync.Mutex
	why string    // Guarded by mu: what was logged last,
	at  time.Time // and when.
}

// say logs why a start waits, with attrs: at once if the reason is new, and every sayEvery.
func (w *waiting) say(err error, attrs ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cfg.Waiting != nil {
		w.cfg.Waiting(err)
	}
	why := strings.ReplaceAll(err.Error(), "\n", "; ") // Of several servers.
	if w.why == why && time.Since(w.at) < sayEvery {
		return
	}
	w.why, w.at = why, time.Now()
	w.cfg.Logger.Warn("waiting for NATS", append([]any{"err", why}, attrs...)...)
}

// reachable waits until try connects to one of the servers, or fails for a reason that does not pass by itself.
func (cfg *Config) reachable(ctx context.Context, servers []string, try func() error) error {
	w := &waiting{cfg: cfg}
	var addrs []string
	for _, server := range servers {
		addr, _ := hostPort(server) // A fault in it is an error of try.
		addrs = append(addrs, addr)
	}
	quiet := time.AfterFunc(quietFor, func() { w.say(fmt.Errorf("no answer yet from %s", strings.Join(addrs, ", "))) })
	defer quiet.Stop()
	for {
		err := try()
		if err == nil || !passes(err) {
			return err
		}
		quiet.Stop()
		w.say(err)
		select {
		case <-time.After(tryEvery):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// passes reports whether the reason why a server cannot connect may pass by itself: NATS, its network or its name is
// not available yet, or NATS accepts no more connections. If there are several reasons, all must be of this kind. Any
// other reason needs a change, such as to a password, a certificate or a permission.
func passes(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			if !passes(err) {
				return false
			}
		}
		return true
	}
	for _, sentinel := range []error{
		io.EOF, io.ErrUnexpectedEOF, context.DeadlineExceeded,
		nats.ErrNoServers, nats.ErrTimeout, nats.ErrDisconnected, nats.ErrStaleConnection,
		nats.ErrReconnectBufExceeded, nats.ErrMaxConnectionsExceeded, nats.ErrMaxAccountConnectionsExceeded,
	} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	var file *fs.PathError // Its cause has the methods of a net.Error.
	var op *net.OpError    // Of crypto/tls if it stands for an alert.
	var network net.Error
	alert := errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
	return !alert && !errors.As(err, &file) && errors.As(err, &network)
}

// Codes of JetStream's errors, which are in nats-server's errors.json: there is no leader yet, or none that has heard
// of the stream's servers; and there are not as many servers as a stream is to have.
var (
	noLeader = []jetstream.ErrorCode{10004, 10006, 10007, 10008, 10009, 10118}
	noPeers  = jetstream.ErrorCode(10005)
)

// peersFor is how long a start waits for as many servers of NATS as the stream is to have: they may be starting as well.
const peersFor = 10 * time.Second

// mayCome reports whether a stream that could not be found or made may come: NATS does not answer, has no majority, or
// not yet all servers.
func (c *Cluster) mayCome(err error) bool {
	if fails(err, noPeers) {
		return time.Since(c.began) < peersFor
	}
	return fails(err, noLeader...) || passes(err)
}
