package hostile

import (
	"bufio"
	"bytes"
	"compress/flate"
	"io"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// Kinds are the ways to misbehave that a server defends itself against without special settings, if it compresses, has
// a handshake timeout, and limits messages to between 64 KiB and 1 MiB. Callers must not change the slice.
var Kinds = []Kind{
	{Name: "connects and goes", Ends: []End{Left}, do: func(*client) End { return Left }},
	{Name: "half a handshake", Ends: []End{"HTTP 408"}, do: func(c *client) End {
		c.write([]byte(handshake[:c.rng.IntN(len(handshake)-1)]))
		return c.end()
	}},
	{Name: "a handshake byte by byte", Ends: []End{"HTTP 408", Cut}, do: (*client).slowHandshake},
	{Name: "a body byte by byte", Ends: []End{"HTTP 400"}, do: (*client).slowBody},
	{Name: "a head without end", Ends: []End{"HTTP 431", Cut}, do: (*client).endlessHead},
	{Name: "no HTTP", Ends: []End{"HTTP 400", "HTTP 408"}, do: func(c *client) End {
		c.write(append([]byte{1 + byte(c.rng.IntN(9))}, c.noise(1000)...))
		return c.end()
	}},
	{Name: "goes when it is answered", Ends: []End{Left}, do: func(c *client) End {
		if end, ok := c.open(); !ok {
			return end
		}
		return Left
	}},
	{Name: "goes in the middle of a handshake", Ends: []End{Left}, do: func(c *client) End {
		c.write([]byte(handshake[:1+c.rng.IntN(len(handshake)-1)]))
		return Left
	}},
	{Name: "goes in the middle of a frame", Ends: []End{Left}, do: func(c *client) End {
		frame := masked(ws.OpText, 1, bytes.Repeat([]byte("x"), 1000))
		return c.openAndGo(frame[:1+c.rng.IntN(len(frame)-1)])
	}},
	{Name: "goes in the middle of a message", Ends: []End{Left}, do: func(c *client) End {
		return c.openAndGo(masked(ws.OpText, 0, []byte("half of ")))
	}},
	{Name: "goes after a close frame", Ends: []End{Left}, do: func(c *client) End {
		return c.openAndGo(masked(ws.OpClose, 1, []byte{3, 0xe8}))
	}},
	{Name: "goes when it is refused", Ends: []End{Left}, do: func(c *client) End {
		c.write([]byte("GET / HTTP/1.1\r\nno header\r\n\r\n"))
		return Left
	}},
	// Some of the noise is a message, and some is the beginning of a large one.
	{
		Name: "noise for frames", Publishes: true,
		Ends: []End{"close 1002", "close 1007", "close 1009", "close 1005", Cut},
		do:   func(c *client) End { return c.openAnd(c.noise(10_000)) },
	},
	{Name: "a violation", Ends: []End{"close 1002"}, do: func(c *client) End {
		// A reserved opcode, RSV2, a close frame of one byte, a continuation of nothing, a
		// fragmented ping, and a frame that is not masked.
		firsts := []byte{0x83, 0x8b, 0xa1, 0x88, 0x80, 0x09}
		if i := c.rng.IntN(len(firsts) + 1); i < len(firsts) {
			return c.openAnd([]byte{firsts[i], 0x81, 0, 0, 0, 0, 'x'})
		}
		return c.openAnd([]byte{0x81, 1, 'x'})
	}},
	{Name: "text that is no UTF-8", Ends: []End{"close 1007"}, do: func(c *client) End {
		return c.openAnd(masked(ws.OpText, 1, []byte("abc\xc0")))
	}},
	{Name: "does not answer a close", Ends: []End{Cut}, do: func(c *client) End {
		if end := c.openAnd(masked(ws.OpText, 1, []byte("\xff"))); end != "close 1007" {
			return end
		}
		for c.write([]byte{0}) { // Until the server's close timeout.
			c.pause(100 * time.Millisecond)
		}
		if c.ctx.Err() != nil {
			return Left
		}
		return Cut
	}},
	{Name: "a message too large", Ends: []End{"close 1009"}, do: func(c *client) End {
		return c.openAnd([]byte{0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4})
	}},
	{Name: "a bomb", Ends: []End{"close 1009"}, do: func(c *client) End { return c.openAnd(bomb) }},
	{Name: "what does not inflate", Ends: []End{"close 1007"}, do: func(c *client) End {
		return c.openAnd(compressed(ws.OpText, []byte("\xff\xff\xff\xff")))
	}},
	{Name: "pings without end", Ends: []End{Left}, do: func(c *client) End {
		return c.flood(nil, masked(ws.OpPing, 1, []byte("ping")), 100)
	}},
	{Name: "empty frames without end", Ends: []End{Left}, do: func(c *client) End {
		return c.flood(masked(ws.OpText, 0, nil), masked(ws.OpContinuation, 0, nil), 100)
	}},
	{Name: "fragments of one byte without end", Ends: []End{"close 1009"}, do: func(c *client) End {
		return c.flood(masked(ws.OpBinary, 0, nil), masked(ws.OpContinuation, 0, []byte{1}), 6000)
	}},
	{Name: "close frames without end", Ends: []End{"close 1000"}, do: func(c *client) End {
		return c.flood(nil, masked(ws.OpClose, 1, []byte{3, 0xe8}), 100)
	}},
	{Name: "pings, and reads no pong", Ends: []End{Left, Cut, "close 1008"}, rcvbuf: 4 << 10, do: func(c *client) End {
		if end, ok := c.open(); !ok {
			return end
		}
		c.again(masked(ws.OpPing, 1, bytes.Repeat([]byte("p"), 125)), 100)
		return Left
	}},
	{Name: "a message never finished", Ends: []End{Left, Cut}, do: func(c *client) End {
		frame := masked(ws.OpBinary, 1, make([]byte, 60<<10))
		return c.openAnd(frame[:len(frame)-1-c.rng.IntN(30<<10)])
	}},
	{Name: "never reads", Ends: []End{"close 1008", Cut}, rcvbuf: 4 << 10, do: func(c *client) End {
		if end, ok := c.open(); !ok {
			return end
		}
		return c.late()
	}},
	{Name: "reads a byte at a time", Ends: []End{Cut}, rcvbuf: 4 << 10, do: (*client).readsBytes},
}

// Publisher is a kind that publishes as fast as it can to all clients, and reads what it receives.
var Publisher = Kind{
	Name: "publishes without end", Ends: []End{"close 1008", Cut}, Publishes: true,
	do: func(c *client) End {
		return c.flood(nil, masked(ws.OpText, 1, bytes.Repeat([]byte("spam "), 50)), 10)
	},
}

// Flood is a kind that opens many connections from one address.
var Flood = Kind{Name: "many connections", Ends: []End{"HTTP 429"}, do: func(c *client) End {
	for range 100 {
		conn, err := c.dialer.DialContext(c.ctx, "tcp", c.RemoteAddr().String())
		if err != nil {
			return Left
		}
		defer func() { _ = conn.Close() }()
		one := client{Conn: conn, br: bufio.NewReader(conn)}
		if end, ok := one.open(); !ok {
			return end
		}
	}
	return Left
}}

// OtherSite is a kind that connects with the Origin of another site.
var OtherSite = Kind{Name: "another site's page", Ends: []End{"HTTP 403"}, do: func(c *client) End {
	c.write([]byte(strings.Replace(handshake, "\r\nHost", "\r\nOrigin: https://evil.example\r\nHost", 1)))
	return c.end()
}}

// bomb is a frame of 32 KB that inflates to 32 MiB.
var bomb = func() []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(make([]byte, 32<<20))
	_ = w.Flush()
	return compressed(ws.OpBinary, b.Bytes()[:b.Len()-4]) // RFC 7692, section 7.2.1.
}()

