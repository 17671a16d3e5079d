package measure

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// handshakes measures the CPU of a server for a handshake of TLS 1.3 (ECDSA P-256, Go's crypto/tls), in µs: of a new
// client, or of one that comes back with a ticket.
func handshakes(n int, resumed bool) (float64, error) {
	server, client, err := tlsConfigs(resumed)
	if err != nil {
		return 0, err
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	failed := make(chan error, 1)
	go func() { failed <- dialTLS(ln.Addr().String(), client, n+1) }() // Ends with the listener.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var sum time.Duration
	for i := range n + 1 { // The first one is to warm up, and has no ticket.
		conn, err := ln.Accept()
		if err != nil {
			return 0, err
		}
		before, err := threadTime()
		if err != nil {
			return 0, err
		}
		secure := tls.Server(conn, server)
		if err := secure.Handshake(); err != nil {
			return 0, err
		}
		after, err := threadTime()
		if err != nil {
			return 0, err
		}
		if i > 0 {
			sum += after - before
			if is := secure.ConnectionState().DidResume; is != resumed {
				return 0, fmt.Errorf("measure: TLS resumed: %t", is)
			}
		}
		conn.Write([]byte{0}) // No record: the client ends.
		conn.Close()
	}
	return micros(sum) / float64(n), <-failed
}

// dialTLS makes n connections, one after the other.
func dialTLS(addr string, cfg *tls.Config, n int) error {
	for range n {
		conn, err := tls.Dial("tcp4", addr, cfg)
		if err != nil {
			return err
		}
		_, _ = conn.Read(make([]byte, 1)) // Takes the ticket, and ends with the server's end.
		conn.Close()
	}
	return nil
}

func tlsConfigs(resumed bool) (server, client *tls.Config, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"crier.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	server = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	client = &tls.Config{RootCAs: roots, ServerName: "crier.test"}
	if resumed {
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	return server, client, nil
}

// threadTime is the CPU time of this thread.
func threadTime() (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano()), err
}
