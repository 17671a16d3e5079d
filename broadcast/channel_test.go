package broadcast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// dialPath is dial with a request target.
func dialPath(t testing.TB, addr, target string) *client {
	t.Helper()
	c := connect(t, addr)
	c.send([]byte(strings.Replace(handshakeHead, "GET / ", "GET "+target+" ", 1)))
	c.expectUpgrade()
	return c
}

func TestChannels(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true, Path: "/ws", Greeting: "hi"})
	targets := []struct{ target, channel string }{
		{"/ws", ""},
		{"/ws/", ""},
		{"/ws/news", "news"},
		{"/ws/%6eews?q=1", "news"},
		{"http://test/ws/news", "news"},
		{"/ws/news/sport", "news/sport"},
		{"/ws/news%2Fsport", "news/sport"},
		{"/ws/News", "News"},
		{"/ws//news", "/news"},
		{"/ws/../news", "../news"},
		{"/ws/m%C3%BCnchen", "münchen"},
		{"/ws/" + strings.Repeat("%78", maxChannelName), strings.Repeat("x", maxChannelName)},
	}
	var clients []*client
	for _, tt := range targets {
		c := dialPath(t, addr, tt.target)
		c.expectText("hi")
		clients = append(clients, c)
	}
	for i, tt := range targets {
		clients[i].sendText(fmt.Sprintf("from %d", i))
		for k, other := range targets {
			if other.channel == tt.channel {
				clients[k].expectText(fmt.Sprintf("from %d", i))
			}
		}
	}
	// Nobody has got more than that.
	for i, tt := range targets {
		if _, err := srv.PublishTo(context.Background(), tt.channel, Message{Text, []byte(fmt.Sprint("to ", i))}); err != nil {
			t.Fatal(err)
		}
		for k, other := range targets {
			if other.channel == tt.channel {
				clients[k].expectText(fmt.Sprint("to ", i))
			}
		}
	}
}

func TestChannelRefused(t *testing.T) {
	_, addr := newServer(t, Config{Channels: true, Path: "/ws"})
	_, without := newServer(t, Config{Path: "/ws"})
	tests := []struct {
		addr, target string
		status       int
	}{
		{addr, "/ws/" + strings.Repeat("x", maxChannelName+1), http.StatusBadRequest},
		{addr, "/ws/a%0ab", http.StatusBadRequest},
		{addr, "/ws/a%00", http.StatusBadRequest},
		{addr, "/ws/%c3", http.StatusBadRequest},
		{addr, "/ws/%c2%80", http.StatusBadRequest},
		{addr, "/ws/%zz", http.StatusBadRequest},
		{addr, "/ws/%", http.StatusBadRequest},
		{addr, "/wsx", http.StatusNotFound},
		{addr, "/", http.StatusNotFound},
		{without, "/ws/news", http.StatusNotFound},
	}
	for _, tt := range tests {
		c := connect(t, tt.addr)
		c.send([]byte(strings.Replace(handshakeHead, "GET / ", "GET "+tt.target+" ", 1)))
		if r := c.readResponse(); r.StatusCode != tt.status {
			t.Errorf("%s: got status %d, want %d", tt.target, r.StatusCode, tt.status)
		}
	}
}

func TestPublishToRefused(t *testing.T) {
	on, _ := newServer(t, Config{Channels: true})
	off, _ := newServer(t, Config{})
	hello := Message{Text, []byte("hello")}
	for _, tt := range []struct {
		srv     *Server
		channel string
	}{
		{off, "news"}, {on, strings.Repeat("x", maxChannelName+1)}, {on, "\xff"}, {on, "a\nb"},
	} {
		if _, err := tt.srv.PublishTo(context.Background(), tt.channel, hello); !errors.Is(err, ErrChannel) {
			t.Errorf("%q: got %v, want %v", tt.channel, err, ErrChannel)
		}
	}
}

