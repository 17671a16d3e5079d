// Command run is the smallest whole server: it sends what a client says to all, until a signal
// comes, and then closes everybody in an orderly way before it ends.
//
//	go run ./examples/embed/run
package main

import (
	"context"
	"flag"
	"log"
	"os/signal"
	"syscall"

	"github.com/crier-ws/crier/broadcast"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	srv, err := broadcast.New(broadcast.DefaultConfig())
	if err != nil {
		log.Fatal(err)
	}
	ln, err := broadcast.Listen(*listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("connect to ws://%s", ln.Addr())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := srv.Run(ctx, ln); err != nil { // Returns when all are closed.
		log.Fatal(err)
	}
	log.Print("all are closed")
}
