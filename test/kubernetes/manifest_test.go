package kubernetes

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/yaml"
)

var manifestFile = filepath.Join("..", "..", "deploy", "kubernetes", "crier.yaml")

// manifest is what a manifest has, by names.
type manifest struct {
	deployment *appsv1.Deployment
	budget     *policyv1.PodDisruptionBudget
	policy     *networkingv1.NetworkPolicy
	services   map[string]*corev1.Service
}

// read reads a manifest strictly: what Kubernetes has no field for, or is there twice, is an error.
func read(text []byte) (m manifest, err error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return m, err
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	m.services = make(map[string]*corev1.Service)
	for documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return m, err
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			return m, err
		}
		switch o := object.(type) {
		case *appsv1.Deployment:
			m.deployment = o
		case *policyv1.PodDisruptionBudget:
			m.budget = o
		case *networkingv1.NetworkPolicy:
			m.policy = o
		case *corev1.Service:
			m.services[o.Name] = o
		default:
			return m, fmt.Errorf("the test does not know a %T", o)
		}
	}
	if m.deployment == nil || m.budget == nil || m.policy == nil || len(m.services) != 3 {
		return m, errors.New("want a Deployment, a PodDisruptionBudget, a NetworkPolicy and three Services")
	}
	return m, nil
}

// faults is what does not fit in a manifest.
type faults []error

func (f *faults) want(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

// check finds what is wrong in a manifest.
func check(text []byte) error {
	m, err := read(text)
	if err != nil {
		return err
	}
	var f faults
	pod := &m.deployment.Spec.Template
	f.want(len(pod.Spec.Containers) == 1, "want one container")
	m.checkNames(&f)
	m.checkSelectors(&f)
	m.checkPorts(&f, &pod.Spec.Containers[0])
	m.checkMetrics(&f)
	m.checkPolicy(&f, &pod.Spec.Containers[0])
	m.checkProbes(&f, &pod.Spec.Containers[0])
	m.checkRollout(&f)
	m.checkGrace(&f)
	checkConfinement(&f, &pod.Spec)
	checkSecrets(&f, &pod.Spec)
	return errors.Join(f...)
}

func (m *manifest) checkNames(f *faults) {
	objects := []metav1.Object{m.deployment, m.budget, m.policy}
	for _, s := range m.services {
		objects = append(objects, s)
	}
	for _, o := range objects {
		f.want(len(validation.IsDNS1035Label(o.GetName())) == 0, "%q is no name", o.GetName())
		f.want(o.GetNamespace() == "", "%s: the namespace is for who applies it", o.GetName())
	}
}

// checkSelectors wants all that selects to select the pods.
func (m *manifest) checkSelectors(f *faults) {
	of := labels.Set(m.deployment.Spec.Template.Labels)
	for key, value := range of {
		f.want(len(validation.IsQualifiedName(key)) == 0 && len(validation.IsValidLabelValue(value)) == 0, "%s: %s is no label", key, value)
	}
	selects := func(what string, s *metav1.LabelSelector) {
		selector, err := metav1.LabelSelectorAsSelector(s)
		f.want(err == nil && !selector.Empty() && selector.Matches(of), "%s does not select the pods: %v, %v", what, selector, err)
	}
	selects("the deployment", m.deployment.Spec.Selector)
	selects("the budget", m.budget.Spec.Selector)
	selects("the policy", &m.policy.Spec.PodSelector)
	spread := m.deployment.Spec.Template.Spec.TopologySpreadConstraints
	f.want(len(spread) > 0 && spread[0].TopologyKey == corev1.LabelHostname, "the pods are not spread over machines")
	for _, c := range spread {
		selects("the spread by "+c.TopologyKey, c.LabelSelector)
		known := c.WhenUnsatisfiable == corev1.DoNotSchedule || c.WhenUnsatisfiable == corev1.ScheduleAnyway
		f.want(c.MaxSkew > 0 && known, "the spread by %s has no skew, or is else %q", c.TopologyKey, c.WhenUnsatisfiable)
	}
	for name, s := range m.services {
		f.want(len(s.Spec.Selector) > 0 && labels.SelectorFromSet(s.Spec.Selector).Matches(of), "service %s does not select the pods", name)
	}
}

// flag is the value of a flag, as --name=value.
func flag(c *corev1.Container, name string) string {
	for _, arg := range c.Args {
		if value, ok := strings.CutPrefix(arg, "--"+name+"="); ok {
			return value
		}
	}
	return ""
}

// checkProbes wants probes to ask the admin port what is for them.
func (m *manifest) checkProbes(f *faults, c *corev1.Container) {
	for name, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
		if p == nil || p.HTTPGet == nil {
			f.want(false, "%s: there is no probe by HTTP", name)
			continue
		}
		want := map[bool]string{true: "/readyz", false: "/livez"}[name == "readiness"]
		f.want(p.HTTPGet.Path == want, "%s asks %s, want %s", name, p.HTTPGet.Path, want)
		f.want(portOf(c, p.HTTPGet.Port) == portOf(c, intstr.FromString("admin")), "%s asks port %v", name, &p.HTTPGet.Port)
		f.want(p.PeriodSeconds > 0 && p.TimeoutSeconds > 0 && p.FailureThreshold > 0, "%s has no period, timeout or threshold", name)
		f.want(want == "/readyz" || p.TimeoutSeconds > 5, "%s gives up before crier's 5 s", name)
	}
	if p := c.StartupProbe; p != nil {
		f.want(p.PeriodSeconds*p.FailureThreshold > 60, "startup gives crier less than its minute for the history")
	}
}

