package crier

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

const (
	// closeFrameTimeout is how long the client's close frame may take to be written. A Send in progress fails then.
	closeFrameTimeout = time.Second

	// leaveTimeout is how long the client waits for the server's end of the closing handshake.
	leaveTimeout = 3 * time.Second
)

// connection is one WebSocket connection. It is used by the goroutine that runs Follow, except for writes.
type connection struct {
	// Immutable after construction.
	conn     net.Conn
	in       io.Reader     // conn, after what arrived with the handshake's answer
	pongs    chan []byte   // of capacity 1; closed by end
	pongsEnd chan struct{} // closed when writePongs has returned

	turn chan struct{} // of capacity 1; full while a frame is written

	// Owned by the holder of turn.
	sent    bool // The client has published on this connection.
	closing bool // A close frame was written, or is being written.
}

// newConnection takes over conn. buffered, which may be nil, has what was read beyond the handshake's answer.
func newConnection(conn net.Conn, buffered *bufio.Reader) *connection {
	c := &connection{
		conn: conn, in: conn,
		pongs: make(chan []byte, 1), pongsEnd: make(chan struct{}),
		turn: make(chan struct{}, 1),
	}
	if buffered != nil {
		c.in = buffered
	}
	go c.writePongs() // Stopped and awaited by end.
	return c
}

// read calls f with each message until the connection is lost, ctx is done or f returns an error. The bytes of a
// message are borrowed until f returns.
func (c *connection) read(ctx context.Context, silence time.Duration, f func(binary bool, message []byte) error) error {
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
		close(woken)
	})
	defer func() {
		if !stop() {
			<-woken // Otherwise the deadline might replace the one of end.
		}
	}()
	lost := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err() // The deadline of AfterFunc has passed: the connection is not lost.
		}
		return lostError(err)
	}
	rd := wsutil.Reader{Source: c.in, State: ws.StateClientSide, CheckUTF8: true, OnIntermediate: c.readControl}
	var message bytes.Buffer
	for {
		if silence > 0 {
			_ = c.conn.SetReadDeadline(time.Now().Add(silence))
		}
		if ctx.Err() != nil { // After the line above, which may have replaced the deadline of AfterFunc.
			return ctx.Err()
		}
		h, err := rd.NextFrame()
		if err != nil {
			return lost(err)
		}
		if h.OpCode.IsControl() {
			if err := c.readControl(h, &rd); err != nil {
				return lost(err)
			}
			continue
		}
		message.Reset()
		if _, err := message.ReadFrom(&rd); err != nil {
			return lost(err)
		}
		if err := f(h.OpCode == ws.OpBinary, message.Bytes()); err != nil {
			return err
		}
	}
}

// readControl reads a control frame (RFC 6455, section 5.5). A close frame is returned as an error.
func (c *connection) readControl(h ws.Header, r io.Reader) error {
	payload := make([]byte, h.Length) // At most 125 bytes: the reader has checked the header.
	if _, err := io.ReadFull(r, payload); err != nil {
		return err
	}
	switch h.OpCode {
	case ws.OpPing:
		select {
		case <-c.pongs: // Only the newest ping needs an answer (section 5.5.3).
		default:
		}
		c.pongs <- payload // Does not block: only this goroutine sends, and there is room now.
	case ws.OpClose:
		code, reason := ws.ParseCloseFrameData(payload)
		if code.Empty() {
			code = ws.StatusNoStatusRcvd
		}
		return closeError(code, reason)
	}
	return nil
}

// writePongs writes pongs until end is called. It is a goroutine of its own, so that a server that does not read for a
// while, because it holds publishers, does not keep the client from reading.
func (c *connection) writePongs() {
	defer close(c.pongsEnd)
	for payload := range c.pongs {
		_ = c.write(context.Background(), ws.OpPong, payload) // If it fails, read returns.
	}
}

// write writes one frame, masked. The payload is copied. It closes the connection if the frame may be incomplete; read
// then returns.
func (c *connection) write(ctx context.Context, op ws.OpCode, payload []byte) error {
	frame, err := ws.CompileFrame(ws.MaskFrame(ws.NewFrame(op, true, payload))) // MaskFrame copies.
	if err != nil {
		return err
	}
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.turn }()
	if c.closing {
		return net.ErrClosed // No frame may follow a close frame: RFC 6455, section 5.5.1.
	}
	c.sent, c.closing = c.sent || op.IsData(), op == ws.OpClose
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetWriteDeadline(time.Unix(1, 0)) })
	_, err = c.conn.Write(frame)
	if !stop() { // The deadline has passed, or is about to: the connection is of no more use.
		err = ctx.Err()
	}
	if err != nil {
		c.conn.Close()
	}
	return err
}

// end closes the connection after read returned err. It answers the server's close frame, or does the closing
// handshake if messages that the client has sent might otherwise be lost. No Send uses the connection afterwards.
func (c *connection) end(err error) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(closeFrameTimeout)) // A Send in progress fails in time, too.
	var closed *ClosedError
	switch {
	case errors.As(err, &closed):
		_ = c.write(context.Background(), ws.OpClose, closeBody(closed.Code))
	case !errors.Is(err, ErrLost) && c.hasSent():
		if c.write(context.Background(), ws.OpClose, closeBody(int(ws.StatusNormalClosure))) == nil {
			_ = c.conn.SetReadDeadline(time.Now().Add(leaveTimeout))
			_, _ = io.Copy(io.Discard, c.conn) // Until the server closes its end.
		}
	}
	c.conn.Close()
	close(c.pongs)
	<-c.pongsEnd
}

// hasSent reports whether the client has published on this connection. It waits for a Send in progress.
func (c *connection) hasSent() bool {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	return c.sent
}

// closeBody returns the payload of a close frame with a code. Code 1005 stands for an empty payload.
func closeBody(code int) []byte {
	if code == int(ws.StatusNoStatusRcvd) {
		return nil
	}
	return ws.NewCloseFrameBody(ws.StatusCode(code), "")
}

// closeError returns the error for the server's close frame. It is fatal if a new connection would end in the same
// way: the client is at fault, or somebody closed the connection on purpose (4000 and above).
func closeError(code ws.StatusCode, reason string) error {
	err := &ClosedError{Code: int(code), Reason: reason}
	switch code {
	case ws.StatusProtocolError, ws.StatusUnsupportedData, ws.StatusInvalidFramePayloadData, ws.StatusMessageTooBig,
		ws.StatusMandatoryExt:
		return &FatalError{err}
	case statusExpired: // The next token may be good.
		return err
	}
	if code >= 4000 {
		return &FatalError{err}
	}
	return err
}

// statusExpired is the close code for a token that has expired.
const statusExpired = ws.StatusCode(4401)

// lostError wraps an error of reading in ErrLost, unless it is the server's close frame.
func lostError(err error) error {
	var closed *ClosedError
	if errors.As(err, &closed) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}
