// Command cluster starts three NATS servers, three crier servers, HAProxy in front of them and the chat of
// examples/chat, all on this machine, and ends them on Ctrl-C:
//
//	go run ./examples/cluster
//
// README.md says what to try then. Arguments after -- are passed to each crier.
//
// The files, in the order of the data: plan.go builds the programs and plans how they run, program.go runs one of them
// and starts it again when it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// addresses are what people and programs use, as HOST:PORT. All other addresses are free ports of loopback.
type addresses struct {
	Clients  string // Of HAProxy: WebSockets and server-sent events.
	BackEnds string // Of HAProxy: publishing, and its statistics page.
	Chat     string // Of the chat page.
}

const (
	natsServers = 3
	nodes       = 3

	// startTimeout is how long all programs may take until they are ready.
	startTimeout = time.Minute
)

func main() {
	var at addresses
	flag.StringVar(&at.Clients, "listen", "127.0.0.1:18000", "`HOST:PORT` for clients")
	flag.StringVar(&at.BackEnds, "admin", "127.0.0.1:18001", "`HOST:PORT` where back ends publish; never a public address")
	flag.StringVar(&at.Chat, "chat", "127.0.0.1:8080", "`HOST:PORT` of the chat page")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // A second signal ends this process at once, and the kernel then kills the others.
	if err := run(ctx, at, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// run starts the cluster and ends it when ctx is done, or when one of its programs cannot start.
func run(ctx context.Context, at addresses, flags []string, out io.Writer) (err error) {
	var public, inner reserved
	defer public.release()
	for _, addr := range []string{at.Clients, at.BackEnds, at.Chat} {
		if err := public.reserve(addr); err != nil {
			return fmt.Errorf("%w\nhint: choose other addresses with -listen, -admin and -chat", err)
		}
	}
	dir, err := os.MkdirTemp("", "crier-cluster-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log := &journal{out: out}
	log.write("cluster", "building")
	bins, err := build(ctx, dir)
	if err != nil {
		return unlessCancelled(ctx, err)
	}
	all, err := plan(dir, bins, at, &inner, flags)
	inner.release()
	if err != nil {
		return err
	}
	for _, p := range all {
		p.log = log
	}
	defer func() { // Nodes first: they close their connections in order. NATS last, as the nodes need it.
		log.write("cluster", "ending")
		for _, kind := range []string{"node", "haproxy", "chat", "nats"} {
			stop(withPrefix(all, kind))
		}
	}()
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, kind := range []string{"nats", "node", "haproxy", "chat"} {
		if kind == "haproxy" {
			public.release()
		}
		if err := start(starting, withPrefix(all, kind)); err != nil {
			return unlessCancelled(ctx, err)
		}
	}
	log.write("cluster", summary(at, all))
	<-ctx.Done()
	return nil
}

// unlessCancelled returns err, or nil if ctx is done: an error is no fault then.
func unlessCancelled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// summary lists the addresses and the processes.
func summary(at addresses, all []*program) string {
	s := fmt.Sprintf(`all is ready
  the chat           http://%s/?server=ws://%s
  clients            ws://%s/CHANNEL
  back ends          curl -d hello http://%s/v1/publish/CHANNEL
  HAProxy's page     http://%s/haproxy
A process that ends is started again after a second:
`, at.Chat, at.Clients, at.Clients, at.BackEnds, at.BackEnds)
	for _, p := range all {
		s += fmt.Sprintf("  %-18s kill %-10d # %s\n", p.name, p.pid(), p.about)
	}
	return s + "Ctrl-C ends all processes and deletes their data."
}
