package clients

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"
)

const waitTimeout = 5 * time.Second

// A message is one data message as a client received it.
type message struct {
	binary  bool
	payload string
}

// A closedError ends the reading of a wire: the close frame of the server came.
type closedError struct{ code int }

func (err closedError) Error() string { return fmt.Sprintf("closed with %d", err.code) }

// A wire is an open connection of one WebSocket library. One goroutine may read while
// another writes.
type wire interface {
	// read blocks for the next data message and answers pings that come meanwhile.
	// After the server's close frame it returns a closedError.
	read() (message, error)
	// write sends one message, each part in a frame of its own.
	write(binary bool, parts ...string) error
	// writeClose sends a close frame; code 1005 stands for a frame without a status.
	writeClose(code int, reason string) error
	// pings counts the pings that came so far.
	pings() int
	// netConn is the connection below, to see the end of TCP and to close.
	netConn() net.Conn
}

// dialOptions is what a check needs from the dialer.
type dialOptions struct {
	protocols []string
	// frameBytes is the length of the parts of a message in several parts; zero if a
	// client sends none. gorilla cuts by a buffer whose length is set when dialing.
	frameBytes int
}

// A dialed is an open connection with what the handshake told.
type dialed struct {
	wire
	protocol string // the subprotocol the server took
	// early: bytes came together with the 101 response. Known from gobwas only.
	early bool
}

// A library dials with one WebSocket library.
type library struct {
	dial func(ctx context.Context, url string, opts dialOptions) (dialed, error)
	// seesEarly: dialed.early tells something.
	seesEarly bool
}

// A client is a greeted connection with an inbox, filled by a goroutine of its own.
type client struct {
	dialed
	t     *testing.T
	inbox chan arrival
}

type arrival struct {
	message
	err error // the last arrival's; nil before
}

// connect dials url and takes the greeting. The connection ends with t.
func connect(t *testing.T, lib library, url string, opts dialOptions) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	conn, err := lib.dial(ctx, url, opts)
	if err != nil {
		t.Fatalf("dial %s: %v", url, err)
	}
	// More than any check leaves unread, so that the goroutine always comes to its end.
	c := &client{dialed: conn, t: t, inbox: make(chan arrival, 1024)}
	done := make(chan struct{})
	go func() { // ends when the connection is closed; the cleanup below waits for it
		defer close(done)
		c.fill()
	}()
	t.Cleanup(func() {
		c.netConn().Close()
		<-done
	})
	c.expect("connection established")
	return c
}

// fill reads until the first error, which is the last arrival.
func (c *client) fill() {
	for {
		msg, err := c.read()
		c.inbox <- arrival{msg, err}
		if err != nil {
			return
		}
	}
}

// next returns the oldest arrival not taken yet.
func (c *client) next() arrival {
	c.t.Helper()
	select {
	case a := <-c.inbox:
		return a
	case <-time.After(waitTimeout):
		c.t.Fatalf("nothing came in %v", waitTimeout)
		return arrival{}
	}
}

func (c *client) expect(text string) {
	c.t.Helper()
	c.expectMessage(message{payload: text})
}

func (c *client) expectMessage(want message) {
	c.t.Helper()
	if got := c.next(); got.err != nil || got.message != want {
		c.t.Fatalf("got %s, %v, want %s", abridged(got.message), got.err, abridged(want))
	}
}

// abridged is msg as a report can bear it.
func abridged(msg message) string {
	const most = 60
	if len(msg.payload) <= most {
		return fmt.Sprintf("%+v", msg)
	}
	return fmt.Sprintf("{binary:%t payload:%q... of %d bytes}",
		msg.binary, msg.payload[:most], len(msg.payload))
}

func (c *client) send(text string) { c.t.Helper(); c.sendParts(false, text) }

func (c *client) sendParts(binary bool, parts ...string) {
	c.t.Helper()
	if err := c.write(binary, parts...); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// close sends a close frame and expects the same status back, then the end of TCP.
func (c *client) close(code int) {
	c.t.Helper()
	if err := c.writeClose(code, "bye"); err != nil {
		c.t.Fatalf("write close %d: %v", code, err)
	}
	c.expectClose(code)
}

// expectClose expects a close frame with code, then that the server ends TCP properly.
func (c *client) expectClose(code int) {
	c.t.Helper()
	if got := c.next(); got.err != (closedError{code}) {
		c.t.Fatalf("got %s, %v, want %v", abridged(got.message), got.err, closedError{code})
	}
	if err := readEnd(c.netConn()); err != nil {
		c.t.Errorf("after close frame %d: %v", code, err)
	}
}
