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

// Grant is what Config.Authorize lets a connection do besides receiving messages.
type Grant struct {
	// Publish lets it publish. One that may not and sends a message is closed with 1008.
	Publish bool

	// Until is when it is closed with 4401, to the second or so; the zero time is never.
	// It is the wall clock's time: one that is set right counts at once.
	Until time.Time

	// Value is what Conn.Value returns afterwards, such as a user or a session. nil takes no memory.
	Value any
}

// tokenProtocol begins a subprotocol that is offered to bring a token: the one header that a
// browser's page can fill. It is never the one that is taken.
const tokenProtocol = "bearer."

// withoutTokens takes those subprotocols out of a list.
func withoutTokens(list []byte) []byte {
	var left [][]byte
	for item := range bytes.SplitSeq(list, []byte(",")) {
		if item = bytes.Trim(item, " \t"); !bytes.HasPrefix(item, []byte(tokenProtocol)) {
			left = append(left, item)
		}
	}
	return bytes.Join(left, []byte(", "))
}

// statusExpired is the close code of those whose Grant has ended, of the range that RFC
// 6455, section 7.4.2, leaves to applications.
const statusExpired = ws.StatusCode(4401)

var grantOver = appendClose(nil, statusExpired, "the token has expired")

// httpRequest is the request for hooks.
func (c *Conn) httpRequest(head []byte) (*http.Request, *Refusal) {
	if r := c.handedRequest(); r != nil {
		return r, nil
	}
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return nil, badRequest("malformed request") // The error may quote what is nobody's business.
	}
	r.RemoteAddr = c.RemoteAddr().String()
	return r, nil
}

// refusalOf is with what a hook's error refuses a connection.
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

// authorize asks Authorize, once for a head.
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
	// One line a second for who runs it, all of them for who asks.
	n := srv.total.denied.Add(1)
	args := []any{"why", err, "status", refusal.Status, "remote", r.RemoteAddr, "channel", withoutToken(channel), "total", n}
	if srv.deniedLog.allow(srv.clock()) {
		srv.cfg.Logger.Warn("not authorized", args...)
	} else {
		srv.cfg.Logger.Debug("not authorized", args...)
	}
	return g, refusal
}

// withoutToken cuts a text where a token may begin: of a client that has put it where it does not
// belong, as into the path. A JWT begins with {" in base64.
func withoutToken(s string) string {
	for _, sign := range []string{"eyJ", "token="} {
		if i := strings.Index(s, sign); i >= 0 {
			s = s[:i] + "..."
		}
	}
	return s
}

// expiries are those connections of a shard whose grants end, the first one first. Only with
// Config.Authorize.
type expiries struct {
	heap  []expiry
	index map[*Conn]int // in heap
}

type expiry struct {
	c  *Conn
	at int64 // Milliseconds since 1970.
}

// maxExpiriesPerTick is how many of a shard end in one tick: all tokens may be of the same second.
const maxExpiriesPerTick = 1000

// schedule makes c end at a time.
func (l *expiries) schedule(c *Conn, at time.Time) {
	if at.Unix() > math.MaxInt64/1000 {
		return // That is never.
	}
	if l.index == nil {
		l.index = make(map[*Conn]int)
	}
	heap.Push(l, expiry{c, at.UnixMilli()})
}

// cancel forgets c.
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

// closeExpired closes those whose time has come.
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
		s.startClose(c, grantOver, ReasonExpired) // That removes it.
	}
}

// Len, Less, Swap, Push and Pop are heap.Interface.
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
