package measure

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/crier-ws/crier/bench/scale/model"
	"github.com/crier-ws/crier/internal/procfs"
)

// Config is the configuration of a measurement.
type Config struct {
	NATSServer string    // The program.
	Crier      string    // The program.
	Rounds     int       // Repetitions of each measurement; the median counts.
	Log        io.Writer // Gets a line for each measurement.
}

// The sizes of messages between which costs are assumed to be linear, the rate under light load, and the numbers of
// messages.
const (
	small, large = 100, 1024
	easeRate     = 500
	easeCount    = 1000
	busyCount    = 20000
)

// Run measures all constants except those of docs/performance.md, which stay 0. It uses all of the machine, and blocks
// for some minutes or until ctx is done.
func Run(ctx context.Context, cfg Config) (c model.Costs, err error) {
	var one, three []model.Costs
	for i := range cfg.Rounds {
		fmt.Fprintf(cfg.Log, "round %d of %d\n", i+1, cfg.Rounds)
		a, err := cfg.round(ctx, 1)
		if err != nil {
			return c, err
		}
		b, err := cfg.round(ctx, 3)
		if err != nil {
			return c, err
		}
		one, three = append(one, a), append(three, b)
	}
	c = merge(one)
	c.R3 = merge(three).R3
	c.Nodes, c.CrierMemory, c.Publish, err = cfg.nodes(ctx)
	if err != nil {
		return c, err
	}
	c.Publish = max(0, c.Publish-c.Message.At(small))
	if c.TLS, err = handshakes(1000, false); err != nil {
		return c, err
	}
	c.TLSResumed, err = handshakes(1000, true)
	return c, err
}

// Once starts so many NATS servers, each of which holds the stream, and measures one load. It blocks until then.
func Once(ctx context.Context, natsServer string, servers int, load Load) (Usage, error) {
	s, err := startNATS(natsServer, servers)
	if err != nil {
		return Usage{}, err
	}
	defer s.stop()
	return s.stream(ctx, load)
}

// round measures the costs of NATS, and with one server also those of a crier.
func (cfg *Config) round(ctx context.Context, servers int) (c model.Costs, err error) {
	s, err := startNATS(cfg.NATSServer, servers)
	if err != nil {
		return c, err
	}
	defer s.stop()
	run := func(load Load) (u Usage) {
		if err != nil {
			return u
		}
		if u, err = s.stream(ctx, load); err == nil {
			fmt.Fprintf(cfg.Log, "%d NATS, %+v: %+.4g\n", servers, load, u)
		}
		return u
	}
	if servers == 1 {
		if c.NATSMemory, err = s.memory(ctx); err != nil {
			return c, err
		}
	}
	st := &c.R1
	if servers > 1 {
		st = &c.R3
	}
	ease, busy := Load{Readers: 64, Messages: easeCount, Rate: easeRate}, Load{Readers: 16, Messages: busyCount}
	sized := func(load Load, size int) Load { load.Size = size; return load }
	easeSmall, easeLarge := pair(run, sized(ease, small)), pair(run, sized(ease, large))
	busySmall, busyLarge := pair(run, sized(busy, small)), pair(run, sized(busy, large))
	elsewhere := busySmall // Its readers follow another channel.
	if load := sized(busy, small); err == nil {
		load.OtherChannels = true
		elsewhere[1].Usage = run(load)
	}
	if err == nil {
		st.Join, err = s.joins(ctx, 100, 2)
	}
	if err == nil {
		st.JoinMost, err = s.joins(ctx, 100, model.Follows)
		fmt.Fprintf(cfg.Log, "%d NATS, a consumer: %.4g us, with many subjects %.4g us\n",
			servers, st.Join, st.JoinMost)
	}
	ease.Core = true
	core := [2]Usage{run(sized(ease, small)), run(sized(ease, large))}
	if err != nil {
		return c, err
	}
	cpu := func(p point) float64 { return p.CPU }
	routes := func(p point) float64 { return p.Routes }
	st.Store, st.Deliver = lines(easeSmall, easeLarge, cpu)
	st.BusyStore, st.BusyDeliver = lines(busySmall, busyLarge, cpu)
	st.Replicate, st.Cross = lines(easeSmall, easeLarge, routes)
	st.Skip = max(0, (elsewhere[1].CPU-elsewhere[0].CPU)/elsewhere[1].readers)
	st.BusyTime = between(1e6/busySmall[0].Rate, 1e6/busyLarge[0].Rate)
	st.Leader = busySmall[0].Most / busySmall[0].CPU
	c.Core = between(core[0].CPU/64, core[1].CPU/64)
	c.CoreBytes = core[0].Out/64 - small
	p := easeSmall[1]
	c.PublishBytes, c.AckBytes = p.ToNATS-small, p.Acks
	c.DeliverBytes, c.ReturnBytes = p.Out/p.readers-small, p.Returned/p.readers
	if servers == 1 {
		if c.Accept, err = cfg.accept(ctx); err == nil {
			err = cfg.crier(ctx, s, &c)
		}
	}
	return c, err
}

