package kubernetes

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const patience = 30 * time.Second

// crier builds crier, once.
var crier = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "crier-kubernetes-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "crier")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/crier")
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return bin, fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, _ := crier(); bin != "" {
		os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// container is the manifest's, and crier's program.
func container(t *testing.T) (*corev1.Container, string) {
	t.Helper()
	m, err := read(text(t))
	if err != nil {
		t.Fatal(err)
	}
	bin, err := crier()
	if err != nil {
		t.Fatal(err)
	}
	return &m.deployment.Spec.Template.Spec.Containers[0], bin
}

// TestFlags: crier takes all the flags, and with one that there is not it would say so.
func TestFlags(t *testing.T) {
	c, bin := container(t)
	if out, err := exec.Command(bin, append([]string{"config"}, c.Args...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if err := exec.Command(bin, append([]string{"config", "--no-such-flag"}, c.Args...)...).Run(); err == nil {
		t.Error("crier takes any flag")
	}
}

// commented begins a line of the manifest that is there to be made use of: what is only said has one space behind the
// #.
var commented = regexp.MustCompile(`(?m)^( +)#(- |  +)`)

// TestCommented: with what is commented out, and TLS, the manifest is right, and crier takes it.
func TestCommented(t *testing.T) {
	_, bin := container(t)
	whole := commented.ReplaceAll(text(t), []byte("$1$2"))
	whole = bytes.ReplaceAll(whole, []byte("=nats://"), []byte("=tls://"))
	if err := check(whole); err != nil {
		t.Fatal(err)
	}
	m, _ := read(whole)
	c := &m.deployment.Spec.Template.Spec.Containers[0]
	if !strings.HasPrefix(flag(c, "cluster"), "tls://") {
		t.Errorf("NATS is at %s", flag(c, "cluster"))
	}
	for _, name := range []string{"cluster-credentials", "cluster-ca"} {
		file := filepath.Base(flag(c, name))
		if !bytes.Contains(whole, []byte("--from-file="+file)) {
			t.Errorf("--%s: no command makes a secret with %s", name, file)
		}
	}
	if out, err := exec.Command(bin, append([]string{"config"}, c.Args...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestProbes: a crier with these flags, but for NATS, answers the probes as they are asked, without a token, and what
// back ends ask only with it.
func TestProbes(t *testing.T) {
	c, bin := container(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("a-token-that-is-long-enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	admin := freeAddr(t)
	own := strings.NewReplacer("--listen="+flag(c, "listen"), "--listen=127.0.0.1:0", "--admin="+flag(c, "admin"), "--admin="+admin, flag(c, "admin-token-file"), token)
	var args []string
	for _, arg := range c.Args {
		if !strings.HasPrefix(arg, "--cluster") {
			args = append(args, own.Replace(arg))
		}
	}
	var log bytes.Buffer
	cmd := exec.Command(bin, args...)
	cmd.Stderr = &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, &log)
		}
	}()
	for deadline := time.Now().Add(patience); ask(admin, "/livez") == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen", admin)
		}
	}
	for _, p := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
		if got := ask(admin, p.HTTPGet.Path); got != http.StatusOK {
			t.Errorf("%s: got %d", p.HTTPGet.Path, got)
		}
	}
	for _, path := range []string{"/v1/channels", "/metrics"} {
		if got := ask(admin, path); got != http.StatusUnauthorized {
			t.Errorf("%s without a token: got %d, want 401", path, got)
		}
	}
}

// ask asks as a kubelet does, and returns the status, or 0 if there was no answer.
func ask(addr, path string) int {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	answer, err := client.Get("http://" + addr + path)
	if err != nil {
		return 0
	}
	answer.Body.Close()
	return answer.StatusCode
}

func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
