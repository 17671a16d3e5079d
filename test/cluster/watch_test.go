package cluster

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws/wsutil"
	"github.com/nats-io/nats.go/jetstream"
)

// notReady waits until a node is not ready for a reason.
func (n *node) notReady(why string) {
	n.t.Helper()
	eventually(n.t, n.name+" not to be ready: "+why, func() error {
		if err := n.ready(); err == nil || !strings.Contains(err.Error(), why) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}

// TestNoLeader stops or kills two of three NATS servers: the third has no leader for the stream, and answers all the
// same. Its node is not ready as long as that lasts, and WebSocket publishers are held, and then closed with 1013.
// Messages that were accepted before are not lost.
func TestNoLeader(t *testing.T) {
	for name, how := range map[string]struct {
		off  syscall.Signal
		lead bool // Whether the leader of the stream is one of the two.
	}{"leader stopped": {syscall.SIGSTOP, true}, "others stopped": {syscall.SIGSTOP, false}, "leader killed": {syscall.SIGKILL, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nats := startNATS(t, 3)
			first := startNode(t, nats.urls()) // It creates the stream.
			leader := nats.leader(t, "CRIER")
			var there int
			for i, s := range nats.servers {
				if (s == leader) != how.lead {
					there = i
				}
			}
			n := startNode(t, nats.urls()[there:there+1], "--cluster-timeout", "500ms", "--cluster-hold", "2s")
			first.signal(syscall.SIGTERM)
			l := listen(t, "news", n)
			defer l.end()
			awaitConnected(t, l)
			for i, s := range nats.servers {
				if i != there {
					s.signal(how.off)
				}
			}
			s := &socket{n: n}
			if err := s.send("news", "taken"); err != nil {
				t.Fatal(err)
			}
			n.notReady("majority")
			for i := range 100 { // NATS gives changing answers for half a minute.
				if err := n.ready(); err == nil {
					t.Fatalf("the node is ready again after %d checks", i)
				}
				time.Sleep(200 * time.Millisecond)
			}
			if s.send("news", "not taken") == nil { // The publisher is held, so the node may have closed it already.
				eventually(t, "the connection to be closed", func() error {
					if held := n.metric(t, `crier_disconnects_total{reason="unordered"}`); held == 0 {
						return errNotYet
					}
					return nil
				})
			}
			for i, s := range nats.servers {
				if i != there && how.off == syscall.SIGSTOP {
					s.signal(syscall.SIGCONT)
				} else if i != there {
					s.start()
				}
			}
			eventually(t, n.name+" to be ready", n.ready)
			if _, err := n.publish("news", "", "after"); err != nil {
				t.Fatal(err)
			}
			if got := awaitSame(t, "after", l); len(got) != 2 {
				t.Errorf("got %q, want the accepted messages, and the last one", got)
			}
		})
	}
}

// TestReadyAgain checks that a node is ready after an outage only when it has all messages that were published
// meanwhile.
func TestReadyAgain(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{{"--channels=false"}, nil} {
		servers := startNATS(t, 1)
		link := newCutter(t, servers.addrs[0])
		far := startNode(t, []string{"nats://" + link.ln.Addr().String()}, append([]string{"--cluster-replicas", "1"}, flags...)...)
		near := startNode(t, servers.urls(), append([]string{"--cluster-replicas", "1"}, flags...)...)
		channel := "news"
		if len(flags) > 0 {
			channel = ""
		}
		l := listen(t, channel, far)
		defer l.end()
		awaitConnected(t, l)
		for i := range 5 {
			link.set(true)
			link.cut()
			far.notReady("NATS")
			id, err := near.publish(channel, "", fmt.Sprint("meanwhile ", i))
			if err != nil {
				t.Fatal(err)
			}
			link.set(false)
			link.cut()
			eventually(t, far.name+" to be ready", far.ready)
			_, digits, _ := strings.Cut(id, "-")
			place, err := strconv.ParseFloat(digits, 64)
			if got := far.metric(t, "crier_cluster_position"); err != nil || got < place {
				t.Errorf("the node is ready with %v, and %s was published (%v)", got, id, err)
			}
		}
	}
}

// TestStuck has a consumer that exists and receives nothing, as on a NATS server that is stuck: the node creates
// another one.
func TestStuck(t *testing.T) {
	for name, flags := range map[string][]string{"all": {"--channels=false"}, "channels": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers := startNATS(t, 1)
			n := startNode(t, servers.urls(), append([]string{"--cluster-replicas", "1", "--cluster-timeout", "500ms"}, flags...)...)
			channel := "news"
			if len(flags) > 0 {
				channel = ""
			}
			l := listen(t, channel, n)
			defer l.end()
			awaitConnected(t, l)
			js := servers.jetStream(t)
			stream, err := js.Stream(t.Context(), "CRIER")
			if err != nil {
				t.Fatal(err)
			}
			paused := 0
			for name := range stream.ConsumerNames(t.Context()).Name() {
				if _, err := stream.PauseConsumer(t.Context(), name, time.Now().Add(time.Hour)); err == nil {
					paused++
				}
			}
			if paused == 0 {
				t.Fatal("the stream has no consumer")
			}
			if _, err := n.publish(channel, "", "there"); err != nil {
				t.Fatal(err)
			}
			awaitSame(t, "there", l)
			eventually(t, n.name+" to be ready", n.ready)
		})
	}
}

