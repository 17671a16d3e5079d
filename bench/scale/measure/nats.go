package measure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/crier-ws/crier/internal/procfs"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// stream is the stream that is measured, and subject that of a crier with one channel.
const stream, subject = "CRIER", "CRIER.="

// patience is how long anything may take before it is given up.
const patience = 30 * time.Second

// process is a program that was started.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // Closed when it has.
}

func start(args ...string) (*process, error) {
	p := &process{cmd: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // Ends with the program, which stop kills; stop waits for it.
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// used is what processes have used up to a moment.
type used struct {
	cpu  time.Duration
	read int64 // Bytes, of sockets and files.
}

// usedBy is what they have used together, and the CPU of each.
func usedBy(processes ...*process) (u used, each []time.Duration, err error) {
	for _, p := range processes {
		cpu, err := procfs.CPU(p.pid())
		if err != nil {
			return u, nil, err
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.pid()))
		if err != nil {
			return u, nil, err
		}
		read, err := procfs.NumberAfter(text, "rchar")
		if err != nil {
			return u, nil, err
		}
		u.cpu += cpu
		each = append(each, cpu)
		u.read += read
	}
	return u, each, nil
}

// natsServers is a cluster of NATS.
type natsServers struct {
	dir       string
	processes []*process
	urls      []string
}

// startNATS starts n servers with JetStream. Their files lie in the memory of the machine if it has a place for such.
func startNATS(bin string, n int) (*natsServers, error) {
	dir, err := os.MkdirTemp(shm(), "crier-scale")
	if err != nil {
		return nil, err
	}
	s := &natsServers{dir: dir}
	addrs, err := freeAddrs(2 * n)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	var routes []string
	for _, addr := range addrs[n:] {
		routes = append(routes, "nats-route://"+addr)
	}
	for i, addr := range addrs[:n] {
		config := fmt.Sprintf("server_name: n%d\nlisten: %q\njetstream { store_dir: %q, max_file_store: 1GB, max_memory_store: 64MB }\n",
			i, addr, filepath.Join(dir, fmt.Sprint(i)))
		if n > 1 {
			config += fmt.Sprintf("cluster { name: town, listen: %q, routes: [%s] }\n", addrs[n+i], strings.Join(routes, ", "))
		}
		file := filepath.Join(dir, fmt.Sprint("nats", i))
		p := (*process)(nil)
		if err = os.WriteFile(file, []byte(config), 0o600); err == nil {
			p, err = start(bin, "-c", file)
		}
		if err != nil {
			s.stop()
			return nil, err
		}
		s.processes, s.urls = append(s.processes, p), append(s.urls, "nats://"+addr)
	}
	return s, nil
}

func (s *natsServers) stop() {
	for _, p := range s.processes {
		p.stop()
	}
	os.RemoveAll(s.dir)
}

func shm() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// freeAddrs are addresses of loopback that nobody listens on.
func freeAddrs(n int) (addrs []string, err error) {
	for range n {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		addrs = append(addrs, ln.Addr().String())
	}
	return addrs, nil
}

// counted is a connection to NATS that counts its bytes.
type counted struct {
	net.Conn
	read, written *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// client is a connection to a server of NATS.
type client struct {
	nc            *nats.Conn
	js            jetstream.JetStream
	read, written atomic.Int64
}

// Dial is nats.CustomDialer's.
func (c *client) Dial(network, address string) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return nil, err
	}
	return counted{conn, &c.read, &c.written}, nil
}

func connect(ctx context.Context, url string) (*client, error) {
	c := &client{}
	err := eventually(ctx, func() (err error) {
		c.nc, err = nats.Connect(url, nats.SetCustomDialer(c), nats.IgnoreDiscoveredServers())
		return err
	})
	if err != nil {
		return nil, err
	}
	c.js, err = jetstream.New(c.nc, jetstream.WithPublishAsyncMaxPending(inFlight),
		jetstream.WithPublishAsyncTimeout(patience), jetstream.WithDefaultTimeout(2*time.Second))
	return c, err
}

