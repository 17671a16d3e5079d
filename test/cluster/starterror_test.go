package cluster

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// startError runs a crier that must exit with code, and returns its error and its one hint.
func startError(t *testing.T, code int, args ...string) (says, hint string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, crierBin, append([]string{"--listen", "127.0.0.1:0"}, args...)...)
	out, _ := cmd.CombinedOutput()
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		says += after(lines.Text(), "crier: ")
		hint += after(lines.Text(), "hint: ")
	}
	if got := cmd.ProcessState.ExitCode(); got != code || says == "" || hint == "" ||
		strings.Count(string(out), "hint: ") != 1 || strings.Contains(string(out), "s3cret") {
		t.Errorf("%q: got %d and %s, want %d", args, got, out, code)
	}
	return says, hint
}

// after returns a line without its prefix, or "" if the line has another one.
func after(line, prefix string) string {
	if rest, ok := strings.CutPrefix(line, prefix); ok {
		return rest
	}
	return ""
}

// wantStartError checks the exit code, the error and the hint of a crier that cannot start.
func wantStartError(t *testing.T, code int, says, hint string, args ...string) {
	t.Helper()
	if is, what := startError(t, code, args...); !strings.Contains(is, says) || !strings.Contains(what, hint) {
		t.Errorf("%q: got %q and the hint %q, want %q and %q", args, is, what, says, hint)
	}
}

// TestStartErrorWhere checks that a node which cannot connect reports the reason for each server, and no secret.
func TestStartErrorWhere(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1, noJetStream, user("crier", "permissions {}"))
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() { // Ends with the listener.
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("SSH-2.0-OpenSSH\r\n"))
			defer conn.Close()
		}
	}()
	gone, strange, known := freeAddr(t), other.Addr().String(), servers.addrs[0]
	for _, mode := range []string{"ordered", "fast"} {
		says, _ := startError(t, 1, "--cluster-mode", mode, "--cluster", "nats://s3cret@"+gone+",nats://u:s3cret@"+strange)
		for _, want := range []string{gone + ": connection refused", strange + ": nats: ", "INFO"} {
			if !strings.Contains(says, want) {
				t.Errorf("%s: got %q, want %q", mode, says, want)
			}
		}
		for _, as := range []string{"", "crier:s3cret@"} {
			wantStartError(t, 1, known+": nats: Authorization Violation", "--cluster-credentials", "--cluster-mode", mode, "--cluster", "nats://"+as+known)
		}
	}
}

// TestStartErrorNoJetStream has JetStream disabled on the NATS server, or for an account.
func TestStartErrorNoJetStream(t *testing.T) {
	t.Parallel()
	none := startNATS(t, 1, noJetStream)
	wantStartError(t, 1, "JetStream is not enabled", "nats-server with -js", "--cluster", none.urls()[0])
	account := startNATS(t, 1, "accounts { A { users: [ { user: a, password: a } ] } }", "no_auth_user: a")
	wantStartError(t, 1, "JetStream is not enabled", "--cluster-mode fast", "--cluster", account.urls()[0])
}

// TestStartErrorNoRoom has a stream with more replicas than there are servers, or larger than they have room for.
func TestStartErrorNoRoom(t *testing.T) {
	t.Parallel()
	alone, three := startNATS(t, 1).urls()[0], startNATS(t, 3)
	wantStartError(t, 1, "replicas > 1", "needs 3 NATS servers", "--cluster", alone, "--cluster-replicas", "3")
	wantStartError(t, 1, "insufficient storage", "--cluster-max-bytes (100GiB)", "--cluster", alone, "--cluster-max-bytes", "100GiB")
	three.leader(t, startMade(t, three))
	wantStartError(t, 1, "no suitable peers", "needs 5 NATS servers", "--cluster", three.urls()[0], "--cluster-replicas", "5")
}

// startMade creates a stream when the servers have found each other, and returns its name.
func startMade(t *testing.T, servers *natsCluster) string {
	t.Helper()
	js := servers.jetStream(t)
	eventually(t, "a stream", func() error {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Replicas: len(servers.servers)})
		return err
	})
	return "OTHER"
}

