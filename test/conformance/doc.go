// Package conformance checks a server byte by byte against RFC 6455, RFC 7692, and the parts of RFC 9110 and 9112 that a
// handshake needs. It has only tests. Each case names its section and runs on a socket of its own, on which it sends its
// bytes in one piece and in several. Another connection must not be affected.
//
// The server is package broadcast in this process. With -addr, it is any server that sends each message back to its only
// client and has no greeting:
//
//	go test ./test/conformance -addr 127.0.0.1:18000
package conformance
