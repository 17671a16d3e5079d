package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/logtest"
	"github.com/golang-jwt/jwt/v5"
)

// issuer signs tokens.
type issuer struct {
	t   *testing.T
	key *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{t, key}
}

// writeKey writes the public key.
func (i *issuer) writeKey(file string) {
	i.t.Helper()
	der, err := x509.MarshalPKIXPublicKey(i.key.Public())
	if err != nil {
		i.t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		i.t.Fatal(err)
	}
}

// writeToken writes and returns a token that is valid for a time.
func (i *issuer) writeToken(file string, d time.Duration) string {
	i.t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
		"aud": "crier", "iss": "test", "exp": time.Now().Add(d).Unix(),
		"crier": map[string]any{"join": []string{"news/*"}},
	}).SignedString(i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		i.t.Fatal(err)
	}
	return token
}

// TestAuth checks that clients with a token can connect until it expires, that SIGHUP loads other keys, and that the
// log has no token.
func TestAuth(t *testing.T) {
	bin := build(t)
	keyFile, tokenFile := filepath.Join(t.TempDir(), "key.pem"), filepath.Join(t.TempDir(), "token")
	old, current := newIssuer(t), newIssuer(t)
	old.writeKey(keyFile)
	var log logtest.Buffer
	crier, addrs, stop := startLogged(t, &log, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--channels",
		"--log-level=debug", "--drain=0",
		"--auth="+keyFile, "--auth-audience=crier", "--auth-issuer=test", "--auth-leeway=0")
	server := "--server=ws://" + addrs["addr"]
	if _, said, code := command(t, bin, "{}\n", "pub", "--admin-url=http://"+addrs["admin"], "news/a"); code != 0 {
		t.Fatalf("pub: got code %d, %s", code, said)
	}
	sub := func(channel string) (string, int) {
		_, said, code := command(t, bin, "", "sub", server, "--token-file="+tokenFile, "--last=1", "--count=1", channel)
		return said, code
	}
	var tokens []string
	expect := func(token, channel string, code int, says string) {
		t.Helper()
		tokens = append(tokens, token)
		if said, got := sub(channel); got != code || !strings.Contains(said, says) {
			t.Errorf("got code %d, %q, want %d, %q", got, said, code, says)
		}
	}
	expect(old.writeToken(tokenFile, time.Minute), "news/a", 0, "")
	expect(old.writeToken(tokenFile, time.Minute), "sport", 1, "403")
	expect(old.writeToken(tokenFile, -time.Minute), "news/a", 1, "401")
	expect(current.writeToken(tokenFile, time.Minute), "news/a", 1, "401")
	if _, said, code := command(t, bin, "", "sub", server, "news/a"); code != 1 || !strings.Contains(said, "401") {
		t.Errorf("without a token: got code %d, %q", code, said)
	}

	// The token expires.
	tokens = append(tokens, old.writeToken(tokenFile, 2*time.Second))
	_, said, code := command(t, bin, "", "sub", server, "--token-file="+tokenFile, "--once", "news/a")
	if code != 1 || !strings.Contains(said, "4401: the token has expired") {
		t.Errorf("to the end of its token: got code %d, %q", code, said)
	}

	// With another token, which may be late, the client resumes.
	tokens = append(tokens, old.writeToken(tokenFile, 2*time.Second))
	late := exec.Command(bin, "sub", server, "--token-file="+tokenFile, "--count=1", "news/a")
	var lost logtest.Buffer
	late.Stderr = &lost
	if err := late.Start(); err != nil {
		t.Fatal(err)
	}
	lost.Await(t, "4401")
	if err := os.WriteFile(tokenFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lost.Await(t, "is empty")
	tokens = append(tokens, old.writeToken(tokenFile, time.Minute))
	if _, said, code := command(t, bin, "now\n", "pub", "--admin-url=http://"+addrs["admin"], "news/a"); code != 0 {
		t.Fatalf("pub: got code %d, %s", code, said)
	}
	if err := late.Wait(); err != nil { // It resumes after the last message.
		t.Errorf("with another token: %v", err)
	}

	hangUp := func(says string) {
		t.Helper()
		if err := crier.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		log.Await(t, says)
	}
	if err := os.WriteFile(keyFile, []byte("-----BEGIN NOTHING"), 0o600); err != nil {
		t.Fatal(err)
	}
	hangUp("nothing is reloaded")
	expect(old.writeToken(tokenFile, time.Minute), "news/a", 0, "")
	current.writeKey(keyFile)
	hangUp("msg=reloaded")
	expect(old.writeToken(tokenFile, time.Minute), "news/a", 1, "401")
	expect(current.writeToken(tokenFile, time.Minute), "news/a", 0, "")
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, says := range []string{"no token", "token is expired", "signature is invalid", `allows only [\"news/*\"]`,
		"expired:2"} {
		if !log.Has(says) {
			t.Errorf("the log has no %q:\n%s", says, log.String())
		}
	}
	for _, token := range tokens {
		for part := range strings.SplitSeq(token, ".") {
			if log.Has(part) {
				t.Errorf("the log has a token's %s:\n%s", part, log.String())
			}
		}
	}
}

// TestKeyLeftOut checks that unusable keys of a JWKS do not affect the others, at the start and after SIGHUP, and
// that the log names them.
func TestKeyLeftOut(t *testing.T) {
	bin := build(t)
	keyFile, tokenFile := filepath.Join(t.TempDir(), "keys.json"), filepath.Join(t.TempDir(), "token")
	write := func(i *issuer, others string) {
		t.Helper()
		point, err := i.key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		b64 := base64.RawURLEncoding.EncodeToString
		set := fmt.Sprintf(`{"keys":[%s,{"kty":"EC","crv":"P-256","x":%q,"y":%q,"kid":"good"}]}`, others, b64(point[1:33]),
			b64(point[33:]))
		if err := os.WriteFile(keyFile, []byte(set), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log logtest.Buffer
	old, current := newIssuer(t), newIssuer(t)
	const others = `{"kty":"RSA","n":"AAAA","e":"AQAB","kid":"small"},{"kty":"RSA","use":"enc","kid":"other"}`
	write(old, others)
	crier, addrs, stop := startLogged(t, &log, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--channels", "--drain=0",
		"--auth="+keyFile, "--auth-audience=crier")
	if _, said, code := command(t, bin, "{}\n", "pub", "--admin-url=http://"+addrs["admin"], "news/a"); code != 0 {
		t.Fatalf("pub: got code %d, %s", code, said)
	}
	expect := func(i *issuer, code int) {
		t.Helper()
		i.writeToken(tokenFile, time.Minute)
		_, said, got := command(t, bin, "", "sub", "--server=ws://"+addrs["addr"], "--token-file="+tokenFile, "--last=1",
			"--count=1", "news/a")
		if got != code {
			t.Errorf("got code %d, %q, want %d", got, said, code)
		}
	}
	expect(old, 0)
	write(current, others+`,{"kty":"EC","crv":"P-256","x":"AAAA","kid":"no y"}`)
	if err := crier.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	log.Await(t, "msg=reloaded")
	expect(old, 1)
	expect(current, 0)
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, line := range []string{
		`level=WARN msg="a key is not used" file=` + keyFile + ` key="JWKS key 1 (kid \"small\")" why=`,
		`level=INFO msg="a key is not used" file=` + keyFile +
			` key="JWKS key 2 (kid \"other\")" why="its use is \"enc\", want sig"`,
		`level=WARN msg="a key is not used" file=` + keyFile + ` key="JWKS key 3 (kid \"no y\")" why=`,
	} {
		if !log.Has(line) {
			t.Errorf("the log has no %q:\n%s", line, log.String())
		}
	}
}
