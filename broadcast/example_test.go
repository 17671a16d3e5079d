package broadcast_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/crier-ws/crier/broadcast"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// A server that sends what a client says, and what the program publishes, to
// all clients.
func Example() {
	srv, err := broadcast.New(broadcast.Config{Path: "/ws"})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := broadcast.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()

	ctx := context.Background()
	client, _, _, err := ws.Dial(ctx, "ws://"+ln.Addr().String()+"/ws")
	if err != nil {
		log.Fatal(err)
	}
	read := func() {
		text, err := wsutil.ReadServerText(client)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", text)
	}
	if err := srv.Publish(ctx, broadcast.Message{Kind: broadcast.Text, Payload: []byte("from the program")}); err != nil {
		log.Fatal(err)
	}
	read()
	if err := wsutil.WriteClientText(client, []byte("from a client")); err != nil {
		log.Fatal(err)
	}
	read()
	client.Close()

	fmt.Println("shutdown:", srv.Shutdown(ctx))
	fmt.Println("serve:", <-served)
	// Output:
	// from the program
	// from a client
	// shutdown: <nil>
	// serve: broadcast: server is closed
}

// Hooks decide who may connect and what is published.
func ExampleConfig_hooks() {
	gone := make(chan broadcast.Reason, 1)
	srv, err := broadcast.New(broadcast.Config{
		OnConnect: func(_ *broadcast.Conn, r *http.Request) error {
			if r.URL.Query().Get("token") != "secret" {
				return &broadcast.Refusal{Status: http.StatusUnauthorized, Reason: "a token is needed"}
			}
			return nil
		},
		OnMessage: func(_ *broadcast.Conn, m broadcast.Message) (broadcast.Message, bool) {
			m.Payload = append([]byte("someone says: "), m.Payload...)
			return m, m.Kind == broadcast.Text // Others are not published.
		},
		OnDisconnect: func(_ *broadcast.Conn, why broadcast.Reason) { gone <- why },
	})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := broadcast.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go srv.Serve(ln) // Until Shutdown.

	ctx := context.Background()
	url := "ws://" + ln.Addr().String() + "/"
	_, _, _, err = ws.Dial(ctx, url)
	fmt.Println(err)
	client, _, _, err := ws.Dial(ctx, url+"?token=secret")
	if err != nil {
		log.Fatal(err)
	}
	if err := wsutil.WriteClientText(client, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	text, err := wsutil.ReadServerText(client)
	fmt.Printf("%s %v\n", text, err)
	client.Close()
	fmt.Println(<-gone)
	fmt.Println(srv.Shutdown(ctx))
	// Output:
	// unexpected HTTP response status: 401
	// someone says: hello <nil>
	// peer-gone
	// <nil>
}
