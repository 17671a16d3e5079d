package bench

import (
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/crier-ws/crier/internal/procfs"
	"golang.org/x/sys/unix"
)

// limit is something of the host that bounds the connections that one process can hold
// while the clients are on the same host.
type limit struct {
	name  string
	have  int64
	fixed int64   // what is needed besides the connections
	each  float64 // what a connection needs
	unit  string
	raise string // the command, with {} for the value
}

// need returns what n connections need.
func (l limit) need(n int) int64 { return l.fixed + int64(math.Ceil(l.each*float64(n))) }

// fits returns how many connections it allows.
func (l limit) fits() int {
	switch left := l.have - l.fixed; {
	case left < 0:
		return 0
	case l.each == 0:
		return math.MaxInt
	default:
		return int(float64(left) / l.each)
	}
}

// bytesPerConn is what one connection takes with both ends on this host: the kernel's
// sockets, files and inodes 7.8 KB, the server 256 B, the swarm 700 B, and some for
// messages that are on the way.
const bytesPerConn = 10 << 10

// storm is the share of the connections that comes back at once. The server may have
// them twice for a moment.
const storm = 0.1

// portsPerSource is what the swarm needs of the range of local ports. It takes another
// source address for every 2,000 connections, so more of them need no more ports; some
// are other processes'.
const portsPerSource = 2500

// readLimits returns the limits of this host. Those that it does not have (no firewall
// that keeps state, for one) or does not show (tcp_mem, in a container) are left out.
func readLimits() ([]limit, error) {
	var fds unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &fds); err != nil {
		return nil, os.NewSyscallError("getrlimit", err)
	}
	available, err := availableMemory()
	if err != nil {
		return nil, err
	}
	clamp := func(v uint64) int64 { return int64(min(v, math.MaxInt64)) }
	limits := []limit{
		{name: "open files of a process", have: clamp(fds.Max), fixed: 2 * spareFDs, each: 1 + storm, raise: "ulimit -Hn {}"},
		{name: "memory", have: available, fixed: 256 << 20, each: bytesPerConn, unit: "B", raise: "(a larger machine)"},
	}
	for _, l := range []limit{
		{name: "fs.nr_open", fixed: 2 * spareFDs, each: 1 + storm, raise: "sysctl -w fs.nr_open={}"},
		{name: "fs.file-max", fixed: 10000, each: 2, raise: "sysctl -w fs.file-max={}"},
		// One user's watches: the server's and the swarm's.
		{name: "fs.epoll.max_user_watches", fixed: 1000, each: 2, raise: "sysctl -w fs.epoll.max_user_watches={}"},
		// Below the second value the kernel takes no measures; a page for each socket
		// that has something on the way.
		{name: "net.ipv4.tcp_mem", fixed: 1000, each: 1, unit: "pages",
			raise: "sysctl -w net.ipv4.tcp_mem='{} {} {}'"},
		{name: "net.netfilter.nf_conntrack_max", fixed: 1000, each: 1,
			raise: "sysctl -w net.netfilter.nf_conntrack_max={}"},
	} {
		text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(l.name, ".", "/"))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(text))
		if l.have, err = strconv.ParseInt(fields[len(fields)/2], 10, 64); err != nil {
			l.have = math.MaxInt64 // fs.file-max may be as much as a uint64 holds.
		}
		limits = append(limits, l)
	}
	ports, err := localPorts()
	return append(limits, limit{name: "net.ipv4.ip_local_port_range", have: ports, fixed: portsPerSource,
		unit: "ports", raise: "sysctl -w net.ipv4.ip_local_port_range='1024 65535'"}), err
}

// localPorts returns how many ports connect(2) may choose from, ip(7).
func localPorts() (int64, error) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0, err
	}
	var low, high int64
	_, err = fmt.Sscan(string(text), &low, &high)
	return high - low + 1, err
}

// fit returns the most connections up to n that all limits allow, and prints what binds
// and how to raise it.
func fit(w io.Writer, n int, limits []limit) (int, error) {
	most := n
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "limit\tit is\tneeded\tallows\traise it with\n")
	for _, l := range limits {
		allows, raise := "all", ""
		if l.fits() < n {
			allows = strconv.Itoa(l.fits())
			raise = strings.ReplaceAll(l.raise, "{}", strconv.FormatInt(l.need(n), 10))
		}
		most = min(most, l.fits())
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", l.name, l.amount(l.have), l.amount(l.need(n)), allows, raise)
	}
	if err := t.Flush(); err != nil {
		return 0, err
	}
	if most < n {
		fmt.Fprintf(w, "\nThese limits allow %d of %d connections. bench/vm runs a guest that has its own.\n", most, n)
	}
	return most, nil
}

func (l limit) amount(v int64) string {
	switch {
	case v == math.MaxInt64:
		return "enough"
	case l.unit == "B":
		return fmt.Sprintf("%.1f GB", float64(v)/1e9)
	}
	return strings.TrimSpace(fmt.Sprint(v, " ", l.unit))
}

// availableMemory returns what this process may still use: of the host, and of its control
// group, see Documentation/admin-guide/cgroup-v2.rst.
func availableMemory() (int64, error) {
	available, err := procfs.Meminfo("/", "MemAvailable")
	if err != nil {
		return 0, err
	}
	var values [2]int64
	for i, file := range []string{"memory.max", "memory.current"} {
		text, err := os.ReadFile("/sys/fs/cgroup/" + file)
		if err != nil {
			return available, nil // no group, or an old one
		}
		if values[i], err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err != nil {
			return available, nil // "max"
		}
	}
	return min(available, values[0]-values[1]), nil
}
