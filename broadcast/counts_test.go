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
		if got, many := srv.Replica().Changed(most); !slices.Equal(got, want) || many {
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
	if srv.Replica().Count("news") != 2 || srv.Replica().Count("sport") != 0 || srv.Replica().Count("none") != 0 || srv.Replica().Joined() != 2 {
		t.Errorf("got %d, %d, %d of %d", srv.Replica().Count("news"), srv.Replica().Count("sport"), srv.Replica().Count("none"), srv.Replica().Joined())
	}
	if got := srv.Replica().Occupied(); !slices.Equal(got, []string{"news"}) {
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
	srv.Replica().Changed(1)
	var last *Conn
	for i := range maxCountChanges + 1 {
		last = newConn(firstFD+i, srv.shards[0].lobby)
		srv.join(last, fmt.Sprint(i), srv.forms[0], position{})
		last.feed().addConn(last)
	}
	if len(srv.replica.changes.names) != maxCountChanges {
		t.Errorf("%d names are remembered", len(srv.replica.changes.names))
	}
	if got, many := srv.Replica().Changed(10); got != nil || !many {
		t.Errorf("got %q, %t", got, many)
	}
	first := newConn(firstFD, srv.shards[0].lobby)
	srv.join(first, "0", srv.forms[0], position{})
	srv.part(last)
	if got, many := srv.Replica().Changed(10); !slices.Equal(got, []string{"0", fmt.Sprint(maxCountChanges)}) || many {
		t.Errorf("got %q, %t", got, many)
	}
}
