package swarm_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/swarm"
)

// A hundred connections, ten of which do not read for a while.
func Example() {
	srv, err := broadcast.New(broadcast.Config{})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := broadcast.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }() // Until Shutdown.

	cfg := swarm.Config{Conns: 100, Senders: 4, Timed: true}
	if err := cfg.ParseTarget("ws://" + ln.Addr().String() + "/"); err != nil {
		log.Fatal(err)
	}
	s, err := swarm.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	for _, step := range []func() error{
		func() error { return s.Grow(100) },
		func() error { return s.Broadcast(1) },
		func() error { return s.Stall(10) },
		func() error { return s.Send(swarm.Load{Messages: 50, Rate: 1000, Burst: 5}) },
		s.Resume,
		func() error { return s.Settle(10 * time.Second) },
	} {
		if err := step(); err != nil {
			log.Fatal(err)
		}
	}
	stats, err := s.Stats()
	if err != nil {
		log.Fatal(err)
	}
	tally, err := s.Tally(0, 100)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("deliveries:", stats.Delivered, "faults:", stats.Faults())
	fmt.Println("connections that got all:", tally.Whole)
	s.Close()
	fmt.Println("shutdown:", srv.Shutdown(context.Background()))
	<-served
	// Output:
	// deliveries: 5100 faults: 0
	// connections that got all: 100
	// shutdown: <nil>
}
