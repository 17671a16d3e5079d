package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/crier-ws/crier/broadcast"
)

// notifier tells the service manager that has started crier, if any, what crier does, and feeds its watchdog:
// sd_notify(3).
type notifier struct {
	// Immutable after construction.
	logger *slog.Logger
	stop   chan struct{} // Closed by close.
	done   chan struct{} // Closed when the watchdog's goroutine has ended.
}

// startNotifier reports that crier serves, and feeds the watchdog until close.
func startNotifier(srv *broadcast.Server, addr string, logger *slog.Logger) *notifier {
	n := &notifier{logger: logger, stop: make(chan struct{}), done: make(chan struct{})}
	timeout, err := watchdogTimeout()
	if err != nil {
		logger.Warn("the watchdog is not fed", "err", err)
	}
	n.notify("READY=1", "STATUS=Serving on "+addr)
	go func() { // Stopped and awaited by close.
		defer close(n.done)
		n.feedWatchdog(timeout/2, func() string {
			// Alive may take any time, but no longer than until the server has been shut down.
			_ = srv.Alive(context.Background())
			return fmt.Sprintf("STATUS=Serving on %s, %d connections open", addr, srv.Stats().Open)
		})
	}()
	return n
}

// feedWatchdog feeds the watchdog at each interval, after alive has returned. While alive blocks, the watchdog is not
// fed, and the service manager acts as its unit says (WatchdogSec=, WatchdogSignal=). An interval of 0 means that there
// is no watchdog.
func (n *notifier) feedWatchdog(interval time.Duration, alive func() (status string)) {
	if interval <= 0 {
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-n.stop:
			return
		case <-ticker.C:
		}
		late := time.AfterFunc(interval, func() {
			n.logger.Error("workers or shards do not respond: the watchdog is not fed", "for", interval)
		})
		status := alive()
		late.Stop()
		n.notify("WATCHDOG=1", status)
	}
}

// notifyStopping reports that crier drains, which may take as long as grace.
func (n *notifier) notifyStopping(grace time.Duration) {
	extend := fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (grace + 5*time.Second).Microseconds())
	n.notify("STOPPING=1", "STATUS=Draining", extend)
}

// close ends the watchdog. The server must have been shut down, so that nothing waits for it.
func (n *notifier) close() {
	close(n.stop)
	<-n.done
}

// notify sends a state to the service manager, if there is one.
func (n *notifier) notify(state ...string) {
	if err := sdNotify(strings.Join(state, "\n")); err != nil {
		n.logger.Warn("the service manager cannot be notified", "err", err, "state", state[0])
	}
}
