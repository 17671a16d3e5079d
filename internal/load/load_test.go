package load

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/crier-ws/crier/internal/servertest"
	"github.com/crier-ws/crier/internal/swarm"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

func TestMain(m *testing.M) {
	swarm.Child()
	// The goroutine that takes signals stays once there is one.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR1)
	os.Exit(leaktest.Main(m))
}

// crier serves for a test and returns its URL.
func crier(t *testing.T) string {
	t.Helper()
	_, addr := servertest.Start(t, servertest.Loopback, broadcast.DefaultConfig())
	return "ws://" + addr.String() + "/"
}

// parse reads a command line as main does.
func parse(t *testing.T, args ...string) (*Cmd, error) {
	t.Helper()
	cmd := &Cmd{Progress: io.Discard}
	k, err := kong.New(cmd, kong.Exit(func(int) { t.Error("kong wants to exit") }))
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Parse(args)
	return cmd, err
}

// run runs a command line and returns what it printed.
func run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd, err := parse(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = cmd.Run(&out)
	return out.String(), err
}

func TestSummary(t *testing.T) {
	out, err := run(t, crier(t), "--conns", "50", "--duration", "200ms", "--senders", "3", "--stalled", "2", "--threads", "2")
	if err != nil {
		t.Error(err)
	}
	for _, want := range []string{"50 in ", "of 64 B from 3 senders, closed loop", "0 lost, 0 duplicated, 0 reordered, 0 corrupted",
		"2 connections: 0 were closed, 2 got everything once they read", "p99.9 ", "us of CPU a delivery"} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
}

func TestJSON(t *testing.T) {
	out, err := run(t, crier(t), "--json", "--conns", "20", "--rate", "100", "--burst", "5", "--duration", "500ms", "--churn", "20", "--size", "2KiB", "--threads", "2")
	if err != nil {
		t.Error(err)
	}
	var got struct {
		Conns, Size, Sent, Delivered, Renewed int
		LatencyNS                             map[string]int `json:"latency_ns"`
		Swarm                                 struct {
			Busy float64
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	// A connection that is made again misses what is sent meanwhile.
	if got.Conns != 20 || got.Size != 2048 || got.Sent != 50 || got.Renewed < 5 || got.Delivered < 500 || got.Delivered > 1000 ||
		got.LatencyNS["p50"] == 0 || got.LatencyNS["max"] < got.LatencyNS["p50"] || got.Swarm.Busy == 0 {
		t.Errorf("got %+v", got)
	}
}

func TestPlot(t *testing.T) {
	file := filepath.Join(t.TempDir(), "latency.svg")
	if _, err := run(t, crier(t), "--conns", "20", "--duration", "200ms", "--plot", file); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(text, new(struct{})); err != nil || !bytes.Contains(text, []byte("20 connections, closed loop")) {
		t.Errorf("the plot is no SVG with its title: %v\n%.300s", err, text)
	}
}

// forgetful greets all, and broadcasts to the first connections only.
func forgetful(t *testing.T, first int) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards known
	var known []net.Conn
	var all sync.WaitGroup
	// Each ends when the client goes, the first one with the listener; the cleanup waits.
	serve := func(c net.Conn) {
		defer c.Close()
		if _, err := ws.Upgrade(c); err != nil {
			return
		}
		mu.Lock()
		_ = wsutil.WriteServerText(c, []byte("connection established"))
		if len(known) < first {
			known = append(known, c)
		}
		mu.Unlock()
		for {
			b, err := wsutil.ReadClientText(c)
			if err != nil {
				return
			}
			mu.Lock()
			for _, to := range known {
				_ = wsutil.WriteServerText(to, b)
			}
			mu.Unlock()
		}
	}
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		all.Wait()
	})
	return "ws://" + ln.Addr().String() + "/"
}

// lossy answers each client by itself, and leaves out the messages that leave says.
func lossy(t *testing.T, leave func(message int) bool) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	// Ends when the cleanup closes the listener, and waits for it.
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if _, err := ws.Upgrade(c); err != nil {
				c.Close()
				continue
			}
			_ = wsutil.WriteServerText(c, []byte("connection established"))
			for n := 0; ; n++ {
				b, err := wsutil.ReadClientText(c)
				if err != nil {
					break
				}
				if !leave(n) {
					_ = wsutil.WriteServerText(c, b)
				}
			}
			c.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return "ws://" + ln.Addr().String() + "/"
}

