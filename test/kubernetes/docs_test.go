package kubernetes

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"
)

var root = filepath.Join("..", "..")

// section is what docs/operations.md says of Kubernetes.
func section(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\n### Kubernetes\n")
	section, _, ok := strings.Cut(rest, "\n### ")
	if !ok {
		t.Fatal("docs/operations.md has no section Kubernetes")
	}
	return section
}

// match is what a pattern's group matches in a text, which it has to.
func match(t *testing.T, pattern, text string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("there is no %s", pattern)
	}
	return m[1]
}

// TestImage: the manifest gets the image that is pushed, from the command that is there, and is right with it.
func TestImage(t *testing.T) {
	s := section(t)
	pushed := match(t, `(?m)^docker push (\S+)$`, s)
	if built := match(t, `(?m)^docker build .*-t (\S+) \.$`, s); built != pushed {
		t.Errorf("%s is built, and %s pushed", built, pushed)
	}
	cmd := exec.Command("bash", "-c", "sed"+match(t, `(?m)^sed -i( .*)$`, s))
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := check(out); err != nil {
		t.Fatal(err)
	}
	m, _ := read(out)
	if got := m.deployment.Spec.Template.Spec.Containers[0].Image; got != pushed {
		t.Errorf("got image %s, want %s", got, pushed)
	}
	if got := strings.Count(string(out), pushed); got != 1 {
		t.Errorf("%d lines were changed", got)
	}
}

// TestStore: a server of NATS has room for the stream.
func TestStore(t *testing.T) {
	c, _ := container(t)
	volume := resource.MustParse(match(t, `config\.jetstream\.fileStore\.pvc\.size=(\w+)`, section(t)))
	stream := resource.MustParse(strings.TrimSuffix(flag(c, "cluster-max-bytes"), "B"))
	if stream.IsZero() || volume.Cmp(stream) <= 0 {
		t.Errorf("a volume of %v for a stream of %v", &volume, &stream)
	}
}

// TestScrape: Prometheus finds the pods, and is the job that alerts are for.
func TestScrape(t *testing.T) {
	var config struct {
		Jobs []struct {
			Name          string `json:"job_name"`
			Authorization struct {
				File string `json:"credentials_file"`
			} `json:"authorization"`
			DNS []struct {
				Names []string `json:"names"`
				Type  string   `json:"type"`
				Port  int32    `json:"port"`
			} `json:"dns_sd_configs"`
		} `json:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(match(t, "(?s)```yaml\n(.*?)```", section(t))), &config); err != nil {
		t.Fatal(err)
	}
	if len(config.Jobs) != 1 || len(config.Jobs[0].DNS) != 1 || len(config.Jobs[0].DNS[0].Names) != 1 {
		t.Fatalf("got %+v, want one job, with one name", config)
	}
	job, dns := config.Jobs[0], config.Jobs[0].DNS[0]
	if name, domain, _ := strings.Cut(dns.Names[0], "."); name != "crier-metrics" || domain != "default.svc" || dns.Type != "A" {
		t.Errorf("%s of type %s is not the service", dns.Names[0], dns.Type)
	}
	c, _ := container(t)
	if want := portOf(c, intstr.FromString("admin")); dns.Port != want { // Without an address of its own the service has no port.
		t.Errorf("got port %d, want %d", dns.Port, want)
	}
	if job.Authorization.File == "" {
		t.Error("there is no token")
	}
	alerts, err := os.ReadFile(filepath.Join(root, "deploy", "prometheus", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	of := regexp.MustCompile(`job="(.*?)"`).FindAllStringSubmatch(string(alerts), -1)
	if len(of) == 0 {
		t.Error("alerts are for no job")
	}
	for _, m := range of {
		if m[1] != job.Name {
			t.Errorf("an alert is for the job %s, and not %s", m[1], job.Name)
		}
	}
}
