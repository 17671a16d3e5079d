package broadcast

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestChannelInfo(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true})
	id := func(n int) string { return fmt.Sprint(srv.forms[0].epoch, "-", n) }
	if _, ok := srv.Channel("news"); ok {
		t.Error("there is a channel that nobody has used")
	}
	dialPath(t, addr, "/news")
	dialIDs(t, addr, "/news")
	if got, _ := srv.Channel("news"); got != (ChannelInfo{Name: "news", Connections: 2, Head: id(0)}) {
		t.Errorf("before the first message: got %+v", got)
	}
	publishTo(t, srv, "news", "1", "2", "3")
	publishTo(t, srv, "sport", "1")
	if got, _ := srv.Channel("news"); got.Head != id(3) || got.Tail != id(1) || got.Connections != 2 {
		t.Errorf("got %+v", got)
	}
	srv.onTick()
	eventually(t, "a rate", func() bool { got, _ := srv.Channel("news"); return got.Rate > 0 && got.Rate <= 0.3 })
	names := func(infos []ChannelInfo) (s string) {
		for _, i := range infos {
			s += "/" + i.Name
		}
		return s
	}
	for _, tt := range []struct {
		prefix, after string
		n             int
		want          string
	}{
		{"", "", 10, "//news/sport"}, {"", "", 2, "//news"}, {"", "news", 10, "/sport"}, {"s", "", 10, "/sport"}, {"x", "", 10, ""}, {"", "zzz", 10, ""},
	} {
		if got := names(srv.Channels(tt.prefix, tt.after, tt.n)); got != tt.want {
			t.Errorf("%+v: got %q", tt, got)
		}
	}
}

func TestDisconnect(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true})
	clients := make(map[string]*client)
	for range 5 {
		c := dialPath(t, addr, "/news")
		clients[c.LocalAddr().String()] = c
	}
	dialPath(t, addr, "/other")
	if got := srv.Connections("news", 3); len(got) != 3 {
		t.Errorf("got %d connections, want 3", len(got))
	}
	conns := srv.Connections("news", 100)
	if len(conns) != 5 {
		t.Fatalf("got %+v, want 5 connections", conns)
	}
	ids := make(map[string]bool)
	for _, c := range conns {
		ids[c.ID] = true
		if clients[c.Remote.String()] == nil || c.Channel != "news" {
			t.Errorf("got %+v, which is none of ours", c)
		}
	}
	if len(ids) != 5 {
		t.Errorf("ids are not unique: %v", conns)
	}
	gone := conns[2]
	if !srv.Disconnect(gone.ID, 4000, "enough") {
		t.Fatalf("Disconnect does not know %+v", gone)
	}
	clients[gone.Remote.String()].expectClose(4000)
	for _, id := range []string{gone.ID, "", "x", "5", conns[1].ID + "0", strings.Replace(conns[1].ID, "-", "-0", 1)} {
		if srv.Disconnect(id, 4000, "") {
			t.Errorf("Disconnect(%q): got true", id)
		}
	}
	if srv.Disconnect(conns[1].ID, 1005, "") || srv.Disconnect(conns[1].ID, 4000, strings.Repeat("x", 124)) {
		t.Error("Disconnect with what no close frame can say: got true")
	}
	publishTo(t, srv, "news", "x")
	for remote, c := range clients {
		if remote != gone.Remote.String() {
			c.expectText("x")
		}
	}
	clients[gone.Remote.String()].Close()
	eventually(t, "it to be counted", func() bool { return srv.Stats().Disconnects["disconnected"] == 1 })
}

// TestDisconnectAfterWhatWasPublished: Disconnect does not overtake what was published, or sent to the connection
// alone, before.
func TestDisconnectAfterWhatWasPublished(t *testing.T) {
	for name, direct := range map[string]bool{"published": false, "direct": true} {
		b := newBench(t, Config{}, 1)
		c := b.conns[0]
		if direct {
			c.set(opened)
			if err := c.Send(Message{Text, []byte("one")}); err != nil {
				t.Fatal(err)
			}
		} else {
			b.publish("one")
		}
		bye := appendClose(nil, 4000, "bye")
		if !b.shard.disconnect(c.fd, c.ID(), bye) {
			t.Errorf("%s: disconnect returned false", name)
		}
		b.expect(0, append(texts("one"), bye...))
	}
}

func TestPublishAll(t *testing.T) {
	t.Parallel()
	srv, addr := newServer(t, Config{Channels: true, MaxMessageBytes: 100})
	news, other := dialPath(t, addr, "/news"), dialPath(t, addr, "/other")
	text := func(channel, s string) Addressed { return Addressed{channel, Message{Text, []byte(s)}} }
	var wrong *AddressedError
	for _, m := range []Addressed{text("news", strings.Repeat("x", 101)), text("a\nb", "x"), text("news", "\xff"), {"news", Message{9, nil}}} {
		_, err := srv.PublishAll(context.Background(), []Addressed{text("news", "never"), m})
		if !errors.As(err, &wrong) || wrong.Index != 1 {
			t.Errorf("%s: got %v", brief(m.Payload), err)
		}
	}
	got, err := srv.PublishAll(context.Background(), []Addressed{text("news", "1"), text("other", "2"), text("news", "3"), text("empty", "4")})
	if err != nil {
		t.Fatal(err)
	}
	epoch := srv.forms[0].epoch
	want := []Published{{epoch + "-1", 1}, {epoch + "-1", 1}, {epoch + "-2", 1}, {epoch + "-1", 0}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	news.expectText("1")
	news.expectText("3")
	other.expectText("2")
	if got, err := srv.PublishAll(context.Background(), nil); err != nil || len(got) != 0 {
		t.Errorf("nothing: got %v, %v", got, err)
	}
	// While one of the channels is behind, nothing is published.
	ch := srv.enter("other")
	ch.behind.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := srv.PublishAll(ctx, []Addressed{text("news", "never"), text("other", "never")}); !errors.Is(err, context.Canceled) {
		t.Errorf("behind: got %v", err)
	}
	srv.caughtUp(ch)
	srv.leave(ch)
	publishTo(t, srv, "news", "5")
	news.expectText("5")
	if err := srv.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if srv.Disconnect("5-0123456789abcdef", 1000, "") || srv.Connections("news", 5) != nil {
		t.Error("got connections after the end")
	}
	if _, err := srv.PublishAll(context.Background(), []Addressed{text("news", "x")}); !errors.Is(err, ErrServerClosed) {
		t.Errorf("after the end: got %v", err)
	}
}
