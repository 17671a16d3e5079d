// Command cluster starts three servers of NATS, three of crier, HAProxy in front of them and the chat of examples/chat, all
// on this machine, and ends all of it on Ctrl-C:
//
//	go run ./examples/cluster
//
// See README.md for what to do then. What stands behind -- goes to each crier.
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

// Addresses that people and programs use, in HOST:PORT. All others are free ports of loopback.
type addresses struct {
	Clients  string // HAProxy's: WebSockets and events.
	BackEnds string // HAProxy's: publishing, and its own page.
	Chat     string
}

const (
	natsServers = 3
	nodes       = 3

	// patience is how long all of it may take to be ready.
	patience = time.Minute
)

func main() {
	var at addresses
	flag.StringVar(&at.Clients, "listen", "127.0.0.1:18000", "where clients connect")
	flag.StringVar(&at.BackEnds, "admin", "127.0.0.1:18001", "where back ends publish; never a public address")
	flag.StringVar(&at.Chat, "chat", "127.0.0.1:8080", "where the chat page is")
	flag.Parse()
	ctx, again := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, again) // A second signal ends this at once, and the kernel all that it started.
	if err := run(ctx, at, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// run is the whole life of the cluster: until ctx is done, or something of it cannot start.
func run(ctx context.Context, at addresses, flags []string, out io.Writer) (err error) {
	var public, inner places
	defer public.release()
	for _, addr := range []string{at.Clients, at.BackEnds, at.Chat} {
		if err := public.take(addr); err != nil {
			return fmt.Errorf("%w\nhint: -listen, -admin and -chat take other addresses", err)
		}
	}
	dir, err := os.MkdirTemp("", "crier-cluster-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log := &journal{out: out}
	log.say("cluster", "building")
	bins, err := build(ctx, dir)
	if err != nil {
		return unlessDone(ctx, err)
	}
	all, err := plan(dir, bins, at, &inner, flags)
	inner.release()
	if err != nil {
		return err
	}
	for _, p := range all {
		p.log = log
	}
	defer func() { // Clients are told, and then what they came through goes, and what crier needs.
		log.say("cluster", "ending")
		for _, kind := range []string{"node", "haproxy", "chat", "nats"} {
			stop(of(all, kind))
		}
	}()
	starting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, kind := range []string{"nats", "node", "haproxy", "chat"} {
		if kind == "haproxy" {
			public.release()
		}
		if err := start(starting, of(all, kind)); err != nil {
			return unlessDone(ctx, err)
		}
	}
	log.say("cluster", summary(at, all))
	<-ctx.Done()
	return nil
}

// unlessDone is err, or nil where somebody has ended it.
func unlessDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// summary says where everything is.
func summary(at addresses, all []*program) string {
	s := fmt.Sprintf(`all is ready
  the chat           http://%s/?server=ws://%s
  clients            ws://%s/CHANNEL
  back ends          curl -d hello http://%s/v1/publish/CHANNEL
  HAProxy's page     http://%s/haproxy
What ends is started again after a second:
`, at.Chat, at.Clients, at.Clients, at.BackEnds, at.BackEnds)
	for _, p := range all {
		s += fmt.Sprintf("  %-18s kill %-10d # %s\n", p.name, p.pid(), p.about)
	}
	return s + "Ctrl-C ends all of it, and nothing is kept."
}
