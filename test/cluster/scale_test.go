package cluster

import (
	"fmt"
	"math"
	"sync/atomic"
	"testing"

	"github.com/crier-ws/crier/bench/scale/measure"
	"github.com/crier-ws/crier/bench/scale/model"
	"github.com/nats-io/nats.go"
)

// TestScaleModel compares the bytes that bench/scale calculates with those of real NATS servers. It does not compare
// CPU, which depends on the machine.
func TestScaleModel(t *testing.T) {
	costs := model.Measured()
	for _, servers := range []int{1, 3} {
		for _, size := range []int{100, 1024} {
			const readers = 6
			u, err := measure.Once(t.Context(), natsBin, servers, measure.Load{Readers: readers, Size: size, Messages: 400, Rate: 400})
			if err != nil {
				t.Fatal(err)
			}
			name, bytes := fmt.Sprintf("%d servers, %d B", servers, size), float64(size)
			about(t, name+": to NATS", u.ToNATS, bytes+costs.PublishBytes, 0.1)
			about(t, name+": answers", u.Acks, costs.AckBytes, 0.1)
			about(t, name+": to a reader", u.Out/readers, bytes+costs.DeliverBytes, 0.1)
			if u.Returned > readers {
				t.Errorf("%s: readers send %v B for each message, so they acknowledge it", name, u.Returned)
			}
			// Two others replicate the message. Which readers are on another server than their consumer is random.
			least, most := 0.0, 0.1*bytes
			if servers == 3 {
				least, most = 2*bytes, 1.2*costs.R3.Replicate.At(bytes)+1.2*1.5*readers*costs.R3.Cross.At(bytes)
			}
			if u.Routes < least || u.Routes > most {
				t.Errorf("%s: got %v B between servers for each message, want %v to %v", name, u.Routes, least, most)
			}
		}
	}
}

// about reports whether a value differs from the wanted one by at most a share.
func about(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance*want {
		t.Errorf("%s: got %.1f B, want about %.1f", what, got, want)
	}
}

// TestScaleJoins compares what a node asks of NATS for a new channel with what bench/scale calculates.
func TestScaleJoins(t *testing.T) {
	servers := startNATS(t, 1)
	admin, err := nats.Connect(servers.urls()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	var made atomic.Int64
	if _, err := admin.Subscribe("$JS.API.CONSUMER.CREATE.>", func(*nats.Msg) { made.Add(1) }); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, servers.urls(), "--cluster-replicas", "1", "--cluster-linger", "1h")
	stream, err := servers.jetStream(t).Stream(t.Context(), "CRIER")
	if err != nil {
		t.Fatal(err)
	}
	before := stream.CachedInfo().State.LastSeq
	if err := admin.Flush(); err != nil {
		t.Fatal(err)
	}
	consumers := made.Load()
	const channels = 10
	for i := range channels {
		l := listen(t, fmt.Sprint("channel", i), n)
		defer l.end()
		awaitConnected(t, l)
	}
	if err := admin.Flush(); err != nil {
		t.Fatal(err)
	}
	// A late reader needs one marker less. On a slow machine a marker is sent again after a second.
	if got := made.Load() - consumers; got < channels*(model.JoinConsumers-1) || got > channels*(model.JoinConsumers+1) {
		t.Errorf("%d new channels took %d consumers, want %d each", channels, got, model.JoinConsumers)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := info.State.LastSeq - before; got < channels*model.JoinMarkers || got > 3*channels*model.JoinMarkers {
		t.Errorf("%d new channels took %d markers, want %d each", channels, got, model.JoinMarkers)
	}
}
