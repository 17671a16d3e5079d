package measure

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/crier-ws/crier/internal/procfs"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Load is what is published, and who reads it.
type Load struct {
	Readers       int
	Size          int // Bytes of a payload.
	Messages      int
	Rate          int  // Messages a second; 0 is as fast as it goes.
	Core          bool // Without a stream.
	OtherChannels bool // Readers follow 100 other channels, without messages.
}

// Usage is what NATS used, for each message of a load.
type Usage struct {
	CPU      float64 // µs, of all servers, without what they use when nothing is published.
	Most     float64 // The same of the server that used most.
	Idle     float64 // µs in a second, of all servers, when nothing is published.
	Memory   float64 // Bytes of all servers.
	ToNATS   float64 // Bytes that the publisher sent.
	Acks     float64 // Bytes that it got.
	Out      float64 // Bytes that readers got, all together.
	Returned float64 // Bytes that they sent.
	Routes   float64 // Bytes between servers.
	Rate     float64 // Messages a second.
}

// stream measures one load on a fresh stream, in which as many servers of NATS have replicas as there are.
func (s *natsServers) stream(ctx context.Context, load Load) (u Usage, err error) {
	pub, err := connect(ctx, s.urls[0])
	if err != nil {
		return u, err
	}
	defer func() { pub.nc.Close() }()
	if err := unmakeStream(ctx, pub); err != nil {
		return u, err
	}
	if !load.Core {
		leader, err := s.makeStream(ctx, pub)
		if err != nil {
			return u, err
		}
		// Elsewhere each message would go between servers once more.
		pub.nc.Close()
		if pub, err = connect(ctx, leader); err != nil {
			return u, err
		}
	}
	r := &readers{}
	defer r.stop()
	for i := range load.Readers {
		var subjects []string
		if load.OtherChannels {
			subjects = others(100)
		}
		url := s.urls[i%len(s.urls)]
		if load.Core {
			err = r.addCore(ctx, url)
		} else {
			err = r.add(ctx, url, subjects)
		}
		if err != nil {
			return u, err
		}
	}
	// What begins, such as buffers that grow, is not measured.
	warm := load
	warm.Messages = max(100, load.Messages/10)
	if err := s.publish(ctx, pub, r, warm); err != nil {
		return u, err
	}
	return s.window(ctx, pub, r, load)
}

// window measures a load.
func (s *natsServers) window(ctx context.Context, pub *client, r *readers, load Load) (u Usage, err error) {
	time.Sleep(300 * time.Millisecond)
	const rest = time.Second
	idle, _, err := usedBy(s.processes...)
	if err != nil {
		return u, err
	}
	time.Sleep(rest)
	before, each, err := usedBy(s.processes...)
	if err != nil {
		return u, err
	}
	sent, acks := pub.written.Load(), pub.read.Load()
	out, returned := r.bytes()
	begun := time.Now()
	if err := s.publish(ctx, pub, r, load); err != nil {
		return u, err
	}
	took := time.Since(begun)
	after, each2, err := usedBy(s.processes...)
	if err != nil {
		return u, err
	}
	n := float64(load.Messages)
	out2, returned2 := r.bytes()
	u.Idle = micros(before.cpu-idle.cpu) / rest.Seconds()
	u.CPU = (micros(after.cpu-before.cpu) - u.Idle*took.Seconds()) / n
	u.ToNATS, u.Acks = float64(pub.written.Load()-sent)/n, float64(pub.read.Load()-acks)/n
	u.Out, u.Returned = float64(out2-out)/n, float64(returned2-returned)/n
	u.Routes = float64(after.read-before.read)/n - u.ToNATS - u.Returned
	u.Rate = n / took.Seconds()
	for i, p := range s.processes {
		u.Most = max(u.Most, micros(each2[i]-each[i])/n-u.Idle*took.Seconds()/n/float64(len(s.processes)))
		memory, err := procfs.RssAnon(p.pid())
		if err != nil {
			return u, err
		}
		u.Memory += float64(memory)
	}
	return u, nil
}

// publish publishes, and waits until all have got it.
func (s *natsServers) publish(ctx context.Context, pub *client, r *readers, load Load) error {
	prefix := rand.Text()[:22] + "-" // as long as that of crier
	want := r.got.Load() + int64(load.Messages)*int64(load.Readers)
	if load.OtherChannels {
		want = 0
	}
	begun := time.Now()
	for i := range load.Messages {
		if load.Rate > 0 {
			time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / time.Duration(load.Rate))))
		}
		msg := nats.NewMsg(subject)
		msg.Data = make([]byte, load.Size)
		if load.Core {
			if err := pub.nc.PublishMsg(msg); err != nil {
				return err
			}
			continue
		}
		msg.Header.Set(jetstream.MsgIDHeader, prefix+strconv.FormatUint(uint64(i), 36))
		if _, err := pub.js.PublishMsgAsync(msg, jetstream.WithStallWait(patience)); err != nil {
			return err
		}
	}
	if err := pub.nc.FlushTimeout(patience); err != nil {
		return err
	}
	select {
	case <-pub.js.PublishAsyncComplete():
	case <-time.After(patience):
		return errors.New("measure: NATS does not answer")
	}
	return eventuallySoon(ctx, func() error {
		if got := r.got.Load(); got < want {
			return fmt.Errorf("%d of %d messages came", got, want)
		}
		return nil
	})
}

// eventuallySoon is eventually for what takes milliseconds.
func eventuallySoon(ctx context.Context, f func() error) error {
	for range 500 {
		if f() == nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return eventually(ctx, f)
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// joins measures what it costs NATS, in µs of CPU, that a consumer of a number of channels is made and removed.
func (s *natsServers) joins(ctx context.Context, n, channels int) (float64, error) {
	c, err := connect(ctx, s.urls[0])
	if err != nil {
		return 0, err
	}
	defer c.nc.Close()
	if err := s.recreateStream(ctx, c); err != nil {
		return 0, err
	}
	before, _, err := usedBy(s.processes...)
	if err != nil {
		return 0, err
	}
	for range n {
		consumer, messages, err := consume(ctx, c, others(channels))
		if err != nil {
			return 0, err
		}
		messages.Stop()
		if err := c.js.DeleteConsumer(ctx, stream, consumer.CachedInfo().Name); err != nil {
			return 0, err
		}
	}
	after, _, err := usedBy(s.processes...)
	return micros(after.cpu-before.cpu) / float64(n), err
}
