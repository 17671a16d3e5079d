package broadcast

import (
	"context"
	"errors"
)

// Order gives the messages of several servers one order, in which each of them delivers what is published at any of
// them: see Replication.Order. Its methods may be called from any goroutine.
type Order interface {
	// Submit takes a message of a connection. The payload is borrowed until Submit returns. Submit must not block: an
	// Order that cannot take more messages calls Replica.HoldPublishers in time.
	Submit(channel string, m Message)

	// Publish publishes all of the messages or none, waits until they have their places, and returns their IDs. The
	// payloads are borrowed until Publish returns. With an error, nothing was published as far as is known. If ctx has
	// a key (OnceOf), and any server has recently published messages with that key, Publish returns the IDs of those
	// and publishes nothing.
	Publish(ctx context.Context, messages []Addressed) (ids []uint64, err error)

	// Ahead reports that a connection has an ID above that of Replica.SetDelivered, and waits for that message or for
	// Replica.SetCurrent. Ahead is called again while the connection waits. It must not block.
	Ahead()
}

type onceKey struct{}

// WithOnce returns a context for publishing messages that may have been published before. key identifies exactly these
// messages.
func WithOnce(ctx context.Context, key [32]byte) context.Context {
	return context.WithValue(ctx, onceKey{}, key)
}

// OnceOf returns the key of WithOnce. It returns false if ctx has none.
func OnceOf(ctx context.Context) (key [32]byte, ok bool) {
	key, ok = ctx.Value(onceKey{}).([32]byte)
	return key, ok
}

// Errors of an Order, and of a Replica.
var (
	// ErrUnavailable means that messages cannot be ordered at the moment. An Order's temporary errors wrap it.
	ErrUnavailable = errors.New("broadcast: messages cannot be ordered")
	// ErrOrder means that the ID given to Deliver is not above that of the channel's previous message, that Deliver
	// was called without an Order, or that DeliverForwarded was called with one.
	ErrOrder = errors.New("broadcast: message is out of order")
)
