// Command send answers one connection, beside what all get:
//
//	go run ./examples/embed/send      # then connect to ws://127.0.0.1:8080 and send "time"
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/crier-ws/crier/broadcast"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	srv, err := broadcast.New(broadcast.Config{
		OnConnect: func(c *broadcast.Conn, _ *http.Request) error {
			return c.Send(text("welcome: send time, or anything else to all"))
		},
		OnMessage: func(c *broadcast.Conn, m broadcast.Message) (broadcast.Message, bool) {
			if string(m.Payload) != "time" {
				return m, true
			}
			answer(c, time.Now().Format(time.RFC3339))
			return m, false
		},
	})
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
	if err := srv.Run(ctx, ln); err != nil {
		log.Fatal(err)
	}
}

// answer sends to one connection. One that asks and does not read is closed.
func answer(c *broadcast.Conn, s string) {
	if err := c.Send(text(s)); errors.Is(err, broadcast.ErrBusy) {
		_ = c.Close(1013, "read the answers first")
	}
}

func text(s string) broadcast.Message {
	return broadcast.Message{Kind: broadcast.Text, Payload: []byte(s)}
}
