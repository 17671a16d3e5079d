package auth_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/crier-ws/crier/auth"
	"github.com/crier-ws/crier/broadcast"
	"github.com/gobwas/ws"
	"github.com/golang-jwt/jwt/v5"
)

// A server that lets in who has a token, and what a back end does to make one.
func Example() {
	secret := []byte("as-of-openssl-rand--hex-32--and-known-to-the-back-end-alone") // One word.

	keys, err := auth.ParseKeys(secret)
	if err != nil {
		log.Fatal(err)
	}
	verifier := auth.New(auth.Config{Keys: keys, Leeway: 10 * time.Second})
	srv, err := broadcast.New(broadcast.Config{Channels: true, Authorize: verifier.Authorize})
	if err != nil {
		log.Fatal(err)
	}
	ln, err := broadcast.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go srv.Serve(ln) // Until Shutdown.

	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"exp":   time.Now().Add(time.Hour).Unix(),
		"crier": map[string]any{"join": []string{"news/*"}, "publish": []string{"news/chat"}},
	}).SignedString(secret)
	if err != nil {
		log.Fatal(err)
	}
	for _, target := range []string{"/news/chat?token=" + token, "/secret?token=" + token, "/news/chat"} {
		conn, _, _, err := ws.Dial(context.Background(), "ws://"+ln.Addr().String()+target)
		if err == nil {
			conn.Close()
		}
		fmt.Println(err)
	}
	fmt.Println(srv.Shutdown(context.Background()))
	// Output:
	// <nil>
	// unexpected HTTP response status: 403
	// unexpected HTTP response status: 401
	// <nil>
}
