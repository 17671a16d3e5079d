package bench

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxInFlight bounds the connections that are being made at one time.
const maxInFlight = 256

var errDeadline = errors.New("measure: the deadline passed")

// phase is how far a connection is.
type phase uint8

const (
	phaseConnect phase = iota // connect(2) is under way
	phaseUpgrade              // the request is sent
	phaseOpen                 // greeted
	phaseCut                  // closed by the server
)

// conn is one client.
type conn struct {
	fd     int
	phase  phase
	paused bool // does not read
	got    int  // messages
	reader frameReader
	head   []byte // what came of the response so far
	outbox []byte // what the socket did not take
}

// swarm is all clients of one server. One goroutine may use it.
type swarm struct {
	port     int
	request  []byte
	greeting string
	senders  int
	deadline time.Time

	// lossy allows the server to leave out messages and to cut clients off.
	lossy bool
	// onMessage, unless nil, is called for each delivery with the time of its read.
	onMessage func(at time.Time, m message)

	epfd   int
	conns  []*conn
	due    []uint64 // per client and sender: the sequence number that comes next
	opened int      // clients that were greeted
	cut    int      // clients that the server closed
	got    int      // deliveries
	events [512]unix.EpollEvent
	buf    []byte
	readAt time.Time // of what is in buf, for onMessage
}

// newSwarm returns a swarm without clients.
func newSwarm(o *options, port int, deadline time.Time) (*swarm, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	return &swarm{
		port: port, request: request(o.path), greeting: o.greeting, senders: o.senders,
		deadline: deadline, epfd: epfd, buf: make([]byte, 256<<10),
	}, nil
}

// close ends all clients with RST.
func (s *swarm) close() {
	s.reset()
	_ = unix.Close(s.epfd)
}

// reset ends all clients and forgets them.
func (s *swarm) reset() {
	for _, c := range s.conns {
		if c.phase != phaseCut {
			abort(c.fd)
		}
	}
	s.conns, s.due, s.opened, s.cut, s.got = nil, nil, 0, 0, 0
}

// growTo adds clients until there are n, and returns when all are greeted.
func (s *swarm) growTo(n int) error {
	for s.opened < n {
		for len(s.conns) < n && len(s.conns)-s.opened < maxInFlight {
			if err := s.add(); err != nil {
				return err
			}
		}
		if err := s.poll(time.Second); err != nil {
			return fmt.Errorf("with %d of %d clients: %w", s.opened, n, err)
		}
	}
	return nil
}

// add starts to connect one more client.
func (s *swarm) add() error {
	i := len(s.conns)
	fd, err := dial(i, s.port)
	if err != nil {
		return err
	}
	s.conns = append(s.conns, &conn{fd: fd})
	s.due = append(s.due, make([]uint64, s.senders)...)
	e := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET,
		Fd:     int32(i), // the index, not the fd
	}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(s.epfd, unix.EPOLL_CTL_ADD, fd, &e))
}

// poll handles what is ready, and waits for it up to a time.
func (s *swarm) poll(wait time.Duration) error {
	if time.Now().After(s.deadline) {
		return errDeadline
	}
	ms := int((wait + time.Millisecond - 1) / time.Millisecond)
	n, err := unix.EpollWait(s.epfd, s.events[:], ms)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return os.NewSyscallError("epoll_wait", err)
	}
	for _, e := range s.events[:max(n, 0)] {
		if err := s.ready(int(e.Fd), e.Events); err != nil {
			return fmt.Errorf("client %d: %w", e.Fd, err)
		}
	}
	return nil
}

// await polls until the clients have got n deliveries.
func (s *swarm) await(n int) error {
	for s.got < n {
		if err := s.poll(time.Second); err != nil {
			return fmt.Errorf("with %d of %d deliveries: %w", s.got, n, err)
		}
	}
	return nil
}

