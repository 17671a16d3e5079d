package broadcast

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSlowest: a connection that does not read is listed with its lag, and no longer when it has read.
func TestSlowest(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true, RetainBytes: 16 << 20, RetainTotalBytes: 64 << 20, CloseTimeout: 200 * time.Millisecond})
	const size, messages = 64 << 10, 160
	dialPath(t, addr, "/quiet")
	clients := make(map[string]*client)
	for channel, path := range map[string]string{"news": "/news", "sport": "/sport"} {
		clients[channel] = dialPath(t, addr, path)
	}
	if got := srv.Slowest(5); len(got) != 0 {
		t.Errorf("before the first message: got %+v", got)
	}
	message := strings.Repeat("x", size)
	for i := range messages {
		publishTo(t, srv, "news", message)
		if i%16 != 0 {
			publishTo(t, srv, "sport", message)
		}
	}
	var got []ConnInfo
	eventually(t, "all to be offered", func() bool {
		got = srv.Slowest(5)
		return len(got) == 2 && srv.Stats().SlowestBytes == got[0].Lag
	})
	for i, channel := range []string{"news", "sport"} {
		if got[i].Channel != channel || got[i].Remote.String() != clients[channel].LocalAddr().String() || got[i].Lag > messages*(size+10) {
			t.Errorf("%d: got %+v, want %s of %s", i, got[i], channel, clients[channel].LocalAddr())
		}
	}
	if one := srv.Slowest(1); len(one) != 1 || one[0] != got[0] {
		t.Errorf("the slowest: got %+v, want %+v", one, got[0])
	}
	if conns := srv.Connections("news", 5); len(conns) != 1 || conns[0] != got[0] {
		t.Errorf("its channel: got %+v, want %+v", conns, got[0])
	}
	if !srv.Disconnect(got[1].ID, 4000, "too slow") {
		t.Errorf("Disconnect does not know %+v", got[1])
	}
	for range messages {
		clients["news"].expectText(message)
	}
	eventually(t, "nobody to be behind", func() bool { return len(srv.Slowest(5)) == 0 && srv.Stats().SlowestBytes == 0 })
}

func TestLargest(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true})
	for path, n := range map[string]int{"/a": 1, "/b": 3, "/c": 2, "/d": 2} {
		for range n {
			dialPath(t, addr, path)
		}
	}
	for n, want := range map[int]string{0: "", 1: " b3", 3: " b3 c2 d2", 9: " b3 c2 d2 a1 0"} {
		got := ""
		for _, ch := range srv.Largest(n) {
			got += fmt.Sprint(" ", ch.Name, ch.Connections)
		}
		if got != want {
			t.Errorf("the largest %d: got %q, want %q", n, got, want)
		}
	}
}

func TestTop(t *testing.T) {
	for range 200 {
		all := make([]int, rand.IntN(30))
		list := make(top[int], 0, rand.IntN(10))
		for i := range all {
			all[i] = rand.IntN(20)
			list.insert(all[i], func(a, b int) bool { return a > b })
		}
		slices.Sort(all)
		slices.Reverse(all)
		if want := all[:min(cap(list), len(all))]; !slices.Equal(list, want) {
			t.Fatalf("got %v, want %v", list, want)
		}
	}
}

// BenchmarkLargest measures a call that the live page makes now and then.
func BenchmarkLargest(b *testing.B) {
	const channels = 100_000
	srv, _ := newServer(b, Config{Channels: true})
	for i := range channels {
		srv.enter(fmt.Sprint("channel/", i)).conns = i % 100
	}
	b.ReportAllocs()
	for b.Loop() {
		srv.Largest(20)
	}
}
