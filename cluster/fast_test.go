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

func newFast(cfg Config) *Fast {
	f := &Fast{cfg: cfg.withDefaults()}
	f.out.init(f)
	f.in.init(f)
	f.subs.init(f)
	return f
}

// TestForwardFull: what is too much in messages or bytes is dropped and counted, and what is taken is a copy.
func TestForwardFull(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg   Config
		sizes []int
		want  []int // of those that are taken
	}{
		"messages":             {Config{Queue: 2}, []int{1, 2, 3, 4}, []int{1, 2}},
		"bytes":                {Config{QueueBytes: 1000}, []int{500, 500, 100, 300, 0}, []int{500, 100, 0}},
		"just what there is":   {Config{QueueBytes: 1000}, []int{1000 - parcelBytes, 0}, []int{1000 - parcelBytes}},
		"one byte more":        {Config{QueueBytes: 1000}, []int{1001 - parcelBytes, 0}, []int{0}},
		"without a bound said": {Config{}, []int{8 << 20, 8 << 20, 1 << 20}, []int{8 << 20, 1 << 20}},
	} {
		f := newFast(tt.cfg)
		for _, size := range tt.sizes {
			payload := []byte(strings.Repeat("x", size))
			f.Forward("news", broadcast.Message{Kind: broadcast.Binary, Payload: payload})
			clear(payload)
		}
		var got []int
		for _, p := range f.out.waiting {
			got = append(got, len(p.payload))
			if p.channel != "news" || p.kind != broadcast.Binary || strings.Trim(string(p.payload), "x") != "" {
				t.Errorf("%s: got a message of %q, kind %v, or its payload was not copied", name, p.channel, p.kind)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: got messages of %v, want %v", name, got, tt.want)
		}
		want := map[string]uint64{"full": uint64(len(tt.sizes) - len(tt.want)), "old": 0, "refused": 0, "closed": 0}
		if drops := f.Stats().DroppedOut; !maps.Equal(drops, want) {
			t.Errorf("%s: got %v, want %v", name, drops, want)
		}
		for _, n := range got {
			f.out.release(n)
		}
		if messages, bytes := f.out.messages.Load(), f.out.bytes.Load(); messages != 0 || bytes != 0 {
			t.Errorf("%s: %d messages and %d bytes are left", name, messages, bytes)
		}
	}
}

// TestForwardOrder: of many publishers side by side, each one's messages wait in its order.
func TestForwardOrder(t *testing.T) {
	f := newFast(Config{})
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
	for _, p := range f.out.waiting {
		if string(p.payload) != fmt.Sprint(next[p.channel]) {
			t.Fatalf("of %s: got %s, want %d", p.channel, p.payload, next[p.channel])
		}
		next[p.channel]++
	}
	if len(f.out.waiting) != 4000 {
		t.Errorf("got %d messages, want 4000", len(f.out.waiting))
	}
}

func TestFrom(t *testing.T) {
	for header, want := range map[string]string{
		"a-1": "a 1 true", "a-zz": "a 1295 true", "a-0": "a 0 true", "a-3w5e11264sgsf": "a 18446744073709551615 true",
		"": " 0 false", "a": "a 0 false", "-1": " 1 false", "a-": "a 0 false", "a-b-1": "a 0 false", "a--1": "a 0 false", "a-+1": "a 0 false",
		"a-3w5e11264sgsg": "a 18446744073709551615 false", "a-1 ": "a 0 false",
	} {
		if origin, number, ok := from(header); fmt.Sprint(origin, " ", number, " ", ok) != want {
			t.Errorf("%q: got %s %d %t, want %s", header, origin, number, ok, want)
		}
	}
	if _, _, ok := from(strings.Repeat("a", 65) + "-1"); ok {
		t.Error("it takes an origin of any length")
	}
}

// TestOrigins: a number counts once, and only if it is above those before; whoever is heard of again and again is known among any
// number of others, of which few are kept.
func TestOrigins(t *testing.T) {
	var o origins
	for i, tt := range []struct {
		origin string
		number uint64
		want   bool
	}{{"a", 5, true}, {"a", 5, false}, {"a", 4, false}, {"b", 1, true}, {"a", 9, true}, {"b", 2, true}, {"a", 0, false}} {
		if got := o.next(tt.origin, tt.number); got != tt.want {
			t.Errorf("%d: %s %d: got %t, want %t", i, tt.origin, tt.number, got, tt.want)
		}
	}
	for i := range 20 * maxOrigins {
		if !o.next(fmt.Sprint("other ", i), 1) {
			t.Fatalf("%d: another one is not new", i)
		}
		if i%100 == 0 {
			if number := uint64(10 + i); !o.next("a", number) || o.next("a", number) {
				t.Fatalf("%d: its number is not known", i)
			}
		}
	}
	if n := len(o.now) + len(o.was); n > 2*maxOrigins {
		t.Errorf("%d are kept, want %d at the most", n, 2*maxOrigins)
	}
}

