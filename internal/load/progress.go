package load

import (
	"fmt"
	"io"
	"time"

	"github.com/crier-ws/crier/internal/swarm"
	"github.com/crier-ws/crier/internal/term"
)

// progress shows how far a run is: a line that is written over on a terminal, and a
// line every few seconds elsewhere.
type progress struct {
	out      io.Writer
	terminal bool
	conns    int
	counts   func() swarm.Counts
	begun    time.Time
	quit     chan struct{}
	ended    chan struct{}
}

// startProgress starts to show progress, until stop.
func startProgress(out io.Writer, conns int, counts func() swarm.Counts) *progress {
	p := &progress{
		out: out, terminal: term.IsTerminal(out), conns: conns, counts: counts, begun: time.Now(),
		quit: make(chan struct{}), ended: make(chan struct{}),
	}
	// Ends with stop, which waits for it.
	go p.run()
	return p
}

// stop ends the line.
func (p *progress) stop() {
	close(p.quit)
	<-p.ended
}

func (p *progress) run() {
	defer close(p.ended)
	interval, begin, end := 5*time.Second, "", "\n"
	if p.terminal {
		interval, begin, end = 200*time.Millisecond, "\r\x1b[K", ""
	}
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	var last swarm.Counts
	for {
		select {
		case <-p.quit:
			if p.terminal {
				fmt.Fprint(p.out, begin)
			}
			return
		case <-ticks.C:
		}
		now := p.counts()
		fmt.Fprint(p.out, begin, p.line(now, float64(now.Delivered-last.Delivered)/interval.Seconds()), end)
		last = now
	}
}

// line says how far the run is.
func (p *progress) line(c swarm.Counts, rate float64) string {
	seconds := int(time.Since(p.begun).Seconds())
	if c.Sent == 0 {
		return fmt.Sprintf("%3d s  %s of %s connections", seconds, grouped(c.Open), grouped(p.conns))
	}
	line := fmt.Sprintf("%3d s  %s connections, %s sent, %s delivered (%s/s)",
		seconds, grouped(c.Open), grouped(c.Sent), grouped(c.Delivered), grouped(int(rate)))
	if c.Faults() > 0 || c.Dropped > 0 {
		line += fmt.Sprintf(", %s faults, %s closed", grouped(c.Faults()), grouped(c.Dropped))
	}
	return line
}
