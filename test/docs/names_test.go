package docs

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/cluster"
	"github.com/crier-ws/crier/internal/doccode"
	"github.com/crier-ws/crier/internal/servertest"
	"github.com/crier-ws/crier/metrics"
)

// metric is a name of what Prometheus gets, and not the beginning of one.
var metric = regexp.MustCompile(`\b(?:crier|process|go)_[a-z_]*[a-z]\b`)

// ofCluster is what /metrics has besides in a cluster, for which there would have to be NATS.
func ofCluster(t *testing.T) string {
	t.Helper()
	srv, _ := servertest.Start(t, servertest.Loopback, broadcast.Config{})
	cfg := metrics.Config{
		Ready:      func() error { return nil },
		Stream:     func() metrics.Stream { return metrics.Stream(new(cluster.Ordered).Stats()) },
		Forwarding: func() metrics.Forwarding { return metrics.Forwarding(new(cluster.Fast).Stats()) },
		Cluster:    town{},
	}
	w := httptest.NewRecorder()
	metrics.Handler(srv, cfg).ServeHTTP(w, httptest.NewRequest("GET", "/metrics?channels=1", nil))
	return w.Body.String()
}

// TestMetricNames: what documents, alerts and the dashboard name is in /metrics.
func TestMetricNames(t *testing.T) {
	s := newSession(t, buildTools(t))
	s.serve(t, strings.Fields("go run ./cmd/crier --admin 127.0.0.1:18001 --memory 1GiB"))
	answer, err := http.Get("http://127.0.0.1:" + s.port["18001"] + "/metrics?channels=1")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	page, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool)
	for line := range strings.Lines(string(page) + ofCluster(t)) {
		there[metric.FindString(line)] = !strings.HasPrefix(line, "#") || there[metric.FindString(line)]
	}
	texts := documents(t)
	for _, pattern := range []string{"deploy/prometheus/*", "deploy/grafana/*.json"} {
		files, _ := filepath.Glob(filepath.Join(root, pattern))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			texts[file] = string(text)
		}
	}
	found := 0
	for path, text := range texts {
		for _, name := range metric.FindAllString(text, -1) {
			found++
			if !there[name] {
				t.Errorf("%s: %s is not in /metrics", path, name)
			}
		}
	}
	if found < 80 {
		t.Errorf("found %d names only", found)
	}
}

// reasonRow is one of the table of reasons.
var reasonRow = regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|")

// TestReasons: docs/operations.md says what each reason of a disconnect means, in their order.
func TestReasons(t *testing.T) {
	_, rest, _ := strings.Cut(documents(t)["docs/operations.md"], "\n## Disconnect reasons\n")
	section, _, _ := strings.Cut(rest, "\n## ")
	var got, want []string
	for _, m := range reasonRow.FindAllStringSubmatch(section, -1) {
		got = append(got, m[1])
	}
	for _, reason := range broadcast.Reasons() {
		want = append(want, reason.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got the reasons\n%q, want\n%q", got, want)
	}
}

// town is a cluster: with --cluster there are names that a server without does not have.
type town struct{}

func (town) Servers() int         { return 1 }
func (town) Connections() int     { return 0 }
func (town) Unlisted() int        { return 0 }
func (town) Elsewhere(string) int { return 0 }

// TestGuestFlags: what bench/vm/README.md says of flags is so of bench/vm/run.
func TestGuestFlags(t *testing.T) {
	help, err := exec.Command(filepath.Join(root, "bench", "vm", "run"), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, span := range doccode.Spans(documents(t)["bench/vm/README.md"]) {
		for _, word := range strings.Fields(span) {
			if strings.HasPrefix(word, "--") && !strings.Contains(string(help), "  "+word+" ") {
				t.Errorf("`%s`: there is no %s", span, word)
			}
		}
	}
}
