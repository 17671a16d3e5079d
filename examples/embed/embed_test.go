package embed

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// start builds and runs an example on a port of its own, until the test has seen it drain.
func start(t *testing.T, name string) (addr string, end func()) {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", program, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	ln.Close()
	cmd := exec.Command(program, "--listen", addr)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return addr, func() {
		t.Helper()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ended with %v", err)
		}
	}
}

// conn is a client's connection.
type conn struct {
	net.Conn
	br *bufio.Reader // What came with the answer, or nil.
}

func (c conn) Read(b []byte) (int, error) {
	if c.br != nil {
		return c.br.Read(b)
	}
	return c.Conn.Read(b)
}

// dial connects as soon as the program listens.
func dial(t *testing.T, url string) conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		c, br, _, err := ws.Dial(ctx, url)
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			t.Cleanup(func() { c.Close() })
			return conn{c, br}
		}
		if !strings.Contains(err.Error(), "refused") {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // It does not listen yet.
	}
}

func (c conn) say(t *testing.T, text string) {
	t.Helper()
	if err := wsutil.WriteClientText(c, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func (c conn) expect(t *testing.T, want string) {
	t.Helper()
	if got, err := wsutil.ReadServerText(c); string(got) != want || err != nil {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// expectClose wants a close frame, which is answered.
func (c conn) expectClose(t *testing.T, status ws.StatusCode) {
	t.Helper()
	_, err := wsutil.ReadServerText(c)
	if closed, ok := err.(wsutil.ClosedError); !ok || closed.Code != status {
		t.Fatalf("got %v, want a close with %d", err, status)
	}
	c.Close()
}

func TestMux(t *testing.T) {
	addr, end := start(t, "mux")
	a, b := dial(t, "ws://"+addr+"/ws/lobby"), dial(t, "ws://"+addr+"/ws/lobby")
	a.say(t, "hello")
	a.expect(t, "hello")
	b.expect(t, "hello")
	done := make(chan struct{})
	go func() { end(); close(done) }()
	a.expectClose(t, ws.StatusGoingAway)
	b.expectClose(t, ws.StatusGoingAway)
	<-done
}

func TestValues(t *testing.T) {
	addr, end := start(t, "values")
	ann, bob := dial(t, "ws://"+addr+"/?name=ann"), dial(t, "ws://"+addr+"/?name=bob")
	for _, c := range []conn{ann, bob} {
		c.expect(t, "connection established")
	}
	ann.say(t, "hello")
	bob.expect(t, "ann: hello")
	ann.expect(t, "ann: hello")
	ann.say(t, "HELLO")
	ann.expectClose(t, 4000)
	bob.say(t, "bye")
	bob.expect(t, "bob: bye")
	bob.Close()
	end()
}

func TestSend(t *testing.T) {
	addr, end := start(t, "send")
	a, b := dial(t, "ws://"+addr), dial(t, "ws://"+addr)
	for _, c := range []conn{a, b} {
		c.expect(t, "welcome: send time, or anything else to all")
	}
	a.say(t, "time")
	if got, err := wsutil.ReadServerText(a); err != nil {
		t.Fatal(err)
	} else if _, err := time.Parse(time.RFC3339, string(got)); err != nil {
		t.Error(err)
	}
	a.say(t, "hello")
	b.expect(t, "hello")
	a.Close()
	b.Close()
	end()
}

func TestRun(t *testing.T) {
	addr, end := start(t, "run")
	c := dial(t, "ws://"+addr)
	c.expect(t, "connection established")
	done := make(chan struct{})
	go func() { end(); close(done) }()
	c.expectClose(t, ws.StatusGoingAway)
	<-done
}
