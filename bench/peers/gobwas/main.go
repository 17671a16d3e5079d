//go:build linux

// Command gobwas is a broadcaster on github.com/gobwas/ws and one epoll.
//
// It follows the pattern of the talks on a million WebSockets in Go: connections
// stay net.Conn and have no goroutine; their descriptors are also on an epoll of the
// program's own, and one goroutine reads from those that are ready. As the library's
// documentation advises for many connections, the upgrade is the one without copies, on
// the bare connection and not through net/http; messages are read through one reusable
// buffer, and framed once for all receivers.
//
// Slow receivers: writes are in the same goroutine and block. One whose socket does not
// take a message in 100 ms is cut off, and everyone waits meanwhile: the price of the
// pattern. The same goes for a client that sends part of a message, which has 1 s.
package main

import (
	"bufio"
	"io"
	"log"
	"net"
	"sync"
	"time"

	"github.com/crier-ws/crier/bench/peers/internal/peer"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"golang.org/x/sys/unix"
)

const (
	readTime      = time.Second
	writeTime     = 50 * time.Millisecond // of each attempt
	writeAttempts = 2
)

type server struct {
	epoll    int
	greeting []byte // as a frame

	mu    sync.RWMutex
	conns map[int]net.Conn // by descriptor
}

// accept upgrades a connection, greets it and adds it.
func (s *server) accept(conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(peer.HandshakeTime))
	if _, err := ws.Upgrade(conn); err != nil {
		_ = conn.Close()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	fd := descriptor(conn)
	s.mu.Lock()
	_, err := conn.Write(s.greeting)
	if err == nil {
		s.conns[fd] = conn
		err = unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd,
			&unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(fd)})
	}
	s.mu.Unlock()
	if err != nil {
		s.remove(fd, conn)
	}
}

// descriptor returns the connection's, which stays the connection's own.
func descriptor(conn net.Conn) (fd int) {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err == nil {
		err = raw.Control(func(n uintptr) { fd = int(n) })
	}
	if err != nil {
		return -1
	}
	return fd
}

// remove closes a connection, which takes it off the epoll.
func (s *server) remove(fd int, conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[fd] == conn {
		delete(s.conns, fd)
	}
	_ = conn.Close()
}

// loop reads from the connections that are ready, one after the other.
func (s *server) loop() {
	events := make([]unix.EpollEvent, 128)
	in := bufio.NewReaderSize(nil, 4096)
	for {
		n, err := unix.EpollWait(s.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			log.Fatal(err)
		}
		for _, e := range events[:max(n, 0)] {
			fd := int(e.Fd)
			s.mu.RLock()
			conn := s.conns[fd]
			s.mu.RUnlock()
			if conn == nil {
				continue // removed by an earlier event
			}
			in.Reset(conn)
			if err := s.read(conn, in); err != nil {
				s.remove(fd, conn)
			}
		}
	}
}

// read takes in what is there, in whole frames.
func (s *server) read(conn net.Conn, in *bufio.Reader) error {
	control := wsutil.ControlFrameHandler(conn, ws.StateServerSide)
	r := &wsutil.Reader{
		Source: in, State: ws.StateServerSide, CheckUTF8: true,
		MaxMessageSize: peer.MaxMessage, OnIntermediate: control,
	}
	for {
		_ = conn.SetDeadline(time.Now().Add(readTime))
		h, err := r.NextFrame()
		if err != nil {
			return err
		}
		if h.OpCode.IsControl() {
			if err := control(h, r); err != nil {
				return err
			}
		} else {
			data, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			s.broadcast(ws.MustCompileFrame(ws.NewFrame(h.OpCode, true, data)))
		}
		if in.Buffered() == 0 {
			return nil
		}
	}
}

// broadcast writes the frame to all connections, and removes those that fail.
func (s *server) broadcast(frame []byte) {
	failed := make(map[int]net.Conn)
	s.mu.RLock()
	for fd, conn := range s.conns {
		if write(conn, frame) != nil {
			failed[fd] = conn
		}
	}
	s.mu.RUnlock()
	for fd, conn := range failed {
		s.remove(fd, conn)
	}
}

// write has more than one attempt, since the first fails without having tried if this
// process was kept off its core for so long.
func write(conn net.Conn, frame []byte) error {
	var err error
	for range writeAttempts {
		_ = conn.SetWriteDeadline(time.Now().Add(writeTime))
		var n int
		if n, err = conn.Write(frame); err == nil {
			return nil
		}
		frame = frame[n:]
	}
	return err
}

func main() {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		log.Fatal(err)
	}
	greeting := ws.MustCompileFrame(ws.NewTextFrame([]byte(peer.Greeting)))
	s := &server{epoll: epoll, greeting: greeting, conns: make(map[int]net.Conn)}
	go s.loop()
	ln := peer.Listen()
	for {
		conn, err := ln.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go s.accept(conn)
	}
}
