package clients

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// readYAML reads a file of deploy; a key that v does not have is an error.
func readYAML(t *testing.T, file string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(deploy, file))
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

const provisioning = "grafana/provisioning"

// dashboards is where Grafana is told that they are.
func dashboards(t *testing.T) string {
	t.Helper()
	var p struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Name, Type string
			Options    struct{ Path string }
		}
	}
	readYAML(t, provisioning+"/dashboards/crier.yml", &p)
	if p.APIVersion != 1 || len(p.Providers) != 1 || p.Providers[0].Type != "file" {
		t.Fatalf("got %+v", p)
	}
	return p.Providers[0].Options.Path
}

// TestGrafanaProvisioning: Grafana's source of figures is of the kind that the dashboard asks for, and
// scrapes as Prometheus is told to.
func TestGrafanaProvisioning(t *testing.T) {
	t.Parallel()
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Name, UID, Type, Access, URL string
			JSONData                     struct {
				TimeInterval string `yaml:"timeInterval"`
			} `yaml:"jsonData"`
		}
	}
	readYAML(t, provisioning+"/datasources/crier.yml", &sources)
	var scrape struct {
		Global struct {
			Scrape   string `yaml:"scrape_interval"`
			Evaluate string `yaml:"evaluation_interval"`
		}
		Rules   []string `yaml:"rule_files"`
		Scrapes []struct {
			Job    string `yaml:"job_name"`
			Static []struct{ Targets []string }
		} `yaml:"scrape_configs"`
	}
	b, err := os.ReadFile(filepath.Join(deploy, "prometheus", "prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, &scrape); err != nil {
		t.Fatal(err)
	}
	if sources.APIVersion != 1 || len(sources.Datasources) != 1 {
		t.Fatalf("got %+v", sources)
	}
	source := sources.Datasources[0]
	if source.JSONData.TimeInterval != scrape.Global.Scrape {
		t.Errorf("Grafana is told of an interval of %s, and Prometheus of %s", source.JSONData.TimeInterval, scrape.Global.Scrape)
	}
	dashboard, err := os.ReadFile(filepath.Join(deploy, "grafana", "crier.json"))
	if err != nil {
		t.Fatal(err)
	}
	// It has a variable of a kind of sources, and everything in it goes by that.
	asked := regexp.MustCompile(`"type": "datasource",\s+"query": "(\w+)"`).FindSubmatch(dashboard)
	if asked == nil || string(asked[1]) != source.Type {
		t.Errorf("the dashboard asks for a source %s, and there is one of type %s", asked, source.Type)
	}
	refers := regexp.MustCompile(`"datasource": \{\s+"type": "(\w+)",\s+"uid": "([^"]+)"`).FindAllSubmatch(dashboard, -1)
	for _, m := range refers {
		if string(m[1]) != source.Type || string(m[2]) != "${datasource}" {
			t.Errorf("the dashboard refers to %s %s", m[1], m[2])
		}
	}
	if n := strings.Count(string(dashboard), `"datasource": {`); len(refers) < 30 || len(refers) != n {
		t.Errorf("got %d references of %d", len(refers), n)
	}
	dashboards(t)
}

// TestCompose: what the containers mount is there, where Prometheus and Grafana look for it; they share
// crier's network, where the addresses in their files are right.
func TestCompose(t *testing.T) {
	t.Parallel()
	type service struct {
		Build struct{ Context, Dockerfile string }
		Image string
		Cmd   []string `yaml:"command"`
		RO    bool     `yaml:"read_only"`
		Drop  []string `yaml:"cap_drop"`
		Ports []string
		Net   string            `yaml:"network_mode"`
		Env   map[string]string `yaml:"environment"`
		Vols  []string          `yaml:"volumes"`
	}
	var compose struct {
		Name     string
		Services map[string]service
	}
	readYAML(t, "compose.yml", &compose)
	build := compose.Services["crier"].Build
	containerfile, err := os.ReadFile(filepath.Join(deploy, build.Context, build.Dockerfile))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(containerfile), "\nENV CRIER_ADMIN=127.0.0.1:18001\n") {
		t.Error("the image's --admin is not where Prometheus looks for it")
	}
	mounted := make(map[string]string)
	for name, s := range compose.Services {
		if name != "crier" && s.Net != "service:crier" {
			t.Errorf("%s is in the network %q", name, s.Net)
		}
		for _, volume := range s.Vols {
			from, rest, _ := strings.Cut(volume, ":")
			to, mode, _ := strings.Cut(rest, ":")
			if _, err := os.Stat(filepath.Join(deploy, from)); err != nil || mode != "ro" {
				t.Errorf("%s: %s: %v", name, volume, err)
			}
			mounted[to] = from
		}
	}
	for to, from := range map[string]string{
		"/etc/prometheus":             "./prometheus",
		"/etc/grafana/provisioning":   "./" + provisioning,
		dashboards(t) + "/crier.json": "./grafana/crier.json",
	} {
		if mounted[to] != from {
			t.Errorf("%s is %q, want %q", to, mounted[to], from)
		}
	}
	if len(compose.Services) != 3 || len(mounted) != 3 {
		t.Errorf("got %+v", compose)
	}
}
