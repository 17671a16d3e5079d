package broadcast

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// logged returns the lines that were logged since the last call.
func logged(t *testing.T, out *bytes.Buffer) (lines []map[string]any) {
	t.Helper()
	for dec := json.NewDecoder(out); dec.More(); {
		var line map[string]any
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

// TestSlowPass: the log line of a slow pass says what the pass did.
func TestSlowPass(t *testing.T) {
	const stall = 20 * time.Millisecond
	for _, tt := range []struct {
		name    string
		conns   int
		slow    time.Duration
		lines   int
		withCPU bool
	}{
		{"slow", 300, stall, 1, false},
		{"many", cpuFrom, stall, 1, true},
		{"fast", 300, time.Hour, 0, false},
		{"off", 300, 0, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			b := newBench(t, Config{SlowPass: tt.slow, Logger: slog.New(slog.NewJSONHandler(&out, nil))}, tt.conns)
			b.sink.room = func(fd, n int) (int, unix.Errno) {
				switch fd - firstFD {
				case 100:
					return 0, unix.EAGAIN
				case 200: // It is slow here, and told something.
					b.shard.inbox.putPost(b.conns[5], postWritable, 0, nil)
					time.Sleep(stall)
				}
				return n, 0
			}
			b.publish("hello")
			b.shard.runPasses(dueFeed{feed: b.feed, since: time.Nanosecond})
			b.shard.watch.logSlow(b.shard.srv, 0)
			lines := logged(t, &out)
			if len(lines) != tt.lines {
				t.Fatalf("got %v, want %d lines", lines, tt.lines)
			}
			if len(lines) == 0 {
				return
			}
			line := lines[0]
			for key, want := range map[string]any{
				"level": "WARN", "msg": "slow pass", "channel": "", "form": "websocket", "deflate_bits": 0., "shard": 1.,
				"connections": float64(tt.conns), "blocked": 1., "posts": 1.,
				"writes": float64(tt.conns + 1), "bytes": float64((tt.conns - 1) * len("..hello")), // Who is blocked is tried twice.
			} {
				if line[key] != want {
					t.Errorf("%s: got %v, want %v", key, line[key], want)
				}
			}
			took, longest, waited := line["took"].(float64), line["longest_step"].(float64), line["waited"].(float64)
			if longest < float64(stall) || took < longest || waited <= 0 {
				t.Errorf("took %v, of that the longest step %v; waited %v", took, longest, waited)
			}
			if _, ok := line["cpu"]; ok != tt.withCPU {
				t.Errorf("got %v, want cpu to be there: %t", line, tt.withCPU)
			}
			b.publish("again")
			b.run()
			b.shard.watch.logSlow(b.shard.srv, 0)
			if more := logged(t, &out); len(more) != 0 {
				t.Errorf("within a second: got %v as well", more)
			}
		})
	}
}

// TestEndlessPass: a pass that does not end is logged now and then.
func TestEndlessPass(t *testing.T) {
	var out bytes.Buffer
	const slow = time.Minute
	b := newBench(t, Config{SlowPass: slow, Logger: slog.New(slog.NewJSONHandler(&out, nil))}, 300)
	b.shard.watch.logSlow(b.shard.srv, 100*slow) // There is none.
	calls := 0
	b.sink.room = func(fd, n int) (int, unix.Errno) {
		if calls++; calls == 200 {
			began := time.Since(b.shard.srv.started)
			for _, tenths := range []time.Duration{99, 101, 102, 190, 203, 204} {
				b.shard.watch.logSlow(b.shard.srv, began+tenths*slow/10)
			}
		}
		return n, 0
	}
	b.publish("hello")
	b.run()
	b.shard.watch.logSlow(b.shard.srv, 100*slow)
	lines := logged(t, &out)
	if len(lines) != 2 {
		t.Fatalf("got %v, want 2 lines", lines)
	}
	for _, line := range lines {
		if line["level"] != "ERROR" || line["passed"] != 192. || line["took"].(float64) < float64(10*slow) {
			t.Errorf("got %v", line)
		}
	}
}

// TestLabels: a goroutine profile tells the goroutines of a server apart.
func TestLabels(t *testing.T) {
	newServer(t, Config{Shards: 2, Workers: 3})
	want := map[string]int{`"crier":"shard 0"`: 1, `"crier":"shard 1"`: 1, `"crier":"worker"`: 3, `"crier":"clock"`: 1, `"crier":"poller"`: 1}
	eventually(t, "all goroutines to run", func() bool {
		var profile strings.Builder
		if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
			t.Fatal(err)
		}
		_, list, _ := strings.Cut(profile.String(), "\n")
		for label, n := range want {
			got := 0
			for block := range strings.SplitSeq(list, "\n\n") { // As "3 @ 0x12 0x34", a line of labels, and frames.
				if strings.Contains(block, label) {
					count, _, _ := strings.Cut(block, " ")
					of, _ := strconv.Atoi(count)
					got += of
				}
			}
			if got < n {
				return false
			}
		}
		return true
	})
}
