package broadcast

import (
	"bufio"
	"bytes"
	"container/heap"
	"errors"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// Grant is what Config.Authorize allows a connection to do, in addition to receiving messages.
type Grant struct {
	// Publish allows the connection to publish. A connection that sends a message without this right is closed with
	// 1008.
	Publish bool

	// Until is when the connection is closed with 4401, to about a second. It is a time of the wall clock, so setting
	// the system's clock takes effect at once. The zero time means never.
	Until time.Time

	// Value is what Conn.Value returns afterwards, such as a user or a session. nil takes no memory.
	Value any
}

// tokenProtocol is the prefix of a subprotocol that a client offers in order to send a token: Sec-WebSocket-Protocol
// is the only header that a page in a browser can set. The server never selects it.
const tokenProtocol = "bearer."

// withoutTokens returns a list of subprotocols without those that are tokens.
func withoutTokens(list []byte) []byte {
	var left [][]byte
	for item := range bytes.SplitSeq(list, []byte(",")) {
		if item = bytes.Trim(item, " \t"); !bytes.HasPrefix(item, []byte(tokenProtocol)) {
			left = append(left, item)
		}
	}
	return bytes.Join(left, []byte(", "))
}

// statusExpired is the close code of connections whose Grant has ended. It is in the range for applications of RFC
// 6455, section 7.4.2.
const statusExpired = ws.StatusCode(4401)

// grantOver is the close frame of connections whose Grant has ended.
var grantOver = appendClose(nil, statusExpired, "the token has expired")

// httpRequest returns c's request for hooks, made from its head. head is borrowed.
func (c *Conn) httpRequest(head []byte) (*http.Request, *Refusal) {
	if r := c.handedRequest(); r != nil {
		return r, nil
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return nil, badRequest("malformed request") // The error may quote a secret.
	}
	r.RemoteAddr = c.RemoteAddr().String()
	return r, nil
}

// refusalOf returns the refusal that a hook's error stands for.
func refusalOf(err error) *Refusal {
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal) && refusal != nil && refusal.Status >= 400 && refusal.Status <= 599:
		return refusal
	case refusal != nil || errors.As(err, &refusal):
		return &Refusal{http.StatusInternalServerError, "refused with a status that is no error's"}
	default:
		return &Refusal{http.StatusForbidden, err.Error()}
	}
}

// authorize calls Authorize, once for each request.
func (c *Conn) authorize(head []byte, channel string) (g Grant, refusal *Refusal) {
	srv := c.shard().srv
	hook := srv.cfg.Authorize
	if hook == nil {
		return Grant{Publish: true}, nil
	}
	if c.in != nil && c.in.grant != nil {
		return *c.in.grant, nil
	}
	r, refusal := c.httpRequest(head)
	if refusal != nil {
		return g, refusal
	}
	g, err := hook(r, channel)
	if err == nil {
		return g, nil
	}
	refusal = refusalOf(err)
	// At most one line a second at the usual level, and every refusal at debug level.
	n := srv.total.denied.Add(1)
	args := []any{"why", err, "status", refusal.Status,
		"remote", r.RemoteAddr, "channel", withoutToken(channel), "total", n}
	if srv.deniedLog.allow(srv.clock()) {
		srv.cfg.Logger.Warn("not authorized", args...)
	} else {
		srv.cfg.Logger.Debug("not authorized", args...)
	}
	return g, refusal
}

// withoutToken cuts a text off where a token may begin: clients put tokens where they do not belong, such as into the
// path. A JWT begins with {" in base64.
func withoutToken(s string) string {
	for _, sign := range []string{"eyJ", "token="} {
		if i := strings.Index(s, sign); i >= 0 {
			s = s[:i] + "..."
		}
	}
	return s
}

// expiries is the connections of a shard whose grants end, the earliest one first. It is empty without
// Config.Authorize. Owned by the shard.
type expiries struct {
	heap  []expiry
	index map[*Conn]int // In heap.
}

// expiry is a connection, and when its grant ends.
type expiry struct {
	c  *Conn
	at int64 // Milliseconds since 1970.
}

// maxExpiriesPerTick bounds how many connections a shard closes in one tick, since all tokens may end in the same
// second.
const maxExpiriesPerTick = 1000

// schedule makes the shard close c at a time.
func (l *expiries) schedule(c *Conn, at time.Time) {
	if at.Unix() > math.MaxInt64/1000 {
		return // So late that it means never.
	}
	if l.index == nil {
		l.index = make(map[*Conn]int)
	}
	heap.Push(l, expiry{c, at.UnixMilli()})
}

// cancel undoes schedule. It does nothing if c is not scheduled.
func (l *expiries) cancel(c *Conn) {
	if i, ok := l.index[c]; ok {
		heap.Remove(l, i)
	}
	if cap(l.heap) > 1024 && len(l.heap) < cap(l.heap)/4 { // A storm is over: do not keep its memory.
		l.heap = slices.Clone(l.heap)
		place := make(map[*Conn]int, len(l.heap))
		maps.Copy(place, l.index)
		l.index = place
	}
}

// closeExpired closes the connections whose grants have ended.
func (s *shard) closeExpired() {
	if len(s.expiries.heap) == 0 {
		return
	}
	now := time.Now().UnixMilli()
	for range maxExpiriesPerTick {
		if len(s.expiries.heap) == 0 || s.expiries.heap[0].at > now {
			return
		}
		c := s.expiries.heap[0].c
		c.set(mute)
		s.startClose(c, grantOver, ReasonExpired) // It cancels c's expiry, see removeConn.
	}
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (l *expiries) Len() int           { return len(l.heap) }
func (l *expiries) Less(i, j int) bool { return l.heap[i].at < l.heap[j].at }

func (l *expiries) Swap(i, j int) {
	l.heap[i], l.heap[j] = l.heap[j], l.heap[i]
	l.index[l.heap[i].c], l.index[l.heap[j].c] = i, j
}

func (l *expiries) Push(x any) {
	l.index[x.(expiry).c] = len(l.heap)
	l.heap = append(l.heap, x.(expiry))
}

func (l *expiries) Pop() any {
	last := len(l.heap) - 1
	x := l.heap[last]
	l.heap[last] = expiry{}
	l.heap = l.heap[:last]
	delete(l.index, x.c)
	return x
}
