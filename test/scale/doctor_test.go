package scale

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
	"github.com/crier-ws/crier/internal/doctor"
)

// TestDoctorPrediction checks that the memory that crier doctor predicts is within 15 % of that of a real run with this
// package's clients. crier is built without the race detector, whose shadow counts as memory.
func TestDoctorPrediction(t *testing.T) {
	const wanted = 18_000
	within := 0.15
	limit, err := raiseFDLimit()
	if err != nil {
		t.Fatal(err)
	}
	n := int(min(wanted, max(limit, spareFDs+100)-spareFDs))
	if n < wanted {
		t.Logf("%d connections in the place of %d: the hard limit of open files is %d", n, wanted, limit)
	}
	if n < wanted/2 {
		within = 0.3
		t.Logf("the prediction must be within %.0f %%: the kernel counts pages of slab, which is coarse for so few", 100*within)
	}
	exe := buildCrierWith(t, func(dir string) (string, error) { return criertest.Build(dir) })
	wish := doctor.Goal{Conns: n, Reserved: 100}
	measured, err := doctor.Host{}.Measure(exe, wish)
	if err != nil {
		t.Fatal(err)
	}
	got := doctor.Host{}.Predict(wish, measured)
	for _, s := range got.Certainty {
		t.Log("how sure:", s)
	}

	real := realRun(t, exe, n)
	check := func(what string, predicted doctor.Range, real float64) {
		t.Helper()
		off := predicted.Likely/real - 1
		t.Logf("%s: predicted %.2f MB (%.2f to %.2f), a real run shows %.2f MB: %+.1f %%", what, predicted.Likely/1e6,
			predicted.Low/1e6, predicted.High/1e6, real/1e6, 100*off)
		if math.Abs(off) > within {
			t.Errorf("%s: the prediction is off by %.0f %%, want at most %.0f %%", what, 100*off, 100*within)
		}
	}
	check("crier's memory", got.Own, real.own)
	if real.quiet {
		check("the kernel's memory, of one end", got.Kernel, real.kernel)
		check("both", got.Memory, real.own+real.kernel)
	} else {
		t.Log("the kernel's memory is not compared: others on this host made sockets all the while")
	}
	// On a busy machine times vary: a factor of 3 is allowed.
	t.Logf("a delivery: predicted %.2f us (%.2f to %.2f), a real run took %.2f us", 1e6*got.Delivery.Likely,
		1e6*got.Delivery.Low, 1e6*got.Delivery.High, 1e6*real.delivery)
	if r := got.Delivery.Likely / real.delivery; r < 1./3 || r > 3 {
		t.Errorf("a delivery: the prediction is %.2f times what it took, want at most 3 times and no less than a third", r)
	}
}

// reality is the result of a real run.
type reality struct {
	own      float64 // Bytes of the server.
	kernel   float64 // Bytes for the server's ends.
	quiet    bool    // Reports whether kernel is valid.
	delivery float64 // Seconds of the server's CPU for one delivery.
}

// realRun connects n idle clients to a crier, and then broadcasts.
func realRun(t *testing.T, exe string, n int) (r reality) {
	const settle = 1200 * time.Millisecond // The kernel updates its counts once a second.
	p, port := startCrier(t, exe)
	sw := newSwarm(t, port)
	tape := newTape()
	sample := func() doctor.Sample {
		sw.pollFor(settle)
		s, err := doctor.TakeSample()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	// In parts: those count during which no other process opens or closes sockets.
	const parts = 4
	before := sample()
	var quiet []float64
	for i := range parts {
		more := n*(i+1)/parts - n*i/parts
		sw.receivers(more, 0, tape)
		now := sample()
		perSocket, ok := now.Since(before, more)
		t.Logf("kernel, part %d: %.0f bytes a socket, quiet: %v", i, perSocket, ok)
		if ok {
			quiet = append(quiet, perSocket)
		}
		before = now
	}
	r.own = float64(p.rssAnon())
	if r.quiet = len(quiet) >= parts/2; r.quiet {
		slices.Sort(quiet)
		r.kernel = (quiet[(len(quiet)-1)/2] + quiet[len(quiet)/2]) / 2 * float64(n)
	}

	const size, rounds = 64, 6
	warmUp := 18 // Linux acknowledges a connection's first 16 segments at once.
	if criertest.Race {
		warmUp = 0 // The clients are slow enough then.
	}
	var cpu time.Duration
	for i := range warmUp + rounds {
		if i == warmUp {
			cpu = p.cpu()
		}
		sw.send(sw.clients[0], 0, i, size)
		sw.until("everyone to get a message", func() bool { return sw.bytes >= n*(i+1)*frameSize(size) })
	}
	r.delivery = (p.cpu() - cpu).Seconds() / float64(rounds*n)
	return r
}
