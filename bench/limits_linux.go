package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/crier-ws/crier/internal/doctor"
)

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

// needs is what a million connections need with both ends on this host.
var needs = doctor.Needs{
	Files:     doctor.Need{Fixed: 2 * spareFDs, Each: 1 + storm},
	AllFiles:  doctor.Need{Fixed: 10000, Each: 2},
	Watches:   doctor.Need{Fixed: 1000, Each: 2}, // of one user: the server's and the swarm's
	TCPPages:  doctor.Need{Fixed: 1000, Each: 1}, // a page for each socket that has something on the way
	Conntrack: doctor.Need{Fixed: 1000, Each: 1},
	Ports:     doctor.Need{Fixed: portsPerSource},
	Memory:    doctor.Need{Fixed: 256 << 20, Each: bytesPerConn},
}

// readLimits returns the limits of this host.
func readLimits() ([]doctor.Limit, error) { return doctor.Host{}.Limits(needs) }

// fit returns the most connections up to n that all limits allow, and prints what binds
// and how to raise it.
func fit(w io.Writer, n int, limits []doctor.Limit) (int, error) {
	most := n
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "limit\tit is\tneeded\tallows\traise it with\n")
	for _, l := range limits {
		allows, raise := "all", ""
		if l.Allows() < n {
			allows = strconv.Itoa(l.Allows())
			raise = strings.ReplaceAll(l.Raise, "{}", strconv.FormatInt(l.Needed(n), 10))
		}
		most = min(most, l.Allows())
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", l.Name, l.Amount(l.Have), l.Amount(l.Needed(n)), allows, raise)
	}
	if err := t.Flush(); err != nil {
		return 0, err
	}
	if most < n {
		fmt.Fprintf(w, "\nThese limits allow %d of %d connections. bench/vm runs a guest that has its own.\n", most, n)
	}
	return most, nil
}
