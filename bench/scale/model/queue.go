package model

import "time"

// node is a crier in a storm: a queue of connections that the kernel has and nobody has accepted, one thread that
// accepts, all cores for what follows, and a link.
type node struct {
	backlog int             // How many wait to be accepted.
	accepts time.Duration   // When the thread that accepts is free.
	cores   []time.Duration // When each core is free.
	link    time.Duration   // When the link is.
	busy    []time.Duration // CPU in each second of the storm.
}

// take has a core do something that may begin at a time, and returns when it is done.
func (n *node) take(at, cpu time.Duration) time.Duration {
	first := 0
	for i, free := range n.cores {
		if free < n.cores[first] {
			first = i
		}
	}
	begin := max(at, n.cores[first])
	n.cores[first] = begin + cpu
	n.charge(begin, cpu)
	return begin + cpu
}

// charge counts CPU in the seconds in which it is used.
func (n *node) charge(at, cpu time.Duration) {
	for cpu > 0 {
		second := int(at / time.Second)
		for second >= len(n.busy) {
			n.busy = append(n.busy, 0)
		}
		part := min(cpu, time.Duration(second+1)*time.Second-at)
		n.busy[second] += part
		at, cpu = at+part, cpu-part
	}
}
