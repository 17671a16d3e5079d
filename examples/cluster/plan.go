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

// programs are the paths of the programs.
type programs struct{ haproxy, nats, crier, chat string }

// build finds HAProxy and nats-server in the PATH, and builds the others in dir. It builds nats-server as well if it is
// not in the PATH, with the version in go.mod of test/cluster.
func build(ctx context.Context, dir string) (bins programs, err error) {
	if bins.haproxy, err = exec.LookPath("haproxy"); err != nil {
		return bins, errors.New("haproxy is not installed\nhint: apt-get install haproxy")
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/crier-ws/crier").Output()
	if err != nil {
		return bins, fmt.Errorf("go list: %w\nhint: run it inside a clone of crier", err)
	}
	root := strings.TrimSpace(string(out))
	goBuild := func(bin *string, in, pkg string) error {
		*bin = filepath.Join(dir, filepath.Base(strings.TrimSuffix(pkg, "/v2")))
		cmd := exec.CommandContext(ctx, "go", "build", "-o", *bin, pkg)
		cmd.Dir = filepath.Join(root, in)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
		}
		return nil
	}
	if bins.nats, err = exec.LookPath("nats-server"); err != nil {
		err = goBuild(&bins.nats, "test/cluster", "github.com/nats-io/nats-server/v2")
	}
	return bins, errors.Join(err, goBuild(&bins.crier, ".", "./cmd/crier"), goBuild(&bins.chat, ".", "./examples/chat"))
}

//go:embed haproxy.cfg
var haproxyConfig string

// crierAddrs are the addresses of a node.
type crierAddrs struct{ Name, Clients, Admin string }

// AdminPort returns the port of Admin. haproxy.cfg uses it.
func (a crierAddrs) AdminPort() string {
	_, port, _ := net.SplitHostPort(a.Admin)
	return port
}

// plan returns the programs to run, at free addresses that it reserves. Their configuration files are in dir.
func plan(dir string, bins programs, at addresses, free *reserved, flags []string) ([]*program, error) {
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
		args := []string{
			bins.crier, "--listen", n.Clients, "--admin", n.Admin, "--channels", "--page", "off", "--drain", "1s",
			"--trusted-proxies", "127.0.0.1/32", "--proxy-protocol",
			"--cluster", strings.Join(urls, ","), "--cluster-replicas", fmt.Sprint(natsServers), "--cluster-max-bytes", "256MiB",
		}
		all = append(all, &program{
			name: n.Name, args: append(args, flags...), ready: "http://" + n.Admin + "/readyz",
			about: "its live page is http://" + n.Admin + "/", mayRetry: true,
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
		&program{
			name: "haproxy", args: []string{bins.haproxy, "-db", "-f", file},
			ready: "http://" + at.BackEnds + "/readyz", about: "breaks all connections",
		},
		&program{
			name: "chat", args: []string{bins.chat, "-listen", at.Chat},
			ready: "http://" + at.Chat + "/", about: "the page only",
		}), nil
}

// planNATS returns the servers of a NATS cluster, and their URLs.
func planNATS(dir, bin string, free *reserved) (all []*program, urls []string, err error) {
	var addrs, routes []string // Three addresses for each server: for clients, for other servers, for monitoring.
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
		config := fmt.Sprintf("server_name: %s\nlisten: %q\nhttp: %q\nmax_payload: 2MB\n"+
			"jetstream { store_dir: %q, max_file_store: 1GB, max_memory_store: 64MB }\n"+
			"cluster { name: example, pool_size: -1, listen: %q, routes: [%s] }\n",
			name, own[0], own[2], filepath.Join(dir, name), own[1], strings.Join(routes, ", "))
		file := filepath.Join(dir, name+".conf")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			return nil, nil, err
		}
		log := filepath.Join(dir, name+".log")
		all = append(all, &program{
			name: name, args: []string{bin, "-c", file},
			ready: "http://" + own[2] + "/healthz", file: log, about: urls[i] + ", its log is " + log,
		})
	}
	return all, urls, nil
}

// reserved are addresses that no other program can listen on until they are released.
type reserved struct{ listeners []net.Listener }

// reserve reserves an address.
func (r *reserved) reserve(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err == nil {
		r.listeners = append(r.listeners, ln)
	}
	return err
}

// addr reserves a free address of loopback. Its port is below those that Linux gives to clients, so that a program
// which is started again finds its address free.
func (r *reserved) addr() (addr string, err error) {
	for range 100 {
		addr = fmt.Sprint("127.0.0.1:", 20000+rand.IntN(12000))
		if err = r.reserve(addr); err == nil {
			return addr, nil
		}
	}
	return "", fmt.Errorf("no free port: %w", err)
}

// release makes the addresses available to other programs.
func (r *reserved) release() {
	for _, ln := range r.listeners {
		ln.Close()
	}
	r.listeners = nil
}
