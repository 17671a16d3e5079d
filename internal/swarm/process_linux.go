package swarm

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// childEnv is set in a child process.
const childEnv = "CRIER_SWARM_CHILD"

// role is the first thing that a child process is told.
type role struct {
	Config    Config
	First, Of int // its loops, among those of the swarm: see newLocal
}

// question is what a child process is told after that: an order, or to interrupt the one
// that runs.
type question struct {
	Order     order
	Interrupt bool
}

// response is what a child process says: how far it is, and perhaps what came of an
// order.
type response struct {
	Progress Counts
	Done     bool // whether the rest is set
	Stats    *Stats
	Tally    Tally
	Failed   string // the error, as errors do not travel
	Kind     int    // which of kinds it is, -1 for none
}

// kinds are the errors that callers may ask for.
var kinds = []error{ErrInterrupted, ErrStuck}

// remoteError is an error of a child process.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

// err returns the error in a response.
func (r *response) err() error {
	if r.Failed == "" {
		return nil
	}
	e := &remoteError{text: r.Failed}
	if r.Kind >= 0 {
		e.kind = kinds[r.Kind]
	}
	return e
}

// process is a part of a swarm in a child process.
type process struct {
	cmd *exec.Cmd
	in  io.Closer
	mu  sync.Mutex // guards enc
	enc *gob.Encoder
	// done has the response to an order. It is closed when the output of the child ends.
	done     chan response
	progress atomic.Pointer[Counts]
}

// startProcesses returns a swarm whose loops are in so many child processes.
func startProcesses(cfg Config, n int) (*Swarm, error) {
	s := &Swarm{cfg: cfg}
	for i := range n {
		p, err := startProcess(role{Config: cfg, First: i, Of: n * cfg.Threads})
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("swarm: starting a child process: %w", err)
		}
		s.members = append(s.members, p)
	}
	return s, nil
}

// startProcess starts a child process, which ends with close, and by itself when this
// process does.
func startProcess(r role) (*process, error) {
	if !hooked.Load() {
		return nil, errors.New("main must call swarm.Child first; without it, one process has to be enough (PerProcess)")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "swarm-child")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	// A group of its own, as the terminal sends SIGINT to the whole group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, in: in, enc: gob.NewEncoder(in), done: make(chan response, 1)}
	p.progress.Store(&Counts{})
	// Ends with the child; close waits for it.
	go p.listen(gob.NewDecoder(out))
	if err := p.enc.Encode(r); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// listen reads the output of the child until it ends.
func (p *process) listen(dec *gob.Decoder) {
	defer close(p.done)
	for {
		var r response
		if err := dec.Decode(&r); err != nil {
			return
		}
		p.progress.Store(&r.Progress)
		if r.Done {
			p.done <- r
		}
	}
}

func (p *process) tell(q question) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.enc.Encode(q)
}

func (p *process) do(o order) reply {
	if err := p.tell(question{Order: o}); err != nil {
		return reply{Err: fmt.Errorf("swarm: telling a child process: %w", err)}
	}
	r, ok := <-p.done
	if !ok {
		return reply{Err: errors.New("swarm: a child process ended; what it wrote to standard error says why")}
	}
	return reply{Err: r.err(), Stats: r.Stats, Tally: r.Tally}
}

func (p *process) counts() Counts { return *p.progress.Load() }

// interrupt is not heard by a child that has ended, which do notices.
func (p *process) interrupt() { _ = p.tell(question{Interrupt: true}) }

func (p *process) close() {
	_ = p.in.Close()
	for range p.done {
	}
	_ = p.cmd.Wait()
}

// hooked says that Child was called: without it, a child process would do what its parent
// does, and start others.
var hooked atomic.Bool

// Child must be the first call of main in a program whose swarms may need more than one
// process. In a child process it does not return.
func Child() {
	hooked.Store(true)
	if os.Getenv(childEnv) == "" {
		return
	}
	if err := child(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child does what it reads until there is nothing more to read.
func child(in io.Reader, out io.Writer) error {
	dec := gob.NewDecoder(in)
	var r role
	if err := dec.Decode(&r); err != nil {
		return fmt.Errorf("swarm: a child process was told: %w", err)
	}
	s, err := newLocal(r.Config, r.First, r.Of)
	if err != nil {
		return err
	}
	defer s.Close()
	var mu sync.Mutex // guards enc
	enc := gob.NewEncoder(out)
	say := func(r response) {
		mu.Lock()
		defer mu.Unlock()
		r.Progress = s.Progress()
		_ = enc.Encode(r) // If nobody listens, reading ends too.
	}
	ticks := time.NewTicker(progressInterval)
	defer ticks.Stop()
	ended := make(chan struct{})
	defer close(ended)
	// Stopped by the return.
	go func() {
		for {
			select {
			case <-ticks.C:
				say(response{})
			case <-ended:
				return
			}
		}
	}()
	orders := make(chan order, 1)
	// Ends when there is nothing more to read: the parent has closed the pipe, or ended.
	go func() {
		defer close(orders)
		for {
			var q question
			switch err := dec.Decode(&q); {
			case err != nil:
				s.Interrupt()
				return
			case q.Interrupt:
				s.Interrupt()
			default:
				orders <- q.Order
			}
		}
	}()
	for o := range orders {
		say(s.respond(o))
	}
	return nil
}

// respond does an order.
func (s *Swarm) respond(o order) response {
	done := s.do(o)
	r := response{Done: true, Stats: done.Stats, Tally: done.Tally}
	if done.Err != nil {
		r.Failed = done.Err.Error()
		r.Kind = slices.IndexFunc(kinds, func(kind error) bool { return errors.Is(done.Err, kind) })
	}
	return r
}
