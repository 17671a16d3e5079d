package clients

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// TestGobwas is the suite with the dialer of gobwas/ws. It shows what other clients
// hide: the frames, and whether the greeting came with the 101 response.
func TestGobwas(t *testing.T) {
	t.Parallel()
	runSuite(t, library{dial: dialGobwas, seesEarly: true})
}

// gobwasWire implements wire.
type gobwasWire struct {
	conn   net.Conn // its Write is atomic, so pongs may come between two frames
	reader wsutil.Reader
	pinged atomic.Int64 // written by read, read by pings
}

func dialGobwas(ctx context.Context, url string, opts dialOptions) (dialed, error) {
	dialer := ws.Dialer{
		Protocols: opts.protocols,
		TLSConfig: &tls.Config{InsecureSkipVerify: true},
	}
	conn, early, handshake, err := dialer.Dial(ctx, url)
	if err != nil {
		return dialed{}, err
	}
	w := &gobwasWire{conn: conn, reader: wsutil.Reader{
		Source:    conn,
		State:     ws.StateClientSide,
		CheckUTF8: true,
	}}
	if early != nil {
		held, _ := early.Peek(early.Buffered())
		w.reader.Source = io.MultiReader(bytes.NewReader(bytes.Clone(held)), conn)
		ws.PutReader(early)
	}
	return dialed{wire: w, protocol: handshake.Protocol, early: early != nil}, nil
}

func (w *gobwasWire) read() (message, error) {
	for {
		header, err := w.reader.NextFrame()
		if err != nil {
			return message{}, err
		}
		if header.OpCode.IsControl() {
			if err := w.control(header); err != nil {
				return message{}, err
			}
			continue
		}
		if !header.Fin {
			return message{}, errors.New("the message came in fragments")
		}
		payload, err := io.ReadAll(&w.reader)
		return message{header.OpCode == ws.OpBinary, string(payload)}, err
	}
}

// control answers a ping, by the library, and reports a close. The library would answer
// the answer to our own close too.
func (w *gobwasWire) control(header ws.Header) error {
	if header.OpCode == ws.OpPing {
		w.pinged.Add(1)
	}
	if header.OpCode != ws.OpClose {
		return wsutil.ControlFrameHandler(w.conn, ws.StateClientSide)(header, &w.reader)
	}
	body, err := io.ReadAll(&w.reader)
	if err != nil {
		return err
	}
	switch len(body) {
	case 0:
		return closedError{int(ws.StatusNoStatusRcvd)}
	case 1:
		return fmt.Errorf("close frame with the body %x", body)
	}
	code, _ := ws.ParseCloseFrameData(body)
	return closedError{int(code)}
}

func (w *gobwasWire) write(binary bool, parts ...string) error {
	op := ws.OpText
	if binary {
		op = ws.OpBinary
	}
	var longest int
	for _, part := range parts {
		longest = max(longest, len(part))
	}
	// One byte more than the longest part: a full buffer would be flushed too early.
	frames := wsutil.NewWriterSize(w.conn, ws.StateClientSide, op, longest+1)
	for i, part := range parts {
		if _, err := io.WriteString(frames, part); err != nil {
			return err
		}
		if i == len(parts)-1 {
			break
		}
		if err := frames.FlushFragment(); err != nil {
			return err
		}
	}
	return frames.Flush()
}

func (w *gobwasWire) writeClose(code int, reason string) error {
	var body []byte
	if ws.StatusCode(code) != ws.StatusNoStatusRcvd {
		body = ws.NewCloseFrameBody(ws.StatusCode(code), reason)
	}
	return wsutil.WriteClientMessage(w.conn, ws.OpClose, body)
}

func (w *gobwasWire) pings() int { return int(w.pinged.Load()) }

func (w *gobwasWire) netConn() net.Conn { return w.conn }
