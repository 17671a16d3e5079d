package clients

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const startTimeout = 15 * time.Second

// A target is a running server and what its clients may expect of it.
type target struct {
	*process
	url string // ws://127.0.0.1:PORT/

	keepsBinary  bool // binary arrives as binary, not as text
	pings        bool // pings come every second
	tlsAlert     bool // a TLS handshake on the plain port is answered with an alert
	greetsIn101  bool // the greeting leaves in the same write as the 101 response
	limitBytes   int  // the longest message taken; 0: no limit that is tested
	endsOnSignal bool // SIGTERM closes all clients with 1001 and ends with exit code 0
}

// startTarget starts the server under test: crier, or, to test the tests, Node's
// broadcaster.
func startTarget(t *testing.T) *target {
	t.Helper()
	if crierBin == "" {
		return startBroadcaster(t)
	}
	return startCrier(t, "--ping-interval", "1s", "--ping-timeout", "2s")
}

func startCrier(t *testing.T, flags ...string) *target {
	t.Helper()
	addr := freeAddr(t)
	tgt := &target{
		process:      startProcess(t, "", crierBin, append([]string{"--listen", addr}, flags...)...),
		url:          "ws://" + addr + "/",
		keepsBinary:  true,
		pings:        true,
		tlsAlert:     true,
		greetsIn101:  true,
		limitBytes:   1 << 20, // the default of --max-message
		endsOnSignal: true,
	}
	t.Cleanup(func() { tgt.expectHealthy(t) })
	tgt.waitListening(t, addr)
	return tgt
}

// expectHealthy fails t if the server crashed, or complained as a -race build does.
func (tgt *target) expectHealthy(t *testing.T) {
	if tgt.ended() && tgt.err != nil {
		t.Errorf("%s ended by itself: %v", tgt, tgt.err)
	}
	for _, sign := range []string{"panic:", "fatal error:", "WARNING: DATA RACE"} {
		if strings.Contains(tgt.out.String(), sign) {
			t.Errorf("%s printed %q", tgt, sign)
		}
	}
}

func startBroadcaster(t *testing.T) *target {
	t.Helper()
	needNode(t)
	addr := freeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	tgt := &target{
		process: startProcess(t, nodeDir, "node", "broadcaster.js", port),
		url:     "ws://" + addr + "/",
	}
	tgt.waitListening(t, addr)
	return tgt
}

// binary names what becomes of binary messages, as the scripts take it.
func (tgt *target) binary() string {
	if tgt.keepsBinary {
		return "kept"
	}
	return "text"
}

// waitListening blocks until addr takes connections.
func (tgt *target) waitListening(t *testing.T, addr string) {
	t.Helper()
	err := poll(startTimeout, func() error {
		if tgt.ended() {
			return &finalError{fmt.Errorf("ended: %v", tgt.err)}
		}
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		// Where nobody listens yet, TCP may connect a socket with itself.
		if conn.LocalAddr().String() == conn.RemoteAddr().String() {
			return errors.New("connected with itself")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s does not listen at %s: %v\n%s", tgt, addr, err, tgt.out)
	}
}

// lastPort counts on from anywhere.
var lastPort atomic.Uint32

func init() { lastPort.Store(rand.Uint32N(1 << 20)) }

// freeAddr returns a loopback address where nobody listens, another one each time. Its port lies below those
// that Linux hands to clients by default, so that no client takes it meanwhile.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+lastPort.Add(1)%12000))
		if err == nil {
			l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port in 100 tries")
	return ""
}
