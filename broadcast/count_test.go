package broadcast

import (
	"fmt"
	"slices"
	"testing"
)

// TestChanged: what joins and parts is said once until it is asked for, and nothing is noted before the first call.
func TestChanged(t *testing.T) {
	srv := quietServer(t, Config{Channels: true, Shards: 1})
	fd := firstFD
	join := func(name string) *Conn {
		c := newConn(fd, srv.shards[0].lobby)
		fd++
		c.phase = phaseOpen
		srv.join(c, name, srv.forms[0], position{})
		c.feed().addConn(c)
		return c
	}
	expect := func(most int, want ...string) {
		t.Helper()
		if got, many := srv.Changed(most); !slices.Equal(got, want) || many {
			t.Errorf("got %q, %t, want %q", got, many, want)
		}
	}
	before := join("before")
	expect(9)
	a := join("news")
	join("news")
	b := join("sport")
	expect(9, "news", "sport")
	expect(9)
	srv.part(a)
	srv.part(b)
	srv.part(before)
	expect(2, "news", "sport")
	join("news")
	expect(9, "before", "news")
	if srv.Count("news") != 2 || srv.Count("sport") != 0 || srv.Count("none") != 0 || srv.Joined() != 2 {
		t.Errorf("got %d, %d, %d of %d", srv.Count("news"), srv.Count("sport"), srv.Count("none"), srv.Joined())
	}
	if got := srv.Occupied(); !slices.Equal(got, []string{"news"}) {
		t.Errorf("got %q", got)
	}
	again := join("sport") // And it goes, and there is another of that name.
	srv.part(again)
	srv.leave(b.channel())
	srv.leave(again.channel())
	if srv.channel("sport") != nil {
		t.Fatal("the channel is there yet")
	}
	join("sport")
	expect(1, "sport")
	expect(9, "sport")
	join("sport")
	expect(9, "sport")
}

// TestManyChanged: of too many changes it is said that they are, and it goes on.
func TestManyChanged(t *testing.T) {
	srv := quietServer(t, Config{Channels: true, Shards: 1})
	srv.Changed(1)
	var last *Conn
	for i := range mostChanges + 1 {
		last = newConn(firstFD+i, srv.shards[0].lobby)
		srv.join(last, fmt.Sprint(i), srv.forms[0], position{})
		last.feed().addConn(last)
	}
	if len(srv.changes.names) != mostChanges {
		t.Errorf("%d names are remembered", len(srv.changes.names))
	}
	if got, many := srv.Changed(10); got != nil || !many {
		t.Errorf("got %q, %t", got, many)
	}
	first := newConn(firstFD, srv.shards[0].lobby)
	srv.join(first, "0", srv.forms[0], position{})
	srv.part(last)
	if got, many := srv.Changed(10); !slices.Equal(got, []string{"0", fmt.Sprint(mostChanges)}) || many {
		t.Errorf("got %q, %t", got, many)
	}
}
