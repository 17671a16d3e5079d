package model

import "time"

// node is a crier in a storm: the kernel's accept queue, one thread that accepts, all cores for the work after that,
// and a link. Times count from the beginning of the storm.
type node struct {
	backlog int             // The connections in the accept queue.
	accepts time.Duration   // When the accepting thread is free.
	cores   []time.Duration // When each core is free.
	link    time.Duration   // When the link is free.
	busy    []time.Duration // The CPU time used in each second.
}

// runOnCore runs work that may begin at a time on the first free core, and returns when it ends.
func (n *node) runOnCore(at, cpu time.Duration) time.Duration {
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

// charge adds CPU time to the seconds in which it is used.
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