// checkRollout wants one node at a time to go.
func (m *manifest) checkRollout(f *faults) {
	spec := &m.deployment.Spec
	f.want(spec.Replicas != nil && *spec.Replicas >= 3, "want three nodes")
	r := spec.Strategy.RollingUpdate
	f.want(spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType && r != nil && r.MaxUnavailable != nil && r.MaxUnavailable.IntValue() == 0 && r.MaxSurge != nil && r.MaxSurge.IntValue() == 1,
		"want a new one to be there before an old one goes")
	b := &m.budget.Spec
	f.want(b.MinAvailable == nil && b.MaxUnavailable != nil && b.MaxUnavailable.IntValue() == 1, "want a budget of one node, whatever replicas are")
	f.want(b.UnhealthyPodEvictionPolicy != nil && *b.UnhealthyPodEvictionPolicy == policyv1.AlwaysAllow, "without NATS the budget lets no machine be emptied")
}

// Seconds that crier takes beside --drain: see docs/operations.md. What NATS takes comes on top.
const (
	closing = 4 * time.Second
	leaving = 2 * time.Second
)

// checkGrace wants the time until SIGKILL to be enough for a drain.
func (m *manifest) checkGrace(f *faults) {
	pod := &m.deployment.Spec.Template.Spec
	c := &pod.Containers[0]
	drain, err := time.ParseDuration(flag(c, "drain"))
	f.want(err == nil, "--drain: %v", err)
	answer, err := time.ParseDuration(flag(c, "cluster-timeout"))
	f.want(err == nil, "--cluster-timeout: %v", err)
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil || pod.TerminationGracePeriodSeconds == nil {
		f.want(false, "want a preStop that sleeps (the image has no shell), and a grace period")
		return
	}
	sleep := time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
	f.want(sleep > 2*time.Second, "preStop is %v: proxies have to learn of it first", sleep)
	grace, need := time.Duration(*pod.TerminationGracePeriodSeconds)*time.Second, sleep+drain+closing+leaving+answer
	f.want(grace > need, "the grace period is %v, and it may take %v", grace, need)
	ready := time.Duration(c.ReadinessProbe.PeriodSeconds) * time.Second
	f.want(time.Duration(m.deployment.Spec.MinReadySeconds)*time.Second > ready, "the next one goes before this one was asked twice")
}

