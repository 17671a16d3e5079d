// Package follow is a client that follows a channel of a crier server: it comes back when
// the connection is lost, behind the last message that it got. See docs/protocol.md.
package follow

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// Config is whom to follow, and how.
type Config struct {
	// URL is the channel's, as ws://host:18000/news. wss is TLS.
	URL string

	// Since is the id of the message behind which to begin, or empty. Last is how many messages
	// back, if Since is empty.
	Since string
	Last  int

	// Token, if set, returns the token (JWT) to connect with, each time anew: see package auth. Its
	// errors, and that a token is refused after others were not, are as a lost connection.
	Token func() (string, error)

	// Silence is how long nothing may come, not even a ping, before the connection is taken for
	// dead. 0 is for ever.
	Silence time.Duration

	// Backoff is how long to wait at most before it comes back, the first time: a random part of
	// that. It doubles with each time, up to MaxBackoff. What a server asks for in Retry-After is
	// waited for as well.
	Backoff, MaxBackoff time.Duration

	// Connected, if set, is called for each connection, before its first event.
	Connected func()

	// Lost, if set, is told why a connection was lost, and when the next one begins.
	Lost func(err error, wait time.Duration)
}

// Event is what comes: a message, or a gap.
type Event struct {
	ID      string // of the message; empty for a gap
	Binary  bool
	Payload []byte // Borrowed until the function that gets it returns.

	From, To string // The messages behind the one, up to the other, are missing. Empty for a message.
}

// ErrLost is that a connection was lost that had been made.
var ErrLost = errors.New("the connection is lost")

// RefusedError is an answer to a request for a connection that says no.
type RefusedError struct {
	Status int
	Text   string // of the status, and what the server says
}

// Error says what the server answered.
func (e *RefusedError) Error() string { return "refused with " + e.Text }

// StatusCode returns Status.
func (e *RefusedError) StatusCode() int { return e.Status }

// FatalError is that there is no point in coming back.
type FatalError struct{ Err error }

// Error says why.
func (e *FatalError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *FatalError) Unwrap() error { return e.Err }

