package broadcast

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// dialIDs connects with the subprotocol crier.v1, and further header lines.
func dialIDs(t testing.TB, addr, target string, lines ...string) *client {
	t.Helper()
	c := connect(t, addr)
	head := headPlus(append(lines, "Sec-WebSocket-Protocol: other, crier.v1")...)
	c.send([]byte(strings.Replace(head, "GET /ws ", "GET "+target+" ", 1)))
	if got := c.expectUpgrade().Header.Get("Sec-WebSocket-Protocol"); got != protocolIDs {
		t.Fatalf("subprotocol: got %q, want %q", got, protocolIDs)
	}
	return c
}

// readLine reads a message and splits off its first line.
func (c *client) readLine() (line, rest string) {
	c.t.Helper()
	m, _ := c.readMessage()
	line, rest, ok := strings.Cut(string(m.Payload), "\n")
	if !ok {
		c.t.Fatalf("got %s, want a line in front", brief(m.Payload))
	}
	return line, rest
}

func (c *client) expectLine(line, rest string) {
	c.t.Helper()
	if gotLine, gotRest := c.readLine(); gotLine != line || gotRest != rest {
		c.t.Fatalf("got %q and %s, want %q and %s", gotLine, brief([]byte(gotRest)), line, brief([]byte(rest)))
	}
}

