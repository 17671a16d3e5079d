package docs

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/tool"
)

const patience = 30 * time.Second

// buildTools builds what documents start with go run, and returns where it is.
func buildTools(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for module, packages := range map[string]string{
		".":             "./cmd/crier ./examples/chat ./bench/measure ./bench/million ./bench/soak",
		"bench/compare": ".",
		"bench/scale":   ".",
	} {
		cmd := exec.Command("go", append([]string{"build", "-o", dir + "/"}, strings.Fields(packages)...)...)
		cmd.Dir = filepath.Join(root, module)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", module, err, out)
		}
	}
	return dir
}

// session is one who types the commands of a document.
type session struct {
	t       *testing.T // Of the document.
	tools   string
	dir     string
	port    map[string]string  // In the place of the ports of the documents.
	servers map[string]*server // By the ports of the documents.

	variables string // Assignments in the document so far, a line each.
}

func newSession(t *testing.T, tools string) *session {
	s := &session{t: t, tools: tools, dir: t.TempDir(), port: make(map[string]string), servers: make(map[string]*server)}
	for _, port := range []string{"18000", "18001", "8080"} {
		s.port[port] = freePort(t)
	}
	return s
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	return port
}

// command is one with other ports, and what was built in the place of go run.
func (s *session) command(words []string) *exec.Cmd {
	own := slices.Clone(words)
	for i := range own {
		for from, to := range s.port {
			own[i] = strings.ReplaceAll(own[i], ":"+from, ":"+to)
		}
	}
	if own[0] == "go" {
		own = append([]string{filepath.Join(s.tools, path.Base(own[2]))}, own[3:]...)
	}
	cmd := exec.Command(own[0], own[1:]...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "CRIER_LISTEN=127.0.0.1:"+s.port["18000"])
	cmd.WaitDelay = patience
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run runs a command to its end. A load is a small one: the host may bear no more.
func (s *session) run(t *testing.T, words []string) {
	t.Helper()
	words = slices.Clone(words)
	switch {
	case words[0] != "go":
		tool.Need(t, words[0])
	case words[3] == "load":
		for flag, little := range map[string]string{"--conns": "50", "--duration": "1s"} {
			if i := slices.Index(words, flag); i > 0 {
				words[i+1] = little
			}
		}
	}
	if words[0] == "curl" {
		words = append(words, "--fail", "--silent", "--show-error")
	}
	cmd := s.command(words)
	out, err := cmd.CombinedOutput()
	if err != nil || words[0] == "curl" && len(out) == 0 {
		t.Errorf("%s: %v\n%s", cmd, err, out)
	}
}

// follow runs a command until it has printed an event.
func (s *session) follow(t *testing.T, words []string) {
	t.Helper()
	tool.Need(t, words[0])
	p := start(t, s.command(words))
	defer p.stop()
	p.await(t, func() bool { return strings.Contains(p.out.String(), "data: ") })
}

// install runs install from the top of the repository, and into the session's directory.
func (s *session) install(t *testing.T, words []string) {
	t.Helper()
	own := slices.Clone(words)
	for i, word := range own {
		if path.IsAbs(word) {
			own[i] = s.dir + word
		}
	}
	// Debian's package makes it.
	if err := os.MkdirAll(filepath.Join(s.dir, "etc", "prometheus"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := s.command(own)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", cmd, err, out)
	}
}

// serve starts a server, which takes the place of one at the same port.
func (s *session) serve(t *testing.T, words []string) {
	t.Helper()
	words = slices.Clone(words)
	ports := []string{"18000"}
	if words[2] == "./examples/cluster" { // One crier in the place of three: test/clients runs the example itself.
		flags := slices.DeleteFunc(words[3:], func(word string) bool { return word == "--" })
		words = append(strings.Fields("go run ./cmd/crier --channels --admin 127.0.0.1:18001"), flags...)
	}
	switch {
	case words[2] == "./examples/chat":
		ports[0] = "8080"
		words = append(words, "-listen", "127.0.0.1:8080")
	case slices.Contains(words, "--admin"):
		ports = append(ports, "18001")
	}
	for _, port := range []string{"18000", "18001", "8080"} {
		if old := s.servers[port]; old != nil && slices.Contains(ports, port) {
			old.end(t)
		}
	}
	p := start(t, s.command(words))
	s.t.Cleanup(func() { p.end(s.t) })
	for _, port := range ports {
		s.servers[port] = p
		p.await(t, func() bool { return answers("127.0.0.1:" + s.port[port]) })
	}
}

// answers reports whether a server answers requests. Before that, a signal would end it without a log line.
func answers(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	_, err = conn.Read(make([]byte, 1))
	return err == nil || err == io.EOF
}

// checkFlags wants a program of bench to have the flags that a command gives it.
func (s *session) checkFlags(t *testing.T, words []string) {
	t.Helper()
	var help []byte
	name, args := path.Base(words[0]), words[1:]
	if name == "go" {
		name, args = path.Base(words[2]), words[3:]
	}
	if name == "run" {
		help, _ = exec.Command(filepath.Join(root, words[0]), "--help").CombinedOutput()
	} else {
		help, _ = exec.Command(filepath.Join(s.tools, name), "-help").CombinedOutput() // It exits 2.
	}
	for _, arg := range args {
		flag, _, _ := strings.Cut(arg, "=")
		switch {
		case arg == "--":
			return
		case strings.HasPrefix(arg, "-") && strings.Contains(arg, " "): // What bench/vm/run gives to million.
			s.checkFlags(t, append([]string{"million"}, strings.Fields(arg)...))
		case strings.HasPrefix(arg, "-") && !bytes.Contains(help, []byte("  "+flag)):
			t.Errorf("%s has no %s:\n%s", name, flag, help)
		}
	}
}

// server is a program that runs until a signal ends it.
type server struct {
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // Closed when it has ended, and err is set.
	err  error
	once sync.Once
}

func start(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	p := &server{cmd: cmd, out: &output{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // Ends with the program, for which end and stop wait.
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p
}

// await waits until what is awaited of a program is so.
func (p *server) await(t *testing.T, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.done:
			t.Fatalf("%s ended: %v\n%s", p.cmd, p.err, p.out)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v\n%s", p.cmd, patience, p.out)
		}
	}
}

// end ends a server as a terminal would, once. Of crier, the exit code is 0.
func (p *server) end(t *testing.T) {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(os.Interrupt)
		select {
		case <-p.done:
		case <-time.After(patience):
			t.Errorf("%s still runs after SIGINT", p.cmd)
		}
		p.stop()
		if path.Base(p.cmd.Path) == "crier" && p.err != nil {
			t.Errorf("%s: %v\n%s", p.cmd, p.err, p.out)
		}
	})
}

func (p *server) stop() {
	_ = p.cmd.Process.Kill() // It may have ended.
	<-p.done
}

// output is what a program prints. Safe for concurrent use.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // Guarded by mu.
}

// Write is io.Writer's; b is copied.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
