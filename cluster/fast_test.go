package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/servertest"
	"github.com/nats-io/nats.go"
)

func newFast(cfg FastConfig) *Fast {
	f := &Fast{cfg: cfg.withDefaults()}
	f.outbox.init(f)
	f.inbound.init(f)
	f.subscriptions.init(f)
	return f
}

// TestForwardFull checks that messages which exceed the bounds of the outbox are dropped and counted, and the others
// copied.
func TestForwardFull(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg   FastConfig
		sizes []int
		want  []int // Of those that are queued.
	}{
		"messages":          {FastConfig{Queue: 2}, []int{1, 2, 3, 4}, []int{1, 2}},
		"bytes":             {FastConfig{QueueBytes: 1000}, []int{500, 500, 100, 300, 0}, []int{500, 100, 0}},
		"exactly full":      {FastConfig{QueueBytes: 1000}, []int{1000 - parcelBytes, 0}, []int{1000 - parcelBytes}},
		"one byte too many": {FastConfig{QueueBytes: 1000}, []int{1001 - parcelBytes, 0}, []int{0}},
		"default bounds":    {FastConfig{}, []int{8 << 20, 8 << 20, 1 << 20}, []int{8 << 20, 1 << 20}},
	} {
		f := newFast(tt.cfg)
		for _, size := range tt.sizes {
			payload := []byte(strings.Repeat("x", size))
			f.Forward("news", broadcast.Message{Kind: broadcast.Binary, Payload: payload})
			clear(payload)
		}
		var got []int
		for _, p := range f.outbox.queue {
			got = append(got, len(p.payload))
			if p.channel != "news" || p.kind != broadcast.Binary || strings.Trim(string(p.payload), "x") != "" {
				t.Errorf("%s: got a message of channel %q and kind %v, or its payload was not copied", name, p.channel, p.kind)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: got messages of %v bytes, want %v", name, got, tt.want)
		}
		want := map[string]uint64{"full": uint64(len(tt.sizes) - len(tt.want)), "old": 0, "refused": 0, "closed": 0}
		if drops := f.Stats().DroppedOut; !maps.Equal(drops, want) {
			t.Errorf("%s: got drops %v, want %v", name, drops, want)
		}
		for _, n := range got {
			f.outbox.release(n)
		}
		if messages, bytes := f.outbox.messages.Load(), f.outbox.bytes.Load(); messages != 0 || bytes != 0 {
			t.Errorf("%s: got %d messages and %d bytes after all were released, want 0", name, messages, bytes)
		}
	}
}

// TestForwardOrder checks that the messages of each of several concurrent publishers are queued in their order.
func TestForwardOrder(t *testing.T) {
	f := newFast(FastConfig{})
	var publishing sync.WaitGroup
	for i := range 4 {
		publishing.Go(func() {
			for k := range 1000 {
				f.Forward(fmt.Sprint(i), broadcast.Message{Kind: broadcast.Text, Payload: fmt.Append(nil, k)})
			}
		})
	}
	publishing.Wait()
	next := make(map[string]int)
	for _, p := range f.outbox.queue {
		if string(p.payload) != fmt.Sprint(next[p.channel]) {
			t.Fatalf("publisher %s: got message %s, want %d", p.channel, p.payload, next[p.channel])
		}
		next[p.channel]++
	}
	if len(f.outbox.queue) != 4000 {
		t.Errorf("got %d messages, want 4000", len(f.outbox.queue))
	}
}

