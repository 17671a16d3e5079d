package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// advice is the checks of what does not bound the number of connections.
func (h Host) advice(n int) []Check {
	return []Check{h.backlog(n), h.buffers("rmem", "receives"), h.buffers("wmem", "is sent and not acknowledged"),
		h.outgoing(n), h.quotaCheck(), h.clock(), h.congestion()}
}

// setCheck is a check of one setting, whose value is its i-th number.
func (h Host) setCheck(name, what string) Check {
	c := Check{Name: name, What: what, Found: strings.Join(h.sysctl(name), " "), Verdict: OK}
	if c.Found == "" {
		c.Verdict, c.Note = Unknown, notShown
	}
	return c
}

// backlog is about all coming back at once.
func (h Host) backlog(n int) Check {
	const most = 65535
	const name = "net.core.somaxconn"
	c := h.setCheck(name, "connections that wait to be accepted, when all come back at once")
	have, ok := h.setting(name, 0)
	if want := int64(min(n, most)); ok {
		c.Needed = fmt.Sprint(want)
		if have < want {
			c.Verdict = Advice
			c.Note = "more are not refused: they try again after a second or more"
			c.Change = []string{fmt.Sprintf("sysctl -w %s=%d", name, most)}
		}
	}
	return c
}

// buffers is about the three values for a socket's buffer, tcp(7).
func (h Host) buffers(name, what string) Check {
	const least = 64 << 10
	name = "net.ipv4.tcp_" + name
	c := h.setCheck(name, "least, first and most bytes for what a socket "+what)
	most, ok := h.setting(name, 2)
	if !ok {
		return c
	}
	c.Note = fmt.Sprintf("an idle connection uses none of it, one that does not read up to %d KiB", min(most, unsentBytes)>>10)
	if strings.HasSuffix(name, "rmem") {
		c.Note = "an idle connection uses none of it"
	}
	if most < least {
		c.Verdict = Advice
		c.Note = fmt.Sprintf("with a most of less than %d bytes a large message takes many steps", least)
		c.Change = []string{"sysctl -w " + name + "='4096 131072 4194304'"}
	}
	return c
}

// unsentBytes is about what a peer that does not read hides in the kernel: 128 KiB, see
// TCP_NOTSENT_LOWAT in docs/architecture.md, and some.
const unsentBytes = 140 << 10

// outgoing is about proxies, whose connections have a port each.
func (h Host) outgoing(n int) Check {
	c := h.setCheck(portRange, "ports of connections that this host makes: crier needs none, a proxy here one for each")
	ports, ok := h.ports()
	if !ok {
		return c
	}
	c.Note = fmt.Sprintf("behind a proxy on one address: %d connections for each address that crier listens on", ports)
	if ports < int64(n) {
		c.Note += fmt.Sprintf(", so %d addresses; without a proxy on this host it does not matter", (int64(n)+ports-1)/ports)
		if most := int64(65535 - 1024 + 1); ports < most {
			c.Verdict, c.Change = Advice, []string{"sysctl -w " + portRange + "='1024 65535'"}
		}
	}
	return c
}

// Processors returns how many processors' time this process has: those that it may run on,
// and no more than its control groups give it.
func (h Host) Processors() float64 {
	n, ok := h.processors()
	if !ok {
		return 1
	}
	if q, found := h.cpuQuota(); found {
		return min(q.processors, float64(n))
	}
	return float64(n)
}

// quotaCheck is about processors.
func (h Host) quotaCheck() Check {
	n, ok := h.processors()
	c := Check{Name: "processors", What: "that this process may run on, and what its control group gives of them", Verdict: OK,
		Found: fmt.Sprintf("%d, no quota", n), Note: "they set how long a broadcast takes, not how many connections there can be"}
	if !ok {
		return Check{Name: c.Name, What: c.What, Verdict: Unknown, Note: notShown}
	}
	q, found := h.cpuQuota()
	if !found {
		return c
	}
	c.Found = fmt.Sprintf("%d, quota %.4g (%s)", n, q.processors, strings.TrimPrefix(q.dir, "sys/fs/"))
	if q.processors < float64(n) {
		c.Verdict = Advice
		c.Note = "once the quota is used up everything stands still, up to 100 ms at a time"
		c.Change = []string{fmt.Sprintf("CPUQuota=%d%%   # %s", 100*n, unit(q.dir)), fmt.Sprintf("docker run --cpus=%d ...", n)}
	}
	return c
}

// clock is about the time being read without a system call, which takes a source that
// programs can read: see Documentation/timers/timekeeping.rst.
func (h Host) clock() Check {
	const dir = "sys/devices/system/clocksource/clocksource0/"
	c := Check{Name: "clock source", What: "where the time comes from: some of them take a system call for each look", Verdict: OK}
	var ok bool
	if c.Found, ok = h.text(dir + "current_clocksource"); !ok {
		c.Verdict, c.Note = Unknown, notShown
		return c
	}
	quick := []string{"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource", "timebase", "tod", "Constant"}
	if slices.Contains(quick, c.Found) {
		return c
	}
	c.Verdict = Advice
	text, _ := h.text(dir + "available_clocksource")
	for _, other := range strings.Fields(text) {
		if slices.Contains(quick, other) {
			c.Change = []string{"echo " + other + " > /" + dir + "current_clocksource"}
			return c
		}
	}
	c.Note = "the kernel has found no quicker one on this machine"
	return c
}

// congestion is about what sets the pace of a connection.
func (h Host) congestion() Check {
	const name, qdisc = "net.ipv4.tcp_congestion_control", "net.core.default_qdisc"
	c := h.setCheck(name, "what sets the pace of each connection: cubic, reno and bbr will do")
	words := h.sysctl(qdisc)
	if c.Found == "bbr" && (len(words) == 0 || words[0] != "fq") {
		c.Verdict = Advice
		c.Note = "bbr without the queue fq takes a timer for what each connection is sent"
		c.Change = []string{"sysctl -w " + qdisc + "=fq   # for what is set up from then on", "sysctl -w " + name + "=cubic"}
	}
	return c
}
