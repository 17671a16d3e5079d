package scale

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"golang.org/x/sys/unix"
)

// childEnv holds a childConfig as JSON in a process that is to be a server.
const childEnv = "CRIER_SCALE_SERVER"

// childConfig is what a test sets of a server. Zero fields are the defaults of
// package broadcast; there are no pings, so that all streams are alike.
type childConfig struct {
	MaxMessageBytes int
	RetainBytes     int
	Shards          int
	Slow            broadcast.SlowPolicy
	CloseTimeout    time.Duration
	// HandshakeTimeout is longer than any test if it is zero: what is left over
	// must be seen, and not be cleaned up after a while.
	HandshakeTimeout time.Duration
	FDLimit          uint64 // RLIMIT_NOFILE of the process; 0 leaves it.
}

// answer is what the server says to each command. What needs fds to be seen is
// not in it: the server may have none, so its parent looks in /proc.
type answer struct {
	Port       int
	Goroutines int    // Without Pool.
	Pool       int    // Goroutines of ants workers.
	Heap       uint64 // Bytes in use after a collection.
	Stats      broadcast.Stats
}

// child is the server process.
type child struct {
	srv  *broadcast.Server
	port int
	enc  *json.Encoder
}

// serveChild is the main of the server process. It ends with the command quit,
// or when its parent is gone. It returns the exit code.
func serveChild(config string) int {
	c := &child{enc: json.NewEncoder(os.Stdout)}
	err := c.start(config)
	if err == nil {
		err = c.obey()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale server:", err)
		return 1
	}
	return 0
}

func (c *child) start(config string) error {
	var cc childConfig
	if err := json.Unmarshal([]byte(config), &cc); err != nil {
		return err
	}
	debug.SetGCPercent(25) // As cmd/crier does: the bounds on memory are about that.
	if err := limitFDs(cc.FDLimit); err != nil {
		return err
	}
	ln, err := broadcast.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	c.port = ln.Addr().(*net.TCPAddr).Port
	c.srv, err = broadcast.New(broadcast.Config{
		Greeting:         greeting,
		HandshakeTimeout: cmp.Or(cc.HandshakeTimeout, 2*patience),
		MaxMessageBytes:  cc.MaxMessageBytes,
		RetainBytes:      cc.RetainBytes,
		Shards:           cc.Shards,
		Slow:             cc.Slow,
		CloseTimeout:     cc.CloseTimeout,
		Logger:           slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	go func() { // Ends with Shutdown in obey, or with the process.
		if err := c.srv.Serve(ln); !errors.Is(err, broadcast.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "scale server: Serve:", err)
			os.Exit(1)
		}
	}()
	return nil
}

// limitFDs sets RLIMIT_NOFILE: to the hard limit if n is 0.
func limitFDs(n uint64) error {
	if n == 0 {
		_, err := raiseFDLimit()
		return err
	}
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n})
}

// obey answers the commands, one in a line.
func (c *child) obey() error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "stats":
		case "trim": // So that the memory of what went before is not used again, unseen.
			debug.FreeOSMemory()
		case "quit":
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			return errors.Join(c.srv.Shutdown(ctx), c.answer())
		default:
			return fmt.Errorf("unknown command %q", in.Text())
		}
		if err := c.answer(); err != nil {
			return err
		}
	}
	return in.Err()
}

func (c *child) answer() error {
	a := answer{Port: c.port, Pool: poolGoroutines(), Stats: c.srv.Stats()}
	a.Goroutines = runtime.NumGoroutine() - a.Pool
	runtime.GC()
	runtime.GC() // What a sync.Pool holds is freed by the second.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	a.Heap = m.HeapAlloc
	return c.enc.Encode(a)
}

// poolGoroutines counts the workers of the ants pool.
func poolGoroutines() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strings.Count(string(stacks), "created by github.com/panjf2000/ants/v2.(*goWorkerWithFuncGeneric")
}
