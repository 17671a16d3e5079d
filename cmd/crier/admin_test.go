package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// startCrier runs the built program until the end of the test, and returns the addresses in its log line "serving" by
// their names.
func startCrier(t *testing.T, args ...string) (addrs map[string]string, stop func() error) {
	t.Helper()
	_, addrs, stop = startLogged(t, io.Discard, args...)
	return addrs, stop
}

// startLogged is like startCrier. It also returns the process, and copies its log to log.
func startLogged(
	t *testing.T, log io.Writer, args ...string,
) (p *os.Process, addrs map[string]string, stop func() error) {
	t.Helper()
	cmd := exec.Command(build(t), args...)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	logged := make(chan struct{})
	stop = func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM) // It may have ended.
		<-logged
		return cmd.Wait()
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if !strings.Contains(lines.Text(), "msg=serving") {
			continue
		}
		addrs = make(map[string]string)
		for field := range strings.FieldsSeq(lines.Text()) {
			name, value, _ := strings.Cut(field, "=")
			addrs[name] = value
		}
		go func() { // Ends with the program.
			defer close(logged)
			for lines.Scan() {
				fmt.Fprintln(log, lines.Text())
			}
		}()
		return cmd.Process, addrs, stop
	}
	t.Fatal("it does not serve")
	return nil, nil, nil
}

// TestAdmin checks that a back end can publish to the clients of a channel through --admin, and only there.
func TestAdmin(t *testing.T) {
	token := strings.Repeat("s3cret", 4)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []bool{false, true} {
		args := []string{"--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--channels", "--greeting="}
		if secret {
			args = append(args, "--admin-token-file="+file)
		}
		addrs, stop := startCrier(t, args...)
		conn, _, _, err := ws.Dial(context.Background(), "ws://"+addrs["addr"]+"/news/sport")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		post := func(addr, host string, head map[string]string) int {
			t.Helper()
			r, err := http.NewRequest("POST", "http://"+addr+"/v1/publish/news/sport", strings.NewReader("goal"))
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range head {
				r.Header.Set(name, value)
			}
			r.Host = host
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if kind := resp.Header.Get("Content-Type"); addr == addrs["admin"] && kind != "application/json" {
				t.Errorf("got %s with Content-Type %q, want JSON", resp.Status, kind)
			}
			return resp.StatusCode
		}
		bearer := map[string]string{"Authorization": "Bearer " + token}
		want := map[string]int{"plain": 200, "bearer": 200, "foreign host": 403, "another site's page": 403,
			"its origin alone": 403, "own page": 200, "public port": 405}
		if secret { // A web page does not have the token.
			want = map[string]int{"plain": 401, "bearer": 200, "foreign host": 401, "another site's page": 401,
				"its origin alone": 401, "own page": 401, "public port": 405}
		}
		for name, got := range map[string]int{
			"plain":               post(addrs["admin"], "", nil),
			"bearer":              post(addrs["admin"], "", bearer),
			"foreign host":        post(addrs["admin"], "evil.example", nil),
			"another site's page": post(addrs["admin"], "", map[string]string{"Sec-Fetch-Site": "cross-site"}),
			"its origin alone":    post(addrs["admin"], "", map[string]string{"Origin": "https://evil.example"}),
			"own page": post(addrs["admin"], "", map[string]string{"Origin": "http://" + addrs["admin"],
				"Sec-Fetch-Site": "same-origin"}),
			"public port": post(addrs["addr"], "", bearer),
		} {
			if got != want[name] {
				t.Errorf("token %t: %s: got %d, want %d", secret, name, got, want[name])
			}
		}
		if p, op, err := wsutil.ReadServerData(conn); err != nil || op != ws.OpText || !bytes.Equal(p, []byte("goal")) {
			t.Errorf("got %v %q, %v", op, p, err)
		}
		conn.Close()
		if err := stop(); err != nil {
			t.Errorf("crier ended with %v", err)
		}
	}
}
