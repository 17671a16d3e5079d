package doctor

import (
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// TestMeasure measures a real crier with few connections. It does not check the accuracy, which test/scale does.
func TestMeasure(t *testing.T) {
	program, err := criertest.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	// Variables for another server must not reach this one.
	t.Setenv("CRIER_LISTEN", "nowhere")
	t.Setenv("CRIER_MAX_CONNS", "3")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "notify"),
		Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", manager.LocalAddr().String())
	t.Setenv("LISTEN_FDS", "1")
	m, err := Host{}.measure(program, Goal{Conns: 402, Reserved: 100}, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if m.Conns != 400 || m.halfConns != 200 || m.halfOwn < 1e6 || m.halfOwn > 50e6 {
		t.Errorf("got %+v", m)
	}
	// The server has ended, so all its output has arrived.
	conn, err := net.Dial("unixgram", manager.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = conn.Write([]byte("the end"))
	said := make([]byte, 100)
	if n, _, err := manager.ReadFrom(said); err != nil || string(said[:n]) != "the end" {
		t.Errorf("the service manager was told %q, %v", said[:n], err)
	}
	if len(m.cpu) == 0 {
		t.Fatal("no broadcast was measured")
	}
	for _, c := range m.cpu {
		if c < 1e-7 || c > 1e-2 {
			t.Errorf("a delivery takes %v s", c)
		}
	}
	t.Logf("%+v", m)
}

// TestMeasureFails checks that a failed measurement returns an error, and that no process remains.
func TestMeasureFails(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const serving = `echo '{"msg":"serving","addr":"127.0.0.1:1","pprof":"127.0.0.1:1"}' >&2; `
	for _, tt := range []struct {
		name, program, says string
		h                   Host
		conns               int
	}{
		{"no program", filepath.Join(dir, "none"), "no such file", Host{}, 100},
		{"it ends", script("ends", "echo no luck >&2; exit 1"), "no luck", Host{}, 100},
		{"nobody there", script("lies", serving+"exec sleep 60"), "refused", Host{}, 100},
		{"no files", script("unused", "exit 1"), "too few", on(t,
			map[string]string{"proc/self/limits": "Max open files 90 90 files"}), 100},
		{"no wish", script("unused", "exit 1"), "too few", Host{}, 3},
	} {
		m, err := tt.h.measure(tt.program, Goal{Conns: tt.conns, Reserved: 100}, time.Millisecond)
		if err == nil || !strings.Contains(err.Error(), tt.says) || m.Conns != 0 {
			t.Errorf("%s: got %+v, %v, want an error with %q", tt.name, m, err, tt.says)
		}
	}
}

// TestSince checks that changes by other processes are noticed.
func TestSince(t *testing.T) {
	before := Sample{Fixed: 1e9, Loose: 2e9, Sockets: 500}
	for _, tt := range []struct {
		name  string
		after Sample
		want  bool
		bytes float64
	}{
		{"quiet", Sample{1e9 + 6e6, 2e9 + 2e6, 2500}, true, 4000},
		{"one or two others", Sample{1e9 + 6e6, 2e9 + 2e6, 2502}, true, 3996},
		{"others looked at files", Sample{1e9 + 6e6, 2e9 + 8e6, 2500}, true, 4080},
		{"files were forgotten", Sample{1e9 + 6e6, 2e9 - 8e6, 2500}, true, 4080},
		{"others made sockets", Sample{1e9 + 9e6, 2e9 + 3e6, 3500}, false, 0},
		{"others ended sockets", Sample{1e9, 2e9, 1500}, false, 0},
		{"others took memory", Sample{1e9 + 40e6, 2e9 + 2e6, 2500}, false, 0},
		{"others gave memory back", Sample{1e9 - 40e6, 2e9 + 2e6, 2500}, false, 0},
		{"nothing happened", before, false, 0},
	} {
		perSocket, got := tt.after.Since(before, 1000)
		if got != tt.want || got && math.Round(perSocket) != tt.bytes {
			t.Errorf("%s: got %v, %v, want %v, %v", tt.name, perSocket, got, tt.bytes, tt.want)
		}
	}
}
