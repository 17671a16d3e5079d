package clients

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

var deploy = filepath.Join("..", "..", "deploy")

// quick are the alert rules with which nothing takes minutes.
func quick(t *testing.T) string {
	t.Helper()
	rules, err := os.ReadFile(filepath.Join(deploy, "prometheus", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`for: \d+m`).ReplaceAllString(string(rules), "for: 1s")
	return regexp.MustCompile(`\[\d+m\]`).ReplaceAllString(text, "[10s]")
}

// prometheus is a real one that scrapes.
type prometheus struct {
	*process
	api *jsServer // For its call.
}

// startPrometheus starts one with deploy/prometheus/prometheus.yml, but for the target and the intervals.
func startPrometheus(t *testing.T, targets ...string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	shipped, err := os.ReadFile(filepath.Join(deploy, "prometheus", "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer("'127.0.0.1:18001'", strings.Join(targets, ", "), "15s", "1s").Replace(string(shipped))
	if !strings.Contains(config, targets[0]) {
		t.Fatal("the target in prometheus.yml is not where it was")
	}
	for name, text := range map[string]string{"prometheus.yml": config, "alerts.yml": quick(t)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	addr := freeAddr(t)
	p := startProcess(t, dir, "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address="+addr)
	(&target{process: p}).waitListening(t, addr)
	return &prometheus{p, &jsServer{admin: addr}}
}

// query returns how many series a query has now.
func (p *prometheus) query(query string) (n int, err error) {
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	err = p.api.call("GET", "/api/v1/query?query="+url.QueryEscape(query), "", "", &answer)
	if err == nil && answer.Status != "success" {
		err = &finalError{errors.New(answer.Error)}
	}
	return len(answer.Data.Result), err
}

// await waits until a query has data.
func (p *prometheus) await(t *testing.T, what, query string) {
	t.Helper()
	err := poll(fleetTimeout, func() error {
		n, err := p.query(query)
		if err == nil && n == 0 {
			err = errors.New("no data")
		}
		return err
	})
	if err != nil {
		var now json.RawMessage
		p.api.call("GET", "/api/v1/query?query=ALERTS", "", "", &now)
		t.Errorf("%s: %s: %v; alerts: %s", what, query, err, now)
	}
}

func (p *prometheus) awaitAlert(t *testing.T, name string) {
	t.Helper()
	p.await(t, name, fmt.Sprintf(`ALERTS{alertname=%q, alertstate="firing"}`, name))
}

// dashboardQueries are the queries of the dashboard, by their panels: those that ask for what only servers of a
// cluster have, or the others.
func dashboardQueries(t *testing.T, cluster bool) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(deploy, "grafana", "crier.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Annotations struct{ List []struct{ Name, Expr string } }
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	queries := make(map[string]string)
	for _, panel := range dashboard.Panels {
		for i, target := range panel.Targets {
			queries[fmt.Sprint(panel.Title, " ", i)] = target.Expr
		}
	}
	for _, a := range dashboard.Annotations.List {
		queries["annotation "+a.Name] = a.Expr
	}
	if len(queries) < 30 {
		t.Fatalf("got %d queries", len(queries))
	}
	for name, query := range queries {
		if strings.Contains(query, "crier_cluster_") != cluster {
			delete(queries, name)
			continue
		}
		queries[name] = strings.NewReplacer("$__rate_interval", "10s", "$job", ".*", "$instance", ".*").Replace(query)
	}
	return queries
}

// TestPrometheus: a real Prometheus gets all that the dashboard shows from a crier under load, no alert
// fires as long as all is well, and they do when it is not.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	needCrier(t)
	needTools(t, "prometheus", "promtool")
	well := startJSServer(t, "--memory=1GiB", "--slow=skip")
	// 2,720 connections are more than nine tenths of the files that this one may open, and nearly all that it accepts:
	// it reserves 270 files for other purposes.
	full := &jsServer{addr: freeAddr(t), admin: freeAddr(t)}
	full.target = &target{process: startProcess(t, "", "sh", "-c", `ulimit -n 3000 && exec "$@"`, "sh", crierBin, "--listen", full.addr, "--admin", full.admin)}
	full.waitListening(t, full.admin)
	p := startPrometheus(t, well.admin, full.admin)
	load := func(s *jsServer, args ...string) *process {
		return startProcess(t, "", crierBin, append([]string{"load", "--duration=3m", "--rate=20", s.url("")}, args...)...)
	}
	running := load(well, "--conns=50", "--churn=5", "--senders=5")
	for name, query := range dashboardQueries(t, false) {
		if !strings.HasPrefix(name, "annotation") {
			p.await(t, name, query)
		} else if err := poll(fleetTimeout, func() error { _, err := p.query(query); return err }); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// With their minutes made seconds one of them may fire where the machine itself stands still, and ends.
	p.await(t, "no alert while all is well", `absent(ALERTS{alertstate="firing"})`)
	crowd := load(full, "--conns=2720")
	p.awaitAlert(t, "CrierFilesNearlyUsedUp")
	refused := load(full, "--conns=50") // It cannot have them.
	p.awaitAlert(t, "CrierRefusesConnections")
	for _, l := range []*process{running, crowd, refused} {
		l.stop()
	}
	full.signal(t, syscall.SIGSTOP) // It hangs.
	p.awaitAlert(t, "CrierDown")
	full.signal(t, syscall.SIGCONT)
}

// TestClusterAlerts: Prometheus gets all that the dashboard shows of a cluster, no alert fires while that is well,
// they do while NATS has no majority, and not any more when it has.
func TestClusterAlerts(t *testing.T) {
	t.Parallel()
	needTools(t, "prometheus")
	w := startTown(t, nil)
	w.await(t)
	var targets []string
	for _, url := range w.admins() {
		targets = append(targets, strings.TrimPrefix(url, "http://"))
	}
	p := startPrometheus(t, targets...)
	stop := make(chan struct{})
	var publishing sync.WaitGroup
	publishing.Go(func() { // Ends with stop.
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(every):
				w.publish("news", fmt.Sprint(i), "news")
			}
		}
	})
	defer func() {
		close(stop)
		publishing.Wait()
	}()
	for name, query := range dashboardQueries(t, true) {
		p.await(t, name, query)
	}
	p.await(t, "a second with all servers", "count(crier_cluster_nodes == 3) == 3")
	const firing = `ALERTS{alertname=~"CrierCluster.*", alertstate="firing"}`
	p.await(t, "no alert while all is well", "absent("+firing+")")
	signal := func(sig syscall.Signal) {
		for _, name := range []string{"nats1", "nats2"} {
			pids := w.pids()[name]
			if err := syscall.Kill(pids[len(pids)-1], sig); err != nil {
				t.Fatal(err)
			}
		}
	}
	signal(syscall.SIGSTOP)
	p.awaitAlert(t, "CrierClusterNotReady")
	p.awaitAlert(t, "CrierClusterPublishersWait")
	signal(syscall.SIGCONT)
	p.await(t, "that all is well again", "absent("+firing+")")
}

// TestStalledAlert checks that an alert fires while one of several shards is stopped, and ends when the shard
// continues.
func TestStalledAlert(t *testing.T) {
	t.Parallel()
	needCrier(t)
	needTools(t, "prometheus")
	bin := filepath.Join(t.TempDir(), "stall")
	if out, err := exec.Command("go", "build", "-C", filepath.Join("..", ".."), "-o", bin, "./test/stall").CombinedOutput(); err != nil {
		t.Fatalf("building the server that stalls: %v\n%s", err, out)
	}
	addr, admin := freeAddr(t), freeAddr(t)
	s := &target{process: startProcess(t, "", bin, addr, admin)}
	s.waitListening(t, admin)
	s.waitListening(t, addr)
	p := startPrometheus(t, admin)
	p.await(t, "the lag", "crier_shard_lag_seconds < 10")
	post := func(path string) {
		t.Helper()
		resp, err := http.Post("http://"+admin+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	post("/stall")
	conn, _, _, err := ws.Dial(t.Context(), "ws://"+addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	p.awaitAlert(t, "CrierStalled")
	post("/go-on")
	p.await(t, "that all is well again", `absent(ALERTS{alertname="CrierStalled"})`)
}

// TestAlertRules: the configuration, and the rules, minute by minute.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	needTools(t, "promtool")
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = filepath.Join(deploy, "prometheus")
		if err := runTool(cmd, scriptTimeout); err != nil {
			t.Error(err)
		}
	}
}