// TestStartErrorUnfit checks that a server does not start on a stream that cannot be altered to fit, or whose subjects
// another stream has, and that a service manager does not try again: the exit code is 2.
func TestStartErrorUnfit(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1)
	js := servers.jetStream(t)
	for _, s := range []jetstream.StreamConfig{
		{Name: "MEMORY", Subjects: []string{"MEMORY.*"}, Storage: jetstream.MemoryStorage},
		{Name: "WORK", Subjects: []string{"WORK.*"}, Retention: jetstream.WorkQueuePolicy},
		{Name: "OTHER", Subjects: []string{"TAKEN.news"}},
	} {
		if _, err := js.CreateStream(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	wantStartError(t, 2, "cannot be altered: MEMORY: storage is Memory, wanted File", "nats stream rm MEMORY",
		"--cluster", servers.urls()[0], "--cluster-stream", "MEMORY")
	wantStartError(t, 2, "WORK: retention is WorkQueue, wanted Limits", "another --cluster-stream",
		"--cluster", servers.urls()[0], "--cluster-stream", "WORK")
	wantStartError(t, 2, "TAKEN.*", "another --cluster-stream",
		"--cluster", servers.urls()[0], "--cluster-stream", "TAKEN")
}

// TestStartErrorNotPermitted checks that a node ends when NATS reports a missing permission that it needs, and does not
// wait for the answer to its request.
func TestStartErrorNotPermitted(t *testing.T) {
	t.Parallel()
	all := permissions(t, "ordered")
	for part, other := range map[string]string{
		`"$JS.API.STREAM.INFO.CRIER"`:         `Publish to "$JS.API.STREAM.INFO.CRIER"`,
		`"$JS.API.STREAM.CREATE.CRIER"`:       `Publish to "$JS.API.STREAM.CREATE.CRIER"`,
		`"$JS.API.CONSUMER.CREATE.CRIER.>"`:   `Publish to "$JS.API.CONSUMER.CREATE.CRIER.`,
		`"$JS.API.CONSUMER.INFO.CRIER.*"`:     `Publish to "$JS.API.CONSUMER.INFO.CRIER.`,
		`"$JS.API.CONSUMER.MSG.NEXT.CRIER.*"`: `Publish to "$JS.API.CONSUMER.MSG.NEXT.CRIER.`,
		`[ "CRIER.*"`:                         `Publish to "CRIER.==`,
		`subscribe: [ "_INBOX.>"`:             `Subscription to "_INBOX.`,
	} {
		if strings.Count(all, part) != 1 {
			t.Fatalf("%s is not in the permissions %s", part, all)
		}
		replaced := strings.Replace(all, part, part[:strings.IndexByte(part, '"')]+`"nothing"`, 1)
		servers := startNATS(t, 1, user("crier", replaced))
		wantStartError(t, 1, "Permissions Violation for "+other, "docs/operations.md", "--cluster-timeout", "1m", "--cluster", servers.urlFor("crier")[0])
		servers.servers[0].signal(syscall.SIGKILL)
	}
}

// TestNotPermittedMore checks that a node works without permissions that it does not need.
func TestNotPermittedMore(t *testing.T) {
	t.Parallel()
	may := strings.NewReplacer(`"CRIER.presence.*"`, `"nothing"`, `"$JS.API.CONSUMER.DELETE.CRIER.*"`, `"nothing"`).Replace(permissions(t, "ordered"))
	servers := startNATS(t, 1, user("crier", may))
	n := startNode(t, servers.urlFor("crier"), "--cluster-replicas", "1", "--retain-age", "1h", "--cluster-linger", "100ms")
	checkWorks(t, n)
	n.signal(syscall.SIGTERM)
	n.restart() // The stream now has history, for which the node needs another consumer.
	checkWorks(t, n)
	if log := n.log(); !strings.Contains(log, "CRIER.presence.") || strings.Count(log, "msg=serving") != 2 {
		t.Errorf("want a second start, and missing permissions in the log: %s", log)
	}
}

// TestStartErrorWaiting checks that a node logs that it waits for a majority.
func TestStartErrorWaiting(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 3)
	startNode(t, servers.urls()[:1]).signal(syscall.SIGTERM)
	for _, s := range servers.servers[1:] {
		s.signal(syscall.SIGSTOP)
	}
	n := &process{t: t, name: "crier", args: []string{crierBin, "--listen", "127.0.0.1:0", "--cluster", servers.urls()[0], "--cluster-timeout", "2s"}}
	n.start()
	t.Cleanup(func() { n.signal(syscall.SIGKILL) })
	awaitLine(t, n, `msg="waiting for NATS" err="NATS does not answer: check that it has a majority" stream=CRIER`)
	for _, s := range servers.servers[1:] {
		s.signal(syscall.SIGCONT)
	}
	awaitLine(t, n, "msg=serving")
}

// awaitLine waits until the log of a program contains a text.
func awaitLine(t *testing.T, p *process, says string) {
	t.Helper()
	eventually(t, p.name+" to say "+says, func() error {
		if !strings.Contains(p.log(), says) {
			return errNotYet
		}
		return nil
	})
}
