package crier

import (
	"context"
	"fmt"

	"github.com/gobwas/ws"
)

// Send publishes a text, which must be valid UTF-8, over the connection that Follow holds. It returns ErrNotConnected
// if there is none at the moment: nothing is queued.
//
// Send blocks while the server does not read, as it does when it limits rates or cannot publish, until ctx is done or
// the connection is lost. The error is then ctx's error, or wraps ErrLost, and the message may or may not be
// published. If a part of it has been written, Follow reconnects. A nil error means that the system has taken the message, not that the server has published
// it. If the server does not accept the message (it is too large, or this client must not publish), it closes the
// connection, and Follow reports why. Messages of one goroutine are published in the order of its calls.
//
// Send may be called from several goroutines, and from the function that Follow calls; Follow reads nothing while that
// function waits.
func (c *Client) Send(ctx context.Context, text string) error {
	return c.send(ctx, ws.OpText, []byte(text))
}

// SendBinary publishes a binary message, and is otherwise like Send. The message is copied.
func (c *Client) SendBinary(ctx context.Context, message []byte) error {
	return c.send(ctx, ws.OpBinary, message)
}

func (c *Client) send(ctx context.Context, op ws.OpCode, message []byte) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	conn := c.conn.Load()
	if conn == nil {
		return ErrNotConnected
	}
	err := conn.write(ctx, op, message)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}
