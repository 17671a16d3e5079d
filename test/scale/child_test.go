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

// childEnv is the environment variable with the childConfig, as JSON, of a server process.
const childEnv = "CRIER_SCALE_SERVER"

// childConfig is the part of a server's configuration that a test sets. Zero fields stand for the defaults of package
// broadcast. There are no pings, so that all clients receive the same bytes.
type childConfig struct {
	MaxMessageBytes int
	RetainBytes     int
	Shards          int
	Slow            broadcast.SlowPolicy
	CloseTimeout    time.Duration
	// HandshakeTimeout defaults to longer than any test, so that the timeout does not hide connections that are left
	// over.
	HandshakeTimeout time.Duration
	FDLimit          uint64 // RLIMIT_NOFILE of the process; 0 leaves it.
}

// answer is the server's answer to each command. It has nothing that takes a file descriptor to find out: the server
// may have none left. For that the test reads /proc.
type answer struct {
	Port       int
	Goroutines int    // Without those of Pool.
	Pool       int    // Workers of the ants pool.
	Heap       uint64 // Bytes in use after a collection.
	Stats      broadcast.Stats
}

// child is the server process.
type child struct {
	srv  *broadcast.Server
	port int
	enc  *json.Encoder
}

// serveChild is the main function of the server process. It ends with the command quit or when standard input ends, and
// returns the exit code.
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
	debug.SetGCPercent(25) // As cmd/crier does. The tests' memory bounds assume it.
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

// limitFDs sets RLIMIT_NOFILE to n, or to the hard limit if n is 0.
func limitFDs(n uint64) error {
	if n == 0 {
		_, err := raiseFDLimit()
		return err
	}
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n})
}

// obey reads commands, one per line, and answers them.
func (c *child) obey() error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "stats":
		case "trim": // Otherwise reused memory would hide growth.
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
	runtime.GC() // A sync.Pool is emptied by the second collection.
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	a.Heap = m.HeapAlloc
	return c.enc.Encode(a)
}

// poolGoroutines returns the number of workers of the ants pool.
func poolGoroutines() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return strings.Count(string(stacks), "created by github.com/panjf2000/ants/v2.(*goWorkerWithFuncGeneric")
}
