package doctor

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Verdict is the result of a check.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"      // Enough for the goal.
	Small   Verdict = "small"   // The goal does not fit.
	Advice  Verdict = "advice"  // The goal fits, but the setting costs time or memory.
	Absent  Verdict = "absent"  // This host does not have the limit.
	Unknown Verdict = "unknown" // This host does not show the limit.
)

// notShown is the note of unknown limits.
const notShown = "not shown here, perhaps because this is a container: check it on the host"

// Check is the result for one limit or setting.
type Check struct {
	Name string `json:"name"`
	What string `json:"what"` // What the limit is.

	Found   string   `json:"found"`  // The value on this host; empty if Absent or Unknown.
	Needed  string   `json:"needed"` // What the goal needs; empty if it does not matter.
	Allows  *int     `json:"allows"` // How many connections it allows; nil if it does not limit them.
	Verdict Verdict  `json:"verdict"`
	Note    string   `json:"note"`   // A remark; may be empty.
	Change  []string `json:"change"` // Alternative commands that change it; none if not needed.

	conditional bool // It is too small, but binds only in some cases.
}

// Goal is the number of connections that should fit.
type Goal struct {
	Conns    int // At least 1.
	Reserved int // Open files that crier needs in addition.
}

// roomBytes is the memory that crier needs in addition to its connections: 8 MiB of kept messages, half as much for a
// pass, and the rest of the program.
const roomBytes = 64 << 20

// needs returns what a server needs whose clients are on other hosts, if a connection takes connBytes.
func (g Goal) needs(connBytes float64) Needs {
	return Needs{
		Files:     Need{int64(g.Reserved), 1},
		AllFiles:  Need{1000, 1},
		Watches:   Need{1000, 1},
		TCPPages:  Need{1000, 1}, // A page for each connection with data in transit.
		Conntrack: Need{1000, 1},
		Memory:    Need{roomBytes, connBytes},
	}
}

// Checks checks all limits on the connections of one server on this host, and the settings that cost time or memory.
// each is how many bytes a connection takes, including those of the kernel.
func (h Host) Checks(g Goal, each Range) ([]Check, error) {
	limits, err := h.Limits(g.needs(each.Likely))
	if err != nil {
		return nil, err
	}
	var all []Check
	found := map[string]bool{}
	for _, l := range limits {
		found[l.Name] = true
		c := h.check(l, g.Conns)
		l.Need.Each = each.High
		if needed := l.Needed(g.Conns); l.Unit == "B" && c.Verdict == OK && l.Have < needed {
			c.Verdict, c.Note = Advice, "enough for the likely value, but not for the highest: "+l.Amount(needed)
			c.Change = h.changes(l, g.Conns)
		}
		all = append(all, c)
	}
	for _, l := range h.settings(Needs{}) {
		if !found[l.Name] {
			all = append(all, absent(l))
		}
	}
	if !found[groupMemory] {
		all = append(all, Check{
			Name: groupMemory, What: "what a control group leaves", Verdict: Absent, Note: "no control group limits memory",
		})
	}
	all = append(all, h.advice(g.Conns)...)
	if h.readOnlySettings() {
		for i := range all {
			rewriteForContainer(all[i].Change)
		}
	}
	return all, nil
}

// rewriteForContainer replaces commands that cannot change a setting inside a container by commands that do so from
// outside. Some settings belong to a network namespace: network_namespaces(7).
func rewriteForContainer(change []string) {
	own := []string{
		"net.core.somaxconn", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.ipv4.tcp_congestion_control", portRange,
	}
	for i, command := range change {
		setting, ok := strings.CutPrefix(command, "sysctl -w ")
		if !ok {
			continue
		}
		setting, _, _ = strings.Cut(setting, "  ")
		name, _, _ := strings.Cut(setting, "=")
		if slices.Contains(own, name) {
			change[i] = "docker run --sysctl " + setting + " ..."
		} else {
			change[i] = "sysctl -w " + setting + "   # on the host of this container"
		}
	}
}

// Fits reports whether no check has the verdict Small.
func Fits(all []Check) bool {
	for _, c := range all {
		if c.Verdict == Small {
			return false
		}
	}
	return true
}