// pollFor polls for a time.
func (s *swarm) pollFor(d time.Duration) error {
	for end := time.Now().Add(d); time.Now().Before(end); {
		if err := s.poll(time.Until(end)); err != nil {
			return err
		}
	}
	return nil
}

// ready handles the events of one client.
func (s *swarm) ready(i int, events uint32) error {
	c := s.conns[i]
	if events&unix.EPOLLOUT != 0 {
		if c.phase == phaseConnect {
			c.phase = phaseUpgrade
			c.outbox = append(c.outbox, s.request...)
		}
		if err := s.flush(c); err != nil {
			return s.lost(c, err)
		}
	}
	if events&^unix.EPOLLOUT == 0 || c.paused {
		return nil
	}
	return s.drain(i, events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0)
}

// drain reads a client's socket until it is empty; with ended, until its end, which
// epoll reports only once.
func (s *swarm) drain(i int, ended bool) error {
	c := s.conns[i]
	for c.phase != phaseCut {
		n, ok, err := read(c.fd, s.buf)
		if err != nil {
			return s.lost(c, err)
		}
		if !ok {
			return nil
		}
		if s.onMessage != nil {
			s.readAt = time.Now()
		}
		if n == 0 {
			return s.lost(c, errors.New("measure: closed by the server"))
		}
		if err := s.received(i, s.buf[:n]); err != nil {
			return err
		}
		if n < len(s.buf) && !ended {
			return nil
		}
	}
	return nil
}

// received handles bytes that came to a client.
func (s *swarm) received(i int, b []byte) error {
	c := s.conns[i]
	if c.phase == phaseUpgrade {
		c.head = append(c.head, b...)
		rest, whole, err := answer(c.head, s.greeting)
		if !whole {
			return err
		}
		b, c.head, c.phase = rest, nil, phaseOpen
		s.opened++
	}
	for {
		e, rest, err := c.reader.next(b)
		if err != nil {
			return err
		}
		switch e {
		case eventNone:
			return nil
		case eventMessage:
			err = s.deliver(i, c.reader.current)
		case eventPing:
			err = s.pong(c)
		case eventClose:
			return s.lost(c, fmt.Errorf("measure: the server sent close %x", c.reader.control))
		}
		if err != nil {
			return err
		}
		b = rest
	}
}

// deliver checks that a message is the one that is due.
func (s *swarm) deliver(i int, m message) error {
	if int(m.sender) >= s.senders {
		return errDamaged
	}
	due := &s.due[i*s.senders+int(m.sender)]
	if m.seq < *due || (m.seq > *due && !s.lossy) {
		return fmt.Errorf("measure: message %d of sender %d came, %d was due", m.seq, m.sender, *due)
	}
	*due = m.seq + 1
	s.got++
	s.conns[i].got++
	if s.onMessage != nil {
		s.onMessage(s.readAt, m)
	}
	return nil
}

// pong answers a ping.
func (s *swarm) pong(c *conn) error {
	payload := c.reader.control
	b := append([]byte{0x8a, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
	return s.send(c, b)
}

// send writes frames, and keeps what the socket does not take.
func (s *swarm) send(c *conn, b []byte) error {
	if c.phase != phaseOpen {
		return nil
	}
	c.outbox = append(c.outbox, b...)
	if err := s.flush(c); err != nil {
		return s.lost(c, err)
	}
	return nil
}

// flush writes the outbox as far as the socket takes it.
func (s *swarm) flush(c *conn) error {
	for len(c.outbox) > 0 {
		n, ok, err := write(c.fd, c.outbox)
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		c.outbox = c.outbox[:copy(c.outbox, c.outbox[n:])]
	}
	return nil
}

// lost takes note that the server closed a client's connection, which is an error
// unless the swarm is lossy.
func (s *swarm) lost(c *conn, why error) error {
	if !s.lossy || c.phase != phaseOpen {
		return why
	}
	c.phase = phaseCut
	s.cut++
	abort(c.fd)
	return nil
}
