package clients

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestGorilla is the suite with the dialer of gorilla/websocket.
func TestGorilla(t *testing.T) {
	t.Parallel()
	runSuite(t, library{dial: dialGorilla})
}

// gorillaWire implements wire.
type gorillaWire struct {
	conn   *websocket.Conn
	pinged atomic.Int64 // written by read, read by pings
}

func dialGorilla(ctx context.Context, url string, opts dialOptions) (dialed, error) {
	dialer := websocket.Dialer{
		Subprotocols:    opts.protocols,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		WriteBufferSize: opts.frameBytes,
	}
	if opts.frameBytes == 0 {
		dialer.WriteBufferSize = 64 << 10
	}
	conn, response, err := dialer.DialContext(ctx, url, nil)
	if err != nil {
		return dialed{}, err
	}
	response.Body.Close() // empty after 101
	w := &gorillaWire{conn: conn}
	answer := conn.PingHandler()
	conn.SetPingHandler(func(data string) error {
		w.pinged.Add(1)
		return answer(data)
	})
	return dialed{wire: w, protocol: conn.Subprotocol()}, nil
}

func (w *gorillaWire) read() (message, error) {
	kind, payload, err := w.conn.ReadMessage()
	var closed *websocket.CloseError
	if errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure {
		return message{}, closedError{closed.Code}
	}
	return message{kind == websocket.BinaryMessage, string(payload)}, err
}

// write relies on the buffer being as long as a part: a full buffer leaves as a frame
// when the next part comes.
func (w *gorillaWire) write(binary bool, parts ...string) error {
	kind := websocket.TextMessage
	if binary {
		kind = websocket.BinaryMessage
	}
	frames, err := w.conn.NextWriter(kind)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if _, err := io.WriteString(frames, part); err != nil {
			return err
		}
	}
	return frames.Close()
}

func (w *gorillaWire) writeClose(code int, reason string) error {
	return w.conn.WriteControl(websocket.CloseMessage,
		websocket.FormatCloseMessage(code, reason), time.Now().Add(waitTimeout))
}

func (w *gorillaWire) pings() int { return int(w.pinged.Load()) }

func (w *gorillaWire) netConn() net.Conn { return w.conn.NetConn() }
