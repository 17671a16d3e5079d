package broadcast

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/gobwas/ws"
)

// TestShardsAtDifferentSpeeds publishes far more than the retention while one of two shards makes no pass. The log
// keeps all of it for the slow shard's reader, whichever of the shards got its reader first, and drops it afterwards.
func TestShardsAtDifferentSpeeds(t *testing.T) {
	for slow := range 2 {
		t.Run(fmt.Sprintf("shard %d is slow", slow), func(t *testing.T) {
			srv := quietServer(t, Config{RetainBytes: minRetain, Shards: 2})
			for i, s := range srv.shards {
				c := enroll(s, firstFD+i, srv.forms[0])
				c.feed().addConn(c)
			}
			message := Message{Binary, make([]byte, 1000)}
			var want []byte
			for range 10 * minRetain / len(message.Payload) {
				srv.appendToLogs(srv.root, message, 0)
				srv.root.wake(0)
				srv.shards[1-slow].round()
				want = appendFrame(want, ws.OpBinary, message.Payload)
			}
			log := &srv.root.plain.log
			if log.Tail() != 0 || !srv.root.behind.Load() {
				t.Errorf("before the slow shard's pass: tail %d, publishers wait %t, want 0, true",
					log.Tail(), srv.root.behind.Load())
			}
			srv.shards[slow].round()
			for i, s := range srv.shards {
				f := s.feeds[0]
				if len(f.open) != 1 || len(s.closing) != 0 {
					t.Errorf("shard %d: %d open and %d closing, want 1 and 0", i, len(f.open), len(s.closing))
				}
				if got := srv.cfg.sockets.(*sink).sent[firstFD+i].Bytes(); !bytes.Equal(got, want) {
					t.Errorf("reader of shard %d: got %d bytes, want %d", i, len(got), len(want))
				}
			}
			srv.appendToLogs(srv.root, message, 0)
			if held := log.Head() - log.Tail(); held > 4*minRetain || srv.root.behind.Load() {
				t.Errorf("after both passes: %d bytes held, publishers wait %t, want %d at most, false",
					held, srv.root.behind.Load(), 4*minRetain)
			}
		})
	}
}

// TestSlowShardLosesItsReaders: what a shard has not offered is kept no longer than the shard has readers.
func TestSlowShardLosesItsReaders(t *testing.T) {
	srv := quietServer(t, Config{RetainBytes: minRetain, Shards: 2})
	var conns []*Conn
	for i, s := range srv.shards {
		c := enroll(s, firstFD+i, srv.forms[0])
		c.feed().addConn(c)
		conns = append(conns, c)
	}
	log := &srv.root.plain.log
	for i, s := range srv.shards {
		for range 4 * minRetain / 1000 {
			srv.appendToLogs(srv.root, Message{Binary, make([]byte, 1000)}, 0)
		}
		if got := log.Lag(); got < 4*minRetain {
			t.Fatalf("lag before shard %d loses its reader: got %d, want %d at least", i, got, 4*minRetain)
		}
		s.finish(conns[i], ReasonPeerGone)
		if i == 0 {
			srv.shards[1].runPasses(dueFeed{feed: conns[1].feed()})
		}
		if got := log.Lag(); got != 0 {
			t.Errorf("lag without the readers of %d shards: got %d, want 0", i+1, got)
		}
	}
}

// TestFirstReaderIsNotLapped: what is published between a shard's first reader and the shard's first pass is kept.
func TestFirstReaderIsNotLapped(t *testing.T) {
	srv := quietServer(t, Config{RetainBytes: minRetain, Shards: 1})
	s := srv.shards[0]
	c := enroll(s, firstFD, srv.forms[0])
	var want []byte
	for range 10 * minRetain / 1000 {
		srv.appendToLogs(srv.root, Message{Binary, make([]byte, 1000)}, 0)
		want = appendFrame(want, ws.OpBinary, make([]byte, 1000))
	}
	srv.root.wake(0)
	s.post(c, postOpened, 0, newMail())
	s.round()
	if got := srv.cfg.sockets.(*sink).sent[firstFD]; got == nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got %v bytes, want %d", got, len(want))
	}
}
