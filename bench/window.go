package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// usage is what the server used in a span of time.
type usage struct {
	cpu    time.Duration // on a core
	waited time.Duration // for a core that others held, all threads together
	wall   time.Duration
	drops  int // packets of all processes that loopback dropped
}

// window is a span of the server's time that is not over.
type window struct {
	server *server
	start  time.Time
	before usage
}

func (r *round) openWindow() (window, error) {
	w := window{server: r.server, start: time.Now()}
	var err error
	w.before, err = w.read()
	return w, err
}

// close returns what the server used since the window was opened.
func (w window) close() (usage, error) {
	now, err := w.read()
	now.cpu -= w.before.cpu
	now.waited -= w.before.waited
	now.drops -= w.before.drops
	return now, err
}

func (w window) read() (u usage, err error) {
	u.wall = time.Since(w.start)
	if u.cpu, err = w.server.cpu(); err != nil {
		return u, err
	}
	if u.waited, err = w.server.waited(); err != nil {
		return u, err
	}
	u.drops, err = drops()
	return u, err
}

// drops returns how many packets the kernel dropped so far because too many waited to be
// received (net.core.netdev_max_backlog): the second field of each processor's line, see
// softnet_seq_show in the kernel's net/core/net-procfs.c. Loopback sends through that
// queue. What is lost comes again after a timeout of 200 ms or more.
func drops() (sum int, err error) {
	text, err := os.ReadFile("/proc/net/softnet_stat")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // not shown in this container
	}
	for line := range strings.Lines(string(text)) {
		var packets, dropped int
		if _, err := fmt.Sscanf(line, "%x %x", &packets, &dropped); err != nil {
			return 0, fmt.Errorf("measure: /proc/net/softnet_stat: %w", err)
		}
		sum += dropped
	}
	return sum, err
}

// metrics returns what tells how far to trust a measurement: a server that waited for
// its core was not alone on the machine.
func (u usage) metrics() []metric {
	return []metric{
		{"busy", "%", 100 * u.cpu.Seconds() / u.wall.Seconds()},
		{"waited", "%", 100 * u.waited.Seconds() / u.wall.Seconds()},
		{"drops", "", float64(u.drops)},
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