// noPoller accepts fds that do not exist.
type noPoller struct{ poller }

func (noPoller) Del(int) error { return nil }

// quietServer returns a server whose shards do not run.
func quietServer(t testing.TB, cfg Config) *Server {
	t.Helper()
	cfg.Logger, cfg.sockets = slog.New(slog.DiscardHandler), newSink()
	cfg, err := cfg.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	srv := &Server{cfg: cfg, poller: noPoller{}, addresses: newAddresses(&cfg), limiter: newLimiter(&cfg), started: time.Now()}
	srv.init()
	for range cfg.Shards {
		srv.shards = append(srv.shards, newShard(srv))
	}
	return srv
}

// TestPublishWakesReceivers: a publish wakes the shards that have receivers and no others, and each looks at that
// channel only. The connections of a small channel are on one shard, those of a large one on all.
func TestPublishWakesReceivers(t *testing.T) {
	const shards, channels = 4, 100
	srv := quietServer(t, Config{Channels: true, Shards: shards})
	fd := firstFD
	add := func(channel string) {
		c := newConn(fd, srv.shards[fd%shards].lobby)
		fd++
		c.phase = phaseOpen
		c.setReadPhase(readFrames)
		srv.join(c, channel, srv.forms[0], position{})
		c.feed().addConn(c)
	}
	for i := range channels * 10 {
		add(fmt.Sprint(i % channels))
	}
	for range 1000 {
		add("large")
	}
	// woken returns the feeds that are due, and how many shards are awake.
	woken := func() (due []dueFeed, awake int) {
		for _, s := range srv.shards {
			select {
			case <-s.wake:
				awake++
			default:
			}
			due = append(due, s.inbox.takeDue()...)
		}
		return due, awake
	}
	used := make(map[*shard]int)
	for i := range channels {
		ch := srv.enter(fmt.Sprint(i))
		srv.appendToLogs(ch, Message{Text, []byte("x")}, 0)
		ch.wake(0)
		due, awake := woken()
		if len(due) != 1 || awake != 1 || due[0].encoding.channel != ch || len(due[0].open) != 10 {
			t.Fatalf("channel %d: %d feeds are due on %d shards, want one with all 10 connections", i, len(due), awake)
		}
		used[due[0].shard]++
	}
	if len(used) != shards {
		t.Errorf("small channels are on %d shards, want all %d", len(used), shards)
	}
	large := srv.enter("large")
	large.wake(0)
	large.wake(0)
	due, awake := woken()
	if len(due) != shards || awake != shards {
		t.Errorf("large channel: %d feeds are due on %d shards, want %d", len(due), awake, shards)
	}
	for _, f := range due {
		if n := len(f.open); n < 1000/shards/2 {
			t.Errorf("large channel: a shard has %d of 1000 connections", n)
		}
	}
}

