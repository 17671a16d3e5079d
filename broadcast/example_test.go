package broadcast_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"

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

// Rooms of a chat: a client that joins late gets the last messages, and each message has an ID with which a client
// can resume.
func ExampleServer_PublishTo() {
	srv, err := broadcast.New(broadcast.Config{Channels: true})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := broadcast.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go srv.Serve(ln) // Until Shutdown.

	ctx := context.Background()
	var last broadcast.Published
	for _, text := range []string{"one", "two", "three"} {
		if last, err = srv.PublishTo(ctx, "room/42", broadcast.Message{Kind: broadcast.Text, Payload: []byte(text)}); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := srv.PublishTo(ctx, "room/43", broadcast.Message{Kind: broadcast.Text, Payload: []byte("elsewhere")}); err != nil {
		log.Fatal(err)
	}
	dialer := ws.Dialer{Protocols: []string{"crier.v1"}}
	client, early, _, err := dialer.Dial(ctx, "ws://"+ln.Addr().String()+"/room/42?last=2")
	if err != nil {
		log.Fatal(err)
	}
	var in io.Reader = client
	if early != nil { // What came with the answer.
		in = early
	}
	for range 3 {
		text, err := wsutil.ReadServerText(struct {
			io.Reader
			io.Writer
		}{in, client})
		if err != nil {
			log.Fatal(err)
		}
		epoch, _, _ := strings.Cut(last.ID, "-")
		fmt.Printf("%q\n", strings.Replace(string(text), epoch, "EPOCH", 1))
	}
	info, _ := srv.Channel("room/42")
	fmt.Println(info.Connections, "in the room; the newest is the last:", info.Head == last.ID)
	client.Close()
	fmt.Println(srv.Shutdown(ctx))
	// Output:
	// "at: EPOCH-1\n"
	// "id: EPOCH-2\ntwo"
	// "id: EPOCH-3\nthree"
	// 1 in the room; the newest is the last: true
	// <nil>
}
