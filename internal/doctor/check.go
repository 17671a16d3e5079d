package doctor

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Verdict is what a check comes to.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"      // enough for the wish
	Small   Verdict = "small"   // the wish does not fit
	Advice  Verdict = "advice"  // it fits, and would go better otherwise
	Absent  Verdict = "absent"  // this host does not have it, so it bounds nothing
	Unknown Verdict = "unknown" // this host does not show it
)

// notShown is said of what is unknown.
const notShown = "not shown here (a container, perhaps): look at the host's"

// Check is one thing that was looked at.
type Check struct {
	Name string `json:"name"`
	What string `json:"what"` // what it is

	Found   string   `json:"found"`  // what this host has; empty if Absent or Unknown
	Needed  string   `json:"needed"` // what the wish needs; empty if it does not depend on that
	Allows  *int     `json:"allows"` // how many connections it allows; nil if it sets no bound
	Verdict Verdict  `json:"verdict"`
	Note    string   `json:"note"`   // what else there is to say; may be empty
	Change  []string `json:"change"` // commands or lines, each of which changes it; none if there is no need

	sometimes bool // it is too small, and binds in some cases only
}

// Wish is what is to fit.
type Wish struct {
	Conns    int // connections; from 1
	Reserved int // open files that crier needs besides
}

// roomBytes is what memory is needed for besides connections: crier without any, 8 MiB of
// messages that are kept and half as much that a pass holds, and some for all others.
const roomBytes = 64 << 20

// needs returns what a server needs whose clients are elsewhere, with a connection of so
// many bytes.
func (w Wish) needs(connBytes float64) Needs {
	return Needs{
		Files:     Need{int64(w.Reserved), 1},
		AllFiles:  Need{1000, 1},
		Watches:   Need{1000, 1},
		TCPPages:  Need{1000, 1}, // a page for each that has something on the way
		Conntrack: Need{1000, 1},
		Memory:    Need{roomBytes, connBytes},
	}
}

// Checks looks at all that bounds the connections of one server on this host, and at what
// they would go better with. each is how many bytes of memory a connection takes up, the
// kernel's part included.
func (h Host) Checks(w Wish, each Range) ([]Check, error) {
	limits, err := h.Limits(w.needs(each.Likely))
	if err != nil {
		return nil, err
	}
	var all []Check
	there := map[string]bool{}
	for _, l := range limits {
		there[l.Name] = true
		c := h.check(l, w.Conns)
		l.Need.Each = each.High
		if l.Unit == "B" && c.Verdict == OK && l.Have < l.Needed(w.Conns) {
			c.Verdict, c.Note = Advice, "enough for what is likely, not for the most that it may be: "+l.Amount(l.Needed(w.Conns))
			c.Change = h.changes(l, w.Conns)
		}
		all = append(all, c)
	}
	for _, l := range h.settings(Needs{}) {
		if !there[l.Name] {
			all = append(all, absent(l))
		}
	}
	if !there[groupMemory] {
		all = append(all, Check{Name: groupMemory, What: "what a control group leaves", Verdict: Absent, Note: "no control group bounds memory"})
	}
	all = append(all, h.advice(w.Conns)...)
	if h.readOnlySettings() {
		for i := range all {
			elsewhere(all[i].Change)
		}
	}
	return all, nil
}

// elsewhere changes commands for settings that cannot be written in a container to those that
// do it from outside. Some settings each network namespace has for itself, network_namespaces(7).
func elsewhere(change []string) {
	own := []string{"net.core.somaxconn", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.ipv4.tcp_congestion_control", portRange}
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

// Fits tells whether no check says that the wish does not fit.
func Fits(all []Check) bool {
	for _, c := range all {
		if c.Verdict == Small {
			return false
		}
	}
	return true
}

// Most returns how many connections the limits allow, and the name of the one that binds;
// math.MaxInt if none does.
func Most(all []Check) (n int, name string) {
	n = math.MaxInt
	for _, c := range all {
		if c.Allows != nil && !c.sometimes && *c.Allows < n {
			n, name = *c.Allows, c.Name
		}
	}
	return n, name
}

// absent is the check of a limit that is not there.
func absent(l Limit) Check {
	c := Check{Name: l.Name, What: l.What, Verdict: Unknown, Note: notShown}
	if l.Name == conntrack {
		c.Verdict, c.Note = Absent, "this host has no table of connections, so it does not bound them"
	}
	return c
}

// check is the check of a limit.
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

// soften makes advice of it where what is too small does not bind for certain.
func (h Host) soften(c *Check, l Limit, n int) {
	switch l.Name {
	case tcpMem:
		// Between the second value and the third, sockets get less.
		if most, ok := h.setting(tcpMem, 2); ok && most >= l.Needed(n) {
			c.Verdict, c.sometimes = Advice, true
			c.Note = "beyond the second value the kernel gives sockets less, beyond the third nothing"
		} else {
			c.Note = "a page for each connection that has something on the way; idle ones need none"
		}
	case conntrack:
		if l.Used == 0 {
			c.Verdict, c.sometimes = Advice, true
			c.Note = "the table is empty: it bounds connections only if a firewall keeps state of them"
		}
	}
}

// changes returns the commands that make a limit enough.
func (h Host) changes(l Limit, n int) []string {
	switch files := l.Name == openFiles || l.Name == nrOpen; {
	case files && l.Needed(n) > mostFiles:
		return []string{fmt.Sprintf("more than one server: no kernel gives a process more than %d files", mostFiles)}
	case l.Name == tcpMem:
		return []string{h.tcpMemory(h.proposed(l, n))}
	}
	return strings.Split(strings.ReplaceAll(l.Raise, "{}", h.proposal(l, n)), "\n")
}

// mostFiles is the most that fs.nr_open takes, sysctl_nr_open_max in fs/file.c.
const mostFiles = math.MaxInt32 &^ 63

// tcpMemory returns the command that makes the second value of tcp_mem pages, with the others at
// the kernel's distance from it, and none less than it is.
func (h Host) tcpMemory(pages int64) string {
	low, _ := h.setting(tcpMem, 0)
	most, _ := h.setting(tcpMem, 2)
	return fmt.Sprintf("sysctl -w %s='%d %d %d'", tcpMem, max(low, pages*3/4), pages, max(most, pages*3/2))
}

// proposal returns what proposed does, as it is written.
func (h Host) proposal(l Limit, n int) string {
	value := h.proposed(l, n)
	if l.Unit == "B" {
		const mib = 1 << 20
		return strconv.FormatInt((value+mib-1)/mib, 10) + "M"
	}
	return strconv.FormatInt(value, 10)
}

// proposed returns the value to set a limit to: a tenth more than what is needed, for
// connections that come back before the server knows that they went.
func (h Host) proposed(l Limit, n int) int64 {
	const round = 1000
	need := l.Needed(n)
	value := (need + need/10 + round - 1) / round * round
	if ceiling, ok := h.setting(nrOpen, 0); ok && l.Name == openFiles && ceiling >= need {
		value = min(value, ceiling) // setrlimit(2) refuses more.
	}
	if l.Name == openFiles || l.Name == nrOpen {
		value = min(value, mostFiles)
	}
	return value
}
