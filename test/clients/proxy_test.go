package clients

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestNginx is the Node suite through nginx, with examples/nginx.conf.
func TestNginx(t *testing.T) {
	t.Parallel()
	testProxy(t, "nginx", "nginx.conf", nil,
		func(config string) []string {
			return []string{"-p", filepath.Dir(config), "-c", config, "-g", "daemon off; error_log stderr;"}
		})
}

// TestHAProxy is the Node suite through HAProxy and the PROXY protocol, with
// examples/haproxy.cfg.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	testProxy(t, "haproxy", "haproxy.cfg", []string{"--proxy-protocol"},
		func(config string) []string { return []string{"-db", "-f", config} })
}

// TestCaddy is the Node suite through Caddy, with examples/Caddyfile.
func TestCaddy(t *testing.T) {
	t.Parallel()
	needTools(t, "caddy")
	testProxy(t, "env", "Caddyfile", nil, func(config string) []string {
		dir := filepath.Dir(config) // For what Caddy keeps, too.
		return []string{"XDG_CONFIG_HOME=" + dir, "XDG_DATA_HOME=" + dir, "caddy", "run", "--config", config}
	})
}

// perIP is more than the suite has open at a time.
const perIP = 20

// testProxy runs the Node suite through a proxy, and shows that crier counts clients by the
// addresses that the proxy tells.
func testProxy(t *testing.T, program, config string, flags []string, args func(config string) []string) {
	needNode(t)
	needCrier(t)
	needTools(t, program)
	// The suite counts pings, and closes no connection by their timeout: on a busy machine 2 s would, with status 1006.
	tgt := startCrier(t, append(flags, "--trusted-proxies", "127.0.0.1/32", "--ping-interval", "1s",
		"--ping-timeout", "30s", "--max-conns-per-ip", strconv.Itoa(perIP))...)
	crierAddr := strings.TrimSuffix(strings.TrimPrefix(tgt.url, "ws://"), "/")
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", config))
	if err != nil {
		t.Fatal(err)
	}
	own := strings.NewReplacer("127.0.0.1:18000;", crierAddr+";", "127.0.0.1:18000 ", crierAddr+" ",
		"reverse_proxy 127.0.0.1:18000", "reverse_proxy "+crierAddr, "listen 8080;", "listen "+addr+";",
		"bind :8080", "bind "+addr, "\n:8080 {", "\n:"+port+" {\n\tbind 127.0.0.1").Replace(string(text))
	if !strings.Contains(own, crierAddr) || !strings.Contains(own, ":"+port) {
		t.Fatalf("the ports in %s are not where they were", config)
	}
	file := filepath.Join(t.TempDir(), config)
	if err := os.WriteFile(file, []byte(own), 0o644); err != nil {
		t.Fatal(err)
	}
	proxy := &target{process: startProcess(t, "", program, args(file)...)}
	proxy.waitListening(t, addr)
	t.Logf("\n%s", runScript(t, scriptTimeout, nodeDir, "node", "suite.js", "--binary", "kept", "--pings", "--proxy",
		"--limit", strconv.Itoa(tgt.limitBytes), "ws://"+addr+"/"))
	for i := range perIP {
		if got := handshakeFrom(t, "127.0.8.1", addr); got != http.StatusSwitchingProtocols {
			t.Fatalf("connection %d: got status %d, want 101", i, got)
		}
	}
	if got := handshakeFrom(t, "127.0.8.1", addr); got != http.StatusTooManyRequests {
		t.Errorf("one more: got status %d, want 429", got)
	}
	if got := handshakeFrom(t, "127.0.8.2", addr); got != http.StatusSwitchingProtocols {
		t.Errorf("from another address: got status %d, want 101", got)
	}
}

// handshakeFrom makes a connection from a source address, which stays open until the test
// ends, and returns the status of the answer.
func handshakeFrom(t *testing.T, source, addr string) int {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: startTimeout}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(startTimeout))
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+addr+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode
}
