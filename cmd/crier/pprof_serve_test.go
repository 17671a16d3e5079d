package main

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPprofServes checks that the log line "serving" has the port, that the WebSocket port has no profiles, and that a
// profile in progress does not delay the end after SIGTERM.
func TestPprofServes(t *testing.T) {
	cmd := exec.Command(build(t), "--listen=127.0.0.1:0", "--pprof=localhost:0")
	logs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(3*patience, func() { _ = cmd.Process.Kill() }).Stop()
	r := bufio.NewReader(logs)
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr := startLine(t, bufio.NewReader(strings.NewReader(line)))
	_, pprofAddr, ok := strings.Cut(strings.TrimSpace(line), " pprof=")
	if !ok || !strings.HasPrefix(pprofAddr, "127.0.0.1:") || strings.HasSuffix(pprofAddr, ":0") {
		t.Fatalf("start line %q does not name the address of the profiles", line)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: time.Minute}
	if status, _ := fetch(t, client, "http://"+addr+"/debug/pprof/", nil); status != http.StatusUpgradeRequired {
		t.Errorf("/debug/pprof/ on the port of --listen: got %d, want 426", status)
	}
	if _, body := fetch(t, client, "http://"+pprofAddr+"/debug/pprof/heap?debug=1", nil); !strings.Contains(string(body),
		"@ heap/1048576") {
		t.Errorf("heap: got %.60q, want a sample every 512 KiB", body)
	}
	ended := longProfile(t, client, "http://"+pprofAddr+"/debug/pprof/")
	began := time.Now()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_, _ = io.Copy(io.Discard, r)
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: got %v, want exit 0", err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the end took %v, want it not to wait for a profile of 30 s", took)
	}
	<-ended
}

// TestPprofAdmin checks that --admin serves profiles to authorized back ends.
func TestPprofAdmin(t *testing.T) {
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: time.Minute}
	token := strings.Repeat("s3cret", 4)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := func(r *http.Request) { r.Host = "evil.example" }
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	for name, tt := range map[string]struct {
		args        []string
		may, mayNot func(*http.Request)
		refused     int
	}{
		"this host": {nil, nil, foreign, http.StatusForbidden},
		"token":     {[]string{"--admin-token-file=" + file}, bearer, nil, http.StatusUnauthorized},
	} {
		addrs, stop := startCrier(t, append(tt.args, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0")...)
		base := "http://" + addrs["admin"] + "/debug/pprof/"
		for path, want := range map[string]string{"": "full goroutine stack dump", "heap?debug=1": "@ heap/1048576",
			"goroutine?debug=1":       `"crier":"shard 0"`,
			"goroutine?debug=1&again": `"crier":"admin"`} {
			if got, _ := fetch(t, client, base+path, tt.mayNot); got != tt.refused {
				t.Errorf("%s: %q: got %d, want %d", name, path, got, tt.refused)
			}
			if got, body := fetch(t, client, base+path, tt.may); got != http.StatusOK || !strings.Contains(string(body), want) {
				t.Errorf("%s: %q: got %d %.100q, want it to say %q", name, path, got, body, want)
			}
		}
		if err := stop(); err != nil {
			t.Errorf("%s: crier ended with %v", name, err)
		}
	}
}
