package admin_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/crier-ws/crier/admin"
	"github.com/crier-ws/crier/broadcast"
)

// A back end publishes two messages, over a listener that only back ends can reach.
func Example() {
	srv, err := broadcast.New(broadcast.Config{Channels: true})
	if err != nil {
		log.Fatal(err)
	}
	api := admin.New(srv, admin.Config{})
	back := httptest.NewServer(api) // On a loopback address: no token is needed.
	batch := `{"channel": "room/42", "data": "one"}` + "\n" + `{"channel": "room/43", "data": "two"}` + "\n"
	resp, err := back.Client().Post(back.URL+"/v1/publish", "application/x-ndjson", strings.NewReader(batch))
	if err != nil {
		log.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.Status, strings.Count(string(body), `"receivers":0`))
	for _, ch := range srv.Channels("room/", "", 10) {
		fmt.Println(ch.Name, ch.Connections)
	}
	back.Close()
	api.Close()
	fmt.Println(srv.Shutdown(context.Background()))
	// Output:
	// 200 OK 2
	// room/42 0
	// room/43 0
	// <nil>
}
