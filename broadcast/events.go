package broadcast

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"

	"golang.org/x/sys/unix"
)

// Server-sent events (HTML, section 9.2) go out as one chunk each (RFC 9112, section
// 7.1), so that they are frames like all others: their length is known from their start.

// appendChunkSize appends what stands in front of a chunk of n bytes.
func appendChunkSize(dst []byte, n int) []byte {
	return append(strconv.AppendUint(dst, uint64(n), 16), crlf...)
}

func appendChunk(dst []byte, s string) []byte {
	return append(append(appendChunkSize(dst, len(s)), s...), crlf...)
}

// chunkLen is the framelog.FrameLen of chunks made by appendChunkSize.
func chunkLen(b []byte) int {
	i := bytes.IndexByte(b, '\r')
	n, err := strconv.ParseUint(string(b[:i]), 16, 32)
	if err != nil {
		panic(fmt.Sprintf("broadcast: no chunk: %q", b[:i])) // appendChunkSize wrote it.
	}
	return i + len(crlf) + int(n) + len(crlf)
}

// heartbeat is an empty comment.
var heartbeat = appendChunk(nil, ":\n\n")

// How long clients wait before they reconnect, in milliseconds: at least so long, and a random time more, so that they
// do not all come back at once. Those that were refused wait longer.
const (
	retryLeast         = 1000
	retryJitter        = 4000
	refusedRetryLeast  = 5000
	refusedRetryJitter = 10000
)

// appendHelloEvents appends what a connection gets first. The ID comes twice: browsers take it from an event without data,
// of which they tell their page nothing; other clients keep an ID only if its event has data.
func (f *form) appendHelloEvents(dst []byte, greeting string, at uint64, gap string) []byte {
	var b bytes.Buffer
	id := f.appendID(nil, at)
	fmt.Fprintf(&b, "retry: %d\nid: %s\n\n", retryLeast+rand.IntN(retryJitter), id)
	if greeting != "" {
		fmt.Fprintf(&b, "event: greeting\nid: %s\n", id)
		appendData(&b, []byte(greeting))
	} else {
		fmt.Fprintf(&b, "event: at\nid: %s\ndata: %s\n", id, id)
	}
	b.WriteByte('\n')
	dst = appendChunk(dst, b.String())
	if gap != "" {
		dst = f.appendGap(dst, gap, at)
	}
	return dst
}

// closingEvents returns an event with what a close frame has, and the end of the answer.
func closingEvents(closeFrame []byte) []byte {
	body := closeFrame[2:] // Control frames have no longer header.
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: close\ndata: %d %s\n\n", binary.BigEndian.Uint16(body), body[2:])
	return append(appendChunk(nil, b.String()), lastChunk...)
}

// lastChunk ends an answer, RFC 9112, section 7.1.
const lastChunk = "0\r\n\r\n"

// answerEvents appends the head of the answer to a request for events. Proxies that compress, and hold events back
// until their buffer is full, heed no-transform (RFC 9111, section 5.2.2.6).
func (srv *Server) answerEvents(dst []byte, r *request) []byte {
	dst = append(dst, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store, no-transform\r\n"+
		"X-Accel-Buffering: no\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"...)
	return append(srv.appendCORS(dst, r), crlf...)
}

// accepts reports whether an Accept header names a media type, RFC 9110, section 12.5.1. A range that
// matches everything does not name it.
func accepts(list []byte, mediaType string) bool {
	for item := range bytes.SplitSeq(list, []byte(",")) {
		name, params, _ := bytes.Cut(item, []byte(";"))
		unwanted := bytes.HasPrefix(bytes.ReplaceAll(params, []byte(" "), nil), []byte("q=0")) && len(bytes.Trim(params, " q=0.")) == 0
		if listHas(name, mediaType) && !unwanted {
			return true
		}
	}
	return false
}

// checkEvents returns nil if a request without an upgrade asks for events, or why it is refused. Everything else about
// the request was checked.
func (r *request) checkEvents() *Refusal {
	if !r.events {
		return &Refusal{http.StatusUpgradeRequired,
			"this is a WebSocket server: expected a request with the headers Upgrade: websocket, " +
				"Connection: Upgrade, Sec-WebSocket-Version: 13 and Sec-WebSocket-Key, " +
				"or with Accept: text/event-stream"}
	}
	if r.http10 {
		return badRequest("server-sent events need HTTP/1.1 or higher")
	}
	return nil
}

// watchOver lets the kernel find out that the peer has gone, since it answers nothing: what
// it does not acknowledge for that long ends the connection, tcp(7). This fails on the pair of a
// pump or of Server.stream, which have deadlines instead: see writeLimit.
func (c *Conn) watchOver() {
	if d := c.shard().srv.cfg.PingTimeout; d > 0 {
		_ = unix.SetsockoptInt(int(c.fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(milliseconds(d)))
	}
}
