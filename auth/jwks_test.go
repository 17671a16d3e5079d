package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

var b64 = base64.RawURLEncoding.EncodeToString

// TestSkippedKeys: keys of a JWKS that are not valid or have another use are skipped; the others are used.
func TestSkippedKeys(t *testing.T) {
	all := pairs(t)
	rsaKey := all["RS256"].private.(*rsa.PrivateKey)
	n, secret := b64(rsaKey.N.Bytes()), all["HS256"].private.([]byte)
	good := []string{
		fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB","kid":"good"}`, n),
		fmt.Sprintf(`{"kty":"oct","k":%q,"kid":"secret"}`, b64(secret)),
	}
	small, x := b64(rsaKey.N.Bytes()[:128]), b64(make([]byte, 32))
	for _, tt := range []struct {
		name, key, why string
		otherUse       bool
	}{
		{"small RSA", `{"kty":"RSA","n":"` + small + `","e":"AQAB","kid":"bad"}`, "bits, want at least 2048", false},
		{"RSA without e", `{"kty":"RSA","n":"` + n + `","kid":"bad"}`, `"n" and "e"`, false},
		{"RSA, e is 1", `{"kty":"RSA","n":"` + n + `","e":"AQ","kid":"bad"}`, `"e" is out of range`, false},
		{"RSA, e is even", `{"kty":"RSA","n":"` + n + `","e":"AQAA","kid":"bad"}`, "exponent", false},
		{"RSA, e is large", `{"kty":"RSA","n":"` + n + `","e":"AQAAAAE","kid":"bad"}`, `"e" is out of range`, false},
		{"RSA in another base64", `{"kty":"RSA","n":"` + strings.Repeat("+/+/", 90) + `","e":"AQAB","kid":"bad"}`, "base64", false},
		{"EC without y", `{"kty":"EC","crv":"P-256","x":"` + x + `","kid":"bad"}`, `"y"`, false},
		{"EC, not on the curve", `{"kty":"EC","crv":"P-256","x":"` + x + `","y":"` + x + `","kid":"bad"}`, "curve", false},
		{"OKP too short", `{"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"bad"}`, "32 bytes", false},
		{"short secret", `{"kty":"oct","k":"AAAA","kid":"bad"}`, "3 bytes", false},
		{"no secret", `{"kty":"oct","kid":"bad"}`, "", false},
		{"kid a number", `{"kty":"RSA","n":"` + n + `","e":"AQAB","kid":7}`, `its member "kid" is a number`, false},
		{"kid an object", `{"kty":"RSA","n":"` + n + `","e":"AQAB","kid":{"bad":1}}`, `its member "kid" is an object, want a string`, false},
		{"key_ops a text", `{"kty":"RSA","n":"` + n + `","e":"AQAB","key_ops":"verify","kid":"bad"}`, `its member "key_ops"`, false},
		{"(kty) is missing", `{"kid":"bad"}`, "(kty) is missing", false},
		{"null", `null`, "(kty) is missing", false},
		{"a number", `7`, "want an object", false},
		{"a list", `[]`, "want an object", false},
		{"unknown type", `{"kty":"AKP","alg":"ML-DSA-65","pub":"AAAA","kid":"bad"}`, `its type (kty, crv) is "AKP"`, true},
		{"unknown curve", `{"kty":"EC","crv":"secp256k1","x":"AAAA","y":"AAAA","kid":"bad"}`, "secp256k1", true},
		{"another curve", `{"kty":"EC","crv":"P-521","kid":"bad"}`, "P-521", true},
		{"for encryption", `{"kty":"RSA","n":"` + n + `","e":"AQAB","use":"enc","alg":"RSA-OAEP","kid":"bad"}`, `its use is "enc"`, true},
		{"to sign with", `{"kty":"oct","k":"` + b64(secret) + `","key_ops":["sign"],"kid":"bad"}`, "key_ops", true},
		{"another algorithm", `{"kty":"RSA","n":"` + n + `","e":"AQAB","alg":"PS256","kid":"bad"}`, `its alg is "PS256", want RS256`, true},
	} {
		for at := range len(good) + 1 {
			file := `{"keys":[` + strings.Join(slices.Insert(slices.Clone(good), at, tt.key), ",") + `]}`
			v := newVerifier(t, []byte(file), Config{})
			keys := v.keys.Load()
			skipped := keys.Skipped()
			if keys.Len() != len(good) || len(skipped) != 1 {
				t.Errorf("%s: got %d keys, skipped %v", tt.name, keys.Len(), skipped)
				continue
			}
			s := skipped[0]
			place := fmt.Sprintf("JWKS key %d", at+1)
			if !strings.HasPrefix(s.Place, place) || !strings.Contains(s.Reason, tt.why) || s.OtherUse != tt.otherUse {
				t.Errorf("%s: got %+v, want %s and %q", tt.name, s, place, tt.why)
			}
			if strings.Contains(tt.key, `"kid":"bad"`) && s.Place != place+` (kid "bad")` {
				t.Errorf("%s: got %q, want its kid", tt.name, s.Place)
			}
			if strings.Contains(s.Reason, "Go ") || strings.Contains(s.Reason, "\n") || strings.Contains(s.Reason, b64(secret)) {
				t.Errorf("%s: %q has a Go type, or a secret", tt.name, s.Reason)
			}
			for id, name := range map[string]string{"good": "RS256", "secret": "HS256"} {
				token := sign(t, all[name].method, all[name].private, map[string]any{"kid": id}, claims())
				if _, err := v.Authorize(request(token), "news/mine"); err != nil {
					t.Errorf("%s: a token of the key %s: got %v", tt.name, id, err)
				}
			}
			// The secret beside it does not make a public key one.
			for _, public := range [][]byte{rsaKey.N.Bytes(), []byte(n), all["RS256"].file} {
				_, err := v.Authorize(request(sign(t, jwt.SigningMethodHS256, public, nil, claims())), "news/mine")
				expectDenied(t, err, 401, "signature")
			}
		}
		if _, err := ParseKeys([]byte(`{"keys":[` + tt.key + `]}`)); err == nil || !strings.Contains(err.Error(), "JWKS key 1") || !strings.Contains(err.Error(), tt.why) {
			t.Errorf("%s, alone: got %v, want %q", tt.name, err, tt.why)
		}
	}
	_, err := ParseKeys([]byte(`{"keys":[` + strings.Repeat(`{"kty":"AKP"},`, 9) + `7]}`))
	if err == nil || !strings.HasSuffix(err.Error(), "; and 7 more") {
		t.Errorf("ten that cannot be used: got %v", err)
	}
}

