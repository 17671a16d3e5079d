package main

import (
	"container/list"
	"net"
	"net/http"
	"sync"
	"time"
)

// idleTimeout is how long an endpoint keeps a connection between two requests. The side that sends requests has to
// close first; otherwise a request occasionally arrives while the server closes the connection. Load balancers keep
// idle connections for up to ten minutes.
const idleTimeout = 11 * time.Minute

// maxIdle is how many connections an endpoint keeps between two requests: each takes some 10 KiB and a file descriptor.
const maxIdle = 64

// idleConns closes the connection that has been idle for longest when there are too many.
type idleConns struct {
	most int // Immutable after construction.

	mu     sync.Mutex
	byConn map[net.Conn]*list.Element // Guarded by mu.
	// Guarded by mu: elements are net.Conn, the connection that is idle for longest first.
	oldest list.List
}

func newIdleConns(most int) *idleConns {
	return &idleConns{most: most, byConn: make(map[net.Conn]*list.Element)}
}

// changed is for http.Server.ConnState.
func (i *idleConns) changed(conn net.Conn, state http.ConnState) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.removeLocked(conn)
	if state != http.StateIdle {
		return
	}
	i.byConn[conn] = i.oldest.PushBack(conn)
	if i.oldest.Len() > i.most {
		oldest := i.oldest.Front().Value.(net.Conn)
		i.removeLocked(oldest)
		_ = oldest.Close() // The server notices when it reads.
	}
}

// removeLocked removes a connection, if it is idle. i.mu must be held.
func (i *idleConns) removeLocked(conn net.Conn) {
	if e := i.byConn[conn]; e != nil {
		i.oldest.Remove(e)
		delete(i.byConn, conn)
	}
}
