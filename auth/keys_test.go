package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// TestKeyIDs: a token with a key ID is verified with that key.
func TestKeyIDs(t *testing.T) {
	all := pairs(t)
	jwk := func(id, more string) string {
		k := all["ES256"].private.(*ecdsa.PrivateKey)
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		b64 := base64.RawURLEncoding.EncodeToString
		return fmt.Sprintf(`{"kty":"EC","crv":"P-256","x":%q,"y":%q,"kid":%q%s}`, b64(point[1:33]), b64(point[33:]), id, more)
	}
	secret := all["HS256"].private.([]byte)
	edKey := all["EdDSA"].private.(ed25519.PrivateKey).Public().(ed25519.PublicKey)
	rsaKey := all["RS256"].private.(*rsa.PrivateKey)
	set := fmt.Sprintf(`{"keys": [%s, {"kty":"oct","k":%q,"kid":"secret"}, {"kty":"OKP","crv":"Ed25519","x":%q,"kid":"ed","alg":"Ed25519"},
		{"kty":"RSA","n":%q,"e":"AQAB","kid":"rsa","use":"sig","alg":"RS256","x5t":"AAAA"},
		{"kty":"RSA","n":%q,"e":"AQAB","kid":"enc","use":"enc"}, {"kty":"EC","crv":"P-521","kid":"large"}, {"kty":"RSA","n":"AAAA","e":"AQAB","kid":"other","alg":"PS256"}, {"kty":"AKP","kid":"new"}]}`,
		jwk("ec", `,"use":"sig","key_ops":["verify"]`), base64.RawURLEncoding.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(edKey),
		base64.RawURLEncoding.EncodeToString(rsaKey.N.Bytes()), base64.RawURLEncoding.EncodeToString(rsaKey.N.Bytes()))
	v := newVerifier(t, []byte(set), Config{})
	if n := v.keys.Load().Len(); n != 4 {
		t.Errorf("got %d keys, want 4", n)
	}
	for id, name := range map[string]string{"ec": "ES256", "secret": "HS256", "ed": "EdDSA", "rsa": "RS256"} {
		p := all[name]
		for _, kid := range []any{nil, id, "other", 7} {
			header := map[string]any{}
			if kid != nil {
				header["kid"] = kid
			}
			_, err := v.Authorize(request(sign(t, p.method, p.private, header, claims())), "news/mine")
			if kid == "other" {
				expectDenied(t, err, 401, `"other"`)
			} else if err != nil {
				t.Errorf("%s with kid %v: got %v", name, kid, err)
			}
		}
	}
	_, err := v.Authorize(request(sign(t, jwt.SigningMethodRS256, rsaKey, map[string]any{"kid": "enc"}, claims())), "news/mine")
	expectDenied(t, err, 401, `"enc"`)

	// Other keys: the next token counts with them.
	token := sign(t, jwt.SigningMethodHS256, secret, nil, claims())
	keys, err := ParseKeys(all["EdDSA"].file)
	if err != nil {
		t.Fatal(err)
	}
	v.SetKeys(keys)
	_, err = v.Authorize(request(token), "news/mine")
	expectDenied(t, err, 401, "HS256", token)
}

