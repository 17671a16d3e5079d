package deploy

import (
	"bufio"
	"bytes"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/tool"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

const patience = 30 * time.Second

// TestContainer: built as the Containerfile says, in a root with nothing else, as nobody, the
// binary serves, and the health check tells whether it does.
func TestContainer(t *testing.T) {
	img := readImage(t)
	if img.base != "scratch" || len(img.copies) != 1 {
		t.Fatalf("the image is %s with %q, want scratch with the binary and its licences alone", img.base, img.copies)
	}
	root := t.TempDir()
	buildInto(t, img, root)
	if t.Failed() {
		return
	}
	tool.NeedRoot(t) // chroot(2)
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // For who is not root.
			t.Fatal(err)
		}
	}
	public, back := freeAddr(t), freeAddr(t)
	env := append(slices.Clone(img.env), "CRIER_LISTEN="+public, "CRIER_ADMIN="+back) // As with --env.
	healthy := func() error {
		out, err := img.command(t, root, img.healthcheck, env).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	if err := healthy(); err == nil {
		t.Error("the health check is content before crier has started")
	}
	var log bytes.Buffer
	server := img.command(t, root, img.entrypoint, env)
	server.Stderr = &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Process.Kill() }()
	deadline := time.Now().Add(patience)
	for err := healthy(); err != nil; err = healthy() {
		if time.Now().After(deadline) {
			t.Fatalf("%v\n%s", err, &log)
		}
	}
	echoes(t, public)
	_ = server.Process.Signal(syscall.SIGTERM)
	if err := server.Wait(); err != nil {
		t.Errorf("after SIGTERM: got %v, want exit 0: %s", err, &log)
	}
	if err := healthy(); err == nil {
		t.Error("the health check is content when crier has ended")
	}
}

// buildInto runs the Containerfile's build, copies what it copies, and checks that the binary is static and that the
// licences are complete.
func buildInto(t *testing.T, img image, root string) {
	t.Helper()
	from, to, ok := strings.Cut(strings.TrimPrefix(img.copies[0], "--from=build "), " ")
	target := filepath.Join(root, img.entrypoint[0])
	if !ok || to != "/" || !strings.Contains(img.build, "-o "+from+strings.TrimPrefix(img.entrypoint[0], "/")+" ") {
		t.Fatalf("the build %q and the copy %q do not make %s", img.build, img.copies[0], img.entrypoint[0])
	}
	cmd := exec.Command("sh", "-c", strings.ReplaceAll(img.build, from, root+"/"))
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", img.build, err, out)
	}
	checkLicences(t, target, filepath.Join(root, "licenses"))
	f, err := elf.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	libs, err := f.ImportedLibraries()
	if err != nil || len(libs) > 0 {
		t.Errorf("the binary needs %q (%v), want nothing", libs, err)
	}
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		t.Error("the binary needs a dynamic linker")
	}
}

// checkLicences checks that a directory has a licence of each module that is in a binary, and of Go.
func checkLicences(t *testing.T, binary, dir string) {
	t.Helper()
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	of := []string{"go", info.Main.Path}
	for _, dep := range info.Deps {
		of = append(of, dep.Path)
	}
	for _, module := range of {
		files, err := os.ReadDir(filepath.Join(dir, module))
		if err != nil || len(files) == 0 {
			t.Errorf("%s has no licence: %v", module, err)
		}
	}
	// The FreeType License asks for a credit in NOTICE, which has none.
	if slices.Contains(of, "github.com/golang/freetype") {
		t.Error("FreeType is in the binary, and NOTICE has no credit for it")
	}
}

// command runs something as a container of the image would, but for the network.
func (img image) command(t *testing.T, root string, args, env []string) *exec.Cmd {
	t.Helper()
	name, group, _ := strings.Cut(img.user, ":")
	uid, err := strconv.ParseUint(name, 10, 32)
	gid, err2 := strconv.ParseUint(group, 10, 32)
	if err != nil || err2 != nil || uid == 0 || gid == 0 {
		t.Fatalf("the user is %q, want numbers that are not root's", img.user)
	}
	return &exec.Cmd{
		Path: args[0], Args: args, Env: env, Dir: "/",
		SysProcAttr: &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}},
	}
}

// freeAddr is an address where nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// echoes wants a message that is sent to come back.
func echoes(t *testing.T, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, br, _, err := ws.Dial(ctx, "ws://"+addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := wsutil.WriteClientText(conn, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if br == nil {
		br = bufio.NewReader(conn)
	}
	rw := struct {
		io.Reader
		io.Writer
	}{br, conn}
	for _, want := range []string{"connection established", "hello"} {
		got, _, err := wsutil.ReadServerData(rw)
		if err != nil || string(got) != want {
			t.Fatalf("got %q and %v, want %q", got, err, want)
		}
	}
}
