package swarm

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Counts are what became of connections and messages so far.
type Counts struct {
	Open       int // connections that were greeted and are open
	Dropped    int // connections that the server closed, or that failed
	Renewed    int // connections that were ended and made again
	Sent       int // messages
	Delivered  int // deliveries: a message that came to one connection, intact, for the first time
	Lost       int // deliveries that were due and did not come
	Duplicated int // deliveries that came again
	Reordered  int // deliveries that came after a later one of the same sender; not lost
	Corrupted  int // messages that came with other bytes than were sent, or that nobody here sent
	Pings      int // pings, all answered unless the server leaves 1 MiB unread
}

// Faults is the number of deliveries that were not as they should be.
func (c Counts) Faults() int { return c.Lost + c.Duplicated + c.Reordered + c.Corrupted }

// add adds what another loop counted.
func (c *Counts) add(o Counts) {
	c.Open += o.Open
	c.Dropped += o.Dropped
	c.Renewed += o.Renewed
	c.Sent += o.Sent
	c.Delivered += o.Delivered
	c.Lost += o.Lost
	c.Duplicated += o.Duplicated
	c.Reordered += o.Reordered
	c.Corrupted += o.Corrupted
	c.Pings += o.Pings
}

// Stats are counts and times.
type Stats struct {
	Counts
	// Latency is from when a message was due to its delivery, in nanoseconds; in what
	// was lost, to the end of waiting for it. Empty unless Config.Timed.
	Latency Histogram
	// Connect is from connect(2) to the greeting, in nanoseconds.
	Connect Histogram
	// Late is from when a message was due to when the swarm sent it, in nanoseconds; in
	// open loop only.
	Late Histogram
	// CPU is what all loops used while messages were sent and waited for.
	CPU time.Duration
	// Wall is how long messages were sent, or in closed loop sent and waited for.
	Wall time.Duration
	// Busy is the share of Wall that a loop was on a core, of the one where that is most.
	Busy float64
	// First and Last are from when the first message of the last Send was due to its
	// first and last delivery. 0 unless Config.Timed.
	First, Last time.Duration
	// Error is the first of what ended a connection that the swarm did not end.
	Error string
}

// Limited tells whether the swarm, not the server, may have set the pace: one of its
// loops was on a core for nine tenths of the time, or a hundredth of the messages left
// more than 10 ms late.
func (s *Stats) Limited() bool {
	const busy, late = 0.9, 10 * time.Millisecond
	return s.Busy > busy || s.Late.At(0.99) > late
}

// newStats returns stats of nothing.
func newStats() *Stats {
	return &Stats{Latency: newHistogram(), Connect: newHistogram(), Late: newHistogram()}
}

// add merges the stats of another loop.
func (s *Stats) add(o *Stats) {
	s.Counts.add(o.Counts)
	s.Latency.Merge(o.Latency.Histogram)
	s.Connect.Merge(o.Connect.Histogram)
	s.Late.Merge(o.Late.Histogram)
	s.CPU += o.CPU
	s.Wall = max(s.Wall, o.Wall)
	s.Busy = max(s.Busy, o.Busy)
	if o.First > 0 && (s.First == 0 || o.First < s.First) {
		s.First = o.First
	}
	s.Last = max(s.Last, o.Last)
	if s.Error == "" {
		s.Error = o.Error
	}
}

// Histogram counts durations in nanoseconds, from a microsecond to an hour and to three
// digits. The zero value is empty, and not to be added to.
type Histogram struct{ *hdrhistogram.Histogram }

// longest is the greatest value that a histogram tells apart.
const longest = time.Hour

func newHistogram() Histogram {
	return Histogram{hdrhistogram.New(int64(time.Microsecond), int64(longest), 3)}
}

// At returns the value that the share q of all does not exceed, from 0 to 1. It is 0 if
// there are none.
func (h Histogram) At(q float64) time.Duration {
	if h.Histogram == nil {
		return 0
	}
	return time.Duration(h.ValueAtQuantile(100 * q))
}

// record counts d n times, as 0 if negative, and as an hour if longer.
func (h Histogram) record(d time.Duration, n int) {
	// The value is in the range that the histogram takes, so there is no error.
	_ = h.RecordValues(int64(min(max(d, 0), longest)), int64(n))
}

// GobEncode is for the way from a child process.
func (h Histogram) GobEncode() ([]byte, error) {
	return h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
}

// GobDecode is the other end of GobEncode.
func (h *Histogram) GobDecode(b []byte) (err error) {
	h.Histogram, err = hdrhistogram.Decode(b)
	return err
}
