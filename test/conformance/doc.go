// Package conformance checks a server byte by byte against RFC 6455, RFC 7692 and the
// parts of RFC 9110 and 9112 that a handshake needs. It has tests only. Each case names
// its section, and runs on a socket of its own, whose bytes come whole and in chops; a
// bystander must not notice any of it.
//
// The server is crier's, in this process. With -addr it is any other that sends each
// message back to a lone client and says nothing first:
//
//	go test ./test/conformance -addr 127.0.0.1:18000
package conformance