// TestPrivateInSet: a private key in a JWKS is an error, even if the key is malformed or the others are valid.
func TestPrivateInSet(t *testing.T) {
	all := pairs(t)
	good := fmt.Sprintf(`{"kty":"oct","k":%q}`, b64(all["HS256"].private.([]byte)))
	for _, private := range []string{
		`{"kty":"RSA","n":"AAAA","e":"AQAB","d":"AAAA","kid":"p"}`,
		`{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"?","kid":"p"}`,
		`{"kty":"OKP","crv":"Ed25519","x":"AAAA","d":7,"kid":"p"}`,
		`{"kty":"RSA","n":["AAAA"],"e":"AQAB","d":"AAAA","kid":"p"}`,
		`{"kty":"OKP","crv":"Ed25519","x":"AAAA","d":"AAAA","use":"enc","kid":"p"}`,
		`{"kty":"RSA","n":"AAAA","e":"AQAB","d":"AAAA","alg":"RSA-OAEP","kid":"p"}`,
	} {
		for _, file := range []string{good + "," + private, private + "," + good} {
			_, err := ParseKeys([]byte(`{"keys":[` + file + `]}`))
			if err == nil || !strings.Contains(err.Error(), `(kid "p"): this is a private key`) {
				t.Errorf("%s: got %v", private, err)
			}
		}
	}
	for _, typ := range []string{"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"} {
		file := slices.Concat(all["ES256"].file, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: []byte("x")}))
		if _, err := ParseKeys(file); err == nil || !strings.Contains(err.Error(), "PEM block 2: this is a private key") {
			t.Errorf("%s: got %v", typ, err)
		}
	}
}

// TestSkippedBlocks: PEM blocks that are intact but cannot be used are skipped; the others are used.
func TestSkippedBlocks(t *testing.T) {
	p := pairs(t)["ES256"]
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block := func(typ string) []byte { return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: []byte("x")}) }
	for why, bad := range map[string][]byte{
		"1024 bits": publicPEM(t, small.Public()), "P-384": publicPEM(t, p384.Public()), "X509 CRL": block("X509 CRL"),
		"asn1": block("PUBLIC KEY"), "x509": block("CERTIFICATE"), "malformed": block("RSA PUBLIC KEY"),
	} {
		for at, file := range [][]byte{slices.Concat(bad, p.file), slices.Concat(p.file, bad)} {
			v := newVerifier(t, file, Config{})
			skipped, place := v.keys.Load().Skipped(), fmt.Sprintf("PEM block %d", at+1)
			if len(skipped) != 1 || skipped[0].Place != place || skipped[0].OtherUse {
				t.Errorf("%s: got %+v, want %s", why, skipped, place)
			} else if !strings.Contains(skipped[0].Reason, why) && why != "malformed" {
				t.Errorf("got %q, want %q", skipped[0].Reason, why)
			}
			if _, err := v.Authorize(request(sign(t, p.method, p.private, nil, claims())), "news/mine"); err != nil {
				t.Errorf("%s: a token of the key beside it: got %v", why, err)
			}
		}
	}
}
