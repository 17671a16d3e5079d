package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/crier-ws/crier/broadcast"
)

// manager is the service manager that has started crier, or nobody: sd_notify(3). It is told
// what crier is at, and again and again that it is well.
type manager struct {
	logger *slog.Logger
	stop   chan struct{}
	done   chan struct{} // Closed when the watchdog has ended.
}

// startManager says that crier serves, and feeds the watchdog until close.
func startManager(srv *broadcast.Server, addr string, logger *slog.Logger) *manager {
	m := &manager{logger: logger, stop: make(chan struct{}), done: make(chan struct{})}
	limit, err := daemon.SdWatchdogEnabled(true)
	if err != nil {
		logger.Warn("no watchdog", "err", err)
	}
	m.notify(daemon.SdNotifyReady, "STATUS=Serving on "+addr)
	go func() { // Stopped and awaited by close.
		defer close(m.done)
		m.watch(limit/2, func() string {
			// As long as it takes, and no longer than until the server has ended.
			_ = srv.Alive(context.Background())
			return fmt.Sprintf("STATUS=Serving on %s, %d connections open", addr, srv.Stats().Open)
		})
	}()
	return m
}

// watch feeds the watchdog at each interval, once well has returned. As long as it does not,
// nothing is said, and the service manager does what it is told to do about that
// (WatchdogSec=, WatchdogSignal=): sd_watchdog_enabled(3). An interval of 0 is for no watchdog.
func (m *manager) watch(interval time.Duration, well func() (status string)) {
	if interval <= 0 {
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-m.stop:
			return
		case <-ticker.C:
		}
		late := time.AfterFunc(interval, func() {
			m.logger.Error("workers or shards do not come round: the watchdog goes without", "for", interval)
		})
		status := well()
		late.Stop()
		m.notify(daemon.SdNotifyWatchdog, status)
	}
}

// stopping says that crier drains, and that this may take some time.
func (m *manager) stopping(grace time.Duration) {
	m.notify(daemon.SdNotifyStopping, "STATUS=Draining", fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (grace+5*time.Second).Microseconds()))
}

// close ends the watchdog. The server must have ended, so that nothing waits for it.
func (m *manager) close() {
	close(m.stop)
	<-m.done
}

// notify tells the service manager, if there is one.
func (m *manager) notify(state ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(state, "\n")); err != nil {
		m.logger.Warn("the service manager cannot be told", "err", err, "what", state[0])
	}
}
