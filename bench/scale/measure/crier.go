package measure

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crier-ws/crier/internal/procfs"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// criers are nodes of a cluster, or one that is alone.
type criers struct {
	processes []*process
	urls      []string
	messages  *client // To the stream, or nil.
}

// startCriers starts n nodes with the NATS servers s, whose stream it recreates, or a single server if s is nil.
func startCriers(ctx context.Context, bin string, n int, s *natsServers) (*criers, error) {
	c := &criers{}
	addrs, err := freeAddrs(n)
	if err != nil {
		return nil, err
	}
	if s != nil {
		if c.messages, err = connect(ctx, s.urls[0]); err != nil {
			return nil, err
		}
		err = s.recreateStream(ctx, c.messages)
	}
	for i, addr := range addrs {
		args := []string{bin, "--listen", addr, "--log-level", "error"}
		if s != nil {
			args = append(args, "--cluster", s.urls[i%len(s.urls)])
		}
		p := (*process)(nil)
		if err == nil {
			p, err = start(args...)
		}
		if err != nil {
			c.stop()
			return nil, err
		}
		c.processes, c.urls = append(c.processes, p), append(c.urls, "ws://"+addr)
	}
	return c, nil
}

func (c *criers) stop() {
	for _, p := range c.processes {
		p.stop()
	}
	if c.messages != nil {
		c.messages.nc.Close()
	}
}

// follower is a client of a crier. Messages carry when they were sent.
type follower struct {
	conn  net.Conn
	times chan time.Duration // How long each message took.
	err   error              // Set when times is closed.
}

func follow(ctx context.Context, url string, room int) (*follower, error) {
	f := &follower{times: make(chan time.Duration, room)}
	var br *bufio.Reader
	err := eventually(ctx, func() (err error) {
		f.conn, br, _, err = ws.Dial(ctx, url)
		return err
	})
	if err != nil {
		return nil, err
	}
	if br == nil {
		br = bufio.NewReader(f.conn)
	}
	if _, err := wsutil.ReadServerText(ahead{br, f.conn}); err != nil { // The greeting.
		return nil, err
	}
	go f.run(ahead{br, f.conn}) // Ends with the connection.
	return f, nil
}

// ahead is a connection of which some was read already.
type ahead struct {
	*bufio.Reader
	net.Conn
}

func (s ahead) Read(p []byte) (int, error) { return s.Reader.Read(p) }

func (f *follower) run(rw ahead) {
	defer close(f.times)
	for {
		p, err := wsutil.ReadServerBinary(rw)
		if err != nil {
			f.err = err
			return
		}
		if len(p) < 8 {
			f.err = fmt.Errorf("measure: a message of %d B came", len(p))
			return
		}
		f.times <- time.Since(epoch) - time.Duration(binary.BigEndian.Uint64(p))
	}
}

// epoch is what times in messages count from.
var epoch = time.Now()

// Delivery is what publishing at the first of some criers is like.
type Delivery struct {
	P50, P99 float64 // ms until the client of the last node has a message.
	CPU      float64 // µs of all criers for a message, at the rate that it was paced to.
	Rate     float64 // Messages a second, as fast as it goes.
	Memory   float64 // Bytes of a crier, before.
}

// deliver measures with a client at each node, of which the first one publishes.
func (c *criers) deliver(ctx context.Context, size, paced, rate, flood int) (d Delivery, err error) {
	var followers []*follower
	for _, url := range c.urls {
		f, err := follow(ctx, url, paced+flood)
		if err != nil {
			return d, err
		}
		defer f.conn.Close()
		followers = append(followers, f)
	}
	if _, err := c.send(followers, size, max(50, paced/10), rate); err != nil { // To warm up.
		return d, err
	}
	memory, err := procfs.RssAnon(c.processes[0].pid())
	if err != nil {
		return d, err
	}
	d.Memory = float64(memory)
	d.CPU, err = c.cpu(paced, func() error {
		times, err := c.send(followers, size, paced, rate)
		slices.Sort(times)
		if err == nil {
			d.P50, d.P99 = micros(times[len(times)/2])/1000, micros(times[len(times)*99/100])/1000
		}
		return err
	})
	if err != nil {
		return d, err
	}
	begun := time.Now()
	_, err = c.send(followers, size, flood, 0)
	d.Rate = float64(flood) / time.Since(begun).Seconds()
	return d, err
}

