// Package peer is what the Go servers here have in common besides the library each
// one shows: the flag, the listener, and the constants that make them comparable.
package peer

import (
	"flag"
	"log"
	"net"
	"net/http"
	"time"
)

const (
	// Greeting is the text message that each client gets first.
	Greeting = "connection established"

	// MaxMessage bounds the payload of a message that a client sends, in bytes.
	MaxMessage = 1 << 20

	// HandshakeTime bounds the time a client may take for its request.
	HandshakeTime = 10 * time.Second

	// Queue is the number of messages that wait for a receiver, in servers that
	// count them. The libraries' examples have 16 to 256.
	Queue = 256
)

// Addr returns the address to listen on, out of the command line.
func Addr() string {
	addr := flag.String("listen", "127.0.0.1:9001", "the `address` to listen on")
	flag.Parse()
	if flag.NArg() > 0 {
		log.Fatalf("unexpected argument %q", flag.Arg(0))
	}
	return *addr
}

// Listen listens on the address of the command line, or ends the process.
func Listen() net.Listener {
	ln, err := net.Listen("tcp", Addr())
	if err != nil {
		log.Fatal(err)
	}
	return ln
}

// Serve hands each request to the handler, with the standard library's server,
// until that fails, which ends the process.
func Serve(handle http.HandlerFunc) {
	server := &http.Server{Handler: handle, ReadHeaderTimeout: HandshakeTime}
	log.Fatal(server.Serve(Listen()))
}