// Follow calls f with each message and each gap, in order, until ctx is done, f returns an error,
// or there is no point in coming back: then the error is a *FatalError. A message is given to f
// once, unless the server's ids begin anew.
func Follow(ctx context.Context, cfg Config, f func(Event) error) error {
	c := &follower{cfg: cfg, f: f, id: cfg.Since}
	for tries := 0; ; tries++ {
		began := c.id
		err := c.once(ctx)
		var stop *stopError
		var fatal *FatalError
		switch {
		case errors.As(err, &stop):
			return stop.err
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &fatal):
			return err
		}
		if c.id != began {
			tries = 0 // It has got something.
		}
		most := min(cfg.Backoff<<min(tries, 10), cfg.MaxBackoff)
		wait := c.retryAfter + rand.N(most+1) // Full jitter: those that were lost together do not come back together.
		if cfg.Lost != nil {
			cfg.Lost(err, wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stopError is that f has had enough.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

type follower struct {
	cfg        Config
	f          func(Event) error
	id         string        // Where it goes on.
	retryAfter time.Duration // What the last refusal said, or 0.
	connected  bool          // It has been.
}

// protocol is the subprotocol with ids.
const protocol = "crier.v1"

// once connects, and follows until the connection is lost.
func (c *follower) once(ctx context.Context) error {
	target, err := c.target()
	if err != nil {
		return &FatalError{err}
	}
	c.retryAfter = 0
	var refused error
	header := http.Header{}
	if c.cfg.Token != nil {
		token, err := c.cfg.Token()
		if err != nil {
			return err
		}
		header.Set("Authorization", "Bearer "+token)
	}
	dialer := ws.Dialer{
		Header:        ws.HandshakeHeaderHTTP(header),
		Protocols:     []string{protocol},
		Timeout:       30 * time.Second,
		OnStatusError: func(_ int, _ []byte, r io.Reader) { refused = c.refusal(r) },
	}
	conn, br, hs, err := dialer.Dial(ctx, target)
	var status ws.StatusError
	switch {
	case errors.As(err, &status):
		if refused != nil {
			err = refused
		}
		if status == http.StatusUnauthorized && c.cfg.Token != nil && c.connected {
			return err // The next token may be better.
		}
		if s := int(status); s >= 400 && s < 500 && s != http.StatusRequestTimeout && s != http.StatusTooManyRequests {
			return &FatalError{err}
		}
		return err
	case err != nil:
		return err
	}
	c.connected = true
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if hs.Protocol != protocol {
		return &FatalError{fmt.Errorf("the server does not speak %s", protocol)}
	}
	if c.cfg.Connected != nil {
		c.cfg.Connected()
	}
	return c.read(conn, br)
}

// refusal reads an answer that is no 101.
func (c *follower) refusal(r io.Reader) error {
	resp, err := http.ReadResponse(bufio.NewReader(r), nil)
	if err != nil {
		return err
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // What came of it.
	if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16); err == nil {
		c.retryAfter = time.Duration(s) * time.Second
	}
	return &RefusedError{resp.StatusCode, fmt.Sprintf("%s: %s", resp.Status, bytes.TrimSpace(body))}
}

// target is the URL with where to begin.
func (c *follower) target() (string, error) {
	u, err := url.Parse(c.cfg.URL)
	if err != nil {
		return "", err
	}
	if u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return "", fmt.Errorf("%q is not the address of a channel, want ws://HOST:PORT/CHANNEL", c.cfg.URL)
	}
	query := u.Query()
	switch {
	case c.id != "":
		query.Del("last")
		query.Set("since", c.id)
	case c.cfg.Last > 0:
		query.Set("last", strconv.Itoa(c.cfg.Last))
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// read reads messages until the connection is lost.
func (c *follower) read(conn net.Conn, br *bufio.Reader) error {
	var in io.Reader = conn
	if br != nil { // What came with the answer.
		in = br
	}
	replies := wsutil.ControlFrameHandler(conn, ws.StateClientSide)
	rd := wsutil.Reader{Source: in, State: ws.StateClientSide, CheckUTF8: true, OnIntermediate: replies}
	var payload bytes.Buffer
	for {
		if c.cfg.Silence > 0 {
			_ = conn.SetDeadline(time.Now().Add(c.cfg.Silence))
		}
		h, err := rd.NextFrame()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrLost, err)
		}
		if h.OpCode.IsControl() {
			if err := replies(h, &rd); err != nil {
				return closed(err)
			}
			continue
		}
		payload.Reset()
		if _, err := payload.ReadFrom(&rd); err != nil {
			return closed(err)
		}
		if err := c.take(h.OpCode == ws.OpBinary, payload.Bytes()); err != nil {
			return err
		}
	}
}

// closed says whether a close is one to come back after.
func closed(err error) error {
	var c wsutil.ClosedError
	if !errors.As(err, &c) {
		return err
	}
	err = fmt.Errorf("closed by the server with %d: %s", c.Code, c.Reason)
	switch c.Code {
	case ws.StatusProtocolError, ws.StatusUnsupportedData, ws.StatusInvalidFramePayloadData, ws.StatusMessageTooBig:
		return &FatalError{err}
	}
	if c.Code >= 4000 && c.Code != statusExpired {
		return &FatalError{err} // Somebody has closed it on purpose.
	}
	return err
}

// statusExpired is the close code of who stays longer than its token says. The next token may say
// more.
const statusExpired = 4401

// take takes a message apart.
func (c *follower) take(binary bool, b []byte) error {
	line, rest, ok := bytes.Cut(b, []byte("\n"))
	word, value, ok2 := strings.Cut(string(line), ": ")
	if !ok || !ok2 {
		return &FatalError{fmt.Errorf("a message without a line in front: %.60q", b)}
	}
	var e Event
	switch word {
	case "at":
		c.id = value
		return nil
	case "gap":
		e.From, e.To, _ = strings.Cut(value, " ")
	case "id":
		e = Event{ID: value, Binary: binary, Payload: rest}
	case "direct": // For this connection alone.
		e = Event{Binary: binary, Payload: rest}
	default:
		return nil // Of a later version.
	}
	if err := c.f(e); err != nil {
		return &stopError{err}
	}
	if e.ID != "" {
		c.id = e.ID
	}
	return nil
}
