package clients

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A town is examples/cluster: three servers of NATS, three of crier, HAProxy and the chat, started by one command.
type town struct {
	*process
	clients, backEnds, chat string // HOST:PORT of HAProxy, HAProxy and the page
	tmp                     string // what it may leave behind
}

// townProgram is where examples/cluster is built, once.
var townProgram = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(scratch, "cluster")
	cmd := exec.Command("go", "build", "-o", bin, "./examples/cluster")
	cmd.Dir = filepath.Join("..", "..")
	return bin, runTool(cmd, buildTimeout)
})

// startTown starts a town, which ends with t. The flags are crier's.
func startTown(t *testing.T, env []string, flags ...string) *town {
	t.Helper()
	needTools(t, "haproxy")
	bin, err := townProgram()
	if err != nil {
		t.Fatal(err)
	}
	w := &town{clients: freeAddr(t), backEnds: freeAddr(t), chat: freeAddr(t), tmp: t.TempDir()}
	cmd := exec.Command(bin, append([]string{"-listen", w.clients, "-admin", w.backEnds, "-chat", w.chat, "--"}, flags...)...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(append(os.Environ(), "TMPDIR="+w.tmp), env...)
	w.process = start(t, cmd)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // It may have ended. If not, it is killed in the end.
		_ = w.wait(fleetTimeout)
	})
	return w
}

// await waits until all of it is ready.
func (w *town) await(t *testing.T) {
	t.Helper()
	w.waitLine(t, "cluster | Ctrl-C ends all processes and deletes their data.", buildTimeout)
}

var (
	startedLine = regexp.MustCompile(`(?m)^(\w+) *\| -- started, pid (\d+)$`)
	adminLine   = regexp.MustCompile(`(?m)^cluster \|   (node\d) .* its live page is (http://[0-9.:]+)/$`)
)

// pids are the processes that it has started, by their names, the newest last.
func (w *town) pids() map[string][]int {
	pids := make(map[string][]int)
	for _, m := range startedLine.FindAllStringSubmatch(w.out.String(), -1) {
		pid, _ := strconv.Atoi(m[2])
		pids[m[1]] = append(pids[m[1]], pid)
	}
	return pids
}

// admins are the URLs of the nodes' own pages, by their names.
func (w *town) admins() map[string]string {
	urls := make(map[string]string)
	for _, m := range adminLine.FindAllStringSubmatch(w.out.String(), -1) {
		urls[m[1]] = m[2]
	}
	return urls
}

// publish publishes through HAProxy. The status is 0 if there was no answer.
func (w *town) publish(channel, key, text string) (status int, body string) {
	return post("http://"+w.backEnds+"/v1/publish/"+channel, key, text)
}

func post(url, key, text string) (status int, body string) {
	r, err := http.NewRequest("POST", url, strings.NewReader(text))
	if err != nil {
		return 0, err.Error()
	}
	r.Header.Set("Content-Type", "text/plain")
	r.Header.Set("Idempotency-Key", key)
	answer, err := backEnd.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err.Error()
	}
	return answer.StatusCode, strings.TrimSpace(string(b))
}

// restart ends a node with SIGTERM, and waits until another one is ready in its place: what operations.md says of a
// rolling restart.
func (w *town) restart(t *testing.T, node string) {
	t.Helper()
	before := w.pids()[node]
	if err := syscall.Kill(before[len(before)-1], syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := poll(fleetTimeout, func() error {
		if w.ended() {
			return &finalError{fmt.Errorf("the cluster ended: %v", w.err)}
		}
		if len(w.pids()[node]) == len(before) {
			return fmt.Errorf("%s was not started again", node)
		}
		answer, err := backEnd.Get(w.admins()[node] + "/readyz")
		if err != nil {
			return err
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", node, answer.Status)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// leavesNothing checks that neither processes nor files of it are there.
func (w *town) leavesNothing(t *testing.T) {
	t.Helper()
	for name, pids := range w.pids() {
		for _, pid := range pids {
			if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
				t.Errorf("%s, pid %d, is left behind: %v", name, pid, err)
			}
		}
	}
	left, err := os.ReadDir(w.tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the directory for what is temporary: %v, %v", left, err)
	}
}

// TestTown: the example is there with one command, chat and all, and gone with Ctrl-C.
func TestTown(t *testing.T) {
	t.Parallel()
	w := startTown(t, nil)
	w.await(t)
	answer, err := backEnd.Get("http://" + w.chat + "/")
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	if !strings.Contains(string(page), "<title>crier chat</title>") {
		t.Errorf("the chat page is %.200s", page)
	}
	if status, body := w.publish("chat/lobby", "a key", "hello"); status != http.StatusOK {
		t.Errorf("publishing: got %d, %s", status, body)
	}
	if n := strings.Count(w.out.String(), "\n"); n > 60 || strings.Contains(w.out.String(), "[INF]") {
		t.Errorf("%d lines, or what NATS says, stand before the summary:\n%s", n, w.out)
	}
	if n := len(w.pids()); n != 8 {
		t.Errorf("it has started %v", w.pids())
	}
	w.signal(t, syscall.SIGINT)
	if err := w.wait(fleetTimeout); err != nil {
		t.Error(err)
	}
	w.leavesNothing(t)
}

// TestTownFails: where something of it cannot start, it says so, and all of it ends.
func TestTownFails(t *testing.T) {
	t.Parallel()
	gopher, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	only := t.TempDir() // A PATH without HAProxy.
	if err := os.Symlink(gopher, filepath.Join(only, "go")); err != nil {
		t.Fatal(err)
	}
	broken := t.TempDir() // A PATH with a nats-server that does not start.
	script := "#!/bin/sh\necho '[1] 2026/01/01 00:00:00.000000 [INF] this is why'\nexit 1\n"
	if err := os.WriteFile(filepath.Join(broken, "nats-server"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		env, flags []string
		want       string
	}{
		"no haproxy": {env: []string{"PATH=" + only}, want: "hint: apt-get install haproxy"},
		"no nats":    {env: []string{"PATH=" + broken + ":" + os.Getenv("PATH")}, want: "[INF] this is why"},
		"wrong flag": {flags: []string{"--no-such-flag"}, want: "did not start"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startTown(t, tt.env, tt.flags...)
			if err := w.wait(buildTimeout); err == nil || !strings.Contains(err.Error(), "exit status 1") || !strings.Contains(w.out.String(), tt.want) {
				t.Errorf("got %v, want exit status 1 and %q:\n%s", err, tt.want, w.out)
			}
			w.leavesNothing(t)
		})
	}
}