func publishTo(t testing.TB, srv *Server, channel string, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if _, err := srv.PublishTo(context.Background(), channel, Message{Text, []byte(m)}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestIDs: clients that ask for IDs get them, and the others get the same messages without.
func TestIDs(t *testing.T) {
	for _, compress := range []bool{false, true} {
		srv, addr := newServer(t, Config{Greeting: "hi", Compress: compress, CompressMinBytes: 100})
		epoch := srv.forms[0].epoch
		plain, ids := dial(t, addr), dialIDs(t, addr, "/", "Sec-WebSocket-Extensions: permessage-deflate")
		small, _ := dialDeflate(t, addr, "permessage-deflate; server_max_window_bits=9")
		plain.expectText("hi")
		small.expectText("hi")
		ids.expectLine("at: "+epoch+"-0", "hi")
		long := strings.Repeat("long ", 100)
		for i, m := range []Message{{Text, []byte("one")}, {Binary, []byte{0xff, 0, '\n'}}, {Text, nil}, {Text, []byte(long)}, {Binary, noise(200)}} {
			if err := srv.Publish(context.Background(), m); err != nil {
				t.Fatal(err)
			}
			if got, _ := plain.readMessage(); got.Kind != m.Kind || !bytes.Equal(got.Payload, m.Payload) {
				t.Errorf("plain: got %s, want %s", brief(got.Payload), brief(m.Payload))
			}
			if got, z := small.readMessage(); !bytes.Equal(got.Payload, m.Payload) || z != (compress && len(m.Payload) == len(long)) {
				t.Errorf("compressed: got %s, compressed %t", brief(got.Payload), z)
			}
			got, z := ids.readMessage()
			want := fmt.Sprintf("id: %s-%d\n%s", epoch, i+1, m.Payload)
			if got.Kind != m.Kind || string(got.Payload) != want || z != (compress && len(m.Payload) == len(long)) {
				t.Errorf("with ids: got %s, compressed %t, want %s", brief(got.Payload), z, brief([]byte(want)))
			}
		}
		// What such a client sends goes out as it is.
		ids.sendText("mine")
		plain.expectText("mine")
		ids.expectLine("id: "+epoch+"-6", "mine")
	}
}

// TestResume: a client that sends the last ID that it has gets each later message once, or is told of a gap.
func TestResume(t *testing.T) {
	for _, readBefore := range []bool{false, true} { // Whether there is a log with ids that was written all the time.
		srv, addr := newServer(t, Config{Channels: true, Compress: true, CompressMinBytes: 1, RetainBytes: minRetain})
		epoch := srv.forms[0].epoch
		id := func(n int) string { return fmt.Sprint(epoch, "-", n) }
		if readBefore {
			dialIDs(t, addr, "/a").expectLine("at: "+id(0), "")
		}
		publishTo(t, srv, "a", "1", "2", strings.Repeat("3", 1000), "4", "5")
		text := func(n int) string {
			if n == 3 {
				return strings.Repeat("3", 1000)
			}
			return fmt.Sprint(n)
		}
		tests := []struct {
			query string
			at    int
			gap   string
		}{
			{"", 5, ""},
			{"?since=" + id(0), 0, ""},
			{"?since=" + id(3), 3, ""},
			{"?since=" + id(5), 5, ""},
			{"?x=1&since=" + id(4) + "&y", 4, ""},
			{"?since=" + id(6), 0, id(6)},
			{"?since=abc-2", 0, "abc-2"},
			{"?last=0", 5, ""},
			{"?last=2", 3, ""},
			{"?last=99", 0, ""},
			{"?since=", 5, ""},
			{"?last=", 5, ""},
			{"?since=&last=2", 3, ""},
			{"?last=2&since=" + id(4), 4, ""},
			{"?last=x&since=" + id(4), 4, ""},
			{"?since=" + id(1) + "&since=" + id(4), 4, ""},
			{"?a=b;c=d&rate=100%&since=" + id(4) + "&%zz", 4, ""},
			{"?a=b;c=d&rate=100%", 5, ""},
			{"?lastEventId=" + id(2), 5, ""}, // That is for events.
		}
		for _, tt := range tests {
			for _, offer := range []string{"X-None: 1", "Sec-WebSocket-Extensions: permessage-deflate"} {
				c := dialIDs(t, addr, "/a"+tt.query, offer)
				c.expectLine("at: "+id(tt.at), "")
				if tt.gap != "" {
					c.expectLine("gap: "+tt.gap+" "+id(tt.at), "")
				}
				for n := tt.at + 1; n <= 5; n++ {
					c.expectLine("id: "+id(n), text(n))
				}
				c.Close()
			}
			if tt.gap == "" { // Plain clients get the same without ids.
				c := dialPath(t, addr, "/a"+tt.query)
				for n := tt.at + 1; n <= 5; n++ {
					c.expectText(text(n))
				}
				c.Close()
			}
		}
		// What has left the log is a gap.
		for n := 6; n <= 500; n++ {
			publishTo(t, srv, "a", strings.Repeat("x", 1000))
		}
		c := dialIDs(t, addr, "/a?since="+id(5))
		at, _ := c.readLine()
		var first int
		if _, err := fmt.Sscanf(strings.TrimPrefix(at, "at: "+epoch+"-"), "%d", &first); err != nil || first <= 5 || first >= 500 {
			t.Fatalf("got %q", at)
		}
		c.expectLine("gap: "+id(5)+" "+id(first), "")
		for n := first + 1; n <= 500; n++ {
			c.expectLine("id: "+id(n), strings.Repeat("x", 1000))
		}
		publishTo(t, srv, "a", "new")
		c.expectLine("id: "+id(501), "new")
	}
}

// TestResumeRefused: what is not a position is refused, except where the query has no meaning.
func TestResumeRefused(t *testing.T) {
	_, on := newServer(t, Config{Channels: true})
	_, off := newServer(t, Config{})
	for _, query := range []string{
		"since=5", "since=a-", "since=a-b", "since=-5", "since=a--5", "since=a-+5", "since=A-5", "since=a-5%20", "since=a-5;x=y",
		"since=a-99999999999999999999", "since=" + strings.Repeat("a", 33) + "-5",
		"last=-1", "last=x", "last=5000000000", "last=%zz", "since=%zz",
	} {
		head := strings.Replace(handshakeHead, "GET / ", "GET /?"+query+" ", 1)
		c := connect(t, on)
		c.send([]byte(head))
		if r := c.readResponse(); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: got status %d, want 400", query, r.StatusCode)
		}
		c = connect(t, off)
		c.send([]byte(head))
		c.expectUpgrade()
		c.sendText("x")
		c.expectText("x")
	}
	c := connect(t, on)
	c.send([]byte(headWith(baseLine, "GET / HTTP/1.1", "Last-Event-ID: nonsense")))
	if r := c.readResponse(); r.StatusCode != http.StatusBadRequest {
		t.Errorf("Last-Event-ID: got status %d, want 400", r.StatusCode)
	}
}

// TestIDsContinue: a channel that was dropped and exists again uses no ID twice.
func TestIDsContinue(t *testing.T) {
	srv := quietServer(t, Config{Channels: true, Shards: 1})
	ch := srv.enter("a")
	for range 3 {
		srv.appendToLogs(ch, Message{Text, []byte("x")}, 0)
	}
	ch.plain.log.Clear()
	srv.leave(ch)
	if len(srv.channels.all()) != 1 {
		t.Fatal("it was not dropped: the test shows nothing")
	}
	again := srv.enter("a")
	if n, _ := srv.appendToLogs(again, Message{Text, []byte("x")}, 0); n < 3 {
		t.Errorf("got number %d again", n)
	}
}

// TestSkipTellsOfGap: a client with IDs is told of a gap when the server skips messages.
func TestSkipTellsOfGap(t *testing.T) {
	for _, kind := range []formKind{formIDs, formEvents} {
		srv := quietServer(t, Config{Slow: SlowSkip, RetainBytes: minRetain, Shards: 1})
		s, form := srv.shards[0], srv.forms[formAt(kind, 0)]
		k := srv.cfg.sockets.(*sink)
		room := 10
		k.room = func(_, n int) (int, unix.Errno) {
			if room == 0 {
				return 0, unix.EAGAIN
			}
			n = min(n, room)
			room -= n
			return n, 0
		}
		c := enroll(s, firstFD, form)
		c.feed().addConn(c)
		publish := func(n int) {
			for range n {
				srv.appendToLogs(srv.root, Message{Text, bytes.Repeat([]byte("x"), 1000)}, 0)
				srv.root.wake(0)
				s.round()
			}
		}
		publish(500)
		if got := srv.total.skips.Load(); got == 0 {
			t.Fatal("nothing was skipped")
		}
		room = 1 << 30
		if c.takeFlag(wantOut) {
			s.post(c, postWritable, 0, nil)
		}
		s.round()
		publish(1)
		got := k.sent[firstFD].String()
		first, second, newest := form.epoch+"-1", "id: "+form.epoch+"-2\n", "id: "+form.epoch+"-500\n"
		gap := strings.Index(got, gapLine[kind])
		if !strings.Contains(got, first+" ") || gap < 0 || !strings.Contains(got, newest) {
			t.Errorf("kind %d: got %s", kind, brief([]byte(got)))
		}
		if i := strings.Index(got, second); i >= 0 || gap < strings.Index(got, strings.Repeat("x", 1000)) {
			t.Errorf("kind %d: gap at %d, message 2 at %d", kind, gap, i)
		}
	}
}

// gapLine is what a gap begins with. Its word alone may stand in an epoch, which is random.
var gapLine = map[formKind]string{formIDs: "gap: ", formEvents: "event: gap\n"}

// TestLateToJoin: if messages leave the log between the place that a client is told of and its first message, the
// client is told of a gap.
func TestLateToJoin(t *testing.T) {
	for _, kind := range []formKind{formIDs, formEvents} {
		srv := quietServer(t, Config{Channels: true, RetainBytes: minRetain, RetainTotalBytes: minRetain, Shards: 1})
		s, form := srv.shards[0], srv.forms[formAt(kind, 0)]
		publish := func(channel string, n int) {
			ch := srv.enter(channel)
			for range n {
				srv.appendToLogs(ch, Message{Text, bytes.Repeat([]byte("x"), 290)}, 0)
				ch.wake(0)
				s.round()
			}
			srv.leave(ch)
		}
		publish("a", 40)
		c := newConn(firstFD, s.lobby)
		at, _, gap := srv.join(c, "a", form, position{since: form.epoch + "-0"})
		if at != 0 || gap != "" {
			t.Fatalf("it begins behind %d, gap %q: the test shows nothing", at, gap)
		}
		srv.open.Add(1)
		publish("b", 300)
		m := newMail()
		m.response = form.appendHello(nil, "", at, gap)
		m.begins = at
		s.post(c, postOpened, 0, m)
		s.round()
		got := srv.cfg.sockets.(*sink).sent[firstFD].String()
		if !strings.Contains(got, form.epoch+"-0 "+form.epoch+"-") || !strings.Contains(got, gapLine[kind]) {
			t.Errorf("kind %d: got %s, want a gap", kind, brief([]byte(got)))
		}
	}
}

// TestGapsAreOne: however often a client that does not read skips, only one gap line waits for it.
func TestGapsAreOne(t *testing.T) {
	srv := quietServer(t, Config{Slow: SlowSkip, RetainBytes: minRetain, Shards: 1})
	s, form := srv.shards[0], srv.forms[formAt(formIDs, 0)]
	k := srv.cfg.sockets.(*sink)
	full := true
	k.room = func(_, n int) (int, unix.Errno) {
		if full {
			return 0, unix.EAGAIN
		}
		return n, 0
	}
	c := enroll(s, firstFD, form)
	c.feed().addConn(c)
	for range 3000 {
		srv.appendToLogs(srv.root, Message{Text, bytes.Repeat([]byte("x"), 1000)}, 0)
		srv.root.wake(0)
		s.round()
	}
	if n := srv.total.skips.Load(); n < 5 {
		t.Fatalf("it skipped %d times: the test shows nothing", n)
	}
	full = false
	if c.takeFlag(wantOut) {
		s.post(c, postWritable, 0, nil)
	}
	s.round()
	got := k.sent[firstFD].String()
	if n := strings.Count(got, "gap: "); n != 1 || !strings.Contains(got, "gap: "+form.epoch+"-0 ") {
		t.Errorf("got %d gaps: %s", n, brief([]byte(got)))
	}
}
