package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// node is a crier of the cluster.
type node struct {
	*process
	addr, admin string
}

// startNode starts a crier and waits until it is ready.
func startNode(t testing.TB, urls []string, args ...string) *node {
	t.Helper()
	return startPlain(t, urls, append([]string{"--cluster-replicas", "3"}, args...)...)
}

// startPlain is startNode without replicas, and without a cluster if there are no URLs.
func startPlain(t testing.TB, urls []string, args ...string) *node {
	t.Helper()
	return startBinary(t, crierBin, urls, args...)
}

// startBinary is startPlain with another crier.
func startBinary(t testing.TB, bin string, urls []string, args ...string) *node {
	t.Helper()
	if len(urls) > 0 {
		args = append([]string{"--cluster-timeout", "2s", "--cluster", strings.Join(urls, ",")}, args...)
	}
	n := &node{addr: freeAddr(t), admin: freeAddr(t)}
	n.process = &process{t: t, name: "crier " + n.addr, args: append([]string{bin, "--listen", n.addr, "--admin", n.admin,
		"--channels", "--drain", "200ms"}, args...)}
	t.Cleanup(func() {
		n.signal(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("%s:\n%s", n.name, tail(n.log()))
		}
	})
	n.restart()
	return n
}

// restart starts the node, again and again until it is ready, as a service manager does.
func (n *node) restart() {
	n.t.Helper()
	n.start()
	eventually(n.t, n.name+" to be ready", func() error {
		select {
		case <-n.ended:
			n.start()
			return errors.New("the node ended")
		default:
		}
		return n.ready()
	})
}

func (n *node) ready() error {
	resp, err := http.Get("http://" + n.admin + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 {
		return fmt.Errorf("%d: %s", resp.StatusCode, body)
	}
	return nil
}

// publish publishes over HTTP, and returns the ID of the message.
func (n *node) publish(channel, key, text string) (string, error) {
	r, err := http.NewRequest("POST", "http://"+n.admin+"/v1/publish/"+channel, strings.NewReader(text))
	if err != nil {
		return "", err
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	resp, err := (&http.Client{Timeout: patience}).Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	var p struct{ ID string }
	if err := json.Unmarshal(body, &p); err != nil || resp.StatusCode != 200 {
		return "", fmt.Errorf("%d: %s", resp.StatusCode, body)
	}
	return p.ID, nil
}

// listener is a client that receives a channel, and resumes after its last message, at the same node or at the next.
type listener struct {
	t       *testing.T
	channel string
	nodes   []*node
	stay    time.Duration // The longest time at a node; 0 is unlimited.

	mu   sync.Mutex
	got  []string // Guarded by mu: "id text".
	gaps []string // Guarded by mu.
	last string   // Guarded by mu: the last ID.

	stop chan struct{}
	done sync.WaitGroup
}

func listen(t *testing.T, channel string, nodes ...*node) *listener {
	return listenFor(t, 0, channel, nodes...)
}

// listenFor is listen with a client that moves to the next node after a random time of at most stay.
func listenFor(t *testing.T, stay time.Duration, channel string, nodes ...*node) *listener {
	l := &listener{t: t, channel: channel, nodes: nodes, stay: stay, stop: make(chan struct{})}
	l.done.Go(l.run)
	return l
}

func (l *listener) run() {
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		default:
		}
		if err := l.follow(l.nodes[i%len(l.nodes)]); err != nil {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// follow receives messages until the connection ends.
func (l *listener) follow(n *node) error {
	url := "ws://" + n.addr + "/" + l.channel
	l.mu.Lock()
	if l.last != "" {
		url += "?since=" + l.last
	}
	l.mu.Unlock()
	conn, br, _, err := ws.Dialer{Protocols: []string{"crier.v1"}, Timeout: 5 * time.Second}.Dial(l.t.Context(), url)
	if err != nil {
		return err
	}
	defer conn.Close()
	ended := make(chan struct{})
	defer close(ended)
	var over <-chan time.Time
	if l.stay > 0 {
		over = time.After(rand.N(l.stay))
	}
	go func() { // Ends with follow, at the latest.
		select {
		case <-l.stop:
			conn.Close()
		case <-over:
			conn.Close()
		case <-ended:
		}
	}()
	rw := reader(br, conn)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		p, err := wsutil.ReadServerText(rw)
		if err != nil {
			return err
		}
		line, text, _ := bytes.Cut(p, []byte("\n"))
		kind, id, _ := strings.Cut(string(line), ": ")
		l.mu.Lock()
		switch kind {
		case "id":
			l.got = append(l.got, id+" "+string(text))
			l.last = id
		case "gap":
			l.gaps = append(l.gaps, id)
		case "at":
			if l.last == "" {
				l.last = id
			}
		}
		l.mu.Unlock()
	}
}

// awaitConnected waits until all listeners know the position where they begin.
func awaitConnected(t *testing.T, listeners ...*listener) {
	t.Helper()
	for _, l := range listeners {
		eventually(t, "a listener to be connected", func() error {
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.last == "" {
				return errNotYet
			}
			return nil
		})
	}
}

// dial connects a client without IDs to a channel.
func (n *node) dial(t *testing.T, channel string) (net.Conn, io.ReadWriter) {
	t.Helper()
	conn, br, _, err := ws.Dial(t.Context(), "ws://"+n.addr+"/"+channel)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn, reader(br, conn)
}

// reader returns a connection of ws.Dial with what br has read ahead; br may be nil.
func reader(br *bufio.Reader, conn net.Conn) io.ReadWriter {
	if br == nil {
		br = bufio.NewReader(conn)
	}
	return struct {
		io.Reader
		io.Writer
	}{br, conn}
}

func (l *listener) received() (got, gaps []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.got...), append([]string(nil), l.gaps...)
}

func (l *listener) end() {
	close(l.stop)
	l.done.Wait()
}

// socket publishes over a WebSocket. It does not learn which messages are lost with a connection.
type socket struct {
	n      *node
	conn   net.Conn
	dialed int // How many connections have ended.
}

func (s *socket) send(channel, text string) error {
	if s.conn == nil {
		conn, _, _, err := ws.Dial(s.n.t.Context(), "ws://"+s.n.addr+"/"+channel)
		if err != nil {
			return err
		}
		s.conn = conn
		go func() { // Ends with the connection, at the end of the node at the latest.
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}()
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
	err := wsutil.WriteClientText(s.conn, []byte(text))
	if err != nil {
		s.conn.Close()
		s.conn = nil
		s.dialed++
	}
	return err
}

var errNotYet = errors.New("not yet")
