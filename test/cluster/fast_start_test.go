package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// user returns a NATS configuration with one user and its permissions.
func user(name, permissions string) string {
	return fmt.Sprintf("authorization { users: [ { user: %s, password: secret, %s } ] }", name, permissions)
}

// urlFor returns the URL of the first server for a user.
func (c *natsCluster) urlFor(user string) []string {
	return []string{strings.Replace(c.urls()[0], "nats://", "nats://"+user+":secret@", 1)}
}

// TestFastPermissions checks that the documented permissions are enough.
func TestFastPermissions(t *testing.T) {
	t.Parallel()
	servers := startNATS(t, 1, noJetStream, user("crier", permissions(t, "fast")))
	one, two := startFast(t, servers.urlFor("crier")), startFast(t, servers.urlFor("crier"))
	awaitLine(t, one.process, "cluster_mode=fast cluster_stream=CRIER nats="+servers.addrs[0])
	l := listen(t, "news", two)
	defer l.end()
	awaitConnected(t, l)
	if _, err := one.publish("news", "", "first"); err != nil {
		t.Fatal(err)
	}
	awaitText(t, "first", l)
	servers.servers[0].signal(syscall.SIGKILL)
	for _, n := range []*node{one, two} {
		eventually(t, "the node to be unready", func() error {
			if n.ready() == nil {
				return errNotYet
			}
			return nil
		})
	}
	servers.servers[0].start()
	eventually(t, "the first node to be ready", one.ready)
	eventually(t, "the second node to be ready", two.ready)
	if _, err := one.publish("news", "", "again"); err != nil {
		t.Fatal(err)
	}
	awaitText(t, "again", l)
	if log := one.log() + two.log() + servers.servers[0].log(); strings.Contains(strings.ToLower(log), "permissions violation") {
		t.Errorf("got a permission error: %s", log)
	}
}

// TestFastNotAllowed checks that a node which may not publish or subscribe reports that at the start.
func TestFastNotAllowed(t *testing.T) {
	t.Parallel()
	for what, may := range map[string]string{
		"Publish":      `permissions { publish: "CRIER.*", subscribe: "CRIER.fast.*" }`,
		"Subscription": `permissions { publish: "CRIER.fast.*", subscribe: "CRIER.*" }`,
	} {
		servers := startNATS(t, 1, noJetStream, user("crier", may))
		out, err := exec.Command(crierBin, "--listen", "127.0.0.1:0", "--cluster-mode", "fast", "--cluster", servers.urlFor("crier")[0]).CombinedOutput()
		if err == nil || !strings.Contains(string(out), `Permissions Violation for `+what) || !strings.Contains(string(out), "hint: ") || strings.Contains(string(out), "secret") {
			t.Errorf("%s: got %v, %s", what, err, out)
		}
	}
}

// TestFastUnknown checks that a node whose user NATS no longer knows reconnects when NATS knows it again.
func TestFastUnknown(t *testing.T) {
	servers := startNATS(t, 1, noJetStream, user("crier", permissions(t, "fast")))
	n := startFast(t, servers.urlFor("crier"))
	nats := servers.servers[0]
	file := nats.args[len(nats.args)-1]
	config, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"somebody", "crier"} {
		nats.signal(syscall.SIGKILL)
		eventually(t, "the node to be unready", func() error {
			if n.ready() == nil {
				return errNotYet
			}
			return nil
		})
		if err := os.WriteFile(file, []byte(strings.Replace(string(config), "user: crier", "user: "+user, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		nats.start()
		if user == "somebody" {
			eventually(t, "the node to be refused several times", func() error {
				if n := strings.Count(nats.log(), "authentication error"); n < 4 {
					return fmt.Errorf("%d times", n)
				}
				return nil
			})
		}
	}
	eventually(t, "the node to be ready", n.ready)
}

// TestFastFlags checks that flags which mean nothing in the fast mode are refused.
func TestFastFlags(t *testing.T) {
	for _, flag := range []string{"--cluster-replicas=3", "--cluster-max-bytes=1GiB", "--cluster-max-age=1h", "--cluster-hold=30s"} {
		out, err := exec.Command(crierBin, "--listen", "127.0.0.1:0", "--cluster", "nats://"+freeAddr(t), "--cluster-mode", "fast", flag).CombinedOutput()
		name, _, _ := strings.Cut(flag, "=")
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 2 || !strings.Contains(string(out), name+" is ") || !strings.Contains(string(out), "--cluster-mode ordered") {
			t.Errorf("%s: got %v, %s", flag, err, out)
		}
	}
}
