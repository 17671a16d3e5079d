package clients

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
)

// TestHAProxyQuiet: HAProxy, with the files of examples/, does not end events in which there is nothing but
// heartbeats. All times are a tenth of what they are there, and of crier's default.
func TestHAProxyQuiet(t *testing.T) {
	needCrier(t)
	needTools(t, "haproxy")
	for _, name := range []string{"haproxy.cfg", "cluster/haproxy.cfg"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			admin, addr := freeAddr(t), freeAddr(t)
			_, port, err := net.SplitHostPort(admin)
			if err != nil {
				t.Fatal(err)
			}
			tgt := startCrier(t, "--admin", admin, "--trusted-proxies", "127.0.0.1/32", "--proxy-protocol", "--ping-interval", "3s")
			node := strings.TrimSuffix(strings.TrimPrefix(tgt.url, "ws://"), "/")
			text, err := os.ReadFile(filepath.Join("..", "..", "examples", filepath.FromSlash(name)))
			if err != nil {
				t.Fatal(err)
			}
			own := strings.NewReplacer(" 30s", " 3s", " 90s", " 9s", "127.0.0.1:18000 ", node+" ", "bind :8080", "bind "+addr).Replace(string(text))
			var config bytes.Buffer
			type server struct{ Name, Clients, Admin, AdminPort string }
			about := map[string]any{"Clients": addr, "BackEnds": freeAddr(t), "Nodes": []server{{"node1", node, admin, port}}}
			if err := template.Must(template.New("").Parse(own)).Execute(&config, about); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "haproxy.cfg")
			if err := os.WriteFile(file, config.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			proxy := &target{process: startProcess(t, "", "haproxy", "-db", "-f", file)}
			proxy.waitListening(t, addr)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Accept", "text/event-stream")
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			lines, beats := bufio.NewScanner(answer.Body), 0
			for beats < 4 && lines.Scan() {
				if lines.Text() == ":" {
					beats++
				}
			}
			if beats < 4 {
				t.Errorf("the events ended after %d heartbeats: %s, %v", beats, answer.Status, lines.Err())
			}
		})
	}
}
