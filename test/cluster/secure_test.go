package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// pemFile writes a PEM block to a file of the test, and returns its path.
func pemFile(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	return secretFile(t, name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func secretFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificates creates an authority, and a certificate for 127.0.0.1 that servers and clients can use.
func certificates(t *testing.T) (ca, cert, key string) {
	t.Helper()
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	authorityKey, leafKey := newKey(t), newKey(t)
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, authority, leafKey.Public(), authorityKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	return pemFile(t, "ca.pem", "CERTIFICATE", authorityDER), pemFile(t, "cert.pem", "CERTIFICATE", leafDER), pemFile(t, "key.pem", "PRIVATE KEY", keyDER)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// pair returns a new key pair of NATS.
func pair(t *testing.T, create func() (nkeys.KeyPair, error)) (key nkeys.KeyPair, public string, seed []byte) {
	t.Helper()
	key, err := create()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = key.PublicKey(); err != nil {
		t.Fatal(err)
	}
	if seed, err = key.Seed(); err != nil {
		t.Fatal(err)
	}
	return key, public, seed
}

// permissions returns the permissions that docs/operations.md says crier needs in a mode.
func permissions(t *testing.T, mode string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```[a-z]*\n(permissions \\{.*?\n\\})\n```").FindAllSubmatch(text, -1)
	if len(m) != 2 {
		t.Fatalf("docs/operations.md has %d permissions, want one for each mode", len(m))
	}
	return string(m[map[string]int{"ordered": 0, "fast": 1}[mode]][1])
}

// checkWorks publishes at a node, receives the message, and restarts the node.
func checkWorks(t *testing.T, n *node) {
	t.Helper()
	l := listen(t, "news", n)
	defer l.end()
	awaitConnected(t, l)
	for i := range 3 {
		if _, err := n.publish("news", "", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	awaitSame(t, "2", l)
}

// refused runs a crier that must end with an error.
func refused(t *testing.T, why, url string, args ...string) {
	t.Helper()
	args = append([]string{"--listen", "127.0.0.1:0", "--cluster-timeout", "500ms", "--cluster", url}, args...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, crierBin, args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), why) || !strings.Contains(string(out), "hint: ") {
		t.Errorf("%q: got %v, %s, want %q and a hint", args, err, out, why)
	}
}

// hungUp starts a crier without a certificate that NATS demands. NATS may close the connection before it reports why:
// then crier waits, and logs what it knows.
func hungUp(t *testing.T, url string, args ...string) {
	t.Helper()
	p := &process{t: t, name: "crier", args: append([]string{crierBin, "--listen", "127.0.0.1:0", "--cluster-timeout", "500ms", "--cluster", url}, args...)}
	p.start()
	defer p.signal(syscall.SIGKILL)
	eventually(t, "the node to report that NATS refuses it", func() error {
		if log := p.log(); !strings.Contains(log, "waiting for NATS") && !strings.Contains(log, "hint: ") {
			return errNotYet
		}
		return nil
	})
	if strings.Contains(p.log(), "msg=serving") {
		t.Error("the node serves without a certificate")
	}
}

// TestNKey has NATS demand TLS, a certificate of crier, and an NKey of a user with only the documented permissions.
func TestNKey(t *testing.T) {
	t.Parallel()
	ca, cert, key := certificates(t)
	_, public, seed := pair(t, nkeys.CreateUser)
	_, _, other := pair(t, nkeys.CreateUser)
	servers := startNATS(t, 1,
		fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }", cert, key, ca),
		fmt.Sprintf("authorization { users: [ { nkey: %s, %s } ] }", public, permissions(t, "ordered")))
	url, mine, stranger := "tls://"+servers.addrs[0], secretFile(t, "seed", seed), secretFile(t, "seed", other)
	trust, cert1 := []string{"--cluster-ca", ca}, []string{"--cluster-cert", cert, "--cluster-key", key}
	n := startNode(t, []string{url}, slices.Concat(trust, cert1, []string{"--cluster-replicas", "1", "--cluster-nkey", mine, "--cluster-linger", "100ms"})...)
	checkWorks(t, n)
	eventually(t, "the channel to be left", func() error {
		resp, err := http.Get("http://" + n.admin + "/v1/channels/news")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			return errNotYet
		}
		return nil
	})
	checkWorks(t, n)
	n.signal(syscall.SIGTERM)
	for _, line := range strings.Split(n.log(), "\n") {
		if strings.Contains(line, "WARN") && !strings.Contains(line, "smaller messages") {
			t.Errorf("got a permission error: %s", line)
		}
	}
	refused(t, "Authorization Violation", url, slices.Concat(trust, cert1, []string{"--cluster-nkey", stranger})...)
	refused(t, "Authorization Violation", url, slices.Concat(trust, cert1)...)
	hungUp(t, url, slices.Concat(trust, []string{"--cluster-nkey", mine})...)
	refused(t, "certificate", url, slices.Concat(cert1, []string{"--cluster-nkey", mine})...)
	refused(t, "no such file", url, "--cluster-nkey", "/does/not/exist")
}

// TestCredentials has NATS accept only users that the key of an account has signed.
func TestCredentials(t *testing.T) {
	t.Parallel()
	operator, operatorKey, _ := pair(t, nkeys.CreateOperator)
	account, accountKey, _ := pair(t, nkeys.CreateAccount)
	_, systemKey, _ := pair(t, nkeys.CreateAccount)
	stranger, _, _ := pair(t, nkeys.CreateAccount)
	encode := func(claims jwt.Claims, by nkeys.KeyPair) string {
		token, err := claims.Encode(by)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	claims := jwt.NewAccountClaims(accountKey)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	servers := startNATS(t, 1, "operator: "+encode(jwt.NewOperatorClaims(operatorKey), operator), "system_account: "+systemKey,
		fmt.Sprintf("resolver: MEMORY, resolver_preload: { %s: %s, %s: %s }", accountKey, encode(claims, operator), systemKey, encode(jwt.NewAccountClaims(systemKey), operator)))
	credentials := func(account nkeys.KeyPair) string {
		_, userKey, seed := pair(t, nkeys.CreateUser)
		user := jwt.NewUserClaims(userKey)
		creds, err := jwt.FormatUserConfig(encode(user, account), seed)
		if err != nil {
			t.Fatal(err)
		}
		return secretFile(t, "creds", creds)
	}
	checkWorks(t, startNode(t, servers.urls(), "--cluster-replicas", "1", "--cluster-credentials", credentials(account)))
	refused(t, "Authorization Violation", servers.urls()[0], "--cluster-credentials", credentials(stranger))
	refused(t, "Authorization Violation", servers.urls()[0])
}
