package doctor

import (
	"fmt"
	"math"
	"strings"
)

// Limit is a limit of the host on the connections of one process.
type Limit struct {
	Name string
	// What describes in a few words what is limited.
	What string
	// Found is the value as the host writes it. It is empty if Have is enough.
	Found string
	Have  int64  // math.MaxInt64 for no limit.
	Used  int64  // The part that others use already.
	Need  Need   // The part that connections need.
	Unit  string // "B" for bytes; may be empty.
	// Raise is the command that changes the limit, with {} for the value. If it has several lines, each is an
	// alternative.
	Raise string
}

// Need is how much of a resource connections need.
type Need struct {
	Fixed int64   // Regardless of the number of connections.
	Each  float64 // For each connection; 0 if their number does not matter.
}

// Needs has the resources of a host that a process with many connections needs.
type Needs struct {
	Files     Need // Open files of the process.
	AllFiles  Need // Open files of the host.
	Watches   Need // Epoll watches of one user.
	TCPPages  Need // Pages for data in the buffers of sockets.
	Conntrack Need // Entries in the connection table of the firewall.
	Ports     Need // Local ports of outgoing connections.
	Memory    Need // Bytes, including those of the kernel.
}

// Needed returns what n connections need, including the part that others use.
func (l Limit) Needed(n int) int64 {
	return l.Used + l.Need.Fixed + int64(math.Ceil(l.Need.Each*float64(n)))
}

// Allows returns how many connections the limit allows. math.MaxInt means no limit.
func (l Limit) Allows() int {
	switch left := l.Have - l.Used - l.Need.Fixed; {
	case left < 0:
		return 0
	case l.Need.Each == 0 || l.Have == math.MaxInt64:
		return math.MaxInt
	default:
		n := float64(left) / l.Need.Each
		if n >= math.MaxInt { // As a float64, math.MaxInt is rounded up.
			return math.MaxInt
		}
		return int(n)
	}
}

// Amount formats a value of the limit with its unit.
func (l Limit) Amount(v int64) string {
	switch {
	case v == math.MaxInt64:
		return "no limit"
	case l.Unit == "B":
		return gigabytes(float64(v))
	}
	return strings.TrimSpace(fmt.Sprint(v, " ", l.Unit))
}

// gigabytes formats a number of bytes.
func gigabytes(v float64) string {
	if v < 999.5e6 { // A value that is rounded to 1000 MB would get an exponent.
		return fmt.Sprintf("%.3g MB", v/1e6)
	}
	return fmt.Sprintf("%.1f GB", v/1e9)
}

// Limits returns the limits of this host. Limits that the host does not have (such as those of a stateful firewall) or
// does not show (such as tcp_mem in a container) are left out.
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
		{Name: openFiles, What: "the hard limit, to which crier raises its soft limit: each connection is a file",
			Have: hard, Need: needs.Files, Raise: raiseFiles},
		{Name: "memory", What: "available on the host now: for crier and for the kernel's sockets",
			Have: available, Need: needs.Memory, Unit: "B", Raise: "a larger machine: MemAvailable of at least {}"},
	}
	if b, found := h.memoryBound(); found {
		limits = append(limits, Limit{
			Name:  groupMemory,
			What:  "what " + b.file + " of " + strings.TrimPrefix(b.dir, "sys/fs/") + " leaves",
			Found: Limit{Unit: "B"}.Amount(b.left) + " of " + Limit{Unit: "B"}.Amount(b.max),
			Have:  b.max, Used: b.max - b.left, Need: needs.Memory, Unit: "B", Raise: b.raise(),
		})
	}
	for _, l := range h.settings(needs) {
		i := 0
		if l.Name == tcpMem {
			i = 1 // Below the second value, the kernel does not limit sockets.
			l.Found = strings.Join(h.sysctl(l.Name), " ") + " pages"
		}
		var found bool
		if l.Have, found = h.setting(l.Name, i); found {
			if l.Name == conntrack && l.Have == 0 {
				l.Have = math.MaxInt64 // With 0, nf_conntrack_core.c does not check the count.
			}
			limits = append(limits, l)
		}
	}
	if ports, ok := h.ports(); ok && needs.Ports != (Need{}) {
		limits = append(limits, Limit{
			Name: portRange, What: "ports of outgoing connections",
			Have: ports, Need: needs.Ports, Unit: "ports", Raise: "sysctl -w " + portRange + "='1024 65535'",
		})
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
		"ulimit -Hn {}   # in the root shell that starts crier"
)

// settings returns the limits whose values are below proc/sys, without the values.
func (h Host) settings(needs Needs) []Limit {
	allocated, _ := h.setting("fs.file-nr", 0) // proc_sys_fs(5)
	tracked, _ := h.setting("net.netfilter.nf_conntrack_count", 0)
	return []Limit{
		{Name: nrOpen, What: "the highest possible hard limit of open files",
			Need: needs.Files, Raise: "sysctl -w fs.nr_open={}"},
		{Name: "fs.file-max", What: "open files of all processes together",
			Used: allocated, Need: needs.AllFiles, Raise: "sysctl -w fs.file-max={}"},
		{Name: "fs.epoll.max_user_watches", What: "epoll watches of one user: each connection is one",
			Need: needs.Watches, Raise: "sysctl -w fs.epoll.max_user_watches={}"},
		{Name: tcpMem, What: "memory for data in all sockets: above the second value, the kernel limits them",
			Need: needs.TCPPages, Unit: "pages", Raise: "sysctl -w " + tcpMem + "='{} {} {}'"},
		{Name: conntrack, What: "connections that a stateful firewall tracks",
			Used: tracked, Need: needs.Conntrack, Raise: "sysctl -w " + conntrack + "={}"},
	}
}
