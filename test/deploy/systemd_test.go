package deploy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/tool"
)

// distEnv is where make dist has put the tarball, for the test when it has a network of its own.
const distEnv = "CRIER_DEPLOY_DIST"

// TestSystemd installs the tarball as README says, under a real systemd in a container that has
// this host's programs, and does to crier what administrators and accidents do.
func TestSystemd(t *testing.T) {
	if dist := os.Getenv(distEnv); dist != "" {
		underSystemd(t, dist)
		return
	}
	tool.NeedRoot(t)
	tool.Need(t, "systemd-nspawn", "ip", "git", "make")
	if _, err := os.Stat("../../.git"); err != nil {
		tool.Lack(t, "make dist needs a git clone")
	}
	dist := t.TempDir()
	if out, err := exec.Command("make", "-C", "../..", "dist", "DIST="+dist).CombinedOutput(); err != nil {
		t.Fatalf("make dist: %v\n%s", err, out)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSystemd$", "-test.v")
	cmd.Env = append(os.Environ(), distEnv+"="+dist)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Error(err)
	}
	t.Logf("\n%s", out)
}

// clientsAddr is where crier.socket listens.
const clientsAddr = "127.0.0.1:18000"

func underSystemd(t *testing.T, dist string) {
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	g := bootGuest(t, dist)
	g.run(t, "set -x; "+readmeInstalls(t))
	echoes(t, clientsAddr)
	g.logs(t, "msg=serving", "a socket was passed")
	for _, step := range []struct {
		name string
		run  func(*testing.T, *guest)
	}{
		{"confined", confined},
		{"activation", activation},
		{"restart", restart},
		{"panic", panics},
		{"watchdog", watchdog},
		{"reload", reload},
		{"admin", adminSocket},
		{"stop", stop},
	} {
		t.Run(step.name, func(t *testing.T) { step.run(t, g) })
	}
}

// readmeInstalls is what README says under "Installing", up to the units, but for making the tarball.
func readmeInstalls(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "\n## Installing\n")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(text, 2)
	if len(blocks) < 2 {
		t.Fatal("README does not say how to install")
	}
	lines, made := strings.CutPrefix(blocks[0][1], "make dist ")
	if units := blocks[1][1]; !made || !strings.Contains(units, "enable --now crier.socket crier.service") {
		t.Fatalf("README does not start crier, or the test does not know how:\n%s%s", blocks[0][1], units)
	}
	return "#" + lines + blocks[1][1]
}

// confined: what the unit forbids is forbidden, and what it allows is there.
func confined(t *testing.T, g *guest) {
	pid := g.show(t, "MainPID")
	status := g.run(t, "cat /proc/"+pid+"/status")
	for _, want := range []string{"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want) {
			t.Errorf("the process does not have %q: %s", want, status)
		}
	}
	if strings.Contains(status, "Uid:\t0\t") || strings.Contains(status, "Gid:\t0\t") {
		t.Errorf("the process is root's: %s", status)
	}
	for _, dir := range []string{"/", "/etc", "/usr/local/bin", "/var", "/root", "/home", "/dev"} {
		if out, err := g.try("nsenter -m -t " + pid + " touch " + filepath.Join(dir, "written")); err == nil || !strings.Contains(out, "Read-only") {
			t.Errorf("%s: got %v and %q, want a read-only file system even for root", dir, err, out)
		}
	}
	g.dropIn(t, "[Service]\nLimitNOFILE=5000\n")
	g.run(t, "systemctl restart crier")
	if limits := g.run(t, "cat /proc/"+g.show(t, "MainPID")+"/limits"); !regexp.MustCompile(`Max open files +5000 +5000`).MatchString(limits) {
		t.Errorf("with LimitNOFILE=5000: %s", limits)
	}
	g.dropIn(t, "")
}

// activation: the first who connects starts crier.
func activation(t *testing.T, g *guest) {
	g.run(t, "systemctl stop crier")
	if got := g.show(t, "ActiveState"); got != "inactive" {
		t.Fatalf("after a stop it is %s", got)
	}
	echoes(t, clientsAddr)
	g.await(t, "ActiveState", "active")
}

