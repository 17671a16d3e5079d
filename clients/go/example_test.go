package crier_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/crier-ws/crier/broadcast"
	crier "github.com/crier-ws/crier/clients/go"
)

// A client that greets the channel news, and prints what arrives there until somebody says goodbye.
func Example() {
	srv, url := serve() // Usually crier runs elsewhere: url is ws://localhost:18000.
	defer srv.Shutdown(context.Background())

	ctx := context.Background()
	var client *crier.Client
	client, err := crier.New(crier.Config{
		URL:       url + "/news",
		Last:      1, // Begin with the newest message.
		Connected: func() { _ = client.Send(ctx, "hello, all") },
	})
	if err != nil {
		log.Fatal(err)
	}
	goodbye := errors.New("goodbye")
	err = client.Follow(ctx, func(e crier.Event) error {
		if e.IsGap() {
			fmt.Println("missed: after", e.From, "up to", e.To)
			return nil
		}
		fmt.Printf("%s\n", e.Payload)
		switch string(e.Payload) {
		case "hello, all":
			return client.Send(ctx, "goodbye")
		case "goodbye":
			return goodbye
		}
		return nil
	})
	if !errors.Is(err, goodbye) {
		log.Fatal(err)
	}
	// Output:
	// the first news
	// hello, all
	// goodbye
}

// serve starts a server with channels and a message in the channel news, and returns it with its URL.
func serve() (*broadcast.Server, string) {
	srv, err := broadcast.New(broadcast.Config{Channels: true})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := broadcast.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = srv.Serve(ln) }() // Ends with Shutdown.
	m := broadcast.Message{Kind: broadcast.Text, Payload: []byte("the first news")}
	if _, err := srv.PublishTo(context.Background(), "news", m); err != nil {
		log.Fatal(err)
	}
	return srv, "ws://" + ln.Addr().String()
}
