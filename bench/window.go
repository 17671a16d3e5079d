package bench

import "time"

// usage is what the server used in a span of time.
type usage struct {
	cpu    time.Duration // on a core
	waited time.Duration // for a core that others held, all threads together
	wall   time.Duration
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
	return now, err
}

func (w window) read() (u usage, err error) {
	u.wall = time.Since(w.start)
	if u.cpu, err = w.server.cpu(); err != nil {
		return u, err
	}
	u.waited, err = w.server.waited()
	return u, err
}

// metrics returns what tells how far to trust a measurement: a server that waited for
// its core was not alone on the machine.
func (u usage) metrics() []metric {
	return []metric{
		{"busy", "%", 100 * u.cpu.Seconds() / u.wall.Seconds()},
		{"waited", "%", 100 * u.waited.Seconds() / u.wall.Seconds()},
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
