package doctor

import (
	"fmt"
	"os"
	"slices"
	"strconv"
)

// Range is a value, and between which it may be.
type Range struct {
	Low    float64 `json:"low"`
	Likely float64 `json:"likely"`
	High   float64 `json:"high"`
}

// times returns the range of a multiple of it.
func (r Range) times(f float64) Range { return Range{r.Low * f, r.Likely * f, r.High * f} }

// plus returns the range of a sum.
func (r Range) plus(o Range) Range { return Range{r.Low + o.Low, r.Likely + o.Likely, r.High + o.High} }

// Prediction is what connections will come to. Memory is in bytes, time in seconds.
type Prediction struct {
	Conns    int `json:"connections"`
	Measured int `json:"measured_connections"` // 0 if it follows from figures of other machines

	Own        Range `json:"own_memory"`                   // of crier, without what is kept of messages
	OwnEach    Range `json:"own_memory_per_connection"`    // of one connection more
	Kernel     Range `json:"kernel_memory"`                // for the sockets of this end
	KernelEach Range `json:"kernel_memory_per_connection"` //
	Memory     Range `json:"memory"`                       // both

	Processors float64 `json:"processors"`       // on which a broadcast is spread
	Delivery   *Range  `json:"cpu_per_delivery"` // nil if it was not measured
	Broadcast  *Range  `json:"broadcast"`        // of one small message to all

	Sure []string `json:"how_sure"`
}

// What other machines have shown, see docs/performance.md: crier from 1,800 to 18,000 and
// to a million connections, the kernel in guests and on hosts.
var (
	knownOwn    = Range{115, 145, 256}
	knownKernel = Range{3500, 4000, 5000}
)

// knownBase is what crier takes up without a connection.
const knownBase = 3.8e6

// Predict says what connections will come to.
func (h Host) Predict(w Wish, m Measured) Prediction {
	p := Prediction{Conns: w.Conns, Measured: m.Conns, Processors: h.Processors()}
	if n, err := strconv.Atoi(os.Getenv("GOMAXPROCS")); err == nil && n > 0 {
		p.Processors = min(p.Processors, float64(n))
	}
	p.own(m)
	p.kernel(m)
	p.Memory = p.Own.plus(p.Kernel)
	p.broadcast(m)
	return p
}

// own is about crier's memory: what it had with some connections, and the others.
func (p *Prediction) own(m Measured) {
	start, have := float64(knownBase), 0
	if m.Conns > 0 {
		start, have = m.halfOwn, m.halfConns
	}
	p.OwnEach = p.ownEach(m)
	p.Own = Range{start, start, start}.plus(p.OwnEach.times(float64(max(0, p.Conns-have))))
}

// ownEach returns what one connection more takes up.
func (p *Prediction) ownEach(m Measured) Range {
	if m.Conns < leastMeasured {
		p.Sure = append(p.Sure, fmt.Sprintf("crier's memory: from figures of other machines; fewer than %d connections were measured", leastMeasured))
		return knownOwn
	}
	p.Sure = append(p.Sure, fmt.Sprintf("crier's memory: measured with %d connections; messages that are kept (--retain) come on top, 8 MiB by default", m.Conns))
	// What grows with the connections is nearly all heap, and as much garbage lies on
	// that as the collector allows. A map and some lists double when they are full, so
	// a connection's share of them depends on how many there are.
	likely := m.live * (1 + collectorPercent()/100)
	return Range{likely * 0.8, likely, likely * 1.25}
}

// collectorPercent is the percentage that GOGC sets, or else cmd/crier.
func collectorPercent() float64 {
	if p, err := strconv.ParseFloat(os.Getenv("GOGC"), 64); err == nil && p >= 0 {
		return p
	}
	return 25
}

// kernel is about the kernel's memory.
func (p *Prediction) kernel(m Measured) {
	p.KernelEach = knownKernel
	switch {
	case m.Conns == 0:
		p.Sure = append(p.Sure, "the kernel's memory: from figures of other machines, as nothing was measured")
	case len(m.socket) < steps/2:
		p.Sure = append(p.Sure, "the kernel's memory: from figures of other machines, as others on this host made or ended sockets meanwhile; try again when it is quiet")
	default:
		s := slices.Sorted(slices.Values(m.socket))
		likely := median(s)
		p.KernelEach = Range{min(s[0], 0.9*likely), likely, max(s[len(s)-1], 1.15*likely)}
		p.Sure = append(p.Sure, fmt.Sprintf("the kernel's memory: measured in %d steps, for idle connections; each that does not read holds up to %d KiB more",
			len(s), unsentBytes>>10))
	}
	p.Kernel = p.KernelEach.times(float64(p.Conns))
}

// broadcast is about the time of one small message to all.
func (p *Prediction) broadcast(m Measured) {
	if len(m.cpu) == 0 {
		p.Sure = append(p.Sure, "a broadcast: not measured")
		return
	}
	// Loopback has the sender do the receiver's half of TCP as well, and wake it up; a
	// network has a driver and acknowledgements in its place. Behind many more
	// connections the caches are colder.
	const half, more = 0.5, 1.5
	s := slices.Sorted(slices.Values(m.cpu))
	likely := median(s)
	p.Delivery = &Range{half * s[0], likely, more * likely}
	all := p.Delivery.times(float64(p.Conns) / p.Processors)
	p.Broadcast = &all
	p.Sure = append(p.Sure, "a broadcast: the processor's time of one send over loopback, which is not a network; a slow network or slow clients take longer")
}

// median returns the middle of sorted values.
func median(s []float64) float64 { return (s[(len(s)-1)/2] + s[len(s)/2]) / 2 }