// TestDeleted checks that a node ends when the stream was deleted, and creates it when it is started again.
func TestDeleted(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1)
	n := startNode(t, servers.urls(), "--cluster-replicas", "1", "--cluster-timeout", "500ms")
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	var js jetstream.JetStream = servers.jetStream(t)
	if err := js.DeleteStream(t.Context(), "CRIER"); err != nil {
		t.Fatal(err)
	}
	ends(t, n, "the stream was deleted")
	eventually(t, "the listener to be told of a gap", func() error {
		if _, gaps := l.received(); len(gaps) == 0 {
			return errNotYet
		}
		return nil
	})
	if _, err := n.publish("news", "", "after"); err != nil {
		t.Fatal(err)
	}
	l.all(1)
}

// TestSettle sends SIGTERM as soon as a message was acknowledged: clients of this node receive it before the close,
// with and without IDs.
func TestSettle(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1)
	link := newCutter(t, servers.addrs[0])
	n := startNode(t, []string{"nats://" + link.ln.Addr().String()}, "--cluster-replicas", "1")
	for i := range 10 {
		conn, rw := n.dial(t, "news")
		if _, err := wsutil.ReadServerText(rw); err != nil { // The greeting.
			t.Fatal(err)
		}
		text := fmt.Sprint("last ", i)
		if _, err := n.publish("news", "", text); err != nil {
			t.Fatal(err)
		}
		if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if got, err := wsutil.ReadServerText(rw); err != nil || string(got) != text {
			t.Errorf("got %q, %v; want %q", got, err, text)
		}
		conn.Close()
		<-n.ended
		n.restart()
	}
}

// TestMoves cuts the NATS server of a node off from the others, which have a majority: the node connects to one of
// them.
func TestMoves(t *testing.T) {
	t.Parallel()
	nats := startNATS(t, 3, splittable)
	near := startNode(t, nats.urls())
	leader := nats.leader(t, "CRIER")
	var off *process
	var first, second *cutter
	for i, s := range nats.servers {
		switch {
		case s == leader:
		case off == nil:
			off, first = s, newCutter(t, nats.addrs[i])
		default:
			second = newCutter(t, nats.addrs[i])
		}
	}
	second.set(true) // The node then connects to the other server first.
	n := startNode(t, []string{"nats://" + first.ln.Addr().String(), "nats://" + second.ln.Addr().String()}, "--cluster-timeout", "1s")
	second.set(false)
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	near.signal(syscall.SIGTERM)
	nats.isolate(off, true, true)
	near = startNode(t, []string{nats.urls()[slices.Index(nats.servers, leader)]})
	if _, err := near.publish("news", "", "elsewhere"); err != nil {
		t.Fatal(err)
	}
	awaitSame(t, "elsewhere", l)
	eventually(t, n.name+" to be ready", n.ready)
	if _, err := n.publish("news", "", "here"); err != nil {
		t.Fatal(err)
	}
	awaitSame(t, "here", l)
}

// TestLostTail loses the last message on its way from NATS, with no later one: the node fetches it all the same.
func TestLostTail(t *testing.T) {
	for name, flags := range map[string][]string{"all": {"--channels=false"}, "channels": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers := startNATS(t, 1)
			link := newCutter(t, servers.addrs[0])
			flags = append([]string{"--cluster-replicas", "1"}, flags...)
			near, far := startNode(t, servers.urls(), flags...), startNode(t, []string{"nats://" + link.ln.Addr().String()}, flags...)
			l := listen(t, "", far)
			defer l.end()
			awaitConnected(t, l)
			lost := make(chan struct{}, 1)
			link.change(func(b []byte) { // The number of the subscription in "MSG SUBJECT NUMBER ...": NATS' client does not know it.
				text := bytes.Index(b, []byte("\r\nneedle"))
				if text < 0 {
					return
				}
				line := b[max(0, bytes.LastIndex(b[:text], []byte("MSG "))):text]
				number := bytes.Fields(line)[2]
				copy(line[bytes.Index(line, append([]byte(" "), number...))+1:], bytes.Repeat([]byte("9"), len(number)))
				lost <- struct{}{}
			})
			if _, err := near.publish("", "", "needle"); err != nil {
				t.Fatal(err)
			}
			select {
			case <-lost:
			case <-time.After(patience):
				t.Fatal("the message did not pass the cutter")
			}
			link.change(nil)
			awaitSame(t, "needle", l)
		})
	}
}
