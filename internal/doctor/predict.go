package doctor

import (
	"fmt"
	"os"
	"slices"
	"strconv"
)

// Range is an estimate of a value, with a lower and an upper bound.
type Range struct {
	Low    float64 `json:"low"`
	Likely float64 `json:"likely"`
	High   float64 `json:"high"`
}

// times returns the range of f times the value.
func (r Range) times(f float64) Range { return Range{r.Low * f, r.Likely * f, r.High * f} }

// plus returns the range of the sum of two values.
func (r Range) plus(o Range) Range { return Range{r.Low + o.Low, r.Likely + o.Likely, r.High + o.High} }

// Prediction is the predicted cost of connections. Memory is in bytes, time in seconds.
type Prediction struct {
	Conns    int `json:"connections"`
	Measured int `json:"measured_connections"` // 0 if nothing was measured.

	Own        Range `json:"own_memory"`                // Of crier, without kept messages.
	OwnEach    Range `json:"own_memory_per_connection"` // Of each further connection.
	Kernel     Range `json:"kernel_memory"`             // For the sockets of this end.
	KernelEach Range `json:"kernel_memory_per_connection"`
	Memory     Range `json:"memory"` // Of both.

	Processors float64 `json:"processors"`       // Those that share a broadcast.
	Delivery   *Range  `json:"cpu_per_delivery"` // nil if not measured.
	Broadcast  *Range  `json:"broadcast"`        // Of one small message to all connections.

	// Certainty has a sentence about the source of each figure.
	Certainty []string `json:"how_sure"`
}

// Bytes for a connection on other machines, from docs/performance.md: crier with 1,800 to 18,000 and with a million
// connections, the kernel in guests and on hosts.
var (
	knownOwn    = Range{115, 145, 256}
	knownKernel = Range{3500, 4000, 5000}
)

// knownBase is how many bytes crier takes without connections.
const knownBase = 3.8e6

// Predict predicts the cost of a goal from a measurement, or from figures of other machines if m is the zero value.
func (h Host) Predict(g Goal, m Measured) Prediction {
	p := Prediction{Conns: g.Conns, Measured: m.Conns, Processors: h.Processors()}
	if n, err := strconv.Atoi(os.Getenv("GOMAXPROCS")); err == nil && n > 0 {
		p.Processors = min(p.Processors, float64(n))
	}
	p.own(m)
	p.kernel(m)
	p.Memory = p.Own.plus(p.Kernel)
	p.broadcast(m)
	return p
}

// own predicts crier's memory: its memory during the measurement, and that of further connections.
func (p *Prediction) own(m Measured) {
	start, have := float64(knownBase), 0
	if m.Conns > 0 {
		start, have = m.halfOwn, m.halfConns
	}
	p.OwnEach = p.ownEach(m)
	p.Own = Range{start, start, start}.plus(p.OwnEach.times(float64(max(0, p.Conns-have))))
}

// ownEach returns how many bytes of crier each further connection takes.
func (p *Prediction) ownEach(m Measured) Range {
	if m.Conns < leastMeasured {
		p.Certainty = append(p.Certainty, fmt.Sprintf("crier's memory: from figures of other machines, "+
			"because fewer than %d connections were measured", leastMeasured))
		return knownOwn
	}
	p.Certainty = append(p.Certainty, fmt.Sprintf("crier's memory: measured with %d connections, "+
		"without kept messages (--retain), which take 8 MiB by default", m.Conns))
	// Nearly all of the memory that grows with the connections is heap, with as much garbage as the collector allows. A
	// map and some lists double when they are full, so the share of a connection depends on the number of connections.
	likely := m.live * (1 + collectorPercent()/100)
	return Range{likely * 0.8, likely, likely * 1.25}
}

// collectorPercent returns the percentage that GOGC sets, or else the one that cmd/crier sets.
func collectorPercent() float64 {
	if p, err := strconv.ParseFloat(os.Getenv("GOGC"), 64); err == nil && p >= 0 {
		return p
	}
	return 25
}

// kernel predicts the kernel's memory.
func (p *Prediction) kernel(m Measured) {
	p.KernelEach = knownKernel
	switch {
	case m.Conns == 0:
		p.Certainty = append(p.Certainty, "the kernel's memory: from figures of other machines, because nothing was measured")
	case len(m.socket) < steps/2:
		p.Certainty = append(p.Certainty, "the kernel's memory: from figures of other machines, because other processes "+
			"opened or closed sockets during the measurement; run it again when the host is quiet")
	default:
		s := slices.Sorted(slices.Values(m.socket))
		likely := median(s)
		p.KernelEach = Range{min(s[0], 0.9*likely), likely, max(s[len(s)-1], 1.15*likely)}
		p.Certainty = append(p.Certainty, fmt.Sprintf("the kernel's memory: measured in %d steps, for idle connections; "+
			"a connection that does not read takes up to %d KiB more", len(s), unsentBytes>>10))
	}
	p.Kernel = p.KernelEach.times(float64(p.Conns))
}

// broadcast predicts the time of one small message to all connections.
func (p *Prediction) broadcast(m Measured) {
	if len(m.cpu) == 0 {
		p.Certainty = append(p.Certainty, "a broadcast: not measured")
		return
	}
	// On loopback, the sender also does the receiver's half of TCP, and wakes the receiver. On a network, the sender has a
	// driver and acknowledgements instead. With many more connections, caches help less.
	const half, more = 0.5, 1.5
	s := slices.Sorted(slices.Values(m.cpu))
	likely := median(s)
	p.Delivery = &Range{half * s[0], likely, more * likely}
	all := p.Delivery.times(float64(p.Conns) / p.Processors)
	p.Broadcast = &all
	p.Certainty = append(p.Certainty, "a broadcast: the processor time of sends over loopback; "+
		"slow networks and slow clients take longer")
}

// median returns the middle of sorted values.
func median(s []float64) float64 { return (s[(len(s)-1)/2] + s[len(s)/2]) / 2 }