// TestFastLeft: of a channel that was left, and is wanted again, nothing is delivered that came by the old subscription, and one that is being
// delivered to is not left.
func TestFastLeft(t *testing.T) {
	f := newFast(Config{Channels: true, Linger: time.Nanosecond})
	f.ctx = t.Context()
	srv, _ := servertest.Start(t, servertest.Loopback, broadcast.Config{Channels: true, Forward: f.Forward, Follower: f})
	f.in.srv = srv
	older, newer := new(nats.Subscription), new(nats.Subscription)
	one := &subscribed{sub: newer, ready: true}
	f.subs.of["news"] = one
	for i, sub := range []*nats.Subscription{older, newer, older} {
		msg := &nats.Msg{Subject: f.prefix + "news", Data: []byte{'a' + byte(i)}, Sub: sub}
		if err := f.in.take(msg); err != nil {
			t.Fatal(err)
		}
	}
	if n := srv.Stats().Messages; n != 1 {
		t.Errorf("%d messages were delivered, want 1", n)
	}
	if !f.subs.takes("news", newer) {
		t.Fatal("it does not take what is new")
	}
	for range 2 { // The first time it sees that nobody is connected.
		f.subs.leave()
	}
	if f.subs.of["news"] != one {
		t.Error("it was left")
	}
	f.subs.taken()
	if f.subs.leave(); f.subs.of["news"] != nil {
		t.Error("it was not left")
	}
}

// TestFastOutageRooms: channels that were wanted for a while, without NATS, are left as others are: else a server that runs on for long
// would think that it has so many that it takes all.
func TestFastOutageRooms(t *testing.T) {
	f := newFast(Config{Channels: true, Linger: time.Nanosecond})
	f.in.srv, _ = servertest.Start(t, servertest.Loopback, broadcast.Config{Channels: true})
	for i := range 2 * maxSubscribed {
		channel := fmt.Sprint(i)
		f.Follow(channel)
		if one := f.subs.of[channel]; one != nil {
			one.asked = time.Now().Add(-2 * waited)
		}
		for range 2 {
			f.subs.leave()
		}
	}
	if _, all := f.subs.wanted(); all || len(f.subs.of) > 0 {
		t.Errorf("%d channels are wanted, of which nobody is in any; all: %t", len(f.subs.of), all)
	}
	f.Follow("news")
	for range 2 {
		f.subs.leave()
	}
	if len(f.subs.of) != 1 {
		t.Error("one was left that somebody may wait for")
	}
}

// TestFastMore: while a subscription to all channels takes the place of those to single ones, a message counts by whichever it comes first.
func TestFastMore(t *testing.T) {
	f := newFast(Config{Channels: true})
	f.ctx = t.Context()
	f.in.srv, _ = servertest.Start(t, servertest.Loopback, broadcast.Config{Channels: true})
	for i := range maxSubscribed + 1 {
		f.subs.of[fmt.Sprint(i)] = &subscribed{sub: new(nats.Subscription), ready: true}
	}
	if _, all := f.subs.wanted(); !all {
		t.Fatal("it does not want all")
	}
	all, single := new(nats.Subscription), f.subs.of["7"].sub
	for i, sub := range []*nats.Subscription{all, single, single, all} {
		msg := &nats.Msg{Subject: f.prefix + "7", Header: nats.Header{fromHeader: []string{fmt.Sprint("other-", 1+i/2)}}, Sub: sub}
		if err := f.in.take(msg); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.in.srv.Stats().Messages; n != 2 {
		t.Errorf("%d messages were delivered, want 2", n)
	}
}

// TestFastClosed: when NATS says something that its client does not come back after, the server is told that it cannot go on.
func TestFastClosed(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	started := make(chan struct{})
	go func() { // A NATS that answers pings. Ends with the listener, or the connection.
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, `INFO {"headers":true,"proto":1,"max_payload":1000}`+"\r\n")
		go func() {
			<-started
			fmt.Fprintf(conn, "-ERR 'Enough'\r\n")
		}()
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			if lines.Text() == "PING" {
				fmt.Fprintf(conn, "PONG\r\n")
			}
		}
	}()
	f, err := OpenFast(t.Context(), Config{Servers: []string{"nats://" + ln.Addr().String()}, Timeout: 20 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	srv, _ := servertest.Start(t, servertest.Loopback, broadcast.Config{Forward: f.Forward})
	if err := f.Start(t.Context(), srv); err != nil {
		t.Fatal(err)
	}
	if err := f.Ready(); err != nil {
		t.Errorf("got %v before", err)
	}
	close(started)
	select {
	case err := <-f.Failed():
		if !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "Enough") {
			t.Errorf("got %v, want %v and what NATS said", err, ErrClosed)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it is not told")
	}
	if f.Ready() == nil {
		t.Error("it is ready")
	}
	if err := srv.Publish(t.Context(), broadcast.Message{Kind: broadcast.Text, Payload: []byte("x")}); err != nil { // Here it goes on.
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	f.Close(ctx)
	if n := f.Stats().DroppedOut["refused"]; n != 1 {
		t.Errorf("%d messages were refused, want 1", n)
	}
}
