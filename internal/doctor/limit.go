package doctor

import (
	"fmt"
	"math"
	"strings"
)

// Limit is something of the host that bounds the connections that one process can hold.
type Limit struct {
	Name string
	// What says what is counted, in a few words.
	What string
	// Found is what there is, as the host says it. Empty where Have says it all.
	Found string
	Have  int64  // math.MaxInt64 for no bound
	Used  int64  // what others have of it already
	Need  Need   // what connections need of it
	Unit  string // "B" for bytes; may be empty
	// Raise is the command that changes it, with {} for the value; a line each if there
	// are several, of which one is enough.
	Raise string
}

// Need is how much of a thing connections need.
type Need struct {
	Fixed int64   // besides the connections
	Each  float64 // for one connection; 0 if their number does not matter
}

// Needs is what a process with many connections needs of a host.
type Needs struct {
	Files     Need // open files of the process
	AllFiles  Need // open files of the host
	Watches   Need // epoll's watches of one user
	TCPPages  Need // pages for what is on the way, or waits in sockets
	Conntrack Need // entries of the firewall's table
	Ports     Need // local ports for connections that go out
	Memory    Need // bytes, the kernel's part included
}

// Needed returns what n connections need, besides what others have.
func (l Limit) Needed(n int) int64 {
	return l.Used + l.Need.Fixed + int64(math.Ceil(l.Need.Each*float64(n)))
}

// Allows returns how many connections it allows, math.MaxInt for no bound.
func (l Limit) Allows() int {
	switch left := l.Have - l.Used - l.Need.Fixed; {
	case left < 0:
		return 0
	case l.Need.Each == 0 || l.Have == math.MaxInt64:
		return math.MaxInt
	default:
		n := float64(left) / l.Need.Each
		if n >= math.MaxInt { // A float64 has no math.MaxInt, but the number above it.
			return math.MaxInt
		}
		return int(n)
	}
}

// Amount writes a value of it.
func (l Limit) Amount(v int64) string {
	switch {
	case v == math.MaxInt64:
		return "no bound"
	case l.Unit == "B":
		return gigabytes(float64(v))
	}
	return strings.TrimSpace(fmt.Sprint(v, " ", l.Unit))
}

// gigabytes writes a number of bytes.
func gigabytes(v float64) string {
	if v < 999.5e6 { // What is rounded to 1000 MB would get an exponent.
		return fmt.Sprintf("%.3g MB", v/1e6)
	}
	return fmt.Sprintf("%.1f GB", v/1e9)
}

// Limits returns the limits of this host. Those that it does not have (no firewall that
// keeps state, for one) or does not show (tcp_mem, in a container) are left out.
func (h Host) Limits(needs Needs) ([]Limit, error) {
	hard, err := h.HardLimit()
	if err != nil {
		return nil, err
	}
	available, err := h.availableMemory()
	if err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	limits := []Limit{
		{Name: openFiles, What: "the hard limit, to which crier raises its soft one: each connection is a file",
			Have: hard, Need: needs.Files, Raise: raiseFiles},
		{Name: "memory", What: "of the host, available now: for crier itself and for the kernel's sockets",
			Have: available, Need: needs.Memory, Unit: "B", Raise: "a larger machine: MemAvailable of at least {}"},
	}
	if b, found := h.memoryBound(); found {
		limits = append(limits, Limit{Name: groupMemory, What: "what " + b.file + " of " + strings.TrimPrefix(b.dir, "sys/fs/") + " leaves",
			Found: Limit{Unit: "B"}.Amount(b.left) + " of " + Limit{Unit: "B"}.Amount(b.max),
			Have:  b.max, Used: b.max - b.left, Need: needs.Memory, Unit: "B", Raise: b.raise()})
	}
	for _, l := range h.settings(needs) {
		i := 0
		if l.Name == tcpMem {
			i = 1 // Below the second value the kernel takes no measures.
			l.Found = strings.Join(h.sysctl(l.Name), " ") + " pages"
		}
		var there bool
		if l.Have, there = h.setting(l.Name, i); there {
			if l.Name == conntrack && l.Have == 0 {
				l.Have = math.MaxInt64 // nf_conntrack_core.c does not look at the count then.
			}
			limits = append(limits, l)
		}
	}
	if ports, ok := h.ports(); ok && needs.Ports != (Need{}) {
		limits = append(limits, Limit{Name: portRange, What: "ports for connections that go out", Have: ports, Need: needs.Ports, Unit: "ports",
			Raise: "sysctl -w " + portRange + "='1024 65535'"})
	}
	return limits, nil
}

const (
	nrOpen      = "fs.nr_open"
	openFiles   = "open files of a process"
	groupMemory = "memory of the control group"
	tcpMem      = "net.ipv4.tcp_mem"
	conntrack   = "net.netfilter.nf_conntrack_max"
	portRange   = "net.ipv4.ip_local_port_range"

	raiseFiles = "LimitNOFILE={}   # [Service] of the systemd unit\n" +
		"docker run --ulimit nofile={} ...\n" +
		"ulimit -Hn {}   # in root's shell that starts crier"
)

// settings returns the limits that are numbers below proc/sys, without these numbers.
func (h Host) settings(needs Needs) []Limit {
	allocated, _ := h.setting("fs.file-nr", 0) // proc_sys_fs(5)
	tracked, _ := h.setting("net.netfilter.nf_conntrack_count", 0)
	return []Limit{
		{Name: nrOpen, What: "the most that a hard limit of open files can be set to",
			Need: needs.Files, Raise: "sysctl -w fs.nr_open={}"},
		{Name: "fs.file-max", What: "open files of all processes together",
			Used: allocated, Need: needs.AllFiles, Raise: "sysctl -w fs.file-max={}"},
		{Name: "fs.epoll.max_user_watches", What: "epoll watches of one user: each connection is one",
			Need: needs.Watches, Raise: "sysctl -w fs.epoll.max_user_watches={}"},
		{Name: tcpMem, What: "what is on the way in all sockets: from the second value on the kernel takes measures",
			Need: needs.TCPPages, Unit: "pages", Raise: "sysctl -w " + tcpMem + "='{} {} {}'"},
		{Name: conntrack, What: "connections that a firewall with state knows",
			Used: tracked, Need: needs.Conntrack, Raise: "sysctl -w " + conntrack + "={}"},
	}
}
