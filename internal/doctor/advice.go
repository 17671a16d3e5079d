package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// advice returns the checks of settings that do not limit the number of connections.
func (h Host) advice(n int) []Check {
	return []Check{
		h.backlog(n), h.buffers("rmem", "received data"), h.buffers("wmem", "data that is not yet acknowledged"),
		h.outgoing(n), h.quotaCheck(), h.clock(), h.congestion(),
	}
}

// checkSetting returns a check with the value of a setting.
func (h Host) checkSetting(name, what string) Check {
	c := Check{Name: name, What: what, Found: strings.Join(h.sysctl(name), " "), Verdict: OK}
	if c.Found == "" {
		c.Verdict, c.Note = Unknown, notShown
	}
	return c
}

// backlog checks the accept queue, which matters when all clients reconnect at once.
func (h Host) backlog(n int) Check {
	const most = 65535
	const name = "net.core.somaxconn"
	c := h.checkSetting(name, "connections that wait to be accepted, when all clients reconnect at once")
	have, ok := h.setting(name, 0)
	if want := int64(min(n, most)); ok {
		c.Needed = fmt.Sprint(want)
		if have < want {
			c.Verdict = Advice
			c.Note = "further connections are not refused: their handshakes are repeated after a second or more"
			c.Change = []string{fmt.Sprintf("sysctl -w %s=%d", name, most)}
		}
	}
	return c
}

// buffers checks the three values for the buffer of a socket: tcp(7).
func (h Host) buffers(name, what string) Check {
	const least = 64 << 10
	name = "net.ipv4.tcp_" + name
	c := h.checkSetting(name, "lowest, initial and highest number of bytes for "+what+" of a socket")
	most, ok := h.setting(name, 2)
	if !ok {
		return c
	}
	c.Note = fmt.Sprintf("an idle connection uses none of it, and a connection that does not read up to %d KiB",
		min(most, unsentBytes)>>10)
	if strings.HasSuffix(name, "rmem") {
		c.Note = "an idle connection uses none of it"
	}
	if most < least {
		c.Verdict = Advice
		c.Note = fmt.Sprintf("with a highest number of less than %d bytes, a large message takes many steps", least)
		c.Change = []string{"sysctl -w " + name + "='4096 131072 4194304'"}
	}
	return c
}

// unsentBytes is roughly how much unsent data the kernel holds for a peer that does not read: 128 KiB
// (TCP_NOTSENT_LOWAT in docs/architecture.md), and some overhead.
const unsentBytes = 140 << 10

// outgoing checks the ports of outgoing connections. A proxy on this host needs one for each connection.
func (h Host) outgoing(n int) Check {
	c := h.checkSetting(portRange,
		"ports of outgoing connections: crier needs none, and a proxy on this host one for each connection")
	ports, ok := h.ports()
	if !ok {
		return c
	}
	c.Note = fmt.Sprintf("behind a proxy with one address: %d connections for each address that crier listens on", ports)
	if ports < int64(n) {
		c.Note += fmt.Sprintf(", so %d addresses; without a proxy on this host it does not matter", (int64(n)+ports-1)/ports)
		if most := int64(65535 - 1024 + 1); ports < most {
			c.Verdict, c.Change = Advice, []string{"sysctl -w " + portRange + "='1024 65535'"}
		}
	}
	return c
}

// Processors returns how many processors this process may use: those that it may run on, limited by the quota of its
// control groups.
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

// quotaCheck checks the processors.
func (h Host) quotaCheck() Check {
	n, ok := h.processors()
	c := Check{
		Name: "processors", What: "those that this process may run on, and the quota of its control group", Verdict: OK,
		Found: fmt.Sprintf("%d, no quota", n),
		Note:  "they determine how long a broadcast takes, not the number of connections",
	}
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
		c.Note = "when the quota is used up, the whole process pauses for up to 100 ms"
		c.Change = []string{
			fmt.Sprintf("CPUQuota=%d%%   # %s", 100*n, unit(q.dir)), fmt.Sprintf("docker run --cpus=%d ...", n),
		}
	}
	return c
}

// clock checks that a program can read the time without a system call. That depends on the clock source:
// Documentation/timers/timekeeping.rst of the kernel.
func (h Host) clock() Check {
	const dir = "sys/devices/system/clocksource/clocksource0/"
	c := Check{Name: "clock source", What: "source of the time: some need a system call for each reading", Verdict: OK}
	var ok bool
	if c.Found, ok = h.text(dir + "current_clocksource"); !ok {
		c.Verdict, c.Note = Unknown, notShown
		return c
	}
	quick := []string{
		"tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource", "timebase", "tod",
		"Constant",
	}
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
	c.Note = "the kernel has found no faster source on this machine"
	return c
}

// congestion checks the congestion control.
func (h Host) congestion() Check {
	const name, qdisc = "net.ipv4.tcp_congestion_control", "net.core.default_qdisc"
	c := h.checkSetting(name, "congestion control of each connection: cubic, reno and bbr are fine")
	words := h.sysctl(qdisc)
	if c.Found == "bbr" && (len(words) == 0 || words[0] != "fq") {
		c.Verdict = Advice
		c.Note = "without the queueing discipline fq, bbr needs a timer for each connection"
		c.Change = []string{
			"sysctl -w " + qdisc + "=fq   # for interfaces that are set up afterwards", "sysctl -w " + name + "=cubic",
		}
	}
	return c
}