// point is a measurement with a number of readers.
type point struct {
	Usage
	readers float64
}

// pair measures a load without readers and with load.Readers of them.
func pair(run func(Load) Usage, load Load) (p [2]point) {
	for i, n := range []int{0, load.Readers} {
		load.Readers = n
		p[i] = point{run(load), float64(n)}
	}
	return p
}

// lines returns the cost of a message without readers, and the cost that each reader adds, by size.
func lines(smaller, larger [2]point, y func(point) float64) (message, reader model.Linear) {
	slope := func(p [2]point) float64 { return (y(p[1]) - y(p[0])) / p[1].readers }
	return between(y(smaller[0]), y(larger[0])), between(slope(smaller), slope(larger))
}

// between returns the line through the costs of small and of large messages. A large message costs at least as much.
func between(ofSmall, ofLarge float64) model.Linear {
	ofLarge = max(ofSmall, ofLarge)
	perByte := (ofLarge - ofSmall) / (large - small)
	return model.Linear{Base: ofSmall - small*perByte, PerKiB: 1024 * perByte}
}

// memory measures the memory of a NATS server for each reader, in bytes.
func (s *natsServers) memory(ctx context.Context) (float64, error) {
	admin, err := connect(ctx, s.urls[0])
	if err != nil {
		return 0, err
	}
	defer admin.nc.Close()
	if err := s.recreateStream(ctx, admin); err != nil {
		return 0, err
	}
	r := &readers{}
	defer r.stop()
	const few, many = 32, 256
	var was int64
	for i := range many {
		if i == few {
			if was, err = procfs.RssAnon(s.processes[0].pid()); err != nil {
				return 0, err
			}
		}
		if err := r.add(ctx, s.urls[0], nil); err != nil {
			return 0, err
		}
	}
	time.Sleep(time.Second)
	is, err := procfs.RssAnon(s.processes[0].pid())
	return float64(is-was) / (many - few), err
}

// crier measures the CPU of a crier for a message of the stream.
func (cfg *Config) crier(ctx context.Context, s *natsServers, into *model.Costs) error {
	c, err := startCriers(ctx, cfg.Crier, 1, s)
	if err != nil {
		return err
	}
	defer c.stop()
	var got [4]float64
	for i, load := range []Load{
		{Size: small, Messages: easeCount, Rate: easeRate}, {Size: large, Messages: easeCount, Rate: easeRate},
		{Size: small, Messages: busyCount}, {Size: large, Messages: busyCount},
	} {
		if got[i], err = c.consume(ctx, s, load); err != nil {
			return err
		}
		fmt.Fprintf(cfg.Log, "crier, %+v: %.4g us\n", load, got[i])
	}
	into.Message, into.BusyMessage = between(got[0], got[1]), between(got[2], got[3])
	return nil
}

