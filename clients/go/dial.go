package crier

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gobwas/ws"
)

const (
	// protocol is the subprotocol with IDs.
	protocol = "crier.v1"

	// dialTimeout is how long a handshake may take. A server that is behind its cluster answers after 2 s.
	dialTimeout = 30 * time.Second
)

// dial makes one connection. The caller must end it. The error is a *FatalError if another try would fail, too.
func (c *Client) dial(ctx context.Context) (*connection, error) {
	c.retryAfter = 0
	header := c.cfg.Header.Clone()
	if c.cfg.Token != nil {
		token, err := c.cfg.Token(ctx)
		if err != nil {
			return nil, err
		}
		if header == nil {
			header = make(http.Header)
		}
		header.Set("Authorization", "Bearer "+token)
	}
	var refused error
	dialer := ws.Dialer{
		Header:        ws.HandshakeHeaderHTTP(header),
		Protocols:     []string{protocol},
		Timeout:       dialTimeout,
		TLSConfig:     c.cfg.TLS,
		OnStatusError: func(_ int, _ []byte, r io.Reader) { refused = c.readRefusal(r) },
	}
	conn, buffered, handshake, err := dialer.Dial(ctx, c.target())
	var status ws.StatusError
	switch {
	case errors.As(err, &status):
		if refused != nil {
			err = refused
		}
		return nil, c.judge(int(status), err)
	case err != nil:
		return nil, err
	case handshake.Protocol != protocol:
		conn.Close()
		return nil, &FatalError{fmt.Errorf("the server does not speak %s", protocol)}
	}
	return newConnection(conn, buffered), nil
}

// target returns the URL, with the place to begin at.
func (c *Client) target() string {
	u, _ := url.Parse(c.cfg.URL) // New has checked it.
	query := u.Query()
	query.Del("since")
	query.Del("last")
	switch {
	case c.id != "":
		query.Set("since", c.id)
	case c.cfg.Last > 0:
		query.Set("last", strconv.Itoa(c.cfg.Last))
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// readRefusal returns the error for an answer other than 101, and remembers its Retry-After.
func (c *Client) readRefusal(r io.Reader) error {
	resp, err := http.ReadResponse(bufio.NewReader(r), nil)
	if err != nil {
		return err
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // An incomplete text is better than none.
	if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16); err == nil {
		c.retryAfter = time.Duration(s) * time.Second
	}
	return &RefusedError{Status: resp.StatusCode, Text: fmt.Sprintf("%s: %s", resp.Status, bytes.TrimSpace(body))}
}

// judge makes err fatal if status blames the request, and another try would be the same request.
func (c *Client) judge(status int, err error) error {
	switch {
	case status < 400 || status >= 500,
		status == http.StatusRequestTimeout, status == http.StatusTooManyRequests,
		status == http.StatusUnauthorized && c.cfg.Token != nil && c.connected: // The next token may be good.
		return err
	}
	return &FatalError{err}
}
