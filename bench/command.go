package bench

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/crier-ws/crier/internal/swarm"
)

// options are the command line's flags.
type options struct {
	mode      string
	conns     int
	senders   int
	size      int
	burst     int
	stalled   int
	rate      float64
	churn     float64
	duration  time.Duration
	warmup    time.Duration
	settle    time.Duration
	grace     time.Duration
	timeout   time.Duration
	rounds    int
	path      string
	greeting  string
	deflate   bool
	serverCPU string
	clientCPU int
	json      bool
	syscalls  bool
}

// mode is a way to measure, with its defaults for flags that are 0.
type mode struct {
	name     string
	lossy    bool // a server may leave out messages and cut receivers off
	timed    bool // measures latencies
	run      func(*round) ([]metric, error)
	conns    int
	size     int
	burst    int
	rate     float64
	churn    float64
	duration time.Duration
	settle   time.Duration
}

var modes = []mode{
	{name: "idle", run: (*round).idle, conns: 18000, settle: 2 * time.Second},
	{name: "fanout", run: (*round).fanout, conns: 1000, burst: 1, duration: 3 * time.Second},
	{name: "burst", run: (*round).fanout, conns: 1000, burst: 100, duration: 3 * time.Second},
	{name: "handshake", run: (*round).handshake, conns: 10000},
	{name: "stalled", lossy: true, run: (*round).stall, conns: 2000, size: 16 << 10, rate: 25,
		duration: 25 * time.Second, settle: 2 * time.Second},
	{name: "overload", lossy: true, timed: true, run: (*round).overload, conns: 1000, rate: 3000, duration: 10 * time.Second},
	{name: "churn", timed: true, run: (*round).overload, conns: 5000, rate: 20, churn: 1000, duration: 10 * time.Second},
}

// round is one measurement of one server.
type round struct {
	*options
	server *server
	swarm  *swarm.Swarm
}

// connect adds clients until there are n, and lets the server come to rest.
func (r *round) connect(n int) error {
	if err := r.swarm.Grow(n); err != nil {
		return err
	}
	return r.swarm.Rest(r.settle)
}

// contender is a server as named on the command line.
type contender struct{ name, command string }

// Command is the command measure, without its name: see bench/measure. It blocks until
// all is measured. The goroutine must be locked to its thread, which must not end
// before: the servers die with it.
func Command(args []string) error {
	o, m, contenders, err := parseArgs(args)
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(1)
	if err := pin(o.clientCPU); err != nil {
		return err
	}
	r := newReport(o, contenders)
	failed := 0
	for i := range o.rounds {
		for k, c := range contenders {
			metrics, err := measure(o, m, c)
			if err != nil {
				failed++
				fmt.Fprintf(os.Stderr, "round %d, %s: %v\n", i+1, c.name, err)
				continue
			}
			r.add(i, k, metrics)
		}
	}
	if err := r.print(os.Stdout, o.json); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("measure: %d of %d measurements failed", failed, o.rounds*len(contenders))
	}
	return nil
}

// measure runs one round for one server.
func measure(o *options, m *mode, c contender) ([]metric, error) {
	deadline := time.Now().Add(o.timeout)
	server, err := startServer(c.command, o.serverCPU, deadline)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	s, err := swarm.New(swarm.Config{
		Target: server.addr(), Path: o.path, Greeting: o.greeting, Deflate: o.deflate,
		Conns: o.conns, Senders: o.senders, Size: o.size,
		PerProcess: o.conns, Strict: !m.lossy, Timed: m.timed, Patience: o.timeout,
	})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	defer time.AfterFunc(time.Until(deadline), s.Interrupt).Stop()
	metrics, err := m.run(&round{options: o, server: server, swarm: s})
	if errors.Is(err, swarm.ErrInterrupted) {
		err = fmt.Errorf("%w: it took more than %v, see -timeout", err, o.timeout)
	}
	return metrics, err
}

// parseArgs reads MODE or "compare", flags and servers.
func parseArgs(args []string) (*options, *mode, []contender, error) {
	o := defaultOptions()
	f := flag.NewFlagSet("measure", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprintf(f.Output(), "usage: measure {%s} [flags] NAME='COMMAND' ...\n"+
			"       measure compare -mode MODE [flags] NAME='COMMAND' ...\n", strings.Join(modeNames(), "|"))
		f.PrintDefaults()
	}
	if len(args) == 0 {
		f.Usage()
		return nil, nil, nil, flag.ErrHelp
	}
	if !strings.HasPrefix(args[0], "-") {
		o.mode, args = args[0], args[1:]
	}
	if o.mode == "compare" {
		o.mode, o.rounds = "fanout", 3
	}
	o.define(f)
	if err := f.Parse(args); err != nil {
		return nil, nil, nil, err
	}
	m, err := o.complete()
	if err != nil {
		return nil, nil, nil, err
	}
	var contenders []contender
	for _, arg := range f.Args() {
		contenders = append(contenders, parseContender(arg))
	}
	if len(contenders) == 0 {
		return nil, nil, nil, errors.New("measure: no server given; see -help")
	}
	return o, m, contenders, nil
}

