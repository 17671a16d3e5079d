package broadcast

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// Reason is why an open connection has ended. Each end has exactly one reason. The zero value is none.
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
	// ReasonReceiveOnly: the peer sent a message although Config.ReceiveOnly or its
	// Grant does not allow that; closed with 1008.
	ReasonReceiveOnly
	// ReasonRate: the peer exceeded Config.Rate or Config.RateBytes, and Config.OverRate is RateClose; closed with
	// 1008.
	ReasonRate
	// ReasonCrowded: the peer's message was unfinished, and other connections
	// needed its memory: see Config.MemoryBytes. Closed with 1013.
	ReasonCrowded
	// ReasonSlow: the peer did not read and was lapped; closed with 1008 if the
	// connection was between two frames, and with a reset otherwise.
	ReasonSlow
	// ReasonPingTimeout: the peer gave no sign of life after a ping, for
	// Config.PingTimeout; closed with a reset.
	ReasonPingTimeout
	// ReasonShutdown: the server was shut down; closed with 1001.
	ReasonShutdown
	// ReasonDisconnected: Conn.Close, Server.Disconnect or Server.DisconnectAll
	// was called.
	ReasonDisconnected
	// ReasonExpired: its Grant ended; closed with 4401.
	ReasonExpired
	// ReasonUnordered: the peer sent a message while publishers had been held for longer than
	// Replication.HoldTime, because the Order accepted no messages; closed with 1013.
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

// Reasons returns all reasons.
func Reasons() []Reason {
	all := make([]Reason, 0, reasons-1)
	for r := ReasonPeerClosed; r < reasons; r++ {
		all = append(all, r)
	}
	return all
}

// String returns the reason's name as it appears in logs and statistics.
func (r Reason) String() string {
	if r > 0 && r < reasons {
		return reasonNames[r]
	}
	return "reason(" + strconv.Itoa(int(r)) + ")"
}

// reasonFor returns the reason for a connection that the kernel reports as broken.
func reasonFor(errno unix.Errno) Reason {
	if errno == unix.EPIPE {
		return ReasonPeerGone
	}
	return ReasonReset
}
