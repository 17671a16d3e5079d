package broadcast_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/crier-ws/crier/broadcast"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// A site of net/http has the server in its mux. Channels are the rest of the path.
func ExampleServer_Handler() {
	srv, err := broadcast.New(broadcast.Config{Channels: true})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /ws/", http.StripPrefix("/ws", srv.Handler()))
	site := httptest.NewServer(mux)
	defer site.Close()

	ctx := context.Background()
	client, _, _, err := ws.Dial(ctx, strings.Replace(site.URL, "http", "ws", 1)+"/ws/news")
	if err != nil {
		log.Fatal(err)
	}
	hello := broadcast.Message{Kind: broadcast.Text, Payload: []byte("hello")}
	if _, err := srv.PublishTo(ctx, "news", hello); err != nil {
		log.Fatal(err)
	}
	text, err := wsutil.ReadServerText(client)
	fmt.Printf("%s %v\n", text, err)
	client.Close()
	fmt.Println(srv.Shutdown(ctx)) // That of the http.Server does not know the connection.
	// Output:
	// hello <nil>
	// <nil>
}

// A request is answered on its connection alone, and one that misbehaves is closed.
func ExampleConn_Send() {
	srv, err := broadcast.New(broadcast.Config{
		OnMessage: func(c *broadcast.Conn, m broadcast.Message) (broadcast.Message, bool) {
			switch string(m.Payload) {
			case "ping":
				if err := c.Send(broadcast.Message{Kind: broadcast.Text, Payload: []byte("pong")}); err != nil {
					log.Print(err)
				}
				return m, false
			case "spam":
				_ = c.Close(4000, "no spam") // Then it is not published either.
			}
			return m, true
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := broadcast.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx, ln) }() // Until stop is called.

	client, _, _, err := ws.Dial(ctx, "ws://"+ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"ping", "spam"} {
		if err := wsutil.WriteClientText(client, []byte(text)); err != nil {
			log.Fatal(err)
		}
		answer, err := wsutil.ReadServerText(client)
		fmt.Printf("%q %v\n", answer, err)
	}
	client.Close()
	stop()
	fmt.Println("run:", <-done)
	// Output:
	// "pong" <nil>
	// "" ws closed: 4000 no spam
	// run: <nil>
}