// checkConfinement wants what deploy/container promises, by force.
func checkConfinement(f *faults, pod *corev1.PodSpec) {
	is := func(b *bool, want bool) bool { return b != nil && *b == want }
	p, c := pod.SecurityContext, pod.Containers[0].SecurityContext
	if p == nil || c == nil {
		f.want(false, "want a securityContext of the pod and of the container")
		return
	}
	f.want(is(p.RunAsNonRoot, true) && p.RunAsUser != nil && *p.RunAsUser == 65532 && p.RunAsGroup != nil && *p.RunAsGroup == 65532, "want it to be 65532, as in the image")
	f.want(p.SeccompProfile != nil && p.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault, "want the runtime's seccomp profile")
	f.want(is(c.ReadOnlyRootFilesystem, true), "want a root that is read-only")
	f.want(is(c.AllowPrivilegeEscalation, false), "want no privileges to be had")
	f.want(c.Capabilities != nil && len(c.Capabilities.Add) == 0 && len(c.Capabilities.Drop) == 1 && c.Capabilities.Drop[0] == "ALL", "want no capability")
	f.want(is(pod.AutomountServiceAccountToken, false), "want no token for Kubernetes itself")
	f.want(is(pod.EnableServiceLinks, false), "want no variables of services: they look like crier's own")
	f.want(!pod.HostNetwork && !pod.HostPID && !pod.HostIPC, "want nothing of the host")
	r := pod.Containers[0].Resources
	f.want(!r.Requests.Cpu().IsZero() && !r.Requests.Memory().IsZero() && !r.Limits.Memory().IsZero(), "want requests, and a limit of memory")
	f.want(r.Limits.Cpu().IsZero(), "a limit of processors stops crier in the middle of a pass")
	f.want(r.Requests.Memory().Cmp(*r.Limits.Memory()) == 0, "want the memory that it may have to be there")
}

// checkSecrets wants files that flags name to be mounted, read-only and for the user that it is.
func checkSecrets(f *faults, pod *corev1.PodSpec) {
	c := &pod.Containers[0]
	f.want(flag(c, "admin-token-file") != "", "there is no --admin-token-file")
	for _, name := range []string{"admin-token-file", "cluster-credentials", "cluster-ca"} {
		file := flag(c, name)
		if file == "" {
			continue
		}
		secret := secretWith(pod, file)
		if secret == nil {
			f.want(false, "--%s is %q, and that is no secret's", name, file)
			continue
		}
		mode := int32(0o644)
		if secret.DefaultMode != nil {
			mode = *secret.DefaultMode
		}
		group := pod.SecurityContext != nil && pod.SecurityContext.FSGroup != nil && mode&0o040 != 0
		f.want(mode&0o004 != 0 || group, "%s: crier cannot read it with mode %o", secret.SecretName, mode)
	}
}

// secretWith is the secret that a file of the container comes from, or nil.
func secretWith(pod *corev1.PodSpec, file string) *corev1.SecretVolumeSource {
	for _, mount := range pod.Containers[0].VolumeMounts {
		for _, v := range pod.Volumes {
			if v.Name != mount.Name || v.Secret == nil || !mount.ReadOnly {
				continue
			}
			has := len(v.Secret.Items) == 0 && filepath.Dir(file) == mount.MountPath // By its key.
			for _, item := range v.Secret.Items {
				has = has || filepath.Join(mount.MountPath, item.Path) == file
			}
			if has {
				return v.Secret
			}
		}
	}
	return nil
}

// TestManifest: the manifest is right.
func TestManifest(t *testing.T) {
	if err := check(text(t)); err != nil {
		t.Error(err)
	}
}

func text(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(manifestFile)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFaults: what may be wrong in a manifest is found.
func TestFaults(t *testing.T) {
	for name, tt := range map[string]struct{ from, to, want string }{
		"a field that there is not": {"replicas: 3", "replica: 3", `unknown field "spec.replica"`},
		"a field twice":             {"replicas: 3", "replicas: 3\n  replicas: 3", "already"},
		"another type":              {"replicas: 3", "replicas: three", "cannot unmarshal"},
		"another version":           {"policy/v1", "policy/v1beta1", "no kind"},
		"no budget":                 {"kind: PodDisruptionBudget", "kind: Eviction", "unknown field"},
		"another label":             {"      labels:\n        app.kubernetes.io/name: crier", "      labels:\n        app.kubernetes.io/name: cryer", "does not select"},
		"a budget for others":       {"AlwaysAllow\n  selector:\n    matchLabels:\n      app.kubernetes.io/name: crier", "AlwaysAllow\n  selector:\n    matchLabels:\n      app: crier", "the budget does not"},
		"a budget that blocks":      {"AlwaysAllow", "IfHealthyBudget", "no machine be emptied"},
		"a budget of none":          {"maxUnavailable: 1", "maxUnavailable: 0", "budget of one"},
		"another strategy":          {"type: RollingUpdate", "type: Rolling", "before an old one"},
		"another spread":            {"whenUnsatisfiable: ScheduleAnyway", "whenUnsatisfiable: Never", "is else"},
		"all at once":               {"maxUnavailable: 0", "maxUnavailable: 3", "before an old one"},
		"a probe of clients":        {"path: /readyz\n              port: admin", "path: /readyz\n              port: clients", "readiness asks port"},
		"a probe of nothing":        {"path: /livez", "path: /healthz", "asks /healthz"},
		"a probe that is hasty":     {"timeoutSeconds: 6 #", "timeoutSeconds: 1 #", "gives up before"},
		"a short start":             {"failureThreshold: 60", "failureThreshold: 3", "minute"},
		"a port that is not there":  {"targetPort: admin", "targetPort: back", "crier-admin"},
		"another port":              {"containerPort: 18001", "containerPort: 18002", "port admin is 18002"},
		"loopback":                  {"--admin=:18001", "--admin=127.0.0.1:18001", "reached from elsewhere"},
		"a long drain":              {"--drain=20s", "--drain=60s", "it may take"},
		"a shell":                   {"sleep:\n                seconds: 5", "exec:\n                command: [sleep, '5']", "no shell"},
		"root":                      {"runAsUser: 65532", "runAsUser: 0", "65532"},
		"a root that is written to": {"readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "read-only"},
		"a capability":              {"drop: [ALL]", "drop: [ALL]\n              add: [NET_ADMIN]", "no capability"},
		"variables of services":     {"enableServiceLinks: false", "enableServiceLinks: true", "variables"},
		"a token elsewhere":         {"path: admin-token", "path: token", "no secret's"},
		"a token for root":          {"fsGroup: 65532", "fsGroupChangePolicy: Always", "cannot read"},
		"a public back end":         {"targetPort: admin", "targetPort: admin\n  type: LoadBalancer", "must stay"},
		"metrics of any one":        {"clusterIP: None", "type: ClusterIP", "each pod"},
		"metrics of the ready":      {"publishNotReadyAddresses: true", "publishNotReadyAddresses: false", "each pod"},
		"metrics of another job":    {"crier # A ServiceMonitor", "cryer # A ServiceMonitor", "no label for the job"},
		"metrics of others":         {"publishNotReadyAddresses: true\n  selector:\n    app.kubernetes.io/name: crier", "publishNotReadyAddresses: true\n  selector:\n    app: crier", "crier-metrics does not select"},
		"metrics of another port":   {"name: admin\n      port: 18001\n      targetPort: admin\n---\n# Clients", "name: admin\n      port: 18000\n      targetPort: clients\n---\n# Clients", "crier-metrics is not for"},
		"a policy for others":       {"podSelector:\n    matchLabels:\n      app.kubernetes.io/name: crier", "podSelector:\n    matchLabels:\n      app: crier", "the policy does not"},
		"a policy for NATS, too":    {"policyTypes: [Ingress]", "policyTypes: [Ingress, Egress]", "who comes"},
		"a policy of another port":  {"- port: 18001", "- port: 18002", "admin only"},
		"a policy of one namespace": {"- namespaceSelector: {}\n          podSelector", "- podSelector", "admin only"},
		"a policy that lets in all": {"            matchLabels:\n              crier-admin: \"true\"\n", "            matchLabels: {}\n", "admin only"},
		"a policy of two peers":     {"namespaceSelector: {}\n          podSelector", "namespaceSelector: {}\n        - podSelector", "admin only"},
		"a policy without clients":  {"    - ports:\n        - port: 18000\n", "", "want two rules"},
		"a policy for some clients": {"    - ports:\n        - port: 18000", "    - from:\n        - podSelector: {}\n      ports:\n        - port: 18000", "from anywhere"},
	} {
		t.Run(name, func(t *testing.T) {
			whole := string(text(t))
			if !strings.Contains(whole, tt.from) {
				t.Fatalf("%q is not in it", tt.from)
			}
			err := check([]byte(strings.Replace(whole, tt.from, tt.to, 1)))
			if tt.want == "" {
				if err != nil {
					t.Errorf("got %v, want nothing: it is right", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
