package broadcast

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// TestValue: every hook sees the value that Authorize has set, and nothing is kept of it afterwards.
func TestValue(t *testing.T) {
	type user struct{ name string }
	values := make(chan any, 10)
	met := make(chan *Conn, 2)
	srv, addr := newServer(t, Config{
		Channels: true,
		Authorize: func(r *http.Request, _ string) (Grant, error) {
			g := Grant{Publish: true}
			if name := r.URL.Query().Get("name"); name != "" {
				g.Value = &user{name}
			}
			return g, nil
		},
		OnConnect: func(c *Conn, _ *http.Request) error {
			met <- c
			values <- c.Value()
			values <- c.Channel()
			return nil
		},
		OnMessage: func(c *Conn, m Message) (Message, bool) {
			values <- c.Value()
			m.Payload = []byte(c.Value().(*user).name + ": " + string(m.Payload))
			return m, c.SetValue(&user{"renamed"}) == nil
		},
		OnDisconnect: func(c *Conn, _ Reason) { values <- c.Value() },
	})
	c := connect(t, addr)
	c.send([]byte(headWith(baseLine, "GET /a%20room?name=ann HTTP/1.1")))
	c.expectUpgrade()
	c.sendText("hello")
	c.expectText("ann: hello")
	c.Close()
	for _, want := range []any{user{"ann"}, "a room", user{"ann"}, user{"renamed"}} {
		got := <-values
		if u, ok := got.(*user); ok {
			got = *u
		}
		if got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	extras := func() int { return countExtras(srv) }
	eventually(t, "the value to be forgotten", func() bool { return extras() == 0 })
	conn := <-met
	if err := conn.SetValue(1); !errors.Is(err, ErrClosed) || !errors.Is(err, net.ErrClosed) || extras() != 0 || conn.Value() != nil {
		t.Errorf("SetValue at the end: got %v and %v, want %v", err, conn.Value(), ErrClosed)
	}
	c = connect(t, addr)
	c.send([]byte(headWith(baseLine, "GET /room HTTP/1.1")))
	c.expectUpgrade()
	if got := <-values; got != nil || extras() != 0 {
		t.Errorf("without a value: got %v, %d extras, want none", got, extras())
	}
	<-values
}

// TestCloseInHooks: the connection is closed with the status and the reason that the hook gives. What it sends
// afterwards is not published, and neither is the message of the hook.
func TestCloseInHooks(t *testing.T) {
	ended := make(chan Reason, 1)
	var sent []string
	srv, addr := newServer(t, Config{
		Greeting: "hello",
		OnConnect: func(c *Conn, r *http.Request) error {
			if r.URL.Path == "/banned" {
				return c.Close(4403, "banned")
			}
			return nil
		},
		OnMessage: func(c *Conn, m Message) (Message, bool) {
			sent = append(sent, string(m.Payload))
			if string(m.Payload) == "bad" {
				if err := c.Close(4000, "bye"); err != nil {
					t.Error(err)
				}
				if err := c.Close(4001, "again"); !errors.Is(err, ErrClosed) {
					t.Errorf("a second Close: got %v, want %v", err, ErrClosed)
				}
			}
			return m, true
		},
		OnDisconnect: func(_ *Conn, why Reason) { ended <- why },
	})
	other := dial(t, addr)
	other.expectText("hello")
	finish := func(c *client) {
		c.sendFrame(true, ws.OpClose, nil)
		c.expectEOF()
		c.Close()
		if why := <-ended; why != ReasonDisconnected {
			t.Errorf("got %v, want %v", why, ReasonDisconnected)
		}
	}
	c := connect(t, addr)
	c.send([]byte(headWith(baseLine, "GET /banned HTTP/1.1")))
	c.expectUpgrade()
	c.expectText("hello")
	if op, p, _ := c.readFrame(); op != ws.OpClose || string(p) != string(appendClose(nil, 4403, "banned")[2:]) {
		t.Errorf("got op %d %q, want the close of OnConnect", op, p)
	}
	finish(c)

	c = dial(t, addr)
	c.expectText("hello")
	c.send(stream("text good", "text bad", "text after"))
	c.expectText("good")
	if op, p, _ := c.readFrame(); op != ws.OpClose || string(p) != string(appendClose(nil, 4000, "bye")[2:]) {
		t.Errorf("got op %d %q, want the close of OnMessage", op, p)
	}
	finish(c)
	if got := strings.Join(sent, " "); got != "good bad" {
		t.Errorf("OnMessage got %q, want nothing after Close", got)
	}
	publishTo(t, srv, "", "end")
	other.expectText("good")
	other.expectText("end")
}

// TestCloseAfterPublish: the peer gets what was published before Close, from any goroutine.
func TestCloseAfterPublish(t *testing.T) {
	conns := make(chan *Conn, 1)
	srv, addr := newServer(t, Config{OnConnect: func(c *Conn, _ *http.Request) error { conns <- c; return nil }})
	for range 20 {
		c := dial(t, addr)
		conn := <-conns
		if err := srv.Publish(context.Background(), Message{Text, []byte("the last")}); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(1000, ""); err != nil {
			t.Fatal(err)
		}
		c.expectText("the last")
		c.expectClose(1000)
		c.Close()
	}
}

func TestCloseRefuses(t *testing.T) {
	conns := make(chan *Conn, 1)
	_, addr := newServer(t, Config{OnConnect: func(c *Conn, _ *http.Request) error { conns <- c; return nil }})
	c := dial(t, addr)
	conn := <-conns
	for _, tt := range []struct {
		status uint16
		reason string
		want   string
	}{
		{1005, "", "status"}, {5000, "", "status"}, {1000, strings.Repeat("x", 124), "124 bytes"},
		{1000, "\xff", "UTF-8"}, {1000, "a\nb", "control character"},
	} {
		if err := conn.Close(tt.status, tt.reason); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d %q: got %v, want one about the %s", tt.status, tt.reason, err, tt.want)
		}
	}
	c.sendText("still open")
	c.expectText("still open")
}

// TestDisconnectInOnMessage: the message that OnMessage returns does not go out.
func TestDisconnectInOnMessage(t *testing.T) {
	servers := make(chan *Server, 1)
	srv, addr := newServer(t, Config{OnMessage: func(c *Conn, m Message) (Message, bool) {
		if srv := <-servers; !srv.Disconnect(c.ID(), 4000, "bye") {
			t.Error("Disconnect found nobody")
		}
		return m, true
	}})
	servers <- srv
	other, c := dial(t, addr), dial(t, addr)
	c.sendText("bad")
	c.expectClose(4000)
	c.Close()
	publishTo(t, srv, "", "end")
	other.expectText("end")
}