// restart: nobody is refused while crier restarts.
func restart(t *testing.T, g *guest) {
	var refused, connected int
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := net.Dial("tcp", clientsAddr)
			switch {
			case err == nil:
				connected++
				conn.Close()
			case errors.Is(err, syscall.ECONNREFUSED):
				refused++
			}
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	before := g.show(t, "MainPID")
	for range 3 {
		g.run(t, "systemctl restart crier")
	}
	close(done)
	wg.Wait()
	if after := g.show(t, "MainPID"); after == before || connected == 0 || refused > 0 {
		t.Errorf("process %s, then %s: %d connected and %d were refused, want none", before, after, connected, refused)
	}
	echoes(t, clientsAddr)
}

// panics: what ends as after a panic of Go's is started again.
func panics(t *testing.T, g *guest) {
	before := g.show(t, "MainPID")
	g.run(t, "systemctl kill -s ABRT crier")
	g.again(t, before)
	echoes(t, clientsAddr)
}

// watchdog: what does not come round is killed, and started again.
func watchdog(t *testing.T, g *guest) {
	g.dropIn(t, "[Service]\nWatchdogSec=10s\n")
	g.run(t, "systemctl restart crier")
	before := g.show(t, "MainPID")
	g.run(t, "kill -STOP "+before)
	g.again(t, before)
	g.logs(t, "Failed with result 'watchdog'")
	g.dropIn(t, "")
	g.run(t, "systemctl restart crier")
	echoes(t, clientsAddr)
}

// reload: it reads the file of --config again, if there is one, and the process stays the same.
func reload(t *testing.T, g *guest) {
	before := g.show(t, "MainPID")
	g.run(t, "systemctl reload crier")
	g.logs(t, "nothing is reloaded")
	if after := g.show(t, "MainPID"); after != before {
		t.Errorf("process %s, then %s", before, after)
	}
	g.run(t, `echo 'log-level = "info"' >/etc/crier/crier.toml
		echo CRIER_CONFIG=/etc/crier/crier.toml >>/etc/crier/crier.env; systemctl restart crier
		echo 'log-level = "debug"' >/etc/crier/crier.toml; systemctl reload crier`)
	g.logs(t, "msg=reloaded")
	echoes(t, clientsAddr)
	g.logs(t, "level=DEBUG msg=connected")
}

// adminSocket: back ends have a socket of their own, and the token comes as a credential.
func adminSocket(t *testing.T, g *guest) {
	g.run(t, `printf '[Socket]\nListenStream=127.0.0.1:18001\nFileDescriptorName=admin\nService=crier.service\n' >/etc/systemd/system/crier-admin.socket
		(umask 077; head -c 20 /dev/urandom | base64 >/etc/crier/admin-token)`)
	g.dropIn(t, "[Service]\nSockets=crier-admin.socket\nLoadCredential=admin-token:/etc/crier/admin-token\n"+
		"Environment=CRIER_ADMIN_TOKEN_FILE=%d/admin-token\n")
	g.run(t, "systemctl restart crier; crier probe --ready")
	got := g.run(t, "echo hello | crier pub --token-file /etc/crier/admin-token --json news")
	if !strings.Contains(got, `"id"`) {
		t.Errorf("crier pub: got %q", got)
	}
	if out, err := g.try("echo hello | crier pub news"); err == nil || !strings.Contains(out, "401") {
		t.Errorf("without the token: got %v and %q, want 401", err, out)
	}
}

// stop: crier drains, and ends well.
func stop(t *testing.T, g *guest) {
	g.run(t, "systemctl stop crier.socket crier.service")
	if result, code := g.show(t, "Result"), g.show(t, "ExecMainStatus"); result != "success" || code != "0" {
		t.Errorf("got %s and exit code %s, want success and 0", result, code)
	}
	if conn, err := net.Dial("tcp", clientsAddr); err == nil {
		conn.Close()
		t.Error("somebody listens still")
	}
	g.logs(t, "msg=draining", "msg=stopped", "Deactivated successfully")
}

// guest is a container with systemd in it.
type guest struct {
	leader int // The process id of its systemd.
}

