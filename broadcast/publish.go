package broadcast

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"
)

// Published describes a message that was published.
type Published struct {
	// ID identifies the message in its channel: see Config.Channels.
	ID string
	// Receivers is how many connections the channel had on this server when the message was published.
	Receivers int
}

// Addressed is a message and the channel that it is for.
type Addressed struct {
	Channel string
	Message
}

// AddressedError reports which of several messages is wrong.
type AddressedError struct {
	Index int // from 0 on
	Err   error
}

// Error returns a text with Index and Err.
func (e *AddressedError) Error() string { return fmt.Sprintf("message %d: %v", e.Index, e.Err) }

// Unwrap returns Err.
func (e *AddressedError) Unwrap() error { return e.Err }

// Publish is PublishTo for the channel whose name is empty: without Config.Channels, there is no other.
func (srv *Server) Publish(ctx context.Context, m Message) error {
	_, err := srv.PublishTo(ctx, "", m)
	return err
}

// PublishTo sends m to every open connection of a channel. The payload is copied. PublishTo waits while the server is
// behind: while more than half the retention has not been offered to all connections. It never waits for a slow
// consumer. The error is ErrTooLarge, ErrNotText, ErrKind, ErrChannel, ErrServerClosed or that of ctx; with an error,
// nothing was published.
func (srv *Server) PublishTo(ctx context.Context, channel string, m Message) (Published, error) {
	if srv.cfg.Replication.Order != nil {
		all, err := srv.PublishAll(ctx, []Addressed{{channel, m}})
		if err != nil {
			return Published{}, unindexed(err)
		}
		return all[0], nil
	}
	p, err := srv.publishTo(ctx, channel, m)
	if err == nil {
		srv.forward(channel, m)
	}
	return p, err
}

// publishTo is PublishTo for this server alone.
func (srv *Server) publishTo(ctx context.Context, channel string, m Message) (Published, error) {
	if err := srv.checkTo(channel, m); err != nil {
		return Published{}, err
	}
	ch := srv.enter(channel)
	defer srv.leave(ch)
	for {
		if ready, err := srv.ready(ctx, ch); err != nil {
			return Published{}, err
		} else if ready {
			at := time.Since(srv.started)
			p := srv.publish(ch, m)
			ch.wake(at)
			return p, nil
		}
	}
}

// PublishAll sends all of the messages to their channels, or none of them. Messages of one channel keep their order.
// PublishAll waits as PublishTo does, but only before the first message: if the messages are larger than the retention,
// they take up that much memory in addition. An *AddressedError reports which of the messages is wrong.
func (srv *Server) PublishAll(ctx context.Context, messages []Addressed) ([]Published, error) {
	for i, m := range messages {
		if err := srv.checkTo(m.Channel, m.Message); err != nil {
			return nil, &AddressedError{i, err}
		}
	}
	if srv.cfg.Replication.Order != nil {
		return srv.publishOrdered(ctx, messages)
	}
	chs := make(map[string]*channel)
	for _, m := range messages {
		if chs[m.Channel] == nil {
			ch := srv.enter(m.Channel)
			defer srv.leave(ch)
			chs[m.Channel] = ch
		}
	}
	for waited := true; waited; {
		waited = false
		for _, ch := range chs {
			ready, err := srv.ready(ctx, ch)
			if err != nil {
				return nil, err
			}
			waited = waited || !ready
		}
	}
	at := time.Since(srv.started)
	published := make([]Published, len(messages))
	for i, m := range messages {
		published[i] = srv.publish(chs[m.Channel], m.Message)
	}
	for _, ch := range chs {
		ch.wake(at)
	}
	for _, m := range messages {
		srv.forward(m.Channel, m.Message)
	}
	return published, nil
}

// publishOrdered is PublishAll for a server with an Order.
func (srv *Server) publishOrdered(ctx context.Context, messages []Addressed) ([]Published, error) {
	select {
	case <-srv.closed:
		return nil, ErrServerClosed
	default:
	}
	ids, err := srv.cfg.Replication.Order.Publish(ctx, messages)
	if err != nil {
		return nil, err
	}
	published := make([]Published, len(messages))
	for i, m := range messages {
		info, _ := srv.Channel(m.Channel)
		published[i] = Published{string(srv.forms[0].appendID(nil, ids[i])), info.Connections}
	}
	return published, nil
}

