package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/crier-ws/crier/internal/swarm"
)

// Run loads the target and prints the summary to out. It blocks until all is done, or
// until SIGINT or SIGTERM, after which it prints what there is. The error is nil only if
// everything came as it should.
func (cmd *Cmd) Run(out io.Writer) error {
	cfg, err := cmd.config()
	if err != nil {
		return err
	}
	s, err := swarm.New(cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, s.Interrupt)()

	p := startProgress(cmd.progressTo(), cmd.Conns, s.Progress)
	r := &result{cmd: cmd, stalled: cmd.Stalled}
	failed := r.run(s)
	p.stop()
	stop() // From here on a signal ends the process, also where nobody reads what it prints.
	if r.stats == nil {
		return failed // before anything was sent
	}
	printed := r.print(out)
	if cmd.Plot != "" {
		if err := r.plot(cmd.Plot); err != nil {
			return err
		}
	}
	return cmp.Or(errors.Join(failed, r.verdict()), printed)
}

// result is what a run came to.
type result struct {
	cmd        *Cmd
	connecting time.Duration
	sending    time.Duration // from the first message on, to the last delivery
	stats      *swarm.Stats  // before the stalled connections read again; nil if nothing was sent
	healthy    swarm.Tally
	stalled    int
	woken      swarm.Tally // what became of the stalled ones
}

// run connects, sends, and waits for what is late.
func (r *result) run(s *swarm.Swarm) error {
	start := time.Now()
	if err := s.Grow(r.cmd.Conns); err != nil {
		return err
	}
	r.connecting = time.Since(start)
	if err := s.Stall(r.stalled); err != nil {
		return err
	}
	start = time.Now()
	failed := r.send(s)
	r.sending = time.Since(start)
	if failed == nil {
		failed = s.Settle(r.cmd.Grace)
	}
	var err error
	if r.stats, err = s.Stats(); err != nil {
		return err
	}
	if r.cmd.Rate > 0 && r.stats.Last > 0 {
		r.sending = r.stats.Last
	}
	reading := r.cmd.Conns - r.stalled
	if r.healthy, err = s.Tally(0, reading); err != nil {
		return err
	}
	if failed == nil && r.stalled > 0 {
		failed = cmp.Or(s.Resume(), s.Settle(r.cmd.Grace))
	}
	if failed == nil && r.cmd.Churn > 0 {
		failed = r.greetRenewed(s)
	}
	r.woken, err = s.Tally(reading, r.cmd.Conns)
	return errors.Join(failed, err)
}

// greetRenewed sends one more message: that it did not get those of before says nothing
// about a connection that came later, but this one all must get.
func (r *result) greetRenewed(s *swarm.Swarm) error {
	if err := s.Broadcast(1); err != nil {
		return fmt.Errorf("one more message to all, after the churn: %w", err)
	}
	return nil
}

// send sends for the time given, in open or closed loop.
func (r *result) send(s *swarm.Swarm) error {
	cmd := r.cmd
	if cmd.Rate > 0 {
		return s.Send(swarm.Load{
			Messages: int(cmd.Rate * cmd.Duration.Seconds()), Rate: cmd.Rate, Burst: cmd.Burst, Churn: cmd.Churn,
		})
	}
	for end := time.Now().Add(cmd.Duration); time.Now().Before(end); {
		if err := s.Broadcast(cmd.Burst); err != nil {
			return err
		}
	}
	return nil
}

// verdict is an error if a connection that reads was not served as it should be.
func (r *result) verdict() error {
	s := r.stats
	if s.Faults() == 0 && s.Dropped == 0 && r.healthy.Dropped+r.healthy.Lacking == 0 {
		return nil
	}
	return fmt.Errorf("%d deliveries lost, %d duplicated, %d reordered, %d corrupted; of %d connections that read, %d were closed and %d lack messages",
		s.Lost, s.Duplicated, s.Reordered, s.Corrupted, r.cmd.Conns-r.stalled, max(s.Dropped, r.healthy.Dropped), r.healthy.Lacking)
}
