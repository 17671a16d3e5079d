package broadcast

import (
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Reason says why an open connection ended. Each way has exactly one.
type Reason uint8

// The ways in which an open connection can end.
const (
	// ReasonPeerClosed: the peer sent a close frame, which was answered.
	ReasonPeerClosed Reason = iota + 1
	// ReasonPeerGone: the peer ended the TCP connection without a close frame.
	ReasonPeerGone
	// ReasonReset: the connection was reset, or failed in the network.
	ReasonReset
	// ReasonProtocolError: the peer broke RFC 6455; closed with 1002.
	ReasonProtocolError
	// ReasonInvalidPayload: a text message was not UTF-8; closed with 1007.
	ReasonInvalidPayload
	// ReasonTooLarge: a message was larger than allowed; closed with 1009.
	ReasonTooLarge
	// ReasonSlow: the peer did not read and was lapped by the log; closed with
	// 1008 where a close frame still fits between two frames.
	ReasonSlow
	// ReasonPingTimeout: no sign of life in answer to pings.
	ReasonPingTimeout
	// ReasonShutdown: the server was shut down; closed with 1001.
	ReasonShutdown
	// ReasonInternal: a fault in the server or in one of its hooks; closed
	// with 1011.
	ReasonInternal

	reasons
)

var reasonNames = [reasons]string{
	ReasonPeerClosed:     "peer-closed",
	ReasonPeerGone:       "peer-gone",
	ReasonReset:          "reset",
	ReasonProtocolError:  "protocol-error",
	ReasonInvalidPayload: "invalid-payload",
	ReasonTooLarge:       "too-large",
	ReasonSlow:           "slow",
	ReasonPingTimeout:    "ping-timeout",
	ReasonShutdown:       "shutdown",
	ReasonInternal:       "internal",
}

// String returns the reason's name, as it stands in logs and statistics.
func (r Reason) String() string {
	if r > 0 && r < reasons {
		return reasonNames[r]
	}
	return "reason(" + strconv.Itoa(int(r)) + ")"
}

// reasonFor is the reason of a connection that the kernel reports broken.
func reasonFor(errno unix.Errno) Reason {
	if errno == unix.EPIPE {
		return ReasonPeerGone
	}
	return ReasonReset
}

// counters are the server's totals. Atomic: written by anyone, read by Stats.
type counters struct {
	accepted   atomic.Uint64
	shed       atomic.Uint64
	upgraded   atomic.Uint64
	refused    [600]atomic.Uint32 // By HTTP status; see refusal.
	tls        atomic.Uint64
	timedOut   atomic.Uint64
	abandoned  atomic.Uint64
	disconnect [reasons]atomic.Uint64
	messages   atomic.Uint64
	bytesIn    atomic.Uint64
	writes     atomic.Uint64
	bytesOut   atomic.Uint64
	skips      atomic.Uint64
	holds      atomic.Uint64
	pings      atomic.Uint64
}

// Stats is a snapshot of a server's state and of its totals since New. The
// fields are read one after the other, so they need not add up exactly while
// the server is busy.
type Stats struct {
	Open       int // open WebSocket connections
	Handshakes int // connections whose handshake is not finished
	Held       int // connections not read because the server is behind

	Accepted           uint64            // TCP connections accepted
	Shed               uint64            // closed at accept for want of fds or memory
	Upgraded           uint64            // handshakes answered with 101
	Refused            map[int]uint64    // handshakes refused, by HTTP status
	TLS                uint64            // TLS on this plain port
	HandshakeTimeouts  uint64            // not finished within HandshakeTimeout
	HandshakeAbandoned uint64            // ended by the peer before they were finished
	Disconnects        map[string]uint64 // ended connections, by Reason

	Messages uint64 // messages published
	BytesIn  uint64 // payload bytes published
	Writes   uint64 // system calls that wrote messages
	BytesOut uint64 // bytes of messages written, headers included
	Skips    uint64 // times a slow connection skipped to the newest message
	Holds    uint64 // times a publisher was held because the server was behind
	Pings    uint64 // pings sent
}
