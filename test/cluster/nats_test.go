package cluster

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// patience is how long a test waits for anything before it fails. It is generous, and measures nothing.
const patience = 60 * time.Second

// Programs that TestMain has built.
var natsBin, crierBin string

// TestMain builds the programs and runs the tests. In CI crier is built with the race detector; see process.start.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "crier-cluster")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var flags []string
	if os.Getenv("CI") != "" {
		flags = []string{"-race"}
	}
	code := 1
	if err := buildNATS(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else if crierBin, err = criertest.Build(dir, flags...); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = leaktest.Main(m)
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func buildNATS(dir string) error {
	natsBin = filepath.Join(dir, "nats-server")
	cmd := exec.Command("go", "build", "-o", natsBin, "github.com/nats-io/nats-server/v2")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}

// measuredCrier builds crier without the race detector, for tests that measure its memory.
func measuredCrier(t *testing.T) string {
	t.Helper()
	bin, err := criertest.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// process is a program with its output, which may be started several times.
type process struct {
	t    testing.TB
	name string
	args []string

	mu  sync.Mutex
	out bytes.Buffer // Guarded by mu.

	cmd   *exec.Cmd
	ended chan struct{} // Closed when the program has ended.
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// start starts the program. A data race in it fails the test.
func (p *process) start() {
	p.t.Helper()
	if p.cmd == nil {
		p.t.Cleanup(func() {
			if _, race, found := strings.Cut(p.log(), "WARNING: DATA RACE"); found {
				p.t.Errorf("%s has a data race:%.4000s", p.name, race)
			}
		})
	}
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	cmd, ended := p.cmd, make(chan struct{})
	p.ended = ended
	go func() { // Ends with the program.
		_ = cmd.Wait()
		close(ended)
	}()
}

// signal sends a signal, and waits for the end if the signal ends the process.
func (p *process) signal(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig)
	if sig == syscall.SIGKILL || sig == syscall.SIGTERM {
		<-p.ended
	}
}

// Lines of configuration for startNATS itself: noJetStream disables JetStream, and splittable makes the servers
// reach each other through cutters.
const (
	noJetStream = "# no JetStream"
	splittable  = "# through cutters"
)

// natsCluster is a cluster of NATS servers.
type natsCluster struct {
	t       testing.TB
	servers []*process
	addrs   []string
	links   [][]*cutter // links[i] are between servers[i] and the others; nil without splittable.
}

// startNATS starts n NATS servers, with more lines of configuration.
func startNATS(t testing.TB, n int, more ...string) *natsCluster {
	t.Helper()
	c := &natsCluster{t: t}
	var ports []string
	for range n {
		c.addrs = append(c.addrs, freeAddr(t))
		ports = append(ports, freeAddr(t))
	}
	routes := c.routes(ports, slices.Contains(more, splittable))
	for i := range n {
		dir := t.TempDir()
		config := fmt.Sprintf("server_name: n%d\nlisten: %s\n%s\n", i, c.addrs[i], strings.Join(more, "\n"))
		if !slices.Contains(more, noJetStream) {
			config += fmt.Sprintf("jetstream { store_dir: %q, max_file_store: 1GB, max_memory_store: 64MB }\n", dir)
		}
		if n > 1 {
			// Clients do not learn of other servers, so that they reach them only through a cutter.
			config += fmt.Sprintf("cluster { name: town, no_advertise: true, listen: %s, %s }\n", ports[i], routes[i])
		}
		file := filepath.Join(dir, "nats.conf")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		p := &process{t: t, name: fmt.Sprint("nats ", i), args: []string{natsBin, "-c", file}}
		p.start()
		t.Cleanup(func() {
			p.signal(syscall.SIGKILL)
			if t.Failed() {
				t.Logf("%s:\n%s", p.name, tail(p.log()))
			}
		})
		c.servers = append(c.servers, p)
	}
	for _, addr := range c.addrs {
		awaitListening(t, addr)
	}
	if n > 1 && slices.Contains(more, noJetStream) {
		c.awaitRoutes(t)
	}
	return c
}

// routes returns the configuration of each server about the others, which listen at addrs.
func (c *natsCluster) routes(addrs []string, split bool) []string {
	lines := make([]string, len(addrs))
	if split {
		c.links = make([][]*cutter, len(addrs))
	}
	for i := range addrs {
		var urls []string
		for k, addr := range addrs {
			if k != i && split {
				link := newCutter(c.t, addr)
				c.links[i], c.links[k] = append(c.links[i], link), append(c.links[k], link)
				addr = link.ln.Addr().String()
			}
			urls = append(urls, "nats-route://"+addr)
		}
		lines[i] = fmt.Sprintf("routes: [%s]", strings.Join(urls, ", "))
		if split { // The addresses that servers tell each other must not bypass the cutters.
			lines[i] += ", advertise: " + freeAddr(c.t)
		}
	}
	return lines
}

// isolate cuts a server off from the others, or reconnects it; clients still reach it. With reset, bytes on their way
// are lost.
func (c *natsCluster) isolate(server *process, off, reset bool) {
	for _, link := range c.links[slices.Index(c.servers, server)] {
		if reset {
			link.cut()
		}
		link.set(off)
	}
}

// awaitRoutes waits until each server forwards messages to each other one. Two servers that connect to each other at
// the same moment may take a second, and without a stream messages published before are lost.
func (c *natsCluster) awaitRoutes(t testing.TB) {
	t.Helper()
	received := make(map[string]bool)
	var conns []*nats.Conn
	var subs []*nats.Subscription
	for _, url := range c.urls() {
		nc, err := nats.Connect(url)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		sub, err := nc.SubscribeSync("routes")
		if err != nil {
			t.Fatal(err)
		}
		conns, subs = append(conns, nc), append(subs, sub)
	}
	eventually(t, "routes between all servers", func() error {
		for i, nc := range conns {
			if err := nc.Publish("routes", []byte(fmt.Sprint(i))); err != nil {
				return err
			}
		}
		for i, sub := range subs {
			for msg, err := sub.NextMsg(50 * time.Millisecond); err == nil; msg, err = sub.NextMsg(50 * time.Millisecond) {
				received[fmt.Sprint(i, " received ", string(msg.Data))] = true
			}
		}
		if len(received) < len(conns)*len(conns) {
			return fmt.Errorf("%v: %w", received, errNotYet)
		}
		return nil
	})
}

func (c *natsCluster) urls() (urls []string) {
	for _, addr := range c.addrs {
		urls = append(urls, "nats://"+addr)
	}
	return urls
}

// jetStream returns the JetStream API of an administrator.
func (c *natsCluster) jetStream(t *testing.T) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(strings.Join(c.urls(), ","))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// leader returns the server that leads a stream.
func (c *natsCluster) leader(t *testing.T, stream string) (leader *process) {
	t.Helper()
	js := c.jetStream(t)
	eventually(t, "a leader of the stream", func() error {
		s, err := js.Stream(t.Context(), stream)
		if err != nil {
			return err
		}
		for i, p := range c.servers {
			if info := s.CachedInfo(); info.Cluster != nil && info.Cluster.Leader == fmt.Sprint("n", i) {
				leader = p
				return nil
			}
		}
		return errNotYet
	})
	return leader
}

func tail(s string) string { return s[max(0, len(s)-6000):] }

// lastPort is counted up from a random number.
var lastPort atomic.Uint32

func init() { lastPort.Store(rand.Uint32N(1 << 20)) }

// freeAddr returns an unused address of loopback, a different one each time. Its port is below 32768, so that no
// outgoing connection takes it while its server is down.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+lastPort.Add(1)%12000))
		if err == nil {
			ln.Close()
			return ln.Addr().String()
		}
	}
	t.Fatal("no free port in 100 tries")
	return ""
}

func awaitListening(t testing.TB, addr string) {
	t.Helper()
	eventually(t, addr+" to be listened on", func() error {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err
	})
}

// eventually waits until f returns nil.
func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s: %v", what, err)
		}
	}
}