// Most returns how many connections the limits allow, and the name of the lowest limit. math.MaxInt means no limit.
func Most(all []Check) (n int, name string) {
	n = math.MaxInt
	for _, c := range all {
		if c.Allows != nil && !c.conditional && *c.Allows < n {
			n, name = *c.Allows, c.Name
		}
	}
	return n, name
}

// absent returns the check of a limit that the host does not have or show.
func absent(l Limit) Check {
	c := Check{Name: l.Name, What: l.What, Verdict: Unknown, Note: notShown}
	if l.Name == conntrack {
		c.Verdict, c.Note = Absent, "this host does not track connections, so there is no such limit"
	}
	return c
}

// check returns the check of a limit for n connections.
func (h Host) check(l Limit, n int) Check {
	c := Check{Name: l.Name, What: l.What, Found: l.Found, Needed: l.Amount(l.Needed(n)), Verdict: OK}
	if c.Found == "" {
		c.Found = l.Amount(l.Have)
	}
	if allows := l.Allows(); allows < math.MaxInt {
		c.Allows = &allows
	}
	if l.Used > 0 && l.Unit == "" {
		c.Note = strconv.FormatInt(l.Used, 10) + " of them are in use"
	}
	if l.Have >= l.Needed(n) {
		return c
	}
	c.Verdict = Small
	c.Change = h.changes(l, n)
	h.soften(&c, l, n)
	return c
}

// soften turns the verdict into Advice if the limit is too small, but may not bind.
func (h Host) soften(c *Check, l Limit, n int) {
	switch l.Name {
	case tcpMem:
		// Between the second and the third value, sockets get less memory.
		if most, ok := h.setting(tcpMem, 2); ok && most >= l.Needed(n) {
			c.Verdict, c.conditional = Advice, true
			c.Note = "above the second value, the kernel gives sockets less memory, and above the third none"
		} else {
			c.Note = "a page for each connection with data in transit; idle connections need none"
		}
	case conntrack:
		if l.Used == 0 {
			c.Verdict, c.conditional = Advice, true
			c.Note = "the table is empty: the limit matters only if a firewall tracks connections"
		}
	}
}

// changes returns the commands that raise a limit far enough for n connections.
func (h Host) changes(l Limit, n int) []string {
	switch files := l.Name == openFiles || l.Name == nrOpen; {
	case files && l.Needed(n) > mostFiles:
		return []string{fmt.Sprintf("use more than one server: no kernel allows a process more than %d files", mostFiles)}
	case l.Name == tcpMem:
		return []string{h.tcpMemory(h.proposed(l, n))}
	}
	return strings.Split(strings.ReplaceAll(l.Raise, "{}", h.proposal(l, n)), "\n")
}

// mostFiles is the highest value of fs.nr_open: sysctl_nr_open_max in fs/file.c.
const mostFiles = math.MaxInt32 &^ 63

// tcpMemory returns the command that sets the second value of tcp_mem to pages. The other values keep the kernel's
// usual ratio to it, and none is lowered.
func (h Host) tcpMemory(pages int64) string {
	low, _ := h.setting(tcpMem, 0)
	most, _ := h.setting(tcpMem, 2)
	return fmt.Sprintf("sysctl -w %s='%d %d %d'", tcpMem, max(low, pages*3/4), pages, max(most, pages*3/2))
}

// proposal returns the value of proposed as text.
func (h Host) proposal(l Limit, n int) string {
	value := h.proposed(l, n)
	if l.Unit == "B" {
		const mib = 1 << 20
		return strconv.FormatInt((value+mib-1)/mib, 10) + "M"
	}
	return strconv.FormatInt(value, 10)
}

// proposed returns the value to set a limit to: a tenth more than needed, because clients may reconnect before the
// server has noticed that they are gone.
func (h Host) proposed(l Limit, n int) int64 {
	const round = 1000
	need := l.Needed(n)
	value := (need + need/10 + round - 1) / round * round
	if ceiling, ok := h.setting(nrOpen, 0); ok && l.Name == openFiles && ceiling >= need {
		value = min(value, ceiling) // setrlimit(2) refuses higher values.
	}
	if l.Name == openFiles || l.Name == nrOpen {
		value = min(value, mostFiles)
	}
	return value
}
