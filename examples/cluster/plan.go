package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
)

// programs are paths.
type programs struct{ haproxy, nats, crier, chat string }

// build makes the programs, in dir: HAProxy is Debian's, nats-server that of the PATH, or the one that test/cluster's
// go.mod names.
func build(ctx context.Context, dir string) (bins programs, err error) {
	if bins.haproxy, err = exec.LookPath("haproxy"); err != nil {
		return bins, errors.New("haproxy is not installed\nhint: apt-get install haproxy")
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/crier-ws/crier").Output()
	if err != nil {
		return bins, fmt.Errorf("go list: %w\nhint: start this in a clone of crier", err)
	}
	root := strings.TrimSpace(string(out))
	make := func(bin *string, in, pkg string) error {
		*bin = filepath.Join(dir, filepath.Base(strings.TrimSuffix(pkg, "/v2")))
		cmd := exec.CommandContext(ctx, "go", "build", "-o", *bin, pkg)
		cmd.Dir = filepath.Join(root, in)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
		}
		return nil
	}
	if bins.nats, err = exec.LookPath("nats-server"); err != nil {
		err = make(&bins.nats, "test/cluster", "github.com/nats-io/nats-server/v2")
	}
	return bins, errors.Join(err, make(&bins.crier, ".", "./cmd/crier"), make(&bins.chat, ".", "./examples/chat"))
}

//go:embed haproxy.cfg
var haproxyConfig string

// crierAddrs is where a node listens.
type crierAddrs struct{ Name, Clients, Admin string }

// AdminPort is for the template.
func (a crierAddrs) AdminPort() string {
	_, port, _ := net.SplitHostPort(a.Admin)
	return port
}

// plan is what is to run, at free places. What they need to read is in dir.
func plan(dir string, bins programs, at addresses, free *places, flags []string) ([]*program, error) {
	all, urls, err := planNATS(dir, bins.nats, free)
	if err != nil {
		return nil, err
	}
	var addrs []crierAddrs
	for i := range nodes {
		n := crierAddrs{Name: fmt.Sprint("node", i+1)}
		if n.Clients, err = free.addr(); err != nil {
			return nil, err
		}
		if n.Admin, err = free.addr(); err != nil {
			return nil, err
		}
		addrs = append(addrs, n)
		args := []string{bins.crier, "--listen", n.Clients, "--admin", n.Admin, "--channels", "--page", "off", "--drain", "1s",
			"--trusted-proxies", "127.0.0.1/32", "--proxy-protocol",
			"--cluster", strings.Join(urls, ","), "--cluster-replicas", fmt.Sprint(natsServers), "--cluster-max-bytes", "256MiB"}
		all = append(all, &program{
			name: n.Name, args: append(args, flags...), ready: "http://" + n.Admin + "/readyz",
			about: "its own page is http://" + n.Admin + "/", waits: true,
		})
	}
	var config strings.Builder
	about := struct {
		addresses
		Nodes []crierAddrs
	}{at, addrs}
	if err := template.Must(template.New("").Parse(haproxyConfig)).Execute(&config, about); err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		return nil, err
	}
	return append(all,
		&program{name: "haproxy", args: []string{bins.haproxy, "-db", "-f", file}, ready: "http://" + at.BackEnds + "/readyz", about: "cuts all connections"},
		&program{name: "chat", args: []string{bins.chat, "-listen", at.Chat}, ready: "http://" + at.Chat + "/", about: "only the page"}), nil
}

// planNATS is a cluster of NATS, and the URLs of its servers.
func planNATS(dir, bin string, free *places) (all []*program, urls []string, err error) {
	var addrs, routes []string // Of each: for clients, for the others, for us.
	for range 3 * natsServers {
		addr, err := free.addr()
		if err != nil {
			return nil, nil, err
		}
		addrs = append(addrs, addr)
	}
	for i := range natsServers {
		urls = append(urls, "nats://"+addrs[3*i])
		routes = append(routes, "nats-route://"+addrs[3*i+1])
	}
	for i := range natsServers {
		name, own := fmt.Sprint("nats", i+1), addrs[3*i:]
		config := fmt.Sprintf("server_name: %s\nlisten: %q\nhttp: %q\nmax_payload: 2MB\njetstream { store_dir: %q, max_file_store: 1GB, max_memory_store: 64MB }\n"+
			"cluster { name: example, pool_size: -1, listen: %q, routes: [%s] }\n",
			name, own[0], own[2], filepath.Join(dir, name), own[1], strings.Join(routes, ", "))
		file := filepath.Join(dir, name+".conf")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return nil, nil, err
		}
		log := filepath.Join(dir, name+".log")
		all = append(all, &program{name: name, args: []string{bin, "-c", file}, ready: "http://" + own[2] + "/healthz", file: log, about: urls[i] + ", its log is " + log})
	}
	return all, urls, nil
}

// places are addresses that nobody else gets until they are released.
type places struct{ held []net.Listener }

// take takes an address.
func (p *places) take(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err == nil {
		p.held = append(p.held, ln)
	}
	return err
}

// addr takes an address of loopback where nobody listens, below those that Linux gives to clients: what ended is to find its
// own again.
func (p *places) addr() (addr string, err error) {
	for range 100 {
		addr = fmt.Sprint("127.0.0.1:", 20000+rand.IntN(12000))
		if err = p.take(addr); err == nil {
			return addr, nil
		}
	}
	return "", fmt.Errorf("no free port: %w", err)
}

// release lets others have them.
func (p *places) release() {
	for _, ln := range p.held {
		ln.Close()
	}
	p.held = nil
}