// TestParseOrigin lists headers and what they are parsed to.
func TestParseOrigin(t *testing.T) {
	for header, want := range map[string]string{
		"a-1": "a 1 true", "a-zz": "a 1295 true", "a-0": "a 0 true", "a-3w5e11264sgsf": "a 18446744073709551615 true",
		"": " 0 false", "a": "a 0 false", "-1": " 1 false", "a-": "a 0 false",
		"a-b-1": "a 0 false", "a--1": "a 0 false", "a-+1": "a 0 false",
		"a-3w5e11264sgsg": "a 18446744073709551615 false", "a-1 ": "a 0 false",
	} {
		if origin, number, ok := parseOrigin(header); fmt.Sprint(origin, " ", number, " ", ok) != want {
			t.Errorf("%q: got %s %d %t, want %s", header, origin, number, ok, want)
		}
	}
	if _, _, ok := parseOrigin(strings.Repeat("a", 65) + "-1"); ok {
		t.Error("got true for an origin of 65 bytes, want false")
	}
}

// TestOrigins checks that a number is accepted once, and only above earlier ones. An origin that sends often stays
// known among any number of others, of which few are kept.
func TestOrigins(t *testing.T) {
	var o origins
	for i, tt := range []struct {
		origin string
		number uint64
		want   bool
	}{{"a", 5, true}, {"a", 5, false}, {"a", 4, false}, {"b", 1, true}, {"a", 9, true}, {"b", 2, true}, {"a", 0, false}} {
		if got := o.advance(tt.origin, tt.number); got != tt.want {
			t.Errorf("%d: %s %d: got %t, want %t", i, tt.origin, tt.number, got, tt.want)
		}
	}
	for i := range 20 * maxOrigins {
		if !o.advance(fmt.Sprint("other ", i), 1) {
			t.Fatalf("%d: got false for a new origin, want true", i)
		}
		if i%100 == 0 {
			if number := uint64(10 + i); !o.advance("a", number) || o.advance("a", number) {
				t.Fatalf("%d: the number of origin a was forgotten", i)
			}
		}
	}
	if n := len(o.current) + len(o.previous); n > 2*maxOrigins {
		t.Errorf("got %d origins, want at most %d", n, 2*maxOrigins)
	}
}

// TestFastLeave has a channel that was left and is wanted again: messages of its old subscription are not delivered. A
// channel is not left during a delivery.
func TestFastLeave(t *testing.T) {
	f := newFast(FastConfig{Config: Config{Channels: true, Linger: time.Nanosecond}})
	f.ctx = t.Context()
	srv, _ := servertest.Start(t, servertest.Loopback, broadcast.Config{Channels: true, Replication: f.Replication()})
	f.inbound.replica = srv.Replica()
	older, newer := new(nats.Subscription), new(nats.Subscription)
	ch := &wantChannel{sub: newer, received: true}
	f.subscriptions.channels.byName["news"] = ch
	for i, sub := range []*nats.Subscription{older, newer, older} {
		msg := &nats.Msg{Subject: f.prefix + "news", Data: []byte{'a' + byte(i)}, Sub: sub}
		if err := f.inbound.deliver(msg); err != nil {
			t.Fatal(err)
		}
	}
	if n := srv.Stats().Messages; n != 1 {
		t.Errorf("got %d messages delivered, want 1", n)
	}
	if !f.subscriptions.beginDelivery("news", newer) {
		t.Fatal("got false for the new subscription, want true")
	}
	for range 2 { // The first call notes that the channel has no connections.
		f.subscriptions.leaveIdle()
	}
	if f.subscriptions.channels.byName["news"] != ch {
		t.Error("the channel was left during a delivery")
	}
	f.subscriptions.endDelivery()
	if f.subscriptions.leaveIdle(); f.subscriptions.channels.byName["news"] != nil {
		t.Error("the channel was not left after the delivery")
	}
}