// bootGuest makes a container of this host's /usr, read-only, and nothing else of it, and boots
// it. dist is where README wants it. The container has the network of the caller.
func bootGuest(t *testing.T, dist string) *guest {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"etc/systemd/system", "home", "root", "usr", "local/bin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := os.Symlink("usr/"+dir, filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"os-release": string(release), // Or it is no root for systemd-nspawn.
		"passwd":     "root:x:0:0:root:/root:/bin/sh\n",
		"group":      "root:x:0:\n",
		"machine-id": strings.Repeat("c", 32) + "\n", // So that it is no first boot, which would enable all units.
	} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(root, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--notify-ready=yes", "--link-journal=no",
		"--resolv-conf=off", "--timezone=off", "--console=pipe", fmt.Sprint("--machine=crier-", os.Getpid()), "--directory="+root,
		"--bind-ro=/usr", "--bind="+filepath.Join(root, "local")+":/usr/local", "--bind-ro="+dist+":/root/dist",
		"--boot", "--", "--unit=basic.target", "--show-status=no")
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify.LocalAddr().String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	console, err := os.Create(filepath.Join(root, "console"))
	if err != nil {
		t.Fatal(err)
	}
	defer console.Close()
	cmd.Stdout, cmd.Stderr = console, console
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { // Ends with the cleanup below.
		_ = cmd.Wait()
		notify.Close() // Nobody is going to say anything.
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // It has its systemd power off.
		defer time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }).Stop()
		<-ended
	})
	g := new(guest)
	_ = notify.SetReadDeadline(time.Now().Add(2 * patience))
	for ready := false; !ready; {
		b := make([]byte, 4096)
		n, err := notify.Read(b)
		if err != nil {
			said, _ := os.ReadFile(console.Name())
			t.Fatalf("systemd is not ready: %v\n%s", err, said)
		}
		for line := range strings.Lines(string(b[:n])) {
			line = strings.TrimSpace(line)
			if pid, ok := strings.CutPrefix(line, "X_NSPAWN_LEADER_PID="); ok {
				g.leader, _ = strconv.Atoi(pid)
			}
			ready = ready || line == "READY=1"
		}
	}
	if g.leader <= 1 {
		t.Fatal("systemd-nspawn does not say what its systemd's process is")
	}
	return g
}

// try runs lines of shell as root in the guest.
func (g *guest) try(script string) (string, error) {
	cmd := exec.Command("nsenter", "--all", fmt.Sprint("--target=", g.leader), "/bin/sh", "-ec", "cd /root\n"+script)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME=/root"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try, and wants it to end well.
func (g *guest) run(t *testing.T, script string) string {
	t.Helper()
	out, err := g.try(script)
	if err != nil {
		journal, _ := g.try("journalctl --no-pager -n 30 -u crier")
		t.Fatalf("%s: %v\n%s\n%s", script, err, out, journal)
	}
	return out
}

// show returns a property of the service.
func (g *guest) show(t *testing.T, property string) string {
	t.Helper()
	return strings.TrimSpace(g.run(t, "systemctl show crier.service --value --property="+property))
}

// await waits until a property has a value.
func (g *guest) await(t *testing.T, property, want string) {
	t.Helper()
	criertest.Eventually(t, property+" to be "+want, func() bool { return g.show(t, property) == want })
}

// again waits until the service has another process than the one before, and serves.
func (g *guest) again(t *testing.T, before string) {
	t.Helper()
	criertest.Eventually(t, "another process than "+before, func() bool { return g.show(t, "MainPID") != before })
	g.await(t, "ActiveState", "active")
	if got := g.show(t, "MainPID"); got == "0" || got == before {
		t.Errorf("process %s, then %s", before, got)
	}
}

// logs waits until the journal has all of what is wanted.
func (g *guest) logs(t *testing.T, want ...string) {
	t.Helper()
	for _, want := range want {
		criertest.Eventually(t, "the journal to say "+want, func() bool {
			return strings.Contains(g.run(t, "journalctl --no-pager --unit=crier.service"), want)
		})
	}
}

// dropIn puts lines beside the unit, or takes them away.
func (g *guest) dropIn(t *testing.T, text string) {
	t.Helper()
	g.run(t, "mkdir -p /etc/systemd/system/crier.service.d\ncat >/etc/systemd/system/crier.service.d/test.conf <<'END'\n"+text+"END\nsystemctl daemon-reload")
}
