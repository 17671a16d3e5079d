package cluster

import (
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// lane is a publisher, and a listener whom its messages get to.
type lane struct {
	name   string // And that of its channel.
	conn   net.Conn
	rw     io.ReadWriter
	socket socket
	took   []time.Duration
}

func newLane(b *testing.B, name string, from, to *node) *lane {
	b.Helper()
	conn, br, _, err := ws.Dial(b.Context(), "ws://"+to.addr+"/"+name)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	l := &lane{name: name, conn: conn, rw: reader(br, conn), socket: socket{n: from}}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := wsutil.ReadServerText(l.rw); err != nil { // The greeting.
		b.Fatal(err)
	}
	for range 10 { // Until the connections are warm.
		l.once(b)
	}
	l.took = nil
	return l
}

// once sends a message, and waits until it has arrived.
func (l *lane) once(b *testing.B) {
	_ = l.conn.SetDeadline(time.Now().Add(patience))
	text := fmt.Sprint(len(l.took), time.Now())
	began := time.Now()
	if err := l.socket.send(l.name, text); err != nil {
		b.Fatal(err)
	}
	if p, err := wsutil.ReadServerText(l.rw); err != nil || string(p) != text {
		b.Fatalf("%s: got %q, %v, want %q", l.name, p, err, text)
	}
	l.took = append(l.took, time.Since(began))
}

// BenchmarkLatency measures how long a message of a WebSocket client takes to reach another one: within a single
// server, within a node, and between two nodes in each mode, with three NATS servers. They take turns, so that other
// load on the machine is the same for all.
func BenchmarkLatency(b *testing.B) {
	servers := startNATS(b, 3)
	alone := startPlain(b, nil)
	fast := []*node{startFast(b, servers.urls()), startFast(b, servers.urls())}
	ordered := []*node{startNode(b, servers.urls()), startNode(b, servers.urls())}
	lanes := []*lane{
		newLane(b, "alone", alone, alone),
		newLane(b, "fast-own", fast[0], fast[0]), newLane(b, "fast-other", fast[0], fast[1]),
		newLane(b, "ordered-own", ordered[0], ordered[0]), newLane(b, "ordered-other", ordered[0], ordered[1]),
	}
	for b.Loop() {
		for _, l := range lanes {
			l.once(b)
		}
	}
	for _, l := range lanes {
		slices.Sort(l.took)
		b.ReportMetric(float64(l.took[len(l.took)/2].Microseconds()), l.name+"-p50-us")
		b.ReportMetric(float64(l.took[len(l.took)*99/100].Microseconds()), l.name+"-p99-us")
	}
}
