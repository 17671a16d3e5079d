package crier

import (
	"bytes"
	"fmt"
	"strings"
)

// Event is what Follow passes on: a message or a gap. A message has a Payload, and an ID unless it is a direct message.
// A gap has From and To.
type Event struct {
	// ID is the ID of the message. It is empty for a gap, and for a direct message.
	ID string

	// Binary reports whether the message is binary. Otherwise it is text, in valid UTF-8.
	Binary bool

	// Payload is the message, as it was published. It is borrowed until the function that gets the event returns:
	// copy what you keep.
	Payload []byte

	// From and To are the IDs of a gap: the messages after From, up to and including To, are not available. From is
	// "-" if the server does not know it. Both are empty for a message.
	From, To string
}

// IsGap reports whether e is a gap, and not a message.
func (e Event) IsGap() bool { return e.From != "" }

// parseEvent returns the first word of a message of crier.v1, and the event. The event borrows message. Its ID is the
// place of the connection if the word is "at".
func parseEvent(binary bool, message []byte) (word string, e Event, err error) {
	line, rest, ok := bytes.Cut(message, []byte("\n"))
	word, value, ok2 := strings.Cut(string(line), ": ")
	if !ok || !ok2 {
		return "", Event{}, fmt.Errorf("the server sent a message without the line of %s before it: %.60q", protocol, message)
	}
	switch word {
	case "at":
		e.ID = value
	case "id":
		e = Event{ID: value, Binary: binary, Payload: rest}
	case "direct":
		e = Event{Binary: binary, Payload: rest}
	case "gap":
		e.From, e.To, ok = strings.Cut(value, " ")
		if !ok || e.From == "" || e.To == "" {
			return "", Event{}, fmt.Errorf("the server sent a gap without its two IDs: %.60q", line)
		}
	}
	return word, e, nil
}
