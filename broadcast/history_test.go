package broadcast

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBackfillIsBounded: the first reader with IDs gets at most maxBackfill messages of history, and is told of the
// others.
func TestBackfillIsBounded(t *testing.T) {
	const more = 10
	srv := quietServer(t, Config{RetainBytes: 16 << 20, Shards: 1})
	for range maxBackfill + more {
		srv.appendToLogs(srv.root, Message{Text, []byte("x")}, 0)
	}
	if srv.root.plain.log.First() != 0 {
		t.Fatal("the log does not hold all messages: the test shows nothing")
	}
	form := srv.forms[formAt(formIDs, 0)]
	since := form.epoch + "-0"
	c := newConn(firstFD, srv.shards[0].lobby)
	at, _, gap := srv.join(c, "", form, position{since: since})
	if at != more || gap != since {
		t.Errorf("got it behind %d messages, gap %q, want %d, %q", at, gap, more, since)
	}
}

// TestSkipToNothing: when all messages that a slow consumer still needs have expired, its gap ends with the newest
// message.
func TestSkipToNothing(t *testing.T) {
	srv := quietServer(t, Config{Slow: SlowSkip, RetainAge: time.Minute, Shards: 1})
	s, k, form := srv.shards[0], srv.cfg.sockets.(*sink), srv.forms[formAt(formIDs, 0)]
	k.room = func(int, int) (int, unix.Errno) { return 0, unix.EAGAIN }
	c := enroll(s, firstFD, form)
	c.feed().addConn(c)
	publish := func() {
		srv.appendToLogs(srv.root, Message{Text, []byte("x")}, 0)
		srv.root.wake(0)
		s.round()
	}
	for range 3 {
		publish()
	}
	form.log.Space.Advance(2 * time.Minute)
	srv.tidy()
	s.refresh()
	if got := srv.total.skips.Load(); got != 1 {
		t.Fatalf("skips: got %d, want 1", got)
	}
	k.room = nil
	if c.takeFlag(wantOut) {
		s.post(c, postWritable, 0, nil)
	}
	s.round()
	publish()
	got := k.sent[firstFD].String()
	e := form.epoch
	gap, next := strings.Index(got, fmt.Sprintf("gap: %s-0 %s-3\n", e, e)), strings.Index(got, "id: "+e+"-4\n")
	if gap < 0 || next < gap {
		t.Errorf("got %q, want a gap from 0 to 3, then message 4", got)
	}
}