// cpu is what f costs all criers, for each of n messages, in µs, without what they use at rest.
func (c *criers) cpu(n int, f func() error) (float64, error) {
	const rest = time.Second
	idle, _, err := usedBy(c.processes...)
	if err != nil {
		return 0, err
	}
	time.Sleep(rest)
	before, _, err := usedBy(c.processes...)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := f(); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	after, _, err := usedBy(c.processes...)
	return (micros(after.cpu-before.cpu) - micros(before.cpu-idle.cpu)*took.Seconds()/rest.Seconds()) / float64(n), err
}

// send publishes n messages at the first node, and waits until all have got them. It returns how long each took to the
// last one that got it.
func (c *criers) send(followers []*follower, size, n, rate int) ([]time.Duration, error) {
	p := make([]byte, max(8, size))
	begun := time.Now()
	for i := range n {
		if rate > 0 {
			time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
		binary.BigEndian.PutUint64(p, uint64(time.Since(epoch)))
		_ = followers[0].conn.SetWriteDeadline(time.Now().Add(patience))
		if err := wsutil.WriteClientBinary(followers[0].conn, slices.Clone(p)); err != nil {
			return nil, err
		}
	}
	times := make([]time.Duration, n)
	late := time.After(patience)
	for _, f := range followers {
		for i := range n {
			select {
			case took, ok := <-f.times:
				if !ok {
					return nil, f.err
				}
				times[i] = max(times[i], took)
			case <-late:
				return nil, errors.New("measure: not all messages came")
			}
		}
	}
	return times, nil
}

// consume measures the CPU of a crier for each message of the stream that nobody listens to there, in µs.
func (c *criers) consume(ctx context.Context, s *natsServers, load Load) (float64, error) {
	f, err := follow(ctx, c.urls[0], load.Messages+100) // Only to know when it is ready.
	if err != nil {
		return 0, err
	}
	f.conn.Close()
	time.Sleep(200 * time.Millisecond)
	return c.cpu(load.Messages, func() error {
		if err := s.publish(ctx, c.messages, &readers{}, load); err != nil {
			return err
		}
		return c.settle()
	})
}

// settle waits until the criers do next to nothing.
func (c *criers) settle() error {
	for begun := time.Now(); time.Since(begun) < patience; {
		before, _, err := usedBy(c.processes...)
		if err != nil {
			return err
		}
		const pause, little = 200 * time.Millisecond, 4 * time.Millisecond
		time.Sleep(pause)
		if after, _, err := usedBy(c.processes...); err != nil || after.cpu-before.cpu < little {
			return err
		}
	}
	return errors.New("measure: crier does not come to rest")
}

// accept measures the CPU of a crier for a connection over which no request comes, in µs, when many come at once.
func (c *criers) accept(n int) (float64, error) {
	addr := strings.TrimPrefix(c.urls[0], "ws://")
	conns := make([]net.Conn, n)
	defer func() {
		for _, conn := range conns {
			if conn != nil {
				conn.Close()
			}
		}
	}()
	return c.cpu(n, func() error {
		const atOnce = 256
		errs := make([]error, atOnce)
		var all sync.WaitGroup
		for k := range atOnce {
			all.Go(func() {
				for i := k; i < n && errs[k] == nil; i += atOnce {
					conns[i], errs[k] = net.Dial("tcp4", addr)
				}
			})
		}
		all.Wait()
		return errors.Join(errs...)
	})
}
