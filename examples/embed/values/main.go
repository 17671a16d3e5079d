// Command values knows who its connections are:
//
//	go run ./examples/embed/values
//	crier sub --server 'ws://127.0.0.1:8080/?name=ann'     # in another terminal
//
// Each message goes out with the name of its sender, and one that shouts is closed.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"os/signal"
	"strings"
	"syscall"

	"github.com/crier-ws/crier/broadcast"
)

// user is the value of a connection.
type user struct{ name string }

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	cfg := broadcast.DefaultConfig()
	cfg.Authorize = authorize
	cfg.OnMessage = onMessage
	cfg.OnDisconnect = func(c *broadcast.Conn, why broadcast.Reason) {
		log.Printf("%s has left: %s", c.Value().(*user).name, why)
	}
	srv, err := broadcast.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	ln, err := broadcast.Listen(*listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("connect to ws://%s/?name=ann", ln.Addr())
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := srv.Run(ctx, ln); err != nil {
		log.Fatal(err)
	}
}

// authorize would look at a cookie or a token.
func authorize(r *http.Request, _ string) (broadcast.Grant, error) {
	name := r.URL.Query().Get("name")
	if name == "" {
		return broadcast.Grant{}, &broadcast.Refusal{Status: http.StatusUnauthorized, Reason: "who are you? add ?name="}
	}
	return broadcast.Grant{Publish: true, Value: &user{name}}, nil
}

func onMessage(c *broadcast.Conn, m broadcast.Message) (broadcast.Message, bool) {
	text := string(m.Payload)
	if m.Kind == broadcast.Text && len(text) > 3 && text == strings.ToUpper(text) && text != strings.ToLower(text) {
		_ = c.Close(4000, "no shouting") // The message does not go out, whatever is returned.
	}
	m.Payload = []byte(c.Value().(*user).name + ": " + text)
	return m, m.Kind == broadcast.Text
}