func TestFaultsAreAnError(t *testing.T) {
	out, err := run(t, lossy(t, func(n int) bool { return n == 3 || n == 9 }),
		"--conns", "1", "--rate", "100", "--duration", "100ms", "--grace", "200ms", "--threads", "1")
	if err == nil || !strings.Contains(err.Error(), "2 deliveries lost, 0 duplicated") || !strings.Contains(out, "2 lost") {
		t.Errorf("got %v, want 2 deliveries lost\n%s", err, out)
	}
}

func TestClosedLoopThatStops(t *testing.T) {
	start := time.Now()
	out, err := run(t, lossy(t, func(n int) bool { return n == 3 }), "--conns", "1", "--duration", "1m", "--grace", "1s", "--threads", "2")
	if err == nil || !strings.Contains(err.Error(), "nothing came any more") || !strings.Contains(out, "1 lost") {
		t.Errorf("got %v after %v, want that nothing came\n%s", err, time.Since(start), out)
	}
}

func TestChurnThatIsForgotten(t *testing.T) {
	out, err := run(t, forgetful(t, 4), "--conns", "4", "--rate", "50", "--duration", "400ms", "--churn", "10", "--grace", "1s", "--threads", "1")
	if err == nil || !strings.Contains(err.Error(), "one more message to all") {
		t.Errorf("got %v, want that a message did not come to all\n%s", err, out)
	}
}

func TestInterrupt(t *testing.T) {
	url := crier(t)
	cmd, err := parse(t, url, "--conns", "10", "--duration", "1h", "--rate", "100")
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1)
	cmd.Progress = writerFunc(func(b []byte) (int, error) {
		select {
		case lines <- string(b):
		default:
		}
		return len(b), nil
	})
	var out bytes.Buffer
	ended := make(chan error, 1)
	// Ends with the run, which the signal interrupts.
	go func() { ended <- cmd.Run(&out) }()
	line := <-lines
	if !strings.Contains(line, "10 connections, ") || !strings.Contains(line, "delivered (") {
		t.Errorf("the line of progress is %q", line)
	}
	// The run has asked for the signal long ago, so the process stays.
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("got %v, want that it was interrupted", err)
	}
	if !strings.Contains(out.String(), "delivered") {
		t.Errorf("there is no summary: %q", out.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestTargetsThatAreRefused(t *testing.T) {
	plain := &http.Server{Handler: http.NotFoundHandler()}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	// Ends with Close.
	go func() { served <- plain.Serve(ln) }()
	defer func() {
		plain.Close()
		<-served
	}()
	for _, tt := range []struct{ url, want string }{
		{"ws://192.0.2.1:18000/", "--allow-remote"},
		{"ws://[2001:db8::1]/", "--allow-remote"},
		{"ws://0.0.0.0:18000/", "--allow-remote"},
		{"wss://127.0.0.1:18000/", "TLS"},
		{"http://127.0.0.1:18000/", "want ws"},
		{"127.0.0.1:18000", "no URL"},
		{"ws://127.0.0.1:1/", "connection refused"},
		{"ws://" + ln.Addr().String() + "/", "404 Not Found"},
	} {
		out, err := run(t, tt.url, "--conns", "5", "--grace", "1s")
		if err == nil || !strings.Contains(err.Error(), tt.want) || out != "" {
			t.Errorf("%s: got %q and %v, want an error with %q", tt.url, out, err, tt.want)
		}
	}
}

func TestFlagsThatAreRefused(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--conns=0", "--conns is 0"},
		{"--senders=5000", "--senders is 5000"},
		{"--size=7", "--size is 7, want 8 to 1048576"},
		{"--duration=0s", "--duration is 0s"},
		{"--rate=-1", "--rate is -1"},
		{"--rate=0.001", "less than one message"},
		{"--burst=0", "--burst is 0"},
		{"--conns=10 --stalled=10", "more than --conns 10"},
		{"--churn=5", "--churn needs --rate"},
		{"--plot=x.jpg", ".svg or .png"},
		{"--size=7 --burst=0", "--burst is 0"},
	} {
		if _, err := parse(t, strings.Fields(tt.args)...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want an error with %q", tt.args, err, tt.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -999: "-999", -1000: "-1,000"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d): got %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", 999: "999ns", 1234567: "1.23ms", 98765 * time.Millisecond: "1m38.8s"} {
		if got := short(d); got != want {
			t.Errorf("short(%d): got %q, want %q", d, got, want)
		}
	}
}
