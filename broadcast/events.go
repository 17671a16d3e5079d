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

// Each server-sent event (HTML, section 9.2) goes out as one chunk (RFC 9112, section 7.1). So events are frames like
// those of WebSockets: their first bytes tell their length.

// appendChunkSize appends the line before a chunk of n bytes.
func appendChunkSize(dst []byte, n int) []byte {
	return append(strconv.AppendUint(dst, uint64(n), 16), crlf...)
}

// appendChunk appends a chunk with the content s.
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

// heartbeat is an empty comment, which keeps a connection alive.
var heartbeat = appendChunk(nil, ":\n\n")

// How long clients wait before they reconnect, in milliseconds: at least so long, and a random time more, so that they
// do not all come back at once. Those that were refused wait longer.
const (
	retryLeast         = 1000
	retryJitter        = 4000
	refusedRetryLeast  = 5000
	refusedRetryJitter = 10000
)

// appendHelloEvents is appendHello for events. The ID is sent twice: browsers take it from an event without data,
// which they do not report to the page; other clients keep an ID only if its event has data.
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

// closingEvents returns an event with the content of a close frame, and the end of the answer.
func closingEvents(closeFrame []byte) []byte {
	body := closeFrame[2:] // The header of an unmasked control frame has 2 bytes: RFC 6455, section 5.5.
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
		unwanted := bytes.HasPrefix(bytes.ReplaceAll(params, []byte(" "), nil), []byte("q=0")) &&
			len(bytes.Trim(params, " q=0.")) == 0
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

// watchOver makes the kernel detect that the peer of an event stream has gone, since such a peer sends nothing: the
// connection ends when sent data stays unacknowledged for PingTimeout (TCP_USER_TIMEOUT, tcp(7)). The call fails on the
// socket pair of a pump or of Server.stream, which have deadlines instead: see writeLimit.
func (r *receiver) watchOver() {
	if d := r.shard().srv.cfg.PingTimeout; d > 0 {
		_ = unix.SetsockoptInt(int(r.fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(milliseconds(d)))
	}
}