// TestFastOutage checks that channels which were wanted during an outage are left like others. Otherwise a server would
// count more and more of them, until it subscribes to all channels.
func TestFastOutage(t *testing.T) {
	f := newFast(FastConfig{Config: Config{Channels: true, Linger: time.Nanosecond}})
	srv, _ := servertest.Start(t, servertest.Loopback, broadcast.Config{Channels: true})
	f.inbound.replica = srv.Replica()
	for i := range 2 * maxSubscribed {
		channel := fmt.Sprint(i)
		f.Follow(channel)
		if ch := f.subscriptions.channels.byName[channel]; ch != nil {
			ch.wantedAt = time.Now().Add(-2 * maxJoinWait)
		}
		for range 2 {
			f.subscriptions.leaveIdle()
		}
	}
	if _, all := f.subscriptions.wanted(); all || len(f.subscriptions.channels.byName) > 0 {
		t.Errorf("got %d wanted channels without connections (all: %t), want none", len(f.subscriptions.channels.byName), all)
	}
	f.Follow("news")
	for range 2 {
		f.subscriptions.leaveIdle()
	}
	if len(f.subscriptions.channels.byName) != 1 {
		t.Error("a channel was left that a connection may wait for")
	}
}

// TestFastReplace checks that a message is delivered once while a subscription to all channels replaces single
// ones, from whichever it arrives first.
func TestFastReplace(t *testing.T) {
	f := newFast(FastConfig{Config: Config{Channels: true}})
	f.ctx = t.Context()
	srv, _ := servertest.Start(t, servertest.Loopback, broadcast.Config{Channels: true})
	f.inbound.replica = srv.Replica()
	for i := range maxSubscribed + 1 {
		f.subscriptions.channels.byName[fmt.Sprint(i)] = &wantChannel{sub: new(nats.Subscription), received: true}
	}
	if _, all := f.subscriptions.wanted(); !all {
		t.Fatal("got false, want all channels in one subscription")
	}
	all, single := new(nats.Subscription), f.subscriptions.channels.byName["7"].sub
	for i, sub := range []*nats.Subscription{all, single, single, all} {
		header := nats.Header{originHeader: []string{fmt.Sprint("other-", 1+i/2)}}
		msg := &nats.Msg{Subject: f.prefix + "7", Header: header, Sub: sub}
		if err := f.inbound.deliver(msg); err != nil {
			t.Fatal(err)
		}
	}
	if n := srv.Stats().Messages; n != 2 {
		t.Errorf("got %d messages delivered, want 2", n)
	}
}

// TestFastClosed has NATS send an error that its client does not reconnect after: Failed reports that.
func TestFastClosed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	started := make(chan struct{})
	go func() { // A NATS server that answers pings. Ends with the listener, or with the connection.
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, `INFO {"headers":true,"proto":1,"max_payload":1000}`+"\r\n")
		go func() { // Ends when started is closed.
			<-started
			fmt.Fprintf(conn, "-ERR 'Enough'\r\n")
		}()
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if lines.Text() == "PING" {
				fmt.Fprintf(conn, "PONG\r\n")
			}
		}
	}()
	f, err := OpenFast(t.Context(), FastConfig{Config: Config{
		Servers: []string{"nats://" + ln.Addr().String()}, Timeout: 20 * time.Second, Logger: slog.New(slog.DiscardHandler),
	}})
	if err != nil {
		t.Fatal(err)
	}
	srv, _ := servertest.Start(t, servertest.Loopback, broadcast.Config{Replication: f.Replication()})
	if err := f.Start(t.Context(), srv); err != nil {
		t.Fatal(err)
	}
	if err := f.Ready(); err != nil {
		t.Errorf("before: got %v, want the Fast to be ready", err)
	}
	close(started)
	select {
	case err := <-f.Failed():
		if !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "Enough") {
			t.Errorf("got %v, want %v with the error of NATS", err, ErrClosed)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("got nothing from Failed within 20 s")
	}
	if f.Ready() == nil {
		t.Error("got no error from Ready")
	}
	// The server still delivers its own messages.
	if err := srv.Publish(t.Context(), broadcast.Message{Kind: broadcast.Text, Payload: []byte("x")}); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	f.Close(ctx)
	if n := f.Stats().DroppedOut["refused"]; n != 1 {
		t.Errorf("got %d refused messages, want 1", n)
	}
}
