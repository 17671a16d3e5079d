package scale

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// sink takes a client's stream behind the greeting and says what is wrong with
// it. b is borrowed.
type sink interface{ take(b []byte) error }

// phase is how far a client is.
type phase uint8

const (
	phaseConnect phase = iota // connect(2) is under way
	phaseAnswer               // the request is sent
	phaseOpen                 // greeted
	phaseClosing              // the server's close frame came and was answered
	phaseGone                 // the connection has ended
)

// client is one client of a swarm.
type client struct {
	swarm *swarm
	index int // In swarm.clients.
	fd    int
	phase phase
	sink  sink
	// mayEnd: that the server ends the connection is no fault.
	mayEnd bool
	paused bool   // It does not read.
	status int    // Of the server's close frame, or 0.
	head   []byte // What came of the answer so far.
	outbox []byte // What the socket did not take.
	events uint32 // What epoll watches for.
}

// closedBy ends a stream: the server's close frame came.
type closedBy struct{ status int }

func (c closedBy) Error() string { return fmt.Sprintf("closed with status %d", c.status) }

// scan makes the sink of a client that has a stream of its own.
func scan(l *ledger) sink {
	return &scanner{frame: func(op byte, payload []byte) error {
		switch {
		case op != opClose:
			return l.enter(op, payload)
		case len(payload) >= 2:
			return closedBy{int(binary.BigEndian.Uint16(payload))}
		default:
			return closedBy{1005}
		}
	}}
}

// watch tells epoll what the client waits for now.
func (c *client) watch() error {
	var events uint32
	if !c.paused {
		events |= unix.EPOLLIN
	}
	if c.phase == phaseConnect || len(c.outbox) > 0 {
		events |= unix.EPOLLOUT
	}
	if events == c.events || c.phase == phaseGone {
		return nil
	}
	c.events = events
	return c.control(unix.EPOLL_CTL_MOD)
}

func (c *client) control(op int) error {
	e := unix.EpollEvent{Events: c.events, Fd: int32(c.index)} // The index, not the fd.
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(c.swarm.epfd, op, c.fd, &e))
}

// ready deals with events.
func (c *client) ready(events uint32) error {
	if events&unix.EPOLLOUT != 0 {
		if c.phase == phaseConnect {
			c.phase = phaseAnswer
			c.outbox = append(c.outbox, request...)
		}
		if err := c.flush(); err != nil {
			return c.lost(err)
		}
	}
	const ended = unix.EPOLLERR | unix.EPOLLHUP
	if c.paused && events&ended != 0 {
		return c.lost(errors.New("cut off"))
	}
	if !c.paused && events&(unix.EPOLLIN|ended) != 0 {
		if err := c.read(); err != nil {
			return err
		}
	}
	return c.watch()
}

// read reads once. What is left makes epoll report the client again.
func (c *client) read() error {
	buf := c.swarm.buf
	n, err := unix.Read(c.fd, buf)
	switch {
	case err == unix.EAGAIN, err == unix.EINTR:
		return nil
	case err != nil:
		return c.lost(err)
	case n == 0:
		return c.lost(errors.New("closed by the server"))
	}
	b := buf[:n]
	if c.phase == phaseAnswer {
		if b, err = c.answer(b); err != nil {
			return c.lost(err)
		}
	}
	if len(b) == 0 {
		return nil
	}
	if c.phase == phaseClosing {
		return fmt.Errorf("%d bytes after the close frame", len(b))
	}
	c.swarm.bytes += len(b)
	err = c.sink.take(b)
	if closed, ok := errors.AsType[closedBy](err); ok {
		return c.closed(closed.status)
	}
	return err
}

// answer takes bytes of the answer to the handshake and returns those behind it.
func (c *client) answer(b []byte) ([]byte, error) {
	c.head = append(c.head, b...)
	n, err := answered(c.head)
	if n == 0 || err != nil {
		return nil, err
	}
	more := c.head[n:]
	c.head = nil
	c.phase = phaseOpen
	c.swarm.opened++
	return more, nil
}

// send sends a frame.
func (c *client) send(op byte, payload []byte) error {
	if c.phase != phaseOpen {
		return nil
	}
	c.outbox = appendMasked(c.outbox, op, payload)
	if err := c.flush(); err != nil {
		return c.lost(err)
	}
	return c.watch()
}

// flush writes the outbox as far as the socket takes it.
func (c *client) flush() error {
	for len(c.outbox) > 0 {
		n, err := unix.SendmsgN(c.fd, c.outbox, nil, nil, unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EAGAIN:
			return nil
		case err == unix.EINTR:
			continue
		case err != nil:
			return os.NewSyscallError("send", err)
		}
		c.outbox = c.outbox[:copy(c.outbox, c.outbox[n:])]
	}
	return nil
}

// closed deals with the server's close frame: it is answered in kind, RFC 6455,
// section 5.5.1.
func (c *client) closed(status int) error {
	c.status = status
	if !c.mayEnd {
		return closedBy{status}
	}
	err := c.send(opClose, binary.BigEndian.AppendUint16(nil, uint16(status)))
	if c.phase == phaseOpen {
		c.phase = phaseClosing
	}
	return err
}

// lost takes note of the connection's end.
func (c *client) lost(why error) error {
	if !c.mayEnd {
		return why
	}
	if c.phase >= phaseOpen {
		c.swarm.opened--
	}
	c.swarm.gone++
	c.phase = phaseGone
	unix.Close(c.fd)
	return nil
}

// leave ends the connection.
func (c *client) leave() {
	if c.index%2 == 0 {
		reset(c.fd)
	} else {
		unix.Close(c.fd)
	}
	c.phase = phaseGone
}
