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

const (
	silentWait = time.Second            // How long a start waits before it logs that there is no answer yet.
	logEvery   = 10 * time.Second       // How often the log repeats the reason.
	retryEvery = 500 * time.Millisecond // How often NATS is tried.
)

// waitLog logs what a start waits for. Its methods are safe for concurrent use.
type waitLog struct {
	cfg *Config // Immutable.

	mu       sync.Mutex
	reason   string    // Guarded by mu: what was logged last.
	loggedAt time.Time // Guarded by mu.
}

// report passes reason to Config.Waiting and logs it with attrs: at once if it is new, and every logEvery.
func (w *waitLog) report(reason error, attrs ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cfg.Waiting != nil {
		w.cfg.Waiting(reason)
	}
	text := strings.ReplaceAll(reason.Error(), "\n", "; ") // A line for each server, if they are several.
	if w.reason == text && time.Since(w.loggedAt) < logEvery {
		return
	}
	w.reason, w.loggedAt = text, time.Now()
	w.cfg.Logger.Warn("waiting for NATS", append([]any{"err", text}, attrs...)...)
}

// retryTransient calls try until it succeeds, fails with an error that is not transient, or ctx is done. servers are
// the URLs that the log names while try has not returned.
func (cfg *Config) retryTransient(ctx context.Context, servers []string, try func() error) error {
	w := &waitLog{cfg: cfg}
	var addrs []string
	for _, server := range servers {
		addr, _ := hostPort(server) // A malformed URL is an error of try.
		addrs = append(addrs, addr)
	}
	silent := time.AfterFunc(silentWait, func() {
		w.report(fmt.Errorf("no answer yet from %s", strings.Join(addrs, ", ")))
	})
	defer silent.Stop()
	for {
		err := try()
		if err == nil || !transient(err) {
			return err
		}
		silent.Stop()
		w.report(err)
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// transient reports whether the reason why a server cannot connect may pass by itself: NATS, its network or its name is
// not available yet, or NATS accepts no more connections. If there are several reasons, all must be of this kind. Any
// other reason needs a change, such as to a password, a certificate or a permission.
func transient(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			if !transient(err) {
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
	var file *fs.PathError // A missing file: its cause, a syscall.Errno, is a net.Error.
	var op *net.OpError    // crypto/tls reports an alert as one.
	var network net.Error
	alert := errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
	return !alert && !errors.As(err, &file) && errors.As(err, &network)
}

// Error codes of JetStream, from errors.json of nats-server: no leader yet, or a leader that has not heard of the
// servers of the stream; and fewer servers than the stream needs.
var (
	noLeader = []jetstream.ErrorCode{10004, 10006, 10007, 10008, 10009, 10118}
	noPeers  = jetstream.ErrorCode(10005)
)

// peersWait is how long a start waits for as many NATS servers as the stream needs. They may be starting as well.
const peersWait = 10 * time.Second

// mayAppear reports whether a stream that could not be found or created may be available soon: NATS does not answer,
// has no majority, or not yet all its servers.
func (c *Ordered) mayAppear(err error) bool {
	if hasCode(err, noPeers) {
		return time.Since(c.opened) < peersWait
	}
	return hasCode(err, noLeader...) || transient(err)
}
