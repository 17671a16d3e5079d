package scale

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
)

// TestSignals checks how the program crier ends at signals.
func TestSignals(t *testing.T) {
	exe := buildCrier(t)
	t.Run("SIGTERM in a storm", func(t *testing.T) { sigtermInStorm(t, exe) })
	t.Run("SIGTERM twice", func(t *testing.T) { sigtermTwice(t, exe) })
}

// buildCrier builds cmd/crier as this binary is built.
func buildCrier(t *testing.T) string {
	t.Helper()
	return buildCrierWith(t, criertest.BuildAlike)
}

// buildCrierWith builds cmd/crier with one of the functions of criertest.
func buildCrierWith(t *testing.T, build func(dir string) (string, error)) string {
	t.Helper()
	// go test caches a result until a file changes that the test has opened. It does not know which files go build
	// opens.
	sources, err := filepath.Glob("../../cmd/crier/*.go")
	if err != nil || len(sources) == 0 {
		t.Fatalf("sources of cmd/crier: %v, %v", sources, err)
	}
	for _, name := range sources {
		if _, err := os.Stat(name); err != nil {
			t.Fatal(err)
		}
	}
	exe, err := build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

var servingLine = regexp.MustCompile(`msg=serving .*addr=127\.0\.0\.1:(\d+)`)

// startCrier starts the command and returns the port that it serves.
func startCrier(t *testing.T, exe string, args ...string) (p *process, port int) {
	t.Helper()
	p = &process{cmd: exec.Command(exe, append([]string{"--listen=127.0.0.1:0", "--ping-interval=0"}, args...)...)}
	start(t, p)
	var line []string
	criertest.Eventually(t, "crier to serve", func() bool {
		line = servingLine.FindStringSubmatch(p.log.String())
		return line != nil
	})
	port, err := strconv.Atoi(line[1])
	if err != nil {
		t.Fatal(err)
	}
	return p, port
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// sigtermInStorm checks that after a SIGTERM during a storm of connects, every client receives all messages that were
// published before, and then a close with 1001, and that crier ends with code 0.
func sigtermInStorm(t *testing.T, exe string) {
	const (
		drain  = 20 * time.Second      // The most that it may take. It takes as long as the clients do.
		grace  = drain + 3*time.Second // Includes the time for answers to close frames, see cmd/crier.
		before = stormTotal / 4        // Connections of the storm before the signal.
		size   = 256 << 10
		total  = 4 << 20 // More than any socket holds, less than the retention.
	)
	needFDs(t, stormWorkers+healthy)
	crier, port := startCrier(t, exe, "--drain="+drain.String())
	sw := newSwarm(t, port)
	var ledgers []*ledger
	clients := sw.add(healthy, receiverBuffer, func(c *client) {
		l := newLedger(false)
		ledgers = append(ledgers, l)
		c.sink = scan(l)
		c.mayEnd = true
	})
	st := startStorm(port, stormTotal)
	publisher := newAlone(t, port)
	count := 0
	for st.began.Load() < before {
		publisher.publish(count, healthSize)
		count++
		sw.poll(0)
	}
	// No client reads while the last messages are published: at the signal all sockets are full.
	for range total / size {
		publisher.publish(count, size)
		count++
	}
	if st.over() {
		t.Error("the storm was over before the signal")
	}
	st.mayFail.Store(true)
	signalled := time.Now()
	crier.signal(syscall.SIGTERM)
	criertest.Eventually(t, "the drain to begin", func() bool { return strings.Contains(crier.log.String(), "msg=draining") })
	publisher.reset()
	sw.until("everyone to be closed", func() bool { return sw.gone == healthy })
	code := crier.exit()
	took := time.Since(signalled)
	if err := st.wait(); err != nil {
		t.Error(err)
	}
	t.Logf("exit code %d after %v and %d messages; of %d connections of the storm %d failed", code, took, count, stormTotal, st.failed.Load())
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if took > grace {
		t.Errorf("it took %v, want at most %v", took, grace)
	}
	if s := statuses(clients); s[1001] != healthy {
		t.Errorf("clients by close status: %v, want %d with 1001", s, healthy)
	}
	if n, err := short(ledgers, count); n > 0 {
		t.Errorf("%d of %d clients miss messages; one of them %v", n, healthy, err)
	}
}

// short returns how many clients miss messages of sender 0, and the error of the last one.
func short(ledgers []*ledger, count int) (n int, last error) {
	for _, l := range ledgers {
		if err := l.want(1, count); err != nil {
			n, last = n+1, err
		}
	}
	return n, last
}

// sigtermTwice checks that a second SIGTERM ends crier at once, with code 1, while it waits for clients that do not
// read.
func sigtermTwice(t *testing.T, exe string) {
	const (
		drain   = time.Minute
		stalled = 20
		size    = 512 << 10
		total   = 5 << 20 // More than any socket holds, less than the retention of 8 MiB.
	)
	needFDs(t, stalled+healthy)
	crier, port := startCrier(t, exe, "--drain="+drain.String())
	sw := newSwarm(t, port)
	sink := func(c *client) {
		c.sink = scan(newLedger(false))
		c.mayEnd = true
	}
	stuck := sw.add(stalled, stalledBuffer, sink)
	sw.pause(stuck, true)
	clients := sw.add(healthy, 0, sink)
	publisher := newAlone(t, port)
	for number := range total / size {
		publisher.publish(number, size)
		want := (number + 1) * frameSize(size) * healthy
		sw.until("the healthy to get it", func() bool { return sw.bytes >= want })
	}
	publisher.reset()

	signalled := time.Now()
	crier.signal(syscall.SIGTERM)
	sw.until("the healthy to be closed", func() bool { return sw.gone == healthy })
	if s := statuses(clients); s[1001] != healthy {
		t.Errorf("clients by close status: %v, want %d with 1001", s, healthy)
	}
	crier.signal(syscall.SIGTERM)
	code := crier.exit()
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if took := time.Since(signalled); took >= drain {
		t.Errorf("it took %v, as long as the drain of %v", took, drain)
	}
}
