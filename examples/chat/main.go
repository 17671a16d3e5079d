// Command chat serves the chat page and the client that it is made with:
//
//	go run ./cmd/crier --channels   # in one terminal
//	go run ./examples/chat          # in another one; then open http://localhost:8080
//
// Any web server can serve the two files.
package main

import (
	_ "embed"
	"flag"
	"log"
	"net/http"
	"time"

	"github.com/crier-ws/crier/clients/js"
)

//go:embed index.html
var page []byte

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	http.HandleFunc("GET /{$}", file("text/html; charset=utf-8", page))
	http.HandleFunc("GET /crier.js", file("text/javascript; charset=utf-8", js.Crier))
	srv := http.Server{Addr: *listen, ReadHeaderTimeout: 5 * time.Second}
	log.Printf("the chat is at http://%s", *listen)
	log.Fatal(srv.ListenAndServe())
}

func file(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body) // Whoever asked may have gone.
	}
}