// unindexed returns the error of the only message.
func unindexed(err error) error {
	if wrong, ok := err.(*AddressedError); ok {
		return wrong.Err
	}
	return err
}

// publish appends m to ch's logs and describes the result. The caller must wake the channel afterwards.
func (srv *Server) publish(ch *channel, m Message) Published {
	id, receivers := srv.appendToLogs(ch, m, 0)
	return Published{string(ch.plain.form.appendID(nil, id)), receivers}
}

// appendToLogs is the publish step: it appends m to all logs of a channel, at the same place among the other messages
// in each. The payload is copied. wants is the ID that m must have, or 0 for the next one. appendToLogs returns m's ID
// and the number of connections that will get it; the caller must wake the channel afterwards.
//
// The costly part of encoding is done before the lock is taken. Under the lock it is done only for forms that got their
// first reader meanwhile.
func (srv *Server) appendToLogs(ch *channel, m Message, wants uint64) (id uint64, receivers int) {
	o := outgoing{Message: m}
	defer o.recycle()
	ch.mu.Lock()
	if ch.plain.next != nil {
		var forms [maxForms]*form
		n := 0
		for e := ch.plain.next; e != nil; e = e.next {
			forms[n] = e.form
			n++
		}
		ch.mu.Unlock()
		for _, f := range forms[:n] {
			o.prepare(f, srv.cfg.CompressMinBytes)
		}
		ch.mu.Lock()
	}
	var lag, number uint64
	id = wants
	for e := &ch.plain; e != nil; e = e.next {
		if e.form.kind == formEvents || e.form.bits > 0 {
			o.prepare(e.form, srv.cfg.CompressMinBytes)
		}
		var room [128]byte
		head, payload := e.form.encode(room[:0], &o, id) // The plain form, which is the first, needs no ID.
		var l uint64
		number, l = e.log.Append(head, payload)
		lag = max(lag, l)
		if id == 0 {
			id = number + 1
		}
	}
	if ch.ids != nil {
		ch.recordID(number, id)
	}
	receivers = ch.conns
	ch.mu.Unlock()
	srv.total.messages.Add(1)
	srv.total.bytesIn.Add(uint64(len(m.Payload)))
	if lag > srv.maxLag() || srv.full() {
		ch.behind.Store(true) // Before the shards are woken, because one of them clears it: see caughtUp.
	}
	return id, receivers
}

// ready returns true if a channel is not behind. If the channel is behind, ready waits once, and returns false.
func (srv *Server) ready(ctx context.Context, ch *channel) (bool, error) {
	select {
	case <-srv.closed:
		return false, ErrServerClosed
	default:
	}
	ready := srv.holding.ready(ch)
	if ready == nil {
		return true, nil
	}
	select {
	case <-ready:
	case <-srv.closed:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return false, nil
}

// checkTo returns an error if a message that did not come from a peer, or its channel, is invalid.
func (srv *Server) checkTo(channel string, m Message) error {
	if channel != "" && !srv.cfg.Channels {
		return fmt.Errorf("%w: %q, on a server without channels: start crier with --channels (Config.Channels)",
			ErrChannel, channel)
	}
	if err := CheckChannel(channel); err != nil {
		return err
	}
	return srv.checkMessage(m)
}

// checkMessage returns an error if a message that did not come from a peer is invalid.
func (srv *Server) checkMessage(m Message) error {
	switch {
	case len(m.Payload) > srv.cfg.MaxMessageBytes:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(m.Payload), srv.cfg.MaxMessageBytes)
	case m.Kind == Text && !utf8.Valid(m.Payload):
		return ErrNotText
	case m.Kind != Text && m.Kind != Binary:
		return fmt.Errorf("%w: kind %d", ErrKind, m.Kind)
	}
	return nil
}