// inFlight is what a crier has on its way to NATS at the most.
const inFlight = 1024

// eventually does something until there is no error.
func eventually(ctx context.Context, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("measure: gave up waiting: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// unmakeStream removes what an earlier load has left.
func unmakeStream(ctx context.Context, c *client) error {
	return eventually(ctx, func() error {
		err := c.js.DeleteStream(ctx, stream)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil
		}
		return err
	})
}

// makeStream makes the stream, as crier does, and returns where its leader is.
func (s *natsServers) makeStream(ctx context.Context, c *client) (leader string, err error) {
	err = eventually(ctx, func() error {
		made, err := c.js.CreateStream(ctx, jetstream.StreamConfig{
			Name: stream, Subjects: []string{stream + ".*"}, Storage: jetstream.FileStorage, Replicas: len(s.urls),
			MaxBytes: 256 << 20, Duplicates: 2 * time.Minute, AllowAtomicPublish: true, // As crier makes it.
		})
		if err != nil {
			return err
		}
		leader = s.urls[0]
		if in := made.CachedInfo().Cluster; in != nil && len(s.urls) > 1 {
			i, err := strconv.Atoi(strings.TrimPrefix(in.Leader, "n"))
			if err != nil || i >= len(s.urls) {
				return fmt.Errorf("measure: the leader is %q", in.Leader)
			}
			leader = s.urls[i]
		}
		return nil
	})
	return leader, err
}

func (s *natsServers) recreateStream(ctx context.Context, c *client) error {
	if err := unmakeStream(ctx, c); err != nil {
		return err
	}
	_, err := s.makeStream(ctx, c)
	return err
}

// readers are what nodes are to NATS: a connection each, with an ordered consumer as package cluster has it.
type readers struct {
	clients  []*client
	got      atomic.Int64
	messages []jetstream.MessagesContext
	running  sync.WaitGroup
}

// add adds one, which reads certain subjects, or all.
func (r *readers) add(ctx context.Context, url string, subjects []string) error {
	c, err := connect(ctx, url)
	if err != nil {
		return err
	}
	r.clients = append(r.clients, c)
	_, messages, err := consume(ctx, c, subjects)
	if err != nil {
		return err
	}
	r.messages = append(r.messages, messages)
	r.running.Go(func() { // Ends with Stop.
		for {
			if _, err := messages.Next(); err != nil {
				return
			}
			r.got.Add(1)
		}
	})
	return nil
}

// consume begins to read as package cluster does.
func consume(ctx context.Context, c *client, subjects []string) (consumer jetstream.Consumer, messages jetstream.MessagesContext, err error) {
	err = eventually(ctx, func() (err error) { // A cluster that has just begun may not answer at once.
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		consumer, err = c.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
			FilterSubjects: subjects, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 1, InactiveThreshold: time.Minute,
		})
		if err != nil {
			return err
		}
		_, err = consumer.Info(ctx) // Then all servers know it.
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	messages, err = consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(8192, 8<<20), jetstream.PullHeartbeat(time.Second))
	return consumer, messages, err
}

// others are subjects of channels that nothing is published to.
func others(n int) (subjects []string) {
	for i := range n {
		subjects = append(subjects, fmt.Sprintf("%s.channel-%d", stream, i))
	}
	return subjects
}

// addCore adds one who subscribes without a stream.
func (r *readers) addCore(ctx context.Context, url string) error {
	c, err := connect(ctx, url)
	if err != nil {
		return err
	}
	r.clients = append(r.clients, c)
	if _, err := c.nc.Subscribe(subject, func(*nats.Msg) { r.got.Add(1) }); err != nil {
		return err
	}
	return c.nc.Flush()
}

func (r *readers) stop() {
	for _, m := range r.messages {
		m.Stop()
	}
	for _, c := range r.clients {
		c.nc.Close()
	}
	r.running.Wait()
}

// bytes is what came to all, and what they sent.
func (r *readers) bytes() (read, written int64) {
	for _, c := range r.clients {
		read += c.read.Load()
		written += c.written.Load()
	}
	return read, written
}