// accept measures the CPU of a crier for a connection that sends nothing.
func (cfg *Config) accept(ctx context.Context) (float64, error) {
	c, err := startCriers(ctx, cfg.Crier, 1, nil)
	if err != nil {
		return 0, err
	}
	defer c.stop()
	f, err := follow(ctx, c.urls[0], 1) // It returns once crier serves.
	if err != nil {
		return 0, err
	}
	f.conn.Close()
	cpu, err := c.accept(2000)
	fmt.Fprintf(cfg.Log, "crier, accept: %.4g us\n", cpu)
	return cpu, err
}

// nodes measures criers as their clients see them: a single server and three clusters, in turns.
func (cfg *Config) nodes(ctx context.Context) (all []model.Nodes, memory, publish float64, err error) {
	kinds := []struct {
		name           string
		servers, nodes int
	}{
		{"one crier, alone", 0, 1},
		{"one node, NATS on 1 server", 1, 1},
		{"three nodes, NATS on 1 server", 1, 3},
		{"three nodes, NATS on 3 servers, 3 replicas", 3, 3},
	}
	got := make([][]Delivery, len(kinds))
	for range cfg.Rounds {
		for i, k := range kinds {
			d, err := cfg.delivery(ctx, k.servers, k.nodes)
			if err != nil {
				return nil, 0, 0, fmt.Errorf("%s: %w", k.name, err)
			}
			fmt.Fprintf(cfg.Log, "%s: %+.4g\n", k.name, d)
			got[i] = append(got[i], d)
		}
	}
	for i, k := range kinds {
		all = append(all, model.Nodes{
			Name: k.name,
			P50:  median(got[i], func(d Delivery) float64 { return d.P50 }),
			P99:  median(got[i], func(d Delivery) float64 { return d.P99 }),
			CPU:  median(got[i], func(d Delivery) float64 { return d.CPU }),
			Rate: median(got[i], func(d Delivery) float64 { return d.Rate }),
		})
	}
	byMemory := func(d Delivery) float64 { return d.Memory }
	return all, median(got[1], byMemory) - median(got[0], byMemory), all[1].CPU - all[0].CPU, nil
}

func (cfg *Config) delivery(ctx context.Context, servers, nodes int) (d Delivery, err error) {
	var s *natsServers
	if servers > 0 {
		if s, err = startNATS(cfg.NATSServer, servers); err != nil {
			return d, err
		}
		defer s.stop()
	}
	c, err := startCriers(ctx, cfg.Crier, nodes, s)
	if err != nil {
		return d, err
	}
	defer c.stop()
	return c.deliver(ctx, small, 300, 100, busyCount)
}

// median returns the median of f over all, which must not be empty.
func median[T any](all []T, f func(T) float64) float64 {
	var values []float64
	for _, v := range all {
		values = append(values, f(v))
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// merge returns the medians of rounds, field by field.
func merge(rounds []model.Costs) model.Costs {
	var m model.Costs
	into := fields(&m)
	from := make([][]*float64, len(rounds))
	for i := range rounds {
		from[i] = fields(&rounds[i])
	}
	for k := range into {
		*into[k] = median(from, func(fs []*float64) float64 { return *fs[k] })
	}
	return m
}

// fields returns pointers to the constants that round measures.
func fields(c *model.Costs) (all []*float64) {
	linear := func(ls ...*model.Linear) {
		for _, l := range ls {
			all = append(all, &l.Base, &l.PerKiB)
		}
	}
	for _, s := range []*model.Stream{&c.R1, &c.R3} {
		linear(&s.Store, &s.Deliver, &s.BusyStore, &s.BusyDeliver, &s.BusyTime, &s.Replicate, &s.Cross)
		all = append(all, &s.Leader, &s.Skip, &s.Join, &s.JoinMost)
	}
	linear(&c.Core, &c.Message, &c.BusyMessage)
	return append(all, &c.Accept, &c.PublishBytes, &c.AckBytes, &c.DeliverBytes, &c.ReturnBytes, &c.CoreBytes,
		&c.NATSMemory)
}
