package broadcast

import (
	"github.com/crier-ws/crier/netpoll"
	"golang.org/x/sys/unix"
)

// simSocket is the server's end of a connection as the kernel sees it.
type simSocket struct {
	peer    *simPeer
	in      []byte // to the server
	out     []byte // from the server
	room    int    // for out
	full    bool   // EAGAIN was said: room brings an edge
	fin     bool   // the peer will send no more
	reset   bool
	closed  bool // by the server
	cb      func(netpoll.Events)
	sending int // how often the server has sent

	refusals int  // how many sends failed because the buffer was full
	refused  bool // the last one did
	tookAll  int  // the step in which a send last took all, after one that failed
	lapped   bool // checkLapped has seen that it is closed as slow
}

func (s *simulation) accept4(int) (int, unix.Errno) {
	if s.chance(6, "accept") {
		return -1, s.oneOf(unix.EINTR, unix.ECONNABORTED, unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EPROTO)
	}
	if len(s.waiting) == 0 {
		return -1, unix.EAGAIN
	}
	p := s.waiting[0]
	s.waiting = s.waiting[1:]
	s.next++
	p.sock = &simSocket{peer: p, room: 100 + s.rng.IntN(5000), tookAll: -1}
	s.socks[s.next] = p.sock
	s.record("accept %d as %d", p.id, s.next)
	return s.next, 0
}

func (s *simulation) recv(fd int, b []byte) (int, unix.Errno) {
	k := s.socks[fd]
	switch {
	case k == nil || k.closed:
		s.t.Fatalf("seed %d: recv on fd %d, which is closed", s.seed, fd)
	case s.chance(10, "recv EINTR"):
		return 0, unix.EINTR
	case k.reset:
		return 0, unix.ECONNRESET
	case len(k.in) == 0 && k.fin:
		return 0, 0
	case len(k.in) == 0:
		return 0, unix.EAGAIN
	}
	n := copy(b, k.in)
	k.in = k.in[n:]
	s.record("recv %d: %d", fd, n)
	return n, 0
}

func (s *simulation) send(fd int, pieces [][]byte) (int, unix.Errno) {
	k := s.socks[fd]
	total := 0
	for _, b := range pieces {
		total += len(b)
	}
	switch {
	case k == nil || k.closed:
		s.t.Fatalf("seed %d: send on fd %d, which is closed", s.seed, fd)
	case s.chance(20, "send EINTR"):
		return 0, unix.EINTR
	case s.chance(40, "send ENOBUFS or ENOMEM"):
		k.refuse()
		return 0, s.oneOf(unix.ENOBUFS, unix.ENOMEM)
	case k.reset:
		return 0, s.oneOf(unix.ECONNRESET, unix.EPIPE)
	case s.chance(2000, "send fails"):
		k.reset = true
		s.edge(k, netpoll.Error|netpoll.Hangup|netpoll.Readable|netpoll.Writable)
		return 0, s.oneOf(unix.ECONNRESET, unix.EPIPE, unix.EHOSTUNREACH)
	case len(k.out) >= k.room:
		k.full = true
		k.refuse()
		return 0, unix.EAGAIN
	}
	n := min(total, k.room-len(k.out))
	if s.chance(5, "short write") {
		n = 1 + s.rng.IntN(n)
	}
	k.sending++
	if n == total && k.refused {
		k.refused, k.tookAll = false, s.step
	}
	left := n
	for _, b := range pieces {
		b = b[:min(left, len(b))]
		k.out = append(k.out, b...)
		left -= len(b)
	}
	s.record("send %d: %d of %d", fd, n, total)
	return n, 0
}

// refuse records that a send fails because the buffer is full.
func (k *simSocket) refuse() {
	k.refusals++
	k.refused = true
}

// Add, Del, Yield and Close are the poller's.
func (s *simulation) Add(fd int, _ netpoll.Events, cb func(netpoll.Events)) error {
	if s.chance(15, "epoll_ctl") {
		delete(s.socks, fd) // The caller closes it.
		return unix.ENOSPC
	}
	k := s.socks[fd]
	k.cb = cb
	s.edge(k, netpoll.Writable)
	if len(k.in) > 0 {
		s.edge(k, netpoll.Readable)
	}
	return nil
}

func (s *simulation) Del(fd int) error {
	k := s.socks[fd]
	if k == nil || k.closed {
		s.t.Fatalf("seed %d: fd %d is closed twice", s.seed, fd)
	}
	s.record("close %d", fd)
	k.closed = true
	return nil
}

func (*simulation) Yield(int) {}

func (*simulation) Close() error { return nil }

// edge tells the server of an event.
func (s *simulation) edge(k *simSocket, ev netpoll.Events) {
	if k.cb != nil && !k.closed {
		k.cb(ev)
	}
}
