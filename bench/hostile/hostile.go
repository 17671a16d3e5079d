// Package hostile has clients that misbehave as clients on the open internet do: they never finish, never read, flood,
// lie, break the protocol, and leave without a close frame.
//
// Each [Kind] is one way to misbehave, with the ways in which a server that defends itself may end it. A [Crowd] runs
// many of them, one after the other.
package hostile

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// End is how a connection ended: Left, Cut, "HTTP " and the status of a refusal, or "close " and the status of the
// server's close frame (RFC 6455, section 7.4), with 1005 for a close frame without a status.
type End string

const (
	// Left means that the client left, by itself or because Crowd.Stop was called.
	Left End = "left"
	// Cut means that the server ended the connection by FIN or RST, without a close frame or an answer.
	Cut End = "cut"
)

// Kind is one way to misbehave.
type Kind struct {
	Name string
	// Ends are the ways in which a server may end it. After Crowd.Stop a client may have Left as well.
	Ends []End
	// Publishes is true if some of what it sends is a message, which goes to all clients.
	Publishes bool

	rcvbuf int // SO_RCVBUF of its socket; 0 is the default of the kernel.
	do     func(c *client) End
}

// Expects reports whether a server may end such a client in this way.
func (k *Kind) Expects(e End) bool { return slices.Contains(k.Ends, e) }

// Run runs one client of the kind and returns how its connection ended. The client connects from a random loopback
// address, and leaves by FIN or RST, at random. Run returns soon after ctx is done. The error is that of connecting.
func (k *Kind) Run(ctx context.Context, addr netip.AddrPort, rng *rand.Rand) (End, error) {
	d := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 66, byte(rng.IntN(256)), byte(1+rng.IntN(250)))},
		Control: func(_, _ string, raw syscall.RawConn) (err error) {
			if k.rcvbuf == 0 {
				return nil
			}
			return errors.Join(raw.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, k.rcvbuf)
			}), err)
		},
	}
	conn, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return Left, err
	}
	defer func() { _ = conn.Close() }()
	c := &client{Conn: conn, ctx: ctx, dialer: d, rng: rng, br: bufio.NewReader(conn), woken: make(chan struct{})}
	// Blocked reads and writes return when ctx is done.
	defer context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Now())
		close(c.woken)
	})()
	end := k.do(c)
	if rng.IntN(2) == 0 {
		_ = conn.(*net.TCPConn).SetLinger(0) // It ends with RST.
	}
	return end, nil
}

// client is one connection.
type client struct {
	net.Conn
	ctx    context.Context
	dialer net.Dialer
	rng    *rand.Rand
	br     *bufio.Reader
	opened bool
	woken  chan struct{} // Closed when ctx is done, after which reads and writes return at once.
}

const handshake = "GET / HTTP/1.1\r\nHost: hostile\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// write writes b, and reports whether that succeeded.
func (c *client) write(b []byte) bool {
	_, err := c.Write(b)
	return err == nil
}

// open does the handshake, up to the answer 101. If it fails, end is how the connection ended.
func (c *client) open() (end End, ok bool) {
	c.write([]byte(handshake)) // If it fails, reading says why.
	resp, err := http.ReadResponse(c.br, nil)
	switch {
	case err != nil:
		return endOf(err), false
	case resp.StatusCode != http.StatusSwitchingProtocols:
		return refused(resp), false
	}
	c.opened = true
	return "", true
}

func refused(resp *http.Response) End {
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return End(fmt.Sprintf("HTTP %d", resp.StatusCode))
}

// openAnd opens a connection, writes b, and reads until the server ends it.
func (c *client) openAnd(b []byte) End {
	if end, ok := c.open(); !ok {
		return end
	}
	c.write(b)
	return c.end()
}

