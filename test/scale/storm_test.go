package scale

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// fate is what becomes of a client of a storm.
type fate struct {
	name    string
	request int // How many bytes of the handshake it sends; all of it if it is to be answered.
	frame   int // How many bytes of a message's frame it sends then.
	reset   bool
}

const (
	stormMessage = 64
	stormFrame   = 2 + 4 + stormMessage // With the mask.
)

// fates come in turn.
var fates = []fate{
	{name: "close at once"},
	{name: "reset at once", reset: true},
	{name: "reset in the handshake", request: len(request) / 2, reset: true},
	{name: "reset after the handshake", request: len(request), reset: true},
	{name: "message and close", request: len(request), frame: stormFrame},
	{name: "reset in a frame", request: len(request), frame: stormFrame / 2, reset: true},
}

// storm is very many short connections. Its fds are used again at once, here
// and in the server.
type storm struct {
	// Immutable after construction.
	port  int
	total int
	turns chan int
	done  chan struct{} // Closed when all have had their fates.

	began     atomic.Int64 // Connections begun.
	failed    atomic.Int64 // Connections that did not go as they should.
	mayFail   atomic.Bool  // The server may be stopping: only count what fails.
	mu        sync.Mutex
	faults    []error // Guarded by mu: what failed though it may not.
	startedAt time.Time
	took      time.Duration // Readable when done is closed.
}

const (
	stormRate    = 5000 // Connections a second, unless the machine is too slow.
	stormWorkers = 16
)

// startStorm starts a storm of total connections, which ends by itself; wait
// waits for that.
func startStorm(port, total int) *storm {
	s := &storm{port: port, total: total, turns: make(chan int), done: make(chan struct{}), startedAt: time.Now()}
	go s.pace() // Ends after the last turn, which the workers take.
	var workers sync.WaitGroup
	for range stormWorkers {
		workers.Go(s.work)
	}
	go func() { // Ends with the workers; wait waits for it.
		workers.Wait()
		s.took = time.Since(s.startedAt)
		close(s.done)
	}()
	return s
}

func (s *storm) pace() {
	const burst = 10
	beat := time.NewTicker(burst * time.Second / stormRate)
	defer beat.Stop()
	for i := range s.total {
		if i%burst == 0 {
			<-beat.C
		}
		s.turns <- i
	}
	close(s.turns)
}

func (s *storm) work() {
	for i := range s.turns {
		s.began.Add(1)
		f := fates[i%len(fates)]
		if err := f.suffer(s.port, i); err != nil {
			s.failed.Add(1)
			s.fault(fmt.Errorf("storm connection %d, %s: %w", i, f.name, err))
		}
	}
}

func (s *storm) fault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mayFail.Load() && len(s.faults) < 10 {
		s.faults = append(s.faults, err)
	}
}

// suffer is the life of the i-th connection.
func (f fate) suffer(port, i int) error {
	c, err := dial(address(stormNet, i), port)
	if err != nil {
		return err
	}
	defer c.Close()
	if f.reset {
		_ = c.SetLinger(0)
	}
	if f.request < len(request) {
		_, err := io.WriteString(c, request[:f.request])
		return err
	}
	if _, err := shake(c); err != nil {
		return err
	}
	_, err = c.Write(appendMasked(nil, opText, newMessage(stormSender, i, stormMessage))[:f.frame])
	return err
}

// over reports whether the storm is over.
func (s *storm) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// wait waits for the end, and returns what went wrong. It comes, since all
// calls of the clients' sockets give up.
func (s *storm) wait() error {
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.faults...)
}