func (c *client) noise(most int) []byte {
	b := make([]byte, 1+c.rng.IntN(most))
	for i := range b {
		b[i] = byte(c.rng.Uint32())
	}
	return b
}

func (c *client) openAndGo(b []byte) End {
	if end, ok := c.open(); !ok {
		return end
	}
	c.write(b)
	return Left
}

func (c *client) slowHandshake() End {
	for i := range len(handshake) - 2 {
		if !c.write([]byte(handshake[i : i+1])) {
			break
		}
		c.pause(100 * time.Millisecond)
	}
	return c.end()
}

func (c *client) slowBody() End {
	c.write([]byte(strings.Replace(handshake, "\r\nHost", "\r\nContent-Length: 1000\r\nHost", 1)))
	end := c.end()
	for c.write([]byte("x")) {
		c.pause(100 * time.Millisecond)
	}
	return end
}

func (c *client) endlessHead() End {
	line := []byte("X: " + strings.Repeat("x", 1000) + "\r\n")
	c.write([]byte("GET / HTTP/1.1\r\n"))
	for range 100 {
		if !c.write(line) {
			break
		}
	}
	return c.end()
}

// flood opens a connection, writes first once and again as often as it can, and reads what it receives.
func (c *client) flood(first, again []byte, times int) End {
	if end, ok := c.open(); !ok {
		return end
	}
	c.write(first)
	end := make(chan End)
	go func() { end <- c.end() }() // Ends with the connection or c.ctx; awaited below.
	c.again(again, times)
	return <-end
}

// again writes b, so many times at once, until that fails or c.ctx is done. It pauses between writes, because the
// healthy clients share the machine.
func (c *client) again(b []byte, times int) {
	b = bytes.Repeat(b, times)
	for c.write(b) && c.ctx.Err() == nil {
		c.pause(20 * time.Millisecond)
	}
}

func (c *client) readsBytes() End {
	if end, ok := c.open(); !ok {
		return end
	}
	var b [1]byte
	for c.ctx.Err() == nil {
		if _, err := c.Read(b[:]); err != nil {
			return endOf(err)
		}
		c.pause(50 * time.Millisecond)
	}
	<-c.woken
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, err := io.Copy(io.Discard, c.Conn) // The rest cannot be parsed: it begins in the middle of a frame.
	if err == nil {
		return Cut
	}
	return endOf(err)
}

// late waits until c.ctx is done, and only then reads what has arrived.
func (c *client) late() End {
	<-c.woken
	_ = c.SetDeadline(time.Now().Add(time.Second))
	return c.end()
}

// masked returns a masked frame. payload is copied.
func masked(op ws.OpCode, fin int, payload []byte) []byte {
	f := ws.NewFrame(op, fin == 1, bytes.Clone(payload))
	return ws.MustCompileFrame(ws.MaskFrameInPlaceWith(f, [4]byte{1, 2, 3, 4}))
}

// compressed returns a masked frame with RSV1 (RFC 7692, section 6). payload is copied.
func compressed(op ws.OpCode, payload []byte) []byte {
	b := masked(op, 1, payload)
	b[0] |= 0x40
	return b
}
