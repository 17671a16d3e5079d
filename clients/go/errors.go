package crier

import (
	"errors"
	"fmt"
)

var (
	// ErrLost is wrapped in the error for a connection that was open and broke. Config.Lost and Send report it.
	ErrLost = errors.New("the connection is lost")

	// ErrNotConnected is the error of Send and SendBinary while there is no connection.
	ErrNotConnected = errors.New("crier: not connected")

	// ErrFollowing is the error of a call of Follow while another call is running on the same Client.
	ErrFollowing = errors.New("crier: the client is already following: use one Client for each call of Follow")
)

// RefusedError is the error for a handshake that the server answered with another status than 101.
type RefusedError struct {
	Status int    // The HTTP status, such as 403.
	Text   string // The status line's text and the beginning of the body, as the server sent them.
}

// Error returns what the server answered.
func (e *RefusedError) Error() string { return "refused with " + e.Text }

// StatusCode returns Status.
func (e *RefusedError) StatusCode() int { return e.Status }

// ClosedError is the error for a connection that the server closed with a close frame.
type ClosedError struct {
	Code   int    // RFC 6455, section 7.4. 1005 if the frame had none.
	Reason string // May be empty.
}

// Error returns the code and the reason.
func (e *ClosedError) Error() string {
	return fmt.Sprintf("closed by the server with %d: %s", e.Code, e.Reason)
}

// FatalError is what Follow returns if another try would fail in the same way. It wraps the cause, such as a
// *RefusedError or a *ClosedError.
type FatalError struct{ Err error }

// Error returns the text of Err.
func (e *FatalError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *FatalError) Unwrap() error { return e.Err }

// stopError carries the error of Follow's function to Follow.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }
