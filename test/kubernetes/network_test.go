package kubernetes

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// portOf is the number that a port of a container's probe or a service's target has.
func portOf(c *corev1.Container, port intstr.IntOrString) int32 {
	for _, p := range c.Ports {
		if port.Type == intstr.String && p.Name == port.StrVal || port.Type == intstr.Int && p.ContainerPort == port.IntVal {
			return p.ContainerPort
		}
	}
	return 0
}

// checkPorts wants ports to be those that crier listens on.
func (m *manifest) checkPorts(f *faults, c *corev1.Container) {
	for _, p := range c.Ports {
		f.want(len(validation.IsValidPortName(p.Name)) == 0 && len(validation.IsValidPortNum(int(p.ContainerPort))) == 0, "%v is no port", p)
	}
	for name, flagName := range map[string]string{"clients": "listen", "admin": "admin"} {
		want := flag(c, flagName)
		got := portOf(c, intstr.FromString(name))
		f.want(want == fmt.Sprint(":", got), "port %s is %d, and --%s %s: pods are reached from elsewhere", name, got, flagName, want)
	}
	for name, target := range map[string]string{"crier": "clients", "crier-admin": "admin", "crier-metrics": "admin"} {
		s := m.services[name]
		f.want(s != nil && len(s.Spec.Ports) == 1 && s.Spec.Ports[0].TargetPort.StrVal == target && portOf(c, s.Spec.Ports[0].TargetPort) != 0,
			"service %s is not for the port %s alone", name, target)
		f.want(s == nil || s.Spec.Type == "" || name == "crier", "service %s must stay in the cluster", name)
	}
}

// checkMetrics wants Prometheus to reach each pod, also those that alerts are about, under the name of the alerts' job.
func (m *manifest) checkMetrics(f *faults) {
	s := m.services["crier-metrics"]
	f.want(s != nil && s.Spec.ClusterIP == corev1.ClusterIPNone && s.Spec.PublishNotReadyAddresses, "service crier-metrics does not have the addresses of each pod")
	f.want(s != nil && s.Labels["app.kubernetes.io/name"] == "crier", "service crier-metrics has no label for the job")
}

// checkPolicy wants clients to come from anywhere, who bears a label to the admin port, and NATS to be reached as
// before.
func (m *manifest) checkPolicy(f *faults, c *corev1.Container) {
	spec := &m.policy.Spec
	f.want(len(spec.PolicyTypes) == 1 && spec.PolicyTypes[0] == networkingv1.PolicyTypeIngress && spec.Egress == nil, "the policy is not only for who comes")
	if len(spec.Ingress) != 2 {
		f.want(false, "want two rules: for clients, and for the admin port")
		return
	}
	clients, admin := spec.Ingress[0], spec.Ingress[1]
	f.want(len(clients.From) == 0 && isFor(clients, c, "clients"), "clients do not come from anywhere, or to another port")
	ok := len(admin.From) == 1 && isFor(admin, c, "admin")
	if ok {
		from := admin.From[0]
		anywhere := from.NamespaceSelector != nil && from.NamespaceSelector.Size() == 0
		ok = anywhere && from.PodSelector != nil && len(from.PodSelector.MatchLabels) == 1 && from.PodSelector.MatchLabels["crier-admin"] == "true"
	}
	f.want(ok, "want pods with the label of any namespace to reach admin only, and nobody else")
}

// isFor reports whether a rule is for a port of the container and no other one. Plugins may not know ports by name.
func isFor(rule networkingv1.NetworkPolicyIngressRule, c *corev1.Container, name string) bool {
	if len(rule.Ports) != 1 {
		return false
	}
	p := rule.Ports[0]
	tcp := p.Protocol == nil || *p.Protocol == corev1.ProtocolTCP
	return tcp && p.EndPort == nil && p.Port != nil && p.Port.Type == intstr.Int && p.Port.IntVal == portOf(c, intstr.FromString(name))
}
