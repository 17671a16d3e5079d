package scale

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// maxInFlight bounds the connections that a swarm makes at one time, well below
// the listen backlog.
const maxInFlight = 256

// swarm is all clients of one server. The test's goroutine uses it; nothing
// happens but in its methods.
type swarm struct {
	t       *testing.T
	port    int
	epfd    int
	clients []*client
	opened  int // Clients that are greeted and not gone.
	gone    int
	bytes   int // What all got behind their greetings.
	events  [512]unix.EpollEvent
	buf     []byte
}

// newSwarm makes a swarm without clients. It ends with the test.
func newSwarm(t *testing.T, port int) *swarm {
	t.Helper()
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	s := &swarm{t: t, port: port, epfd: epfd, buf: make([]byte, 256<<10)}
	t.Cleanup(func() {
		s.end()
		unix.Close(epfd)
	})
	return s
}

// begin starts n clients and returns them. each sets them up.
func (s *swarm) begin(n, rcvbuf int, each func(c *client)) []*client {
	s.t.Helper()
	first := len(s.clients)
	for len(s.clients) < first+n {
		i := len(s.clients)
		fd, err := connect(address(swarmNet, i), s.port, rcvbuf)
		if err != nil {
			s.t.Fatalf("client %d: %v", i, err)
		}
		c := &client{swarm: s, index: i, fd: fd, events: unix.EPOLLIN | unix.EPOLLOUT}
		s.clients = append(s.clients, c)
		each(c)
		if err := c.control(unix.EPOLL_CTL_ADD); err != nil {
			s.t.Fatal(err)
		}
		s.until("clients to be greeted", func() bool { return i+1-s.opened-s.gone < maxInFlight })
	}
	return s.clients[first:]
}

// add is begin for clients that must all be greeted, and waits for that.
func (s *swarm) add(n, rcvbuf int, each func(c *client)) []*client {
	s.t.Helper()
	added := s.begin(n, rcvbuf, each)
	s.until("all clients to be greeted", func() bool { return s.opened+s.gone == len(s.clients) })
	return added
}

// receivers adds clients that must get what is on the tape.
func (s *swarm) receivers(n, rcvbuf int, tape *tape) []*client {
	s.t.Helper()
	return s.add(n, rcvbuf, func(c *client) { c.sink = &tapeReader{tape: tape} })
}

// until handles what comes until done says so.
func (s *swarm) until(what string, done func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			s.t.Fatalf("not in %v: %s (%d open, %d gone, %d bytes received)", patience, what, s.opened, s.gone, s.bytes)
		}
		s.poll(10 * time.Millisecond)
	}
}

// settle handles what comes until a state of the server is reached, which is
// polled less often.
func (s *swarm) settle(what string, srv *server, done func(a answer) bool) (a answer) {
	s.t.Helper()
	s.until(what, func() bool {
		a = srv.ask("stats")
		return done(a)
	})
	return a
}

// pollFor handles what comes for a time.
func (s *swarm) pollFor(d time.Duration) {
	s.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		s.poll(time.Until(end))
	}
}

// poll handles what is ready, and waits for it up to a time.
func (s *swarm) poll(wait time.Duration) {
	s.t.Helper()
	n, err := unix.EpollWait(s.epfd, s.events[:], int(wait.Milliseconds()))
	if err != nil && err != unix.EINTR {
		s.t.Fatalf("epoll_wait: %v", err)
	}
	for _, e := range s.events[:max(n, 0)] {
		c := s.clients[e.Fd]
		if c.phase == phaseGone {
			continue
		}
		if err := c.ready(e.Events); err != nil {
			s.t.Fatalf("client %d: %v", e.Fd, err)
		}
	}
}

// send sends a message from a client.
func (s *swarm) send(c *client, sender, number, size int) {
	s.t.Helper()
	if err := c.send(kindOf(sender), newMessage(sender, number, size)); err != nil {
		s.t.Fatalf("client %d: %v", c.index, err)
	}
}

// pause stops or starts the reading of clients.
func (s *swarm) pause(clients []*client, paused bool) {
	s.t.Helper()
	for _, c := range clients {
		c.paused = paused
		if err := c.watch(); err != nil {
			s.t.Fatal(err)
		}
	}
}

// leave ends n open clients, every other one with RST.
func (s *swarm) leave(n int) {
	for _, c := range s.clients {
		if n > 0 && c.phase == phaseOpen {
			c.leave()
			s.opened--
			s.gone++
			n--
		}
	}
}

// end ends all clients.
func (s *swarm) end() {
	for _, c := range s.clients {
		if c.phase != phaseGone {
			c.leave()
		}
	}
	s.opened, s.gone = 0, len(s.clients)
}

// statuses says how many clients were closed with which status, 0 for none.
func statuses(clients []*client) map[int]int {
	m := make(map[int]int)
	for _, c := range clients {
		m[c.status]++
	}
	return m
}

// mib is a number of bytes for people.
func mib(n int) string { return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20)) }