// end reads until the server ends the connection or c.ctx is done, and returns how it ended.
func (c *client) end() End {
	if !c.opened {
		resp, err := http.ReadResponse(c.br, nil)
		if err != nil {
			return endOf(err)
		}
		return refused(resp)
	}
	for {
		h, err := ws.ReadHeader(c.br)
		if err != nil {
			return endOf(err)
		}
		if h.OpCode != ws.OpClose {
			if _, err := io.CopyN(io.Discard, c.br, h.Length); err != nil {
				return endOf(err)
			}
			continue
		}
		status := make([]byte, h.Length)
		if _, err := io.ReadFull(c.br, status); err != nil {
			return endOf(err)
		}
		if len(status) < 2 {
			return "close 1005"
		}
		return End(fmt.Sprintf("close %d", binary.BigEndian.Uint16(status)))
	}
}

// endOf returns the End for an error of reading.
func endOf(err error) End {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Left
	}
	return Cut
}

// pause waits for d or until c.ctx is done.
func (c *client) pause(d time.Duration) {
	select {
	case <-c.ctx.Done():
	case <-time.After(d):
	}
}

// rest is the average time after which another client replaces one that has left.
const rest = 20 * time.Millisecond

// Crowd is a constant number of hostile clients of several kinds. Each client that leaves is replaced. Stop ends it.
type Crowd struct {
	kinds  []Kind
	ends   []map[End]int // Guarded by mu: by kind.
	mu     sync.Mutex
	failed atomic.Int64

	cancel context.CancelFunc
	all    sync.WaitGroup
}

// Start runs n clients at a time against addr until Stop. Each leaves after patience at the latest. The seed determines
// what the clients do and in which order, but not when.
func Start(addr netip.AddrPort, kinds []Kind, n int, patience time.Duration, seed uint64) *Crowd {
	cr := &Crowd{kinds: kinds, ends: make([]map[End]int, len(kinds))}
	for i := range cr.ends {
		cr.ends[i] = make(map[End]int)
	}
	var ctx context.Context
	ctx, cr.cancel = context.WithCancel(context.Background())
	for i := range n {
		cr.all.Go(func() { // Ends with ctx, which Stop cancels. Stop waits.
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			time.Sleep(time.Duration(rng.Int64N(int64(patience / 4)))) // Not all at once.
			for k := i; ctx.Err() == nil; k++ {
				cr.one(ctx, addr, k%len(kinds), patience, rng)
			}
		})
	}
	return cr
}

func (cr *Crowd) one(ctx context.Context, addr netip.AddrPort, k int, patience time.Duration, rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	end, err := cr.kinds[k].Run(ctx, addr, rng)
	if err != nil {
		cr.failed.Add(1)
		time.Sleep(10 * time.Millisecond)
		return
	}
	cr.mu.Lock()
	cr.ends[k][end]++
	cr.mu.Unlock()
	// The healthy clients share the machine.
	time.Sleep(time.Duration(rng.Int64N(int64(2 * rest))))
}

// Stop ends all clients and waits for them. It returns an error if the server ended one of them in a way that its kind
// does not expect.
func (cr *Crowd) Stop() error {
	cr.cancel()
	cr.all.Wait()
	var errs []error
	for i, ends := range cr.ends {
		for e, n := range ends {
			if k := cr.kinds[i]; e != Left && !k.Expects(e) {
				errs = append(errs, fmt.Errorf("hostile: %d times %s: %s, want %v", n, k.Name, e, k.Ends))
			}
		}
	}
	return errors.Join(errs...)
}

// Count returns how many clients of the kind with this index ended in this way. Safe for concurrent use.
func (cr *Crowd) Count(kind int, e End) int {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	return cr.ends[kind][e]
}

// String returns a line for each kind: the number of its clients, and how they ended. Safe for concurrent use.
func (cr *Crowd) String() string {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	var b strings.Builder
	for i, ends := range cr.ends {
		all := 0
		var how []string
		for e, n := range ends {
			all += n
			how = append(how, fmt.Sprintf("%s: %d", e, n))
		}
		slices.Sort(how)
		fmt.Fprintf(&b, "%7d %s (%s)\n", all, cr.kinds[i].Name, strings.Join(how, ", "))
	}
	return b.String()
}