func TestParseKeys(t *testing.T) {
	all := pairs(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(all["ES256"].private.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(all["RS256"].private.(*rsa.PrivateKey).Public())
	if err != nil {
		t.Fatal(err)
	}
	two := append(append([]byte("# a comment\n"), all["ES256"].file...), all["RS256"].file...)
	if keys, err := ParseKeys(two); err != nil || keys.Len() != 2 {
		t.Errorf("two keys: got %v, %v", keys, err)
	}
	rsaKey := all["RS256"].private.(*rsa.PrivateKey)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, rsaKey.Public(), rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	for what, file := range map[string][]byte{
		"PKCS #1":       pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)}),
		"a certificate": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
	} {
		v := newVerifier(t, file, Config{})
		for _, kid := range []string{"", "k7"} { // One without an id is for all.
			if _, err := v.Authorize(request(sign(t, jwt.SigningMethodRS256, rsaKey, map[string]any{"kid": kid}, claims())), "news/mine"); err != nil {
				t.Errorf("%s: got %v", what, err)
			}
		}
	}
	for _, secret := range []string{strings.Repeat("ab12", 16), rand.Text() + rand.Text(), base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, 32))} {
		if keys, err := ParseKeys([]byte(secret)); err != nil || keys.Len() != 1 {
			t.Errorf("a secret: got %v", err)
		}
	}
	for what, tt := range map[string]struct{ file, why string }{
		"nothing":                        {"", "0 bytes"},
		"a public key without its frame": {base64.StdEncoding.EncodeToString(der), "want public keys"},
		"the same for URLs":              {base64.RawURLEncoding.EncodeToString(der), "want public keys"},
		"the same in bytes":              {string(der), "want public keys"},
		"ssh's public key":               {"ssh-ed25519 " + strings.Repeat("A", 68) + " me@example.com", "want public keys"},
		"an address":                     {"https://id.example.com/.well-known/jwks.json", "want public keys"},
		"a path":                         {"/etc/crier/keys/the-newest-one/key.pem", "want public keys"},
		"a list of keys":                 {`[{"kty":"oct","k":"` + strings.Repeat("A", 43) + `"}]`, "want public keys"},
		"a mark in front":                {"\ufeff" + strings.Repeat("x", 40), "want public keys"},
		"zeros":                          {strings.Repeat("\x00", 32), "want public keys"},
		"a damaged block":                {strings.Replace(string(all["ES256"].file), "MFkw", "M?kw", 1) + string(all["RS256"].file), "1 of 2 PEM blocks"},
		"a short secret":                 {strings.Repeat("x", 31), "31 bytes"},
		"two lines":                      {strings.Repeat("x", 40) + "\n" + strings.Repeat("y", 40), "one line"},
		"a private key":                  {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), "PEM block 1: this is a private key"},
		"a cut PEM":                      {string(all["RS256"].file[:200]), "the PEM is damaged"},
		"rubbish behind":                 {string(all["RS256"].file) + "x", "block 1"},
		"another block":                  {string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL"})), "X509 CRL"},
		"no key in it":                   {string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})), "PEM block 1"},
		"a small key":                    {string(publicPEM(t, small.Public())), "1024 bits"},
		"another curve":                  {string(publicPEM(t, p384.Public())), "P-384"},
		"no JWKS":                        {`{"kty": "oct"}`, `{"keys": [...]}`},
		"keys in an object":              {`{"keys": {"a": {}}}`, `JWKS: "keys" is missing or not an array`},
		"text after the JWKS":            {`{"keys": []}x`, "at byte 13"},
		"cut":                            {`{"keys": [`, "JWKS"},
		"none for us":                    {`{"keys": [{"kty":"EC","crv":"P-521"}]}`, "no key"},
		"a private one":                  {`{"keys": [{"kty":"OKP","crv":"Ed25519","x":"AAAA","d":"AAAA","kid":"k1"}]}`, `key 1 (kid "k1"): this is a private key`},
		"a malformed one":                {`{"keys": [{"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"k1"}]}`, `key 1 (kid "k1")`},
		"a short one in JWKS":            {`{"keys": [{"kty":"oct","k":"AAAA"}]}`, "3 bytes"},
		"too many":                       {strings.Repeat(string(all["EdDSA"].file), maxKeys+1), "17 keys"},
	} {
		_, err := ParseKeys([]byte(tt.file))
		if err == nil || !strings.Contains(err.Error(), tt.why) || strings.Contains(err.Error(), "Go ") {
			t.Errorf("%s: got %v, want %q", what, err, tt.why)
		}
		if err != nil && strings.Contains(err.Error(), "xxxx") {
			t.Errorf("%s: %v shows a secret", what, err)
		}
	}
}
