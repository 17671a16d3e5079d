package broadcast

import (
	"strconv"

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
	// ReasonReceiveOnly: the peer sent a message where Config.ReceiveOnly, or its
	// Grant, allows none; closed with 1008.
	ReasonReceiveOnly
	// ReasonRate: the peer published more than Config.Rate and OverRate allow;
	// closed with 1008.
	ReasonRate
	// ReasonCrowded: the peer's message was not finished, and others needed its
	// memory: see Config.MemoryBytes. Closed with 1013.
	ReasonCrowded
	// ReasonSlow: the peer did not read and was lapped by the log; closed with
	// 1008 where a close frame still fits between two frames.
	ReasonSlow
	// ReasonPingTimeout: no sign of life in answer to pings.
	ReasonPingTimeout
	// ReasonShutdown: the server was shut down; closed with 1001.
	ReasonShutdown
	// ReasonDisconnected: Conn.Close or Server.Disconnect was called for it.
	ReasonDisconnected
	// ReasonExpired: its Grant ended; closed with 4401.
	ReasonExpired
	// ReasonUnordered: the peer was to publish, and there was nobody to give messages their places for
	// longer than Replication.HoldTime; closed with 1013.
	ReasonUnordered
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
	ReasonReceiveOnly:    "receive-only",
	ReasonRate:           "rate",
	ReasonCrowded:        "crowded",
	ReasonSlow:           "slow",
	ReasonPingTimeout:    "ping-timeout",
	ReasonShutdown:       "shutdown",
	ReasonDisconnected:   "disconnected",
	ReasonExpired:        "expired",
	ReasonUnordered:      "unordered",
	ReasonInternal:       "internal",
}

// Reasons returns all of them.
func Reasons() []Reason {
	all := make([]Reason, 0, reasons-1)
	for r := ReasonPeerClosed; r < reasons; r++ {
		all = append(all, r)
	}
	return all
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