// defaultOptions are the options that do not depend on the mode.
func defaultOptions() *options {
	first, last, err := cores()
	if err != nil {
		first, last = 0, 1
	}
	return &options{
		rounds: 1, senders: 1,
		warmup: time.Second, grace: 10 * time.Second, timeout: 2 * time.Minute,
		path: "/", greeting: "connection established",
		serverCPU: strconv.Itoa(first), clientCPU: last,
	}
}

// define adds the flags, with the present values as their defaults.
func (o *options) define(f *flag.FlagSet) {
	f.StringVar(&o.mode, "mode", o.mode, "the `mode`, with compare")
	f.IntVar(&o.rounds, "rounds", o.rounds, "measurements of each server")
	f.IntVar(&o.conns, "conns", 0, "connections (default by mode)")
	f.IntVar(&o.senders, "senders", o.senders, "clients that send, in turn")
	f.IntVar(&o.size, "size", 0, "payload in bytes (default by mode, mostly 64)")
	f.IntVar(&o.burst, "burst", 0, "messages sent at once (default by mode)")
	f.IntVar(&o.stalled, "stalled", 0, "stalled: receivers that stop reading (default a tenth of -conns)")
	f.Float64Var(&o.rate, "rate", 0, "stalled, overload, churn: messages a second (default by mode)")
	f.Float64Var(&o.churn, "churn", 0, "overload, churn: connections ended and made again in a second (default by mode)")
	f.DurationVar(&o.duration, "duration", 0, "time that is measured (default by mode)")
	f.DurationVar(&o.warmup, "warmup", o.warmup, "time of load before it")
	f.DurationVar(&o.settle, "settle", 0, "time of rest after connecting (default by mode)")
	f.DurationVar(&o.grace, "grace", o.grace, "stalled, overload, churn: time to wait for what is late")
	f.DurationVar(&o.timeout, "timeout", o.timeout, "bound on the time of one measurement")
	f.StringVar(&o.path, "path", o.path, "request target of the handshake")
	f.StringVar(&o.greeting, "greeting", o.greeting, "text message that follows the 101, none if empty")
	f.BoolVar(&o.deflate, "deflate", false, "clients ask the server to compress (permessage-deflate)")
	f.StringVar(&o.serverCPU, "server-cpu", o.serverCPU, "cores for the server, as for taskset -c")
	f.IntVar(&o.clientCPU, "client-cpu", o.clientCPU, "core for the clients")
	f.BoolVar(&o.syscalls, "syscalls", false, "fanout, burst: count system calls with strace(1) as well")
	f.BoolVar(&o.json, "json", false, "print JSON")
}

// complete fills in the mode's defaults and checks the values.
func (o *options) complete() (*mode, error) {
	m := findMode(o.mode)
	if m == nil {
		return nil, fmt.Errorf("measure: no mode %q, there are %s", o.mode, strings.Join(modeNames(), ", "))
	}
	o.conns = orDefault(o.conns, m.conns)
	o.size = orDefault(orDefault(o.size, m.size), 64)
	o.burst = orDefault(o.burst, m.burst)
	o.rate = orDefault(o.rate, m.rate)
	o.churn = orDefault(o.churn, m.churn)
	o.duration = orDefault(o.duration, m.duration)
	o.settle = orDefault(orDefault(o.settle, m.settle), 500*time.Millisecond)
	o.stalled = orDefault(o.stalled, o.conns/10)
	switch {
	case o.rounds < 1 || o.conns < 10:
		return nil, errors.New("measure: -rounds must be at least 1 and -conns at least 10")
	case o.size < swarm.MinSize || o.size > swarm.MaxSize:
		return nil, fmt.Errorf("measure: -size must be from %d to %d", swarm.MinSize, swarm.MaxSize)
	case o.senders < 1 || o.senders > o.conns || o.senders > swarm.MaxSenders:
		return nil, fmt.Errorf("measure: -senders must be from 1 to -conns and %d", swarm.MaxSenders)
	case o.stalled+o.senders > o.conns:
		return nil, errors.New("measure: -stalled and -senders are more than -conns")
	case len(o.greeting) > 125:
		return nil, errors.New("measure: -greeting must be at most 125 bytes")
	}
	return m, nil
}

func orDefault[T int | float64 | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

func findMode(name string) *mode {
	for i := range modes {
		if modes[i].name == name {
			return &modes[i]
		}
	}
	return nil
}

func modeNames() []string {
	var names []string
	for _, m := range modes {
		names = append(names, m.name)
	}
	return names
}

var named = regexp.MustCompile(`^([A-Za-z0-9_.+-]+)=(.+)$`)

// parseContender splits name=command; a command alone is named by its program.
func parseContender(arg string) contender {
	if m := named.FindStringSubmatch(arg); m != nil {
		return contender{name: m[1], command: m[2]}
	}
	program, _, _ := strings.Cut(arg, " ")
	return contender{name: path.Base(program), command: arg}
}
