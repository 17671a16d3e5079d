package clients

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fleetTimeout is how long a client of a fleet may take for anything.
const fleetTimeout = 60 * time.Second

// A fleet is a process that runs clients of clients/js: node/fleet_node.mjs, or a page by
// node/fleet_page.mjs. It may be used by parallel tests.
type fleet struct {
	// Immutable after startFleet.
	page bool // in a browser's page, of another site than the server's

	mu      sync.Mutex
	stdin   io.WriteCloser       // guarded by mu
	clients map[string]*jsClient // guarded by mu
	faults  []string             // guarded by mu: what no client is to blame for
}

// A happening is a line of what a fleet reports: an event of a client, or an error.
type happening struct {
	Client, Type, ID, From, To, Transport, Reason, Data string

	Code, Status int
	Binary       bool    // Data is in base64
	RetryIn      float64 // in milliseconds; -1 is for ever
}

// startFleet starts a fleet that ends with t.
func startFleet(t *testing.T, page bool, program string, args ...string) *fleet {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = nodeDir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 10 * time.Second
	stderr := &output{}
	cmd.Stderr = stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{page: page, stdin: stdin, clients: map[string]*jsClient{}}
	anyone := f.client("")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the process; the cleanup waits for it
		defer close(done)
		f.read(stdout)
	}()
	t.Cleanup(func() {
		stdin.Close() // it ends by itself, and a browser with it
		late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		<-done
		if err := cmd.Wait(); err != nil || stderr.String() != "" {
			t.Errorf("%s: %v\n%s", cmd, err, stderr)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, fault := range f.faults {
			t.Error(fault)
		}
	})
	anyone.await(t, "ready")
	return f
}

// read takes what the fleet reports, to its end.
func (f *fleet) read(stdout io.Reader) {
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var h happening
		err = json.Unmarshal(line, &h)
		if err == nil && h.Binary {
			var bytes []byte
			bytes, err = base64.StdEncoding.DecodeString(h.Data)
			h.Data = string(bytes)
		}
		if err != nil || h.Client == "" && h.Type != "ready" {
			f.mu.Lock()
			f.faults = append(f.faults, string(line))
			f.mu.Unlock()
			continue
		}
		f.client(h.Client).add(h)
	}
}

// client is the client of a name, there or not.
func (f *fleet) client(name string) *jsClient {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.clients[name]
	if c == nil {
		c = &jsClient{fleet: f, name: name}
		f.clients[name] = c
	}
	return c
}

type commandLine map[string]any

func (f *fleet) command(t *testing.T, line commandLine) {
	t.Helper()
	b, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.stdin.Write(append(b, '\n')); err != nil {
		t.Fatal(err)
	}
}

// hasty is options with which nothing takes long.
func hasty(options commandLine) commandLine {
	all := commandLine{"backoff": 20, "maxBackoff": 1000}
	for name, value := range options {
		all[name] = value
	}
	return all
}

// open opens a client that ends with t. The name is for this test alone.
func (f *fleet) open(t *testing.T, name, url string, options, more commandLine) *jsClient {
	t.Helper()
	c := f.client(t.Name() + " " + name)
	line := commandLine{"op": "open", "client": c.name, "url": url, "options": hasty(options)}
	for name, value := range more {
		line[name] = value
	}
	c.site, _ = more["site"].(string)
	c.command(t, line)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", c.name, c.story())
		}
		c.tell(t, "close")
	})
	return c
}

// A jsClient is a client of clients/js in a fleet.
type jsClient struct {
	// Immutable after open.
	*fleet
	name string
	site string // whose page it is in; empty for another one's than the server's

	mu    sync.Mutex
	all   []happening // guarded by mu
	taken int         // guarded by mu: what await has seen
}

func (c *jsClient) add(h happening) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, h)
}

// happened is all that happened.
func (c *jsClient) happened() []happening {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.all)
}

// await waits for the next happening of a type, and leaves out what came before it.
func (c *jsClient) await(t *testing.T, kind string) (h happening) {
	t.Helper()
	err := poll(fleetTimeout, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for c.taken < len(c.all) {
			h = c.all[c.taken]
			c.taken++
			if h.Type == kind {
				return nil
			}
		}
		return fmt.Errorf("no %s", kind)
	})
	if err != nil {
		t.Fatalf("%s: %v after:\n%s", c.name, err, c.story())
	}
	return h
}

// awaitID waits until a message has arrived.
func (c *jsClient) awaitID(t *testing.T, id string) {
	t.Helper()
	for c.await(t, "message").ID != id {
	}
}

// tell has the client do something.
func (c *jsClient) tell(t *testing.T, op string) {
	t.Helper()
	line := commandLine{"op": op, "client": c.name}
	if c.site != "" {
		line["site"] = c.site
	}
	c.command(t, line)
}

func (c *jsClient) send(t *testing.T, text string) {
	t.Helper()
	c.command(t, commandLine{"op": "send", "client": c.name, "data": text})
}

// story is what happened, as a report can bear it.
func (c *jsClient) story() string {
	var b strings.Builder
	for _, h := range c.happened() {
		fmt.Fprintf(&b, "%s %s%s %s %s%s%s %.40q\n", h.Type, h.ID, h.From, h.To, h.Transport, h.Reason,
			map[bool]string{true: fmt.Sprintf(" %d, status %d, retry in %.0f ms", h.Code, h.Status, h.RetryIn)}[h.Code != 0], h.Data)
	}
	const most = 3000
	if s := b.String(); len(s) > most {
		return s[:most/2] + "...\n" + s[len(s)-most/2:]
	}
	return b.String()
}