// TestChannelIsDropped: a channel without connections is dropped with its last message.
func TestChannelIsDropped(t *testing.T) {
	t.Parallel()
	srv, addr := newServer(t, Config{Channels: true, RetainAge: time.Second})
	gone := func(what string) {
		t.Helper()
		eventually(t, what, func() bool {
			srv.tidy()
			all := srv.channels.all()
			return len(all) == 1 && all[0] == srv.root
		})
	}
	a, b := dialPath(t, addr, "/a"), dialPath(t, addr, "/b")
	if n := len(srv.channels.all()); n != 3 {
		t.Fatalf("got %d channels, want 3", n)
	}
	b.sendText("x")
	b.expectText("x")
	a.Close()
	b.Close()
	gone("channels without connections to be gone")
	if _, err := srv.PublishTo(context.Background(), "c", Message{Text, []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if n := len(srv.channels.all()); n != 2 {
		t.Fatalf("got %d channels, want that with a message", n)
	}
	gone("old messages, and their channel, to be gone")
	if got := srv.forms[0].log.Space.Bytes(); got != 0 {
		t.Errorf("%d bytes of messages are left", got)
	}
}

// TestChannelSize: a channel at rest takes up at most 300 bytes beside its connections.
func TestChannelSize(t *testing.T) {
	const conns = 100_000
	heap := func(channels int) (bytes int64) {
		srv := quietServer(t, Config{Channels: true, Shards: 2})
		before := heapBytes()
		for i := range conns {
			c := newConn(firstFD+i, srv.shards[i%2].lobby)
			c.phase = phaseOpen
			srv.join(c, fmt.Sprintf("room/%06d", i%channels), srv.forms[0], position{})
			c.feed().addConn(c)
		}
		for _, s := range srv.shards {
			s.releaseViews()
		}
		bytes = heapBytes() - before
		runtime.KeepAlive(srv)
		return bytes
	}
	one := heap(1)
	for _, channels := range []int{50_000, 100_000} {
		each := (heap(channels) - one) / int64(channels)
		t.Logf("%d channels of %d connections: %d B each", channels, conns/channels, each)
		if each > 300 {
			t.Errorf("%d channels: got %d B each, want at most 300", channels, each)
		}
	}
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC() // What a sync.Pool holds is freed by the second.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkChannels publishes to one of many channels after the other, each with ten connections. The cost of a
// publish and its deliveries must not depend on how many channels there are.
func BenchmarkChannels(b *testing.B) {
	const conns = 10
	for _, channels := range []int{1, 100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("channels=%d", channels), func(b *testing.B) {
			before := heapBytes()
			srv := quietServer(b, Config{Channels: true, Shards: 2})
			chs := make([]*channel, channels)
			for i := range channels * conns {
				c := newConn(firstFD+i, srv.shards[i%2].lobby)
				c.phase = phaseOpen
				srv.join(c, fmt.Sprintf("room/%06d", i%channels), srv.forms[0], position{})
				c.feed().addConn(c)
				chs[i%channels] = c.channel()
			}
			for _, s := range srv.shards {
				s.releaseViews()
				s.sockets = &countingSockets{}
			}
			bytes := float64(heapBytes()-before) / float64(channels)
			m := Message{Text, []byte(strings.Repeat("x", 64))}
			i := 0
			for b.Loop() {
				ch := chs[i%channels]
				srv.appendToLogs(ch, m, 0)
				ch.wake(0)
				ch.anyFeed().shard.round()
				i++
			}
			b.ReportMetric(bytes, "B/channel") // With its connections.
		})
	}
}

// TestManyEmptyChannels: channels that have become empty are soon dropped.
func TestManyEmptyChannels(t *testing.T) {
	srv := quietServer(t, Config{Channels: true, RetainBytes: minRetain, RetainTotalBytes: minRetain, Shards: 1})
	most := 0
	for i := range 20_000 {
		ch := srv.enter(fmt.Sprint(i))
		srv.appendToLogs(ch, Message{Text, []byte("x")}, 0)
		srv.leave(ch)
		if i%100 == 0 {
			srv.onTick()
		}
		most = max(most, len(srv.channels.byName))
	}
	if most > 3000 {
		t.Errorf("there were %d channels at a time, of which few held a message", most)
	}
}

// TestFinishAllBetween: the server ends after a connection has joined, and before it is posted.
func TestFinishAllBetween(t *testing.T) {
	srv := quietServer(t, Config{Shards: 1})
	s := srv.shards[0]
	open := enroll(s, firstFD, srv.forms[0])
	open.feed().addConn(open)
	late := enroll(s, firstFD+1, srv.forms[0])
	late.phase = phaseNone
	s.finishAll()
	s.post(late, postOpened, 0, newMail())
	s.finishAll()
	if len(s.feeds) != 0 || s.opened != 0 || srv.open.Load() != 0 {
		t.Errorf("%d feeds, %d and %d connections are left", len(s.feeds), s.opened, srv.open.Load())
	}
}
