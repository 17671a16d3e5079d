// Command mux is a net/http site with crier on the same port, behind the same middleware:
//
//	go run ./examples/embed/mux     # then open http://127.0.0.1:8080 in two tabs
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/crier-ws/crier/broadcast"
)

const page = `<!doctype html><title>mux</title><input autofocus placeholder="say something"><ul></ul>
<script>
const ws = new WebSocket(location.href.replace(/^http/, 'ws') + 'ws/lobby');
ws.onmessage = ({ data }) => {
	const line = document.createElement('li');
	line.textContent = data;
	document.querySelector('ul').append(line);
};
document.querySelector('input').onchange = ({ target }) => { ws.send(target.value); target.value = ''; };
</script>`

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	srv, err := broadcast.New(broadcast.Config{Channels: true, PingInterval: 30 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page) })
	mux.Handle("GET /ws/", http.StripPrefix("/ws", srv.Handler())) // The rest of the path is the channel.
	site := &http.Server{Addr: *listen, Handler: logged(mux), ReadHeaderTimeout: 5 * time.Second}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	go func() { // Ends with Shutdown below.
		log.Printf("open http://%s in two tabs", *listen)
		if err := site.ListenAndServe(); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	<-ctx.Done()
	// First no new requests, then an orderly close for the WebSockets, of which net/http no longer knows.
	if err := site.Shutdown(context.Background()); err != nil {
		log.Print(err)
	}
	if err := srv.Shutdown(context.Background()); err != nil {
		log.Print(err)
	}
}

// logged is middleware: crier's requests go through it as all others do.
func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		log.Printf("%s %s from %s", r.Method, r.URL.Path, r.RemoteAddr)
		next.ServeHTTP(w, r)
	})
}
