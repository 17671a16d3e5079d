package clients

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	idleTime = 4 * time.Second // twice the --ping-timeout of startTarget
	atOnce   = 3 * time.Second // well under the handshake timeout of 10 s
)

// A suite is one library against one running target.
type suite struct {
	library
	tgt *target
}

func runSuite(t *testing.T, lib library) {
	s := suite{lib, startTarget(t)}
	for _, check := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"greeting", s.greeting},
		{"broadcast", s.broadcast},
		{"fragments", s.fragments},
		{"long", s.long},
		{"korean", s.korean},
		{"binary", s.binary},
		{"order", s.order},
		{"close", s.closeStatus},
		{"subprotocol", s.subprotocol},
		{"tls on the plain port", s.tls},
		{"keep-alive", s.keepAlive},
		{"over the limit", s.overLimit},
	} {
		t.Run(check.name, check.run)
	}
}

// pair connects two clients.
func (s suite) pair(t *testing.T) [2]*client {
	t.Helper()
	return [2]*client{
		connect(t, s.library, s.tgt.url, dialOptions{}),
		connect(t, s.library, s.tgt.url, dialOptions{}),
	}
}

// exchange sends text from one client and expects it at both.
func (s suite) exchange(t *testing.T, text string) {
	t.Helper()
	pair := s.pair(t)
	pair[0].send(text)
	for _, c := range pair {
		c.expect(text)
		c.close(1000)
	}
}

func (s suite) greeting(t *testing.T) {
	c := connect(t, s.library, s.tgt.url, dialOptions{}) // expects the greeting
	if s.seesEarly && s.tgt.greetsIn101 && !c.early {
		t.Error("the greeting did not come together with the 101 response")
	}
	c.close(1000)
}

func (s suite) broadcast(t *testing.T) {
	pair := s.pair(t)
	for i, sender := range []*client{pair[0], pair[1], pair[0]} {
		text := fmt.Sprint("message ", i)
		sender.send(text)
		pair[0].expect(text)
		pair[1].expect(text)
	}
	pair[0].close(1000)
	pair[1].close(1000)
}

// fragments sends one message in three frames. That they arrive as one frame, only the
// gobwas client can tell.
func (s suite) fragments(t *testing.T) {
	parts := []string{"first of three, ", "second of three,", " third of three."}
	sender := connect(t, s.library, s.tgt.url, dialOptions{frameBytes: len(parts[0])})
	other := connect(t, s.library, s.tgt.url, dialOptions{})
	sender.sendParts(false, parts...)
	for _, c := range []*client{sender, other} {
		c.expect(strings.Join(parts, ""))
		c.close(1000)
	}
}

func (s suite) long(t *testing.T) { s.exchange(t, strings.Repeat("0123456789", 2000)) }

func (s suite) korean(t *testing.T) { s.exchange(t, "안녕하세요 세계") }

func (s suite) binary(t *testing.T) {
	pair := s.pair(t)
	payload := make([]byte, 256)
	for i := range payload {
		payload[i] = byte(i)
	}
	want := message{binary: true, payload: string(payload)}
	if !s.tgt.keepsBinary { // below 128 the bytes are text too
		want = message{payload: string(payload[:128])}
	}
	pair[0].sendParts(true, want.payload)
	for _, c := range pair {
		c.expectMessage(want)
		c.close(1000)
	}
}

// order sends from two clients at once: all must see one sequence, and in it each
// sender's messages in the order in which they were sent.
func (s suite) order(t *testing.T) {
	const each = 50
	pair := s.pair(t)
	all := []*client{pair[0], pair[1], connect(t, s.library, s.tgt.url, dialOptions{})}
	var senders sync.WaitGroup
	for i, name := range []string{"a", "b"} {
		senders.Go(func() {
			for n := range each {
				if err := pair[i].write(false, fmt.Sprintf("%s%02d", name, n)); err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	senders.Wait()
	seen := make([][]string, len(all))
	for i, c := range all {
		for range 2 * each {
			got := c.next()
			if got.err != nil {
				t.Fatalf("client %d: %v", i, got.err)
			}
			seen[i] = append(seen[i], got.payload)
		}
		if !slices.Equal(seen[i], seen[0]) {
			t.Errorf("client %d got %v, client 0 %v", i, seen[i], seen[0])
		}
	}
	for _, name := range []string{"a", "b"} {
		own := slices.DeleteFunc(slices.Clone(seen[0]), func(text string) bool {
			return !strings.HasPrefix(text, name)
		})
		if len(own) != each || !slices.IsSorted(own) {
			t.Errorf("messages of %s: got %v, want %d in order", name, own, each)
		}
	}
}

func (s suite) closeStatus(t *testing.T) {
	for _, code := range []int{1000, 4001, 1005} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			connect(t, s.library, s.tgt.url, dialOptions{}).close(code)
		})
	}
}

func (s suite) subprotocol(t *testing.T) {
	offer := dialOptions{protocols: []string{"chat.v2", "chat.v1"}}
	c := connect(t, s.library, s.tgt.url, offer)
	if c.protocol != "chat.v2" {
		t.Errorf("got subprotocol %q, want the first of %v", c.protocol, offer.protocols)
	}
	c.close(1000)
}

// tls dials wss on the plain port: it has to fail at once, not by a timeout.
func (s suite) tls(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	start := time.Now()
	conn, err := s.dial(ctx, strings.Replace(s.tgt.url, "ws:", "wss:", 1), dialOptions{})
	took := time.Since(start)
	if err == nil {
		conn.netConn().Close()
		t.Fatal("wss opened on the plain port")
	}
	var timeout net.Error
	if ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() || took > atOnce {
		t.Errorf("wss failed after %v with %v, want at once", took, err)
	}
	if s.tgt.tlsAlert && !strings.Contains(err.Error(), "remote error: tls:") {
		t.Errorf("got %v, want the error of a TLS alert", err)
	}
	t.Logf("after %v: %v", took, err)
}

func (s suite) keepAlive(t *testing.T) {
	pair := s.pair(t)
	time.Sleep(idleTime) // time is the subject
	for i, c := range pair {
		if got := c.pings(); s.tgt.pings && got < 2 {
			t.Errorf("client %d got %d pings in %v, want 2 or more", i, got, idleTime)
		}
	}
	pair[1].send("still here")
	for _, c := range pair {
		c.expect("still here")
		c.close(1000)
	}
}

// overLimit sends the longest message allowed, then one byte more, which closes the
// sender (RFC 6455, section 7.4.1: 1009) and nobody else.
func (s suite) overLimit(t *testing.T) {
	if s.tgt.limitBytes == 0 {
		t.Skip("the target has no limit")
	}
	pair := s.pair(t)
	for _, c := range pair {
		text := strings.Repeat("x", s.tgt.limitBytes)
		c.send(text)
		pair[0].expect(text)
		pair[1].expect(text)
	}
	if err := pair[0].write(false, strings.Repeat("x", s.tgt.limitBytes+1)); err != nil {
		t.Logf("write over the limit: %v", err) // allowed, as long as the close can be read
	}
	pair[0].expectClose(1009)
	pair[1].send("others go on")
	pair[1].expect("others go on")
	pair[1].close(1000)
}

// readEnd reads conn to its end and returns nil if that is a proper one: no further
// bytes, no reset and no wait.
func readEnd(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(waitTimeout)); err != nil {
		return err
	}
	if n, err := conn.Read(make([]byte, 1)); err != io.EOF {
		return fmt.Errorf("read gave %d bytes and %v, want the end of TCP", n, err)
	}
	return nil
}
