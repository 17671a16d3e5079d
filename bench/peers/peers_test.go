// Package peers_test starts each of the broadcasters here and checks that it is one.
package peers_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// patience bounds each single step.
const patience = time.Minute

func TestGoPeers(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "./...")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, name := range []string{"gorilla", "coder", "gws", "nbio", "melody", "gobwas"} {
		t.Run(name, func(t *testing.T) {
			if name == "gobwas" && runtime.GOOS != "linux" {
				t.Skip("needs epoll")
			}
			t.Parallel()
			addr := freeAddr(t)
			start(t, addr, exec.Command(filepath.Join(bin, name), "-listen", addr))
			checkBroadcaster(t, addr, name != "nbio")
		})
	}
}

// TestNodePeer installs in a copy, so that the tree stays clean.
func TestNodePeer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "server.js"} {
		data, err := os.ReadFile(filepath.Join("node", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := exec.LookPath("node"); err != nil {
		skipUnlessCI(t, err)
	}
	install := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		skipUnlessCI(t, fmt.Errorf("npm ci: %w\n%s", err, out))
	}
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "server.js")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PORT="+port)
	start(t, addr, cmd)
	checkBroadcaster(t, addr, true)
}

// skipUnlessCI skips the test for what a developer's machine may lack and CI may not.
func skipUnlessCI(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	t.Skip(err)
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// start runs a server until the test ends, and returns once it accepts.
func start(t *testing.T, addr string, cmd *exec.Cmd) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("standard error: %s", &stderr)
		}
	})
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if c, err := net.Dial("tcp4", addr); err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("the server ended: %v", cmd.ProcessState)
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatal("the server does not listen")
}

// message is what one client sends.
type message struct {
	kind int
	data string
}

func (m message) String() string {
	return fmt.Sprintf("kind %d, %d bytes, %.20q", m.kind, len(m.data), m.data)
}

// checkBroadcaster checks what all servers here have in common; empty messages only
// if told to, since nbio drops them.
func checkBroadcaster(t *testing.T, addr string, empty bool) {
	t.Helper()
	clients := []*websocket.Conn{dial(t, addr), dial(t, addr), dial(t, addr)}
	for i := range clients {
		if err := exchange(clients, clients[i], messagesOf(i, empty)); err != nil {
			t.Fatalf("client %d sends: %v", i, err)
		}
	}
	if err := ping(clients); err != nil {
		t.Fatal(err)
	}
	if err := hangUp(clients[2]); err != nil {
		t.Fatal(err)
	}
	_ = clients[1].Close()
	late := []*websocket.Conn{clients[0], dial(t, addr)}
	if err := exchange(late, late[1], messagesOf(3, empty)); err != nil {
		t.Fatalf("after two left and one came: %v", err)
	}
}

// dial connects and takes in the greeting.
func dial(t *testing.T, addr string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{HandshakeTimeout: patience, EnableCompression: true}
	c, response, err := d.Dial("ws://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if e := response.Header.Values("Sec-WebSocket-Extensions"); len(e) > 0 {
		t.Errorf("the server takes up %q", e)
	}
	want := message{websocket.TextMessage, "connection established"}
	if got, err := receive(c); err != nil || got != want {
		t.Fatalf("greeting: %v, %v", got, err)
	}
	return c
}

// messagesOf returns 50 messages, text and binary in turn, with each of the ways to
// encode a length, and, if told to, an empty one.
func messagesOf(client int, empty bool) []message {
	sizes := []int{0, 125, 126, 4096, 65535, 65536}
	messages := make([]message, 50)
	for i := range messages {
		m := message{websocket.TextMessage, strconv.Itoa(client) + " " + strconv.Itoa(i) + " "}
		if i%2 == 1 {
			m = message{websocket.BinaryMessage, m.data + "\xff\x00"}
		}
		size := sizes[i%len(sizes)]
		m.data += strings.Repeat("x", max(size-len(m.data), 0))
		messages[i] = m
	}
	if empty {
		messages[20].data = ""
	}
	return messages
}

// exchange lets one client send, without waiting, and checks what all receive.
func exchange(clients []*websocket.Conn, sender *websocket.Conn, messages []message) error {
	results := make(chan error, len(clients)+1)
	go func() { results <- send(sender, messages) }()
	for i, c := range clients {
		go func() {
			if err := expect(c, messages); err != nil {
				results <- fmt.Errorf("client %d: %w", i, err)
				return
			}
			results <- nil
		}()
	}
	var first error
	for range len(clients) + 1 {
		if err := <-results; first == nil {
			first = err
		}
	}
	return first
}

func send(c *websocket.Conn, messages []message) error {
	for _, m := range messages {
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		if err := c.WriteMessage(m.kind, []byte(m.data)); err != nil {
			return err
		}
	}
	return nil
}

func expect(c *websocket.Conn, messages []message) error {
	for i, want := range messages {
		got, err := receive(c)
		if err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
		if got != want {
			return fmt.Errorf("message %d is %v, want %v", i, got, want)
		}
	}
	return nil
}

func receive(c *websocket.Conn) (message, error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	kind, data, err := c.ReadMessage()
	return message{kind, string(data)}, err
}

// ping checks that the first client's ping is answered, and disturbs nobody.
func ping(clients []*websocket.Conn) error {
	c := clients[0]
	var pongs []string
	c.SetPongHandler(func(data string) error {
		pongs = append(pongs, data)
		return nil
	})
	if err := c.WriteControl(websocket.PingMessage, []byte("p"), time.Now().Add(patience)); err != nil {
		return err
	}
	// ReadMessage handles pongs while it waits for a message. The pong may also come
	// after the first message.
	for i := range 2 {
		m := message{websocket.TextMessage, "after ping " + strconv.Itoa(i)}
		if err := exchange(clients, c, []message{m}); err != nil {
			return err
		}
	}
	if !slices.Equal(pongs, []string{"p"}) {
		return fmt.Errorf("pongs: %q", pongs)
	}
	return nil
}

// hangUp checks that a close frame is answered.
func hangUp(c *websocket.Conn) error {
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := c.WriteControl(websocket.CloseMessage, bye, time.Now().Add(patience)); err != nil {
		return err
	}
	for {
		_, err := receive(c)
		if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("answer to a close frame: %w", err)
		}
	}
}
