package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// algorithms are those that a token may be signed with, RFC 7518, section 3.1, and RFC 8037,
// section 3.1.
var algorithms = []string{"HS256", "RS256", "ES256", "EdDSA"}

// Keys are what tokens are verified with. Each is good for one algorithm, whatever a token
// says of itself: a public key is never taken for a secret.
type Keys struct{ all []key }

type key struct {
	id  string // RFC 7515, section 4.1.4; empty if it has none.
	alg string // One of algorithms.
	key any
}

const (
	leastSecret  = 32   // Bytes: RFC 7518, section 3.2.
	leastRSABits = 2048 // Section 3.3.
	mostKeys     = 16   // A token that names none may be tried with all of one kind.
)

// ParseKeys reads keys from a file's contents: public keys or certificates in PEM, one or more; a JWKS
// (RFC 7517, section 5), of which keys for other uses or algorithms are left out; or else a secret
// for HS256: one word of visible ASCII. What looks as if it was meant to be something else, as a public
// key in base64, is not taken for a secret: anybody may know it.
func ParseKeys(b []byte) (*Keys, error) {
	b = bytes.TrimSpace(b)
	var keys []key
	var err error
	switch {
	case bytes.Contains(b, []byte("-----BEGIN")):
		keys, err = parsePEM(b)
	case bytes.HasPrefix(b, []byte("{")):
		keys, err = parseJWKS(b)
	case !isSecret(b):
		err = errors.New("want public keys in PEM, a JWKS, or one line with a secret, as of: openssl rand -hex 32")
	default:
		var k key
		k, err = newKey("", b)
		keys = []key{k}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("auth: %w", err)
	case len(keys) == 0:
		return nil, errors.New("auth: there is no key for RS256, ES256, EdDSA or HS256")
	case len(keys) > mostKeys:
		return nil, fmt.Errorf("auth: there are %d keys, want at most %d", len(keys), mostKeys)
	}
	return &Keys{keys}, nil
}

// Len is how many there are.
func (k *Keys) Len() int { return len(k.list()) }

// list is all of them. k may be nil.
func (k *Keys) list() []key {
	if k == nil {
		return nil
	}
	return k.all
}

// isSecret says whether b may be meant for one.
func isSecret(b []byte) bool {
	notOne := func(r rune) bool { return r <= ' ' || r > '~' }
	if bytes.ContainsFunc(b, notOne) || bytes.Contains(b, []byte("://")) || bytes.HasPrefix(b, []byte("/")) || bytes.HasPrefix(b, []byte("[")) {
		return false
	}
	text := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(string(b)), "=")
	der, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return true
	}
	_, pkix := x509.ParsePKIXPublicKey(der)
	_, pkcs1 := x509.ParsePKCS1PublicKey(der)
	_, cert := x509.ParseCertificate(der)
	_, pkcs8 := x509.ParsePKCS8PrivateKey(der)
	_, private := x509.ParsePKCS1PrivateKey(der)
	_, ec := x509.ParseECPrivateKey(der)
	for _, err := range []error{pkix, pkcs1, cert, pkcs8, private, ec} {
		if err == nil {
			return false
		}
	}
	return true
}

func parsePEM(b []byte) (keys []key, err error) {
	blocks := bytes.Count(b, []byte("-----BEGIN"))
	for n := 1; ; n++ {
		block, rest := pem.Decode(b)
		if block == nil {
			if len(bytes.TrimSpace(b)) > 0 {
				return nil, fmt.Errorf("what stands behind block %d is no PEM", n-1)
			}
			if n-1 < blocks {
				return nil, fmt.Errorf("%d of %d PEM blocks are damaged", blocks-n+1, blocks)
			}
			return keys, nil
		}
		b = rest
		var k any
		switch block.Type {
		case "PUBLIC KEY":
			k, err = x509.ParsePKIXPublicKey(block.Bytes)
		case "RSA PUBLIC KEY":
			k, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case "CERTIFICATE":
			var cert *x509.Certificate
			if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
				k = cert.PublicKey
			}
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
			err = errors.New("it is a private key, which belongs to the issuer alone: want the public one")
		default:
			err = fmt.Errorf("its type is %.40q, want PUBLIC KEY", block.Type)
		}
		if err == nil {
			var each key
			each, err = newKey("", k)
			keys = append(keys, each)
		}
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", n, err)
		}
	}
}

func parseJWKS(b []byte) (keys []key, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("JWKS: %w", err)
	}
	if set.Keys == nil {
		return nil, errors.New(`JWKS: want {"keys": [...]}`)
	}
	for i, raw := range set.Keys {
		var m jwkset.JWKMarshal
		if err := json.Unmarshal(raw, &m); err != nil {
			return nil, fmt.Errorf("JWKS, key %d: %w", i+1, err)
		}
		if !isForUs(&m) {
			continue
		}
		each, err := parseJWK(m)
		if err != nil {
			return nil, fmt.Errorf("JWKS, key %d (kid %.40q): %w", i+1, m.KID, err)
		}
		keys = append(keys, each)
	}
	return keys, nil
}

// isForUs says whether a key of a JWKS is for one of algorithms.
func isForUs(m *jwkset.JWKMarshal) bool {
	kind := m.KTY.String()
	if m.CRV != "" {
		kind += " " + m.CRV.String()
	}
	alg := map[string]string{"RSA": "RS256", "EC P-256": "ES256", "OKP Ed25519": "EdDSA", "oct": "HS256"}[kind]
	said := m.ALG.String()
	if alg == "EdDSA" && said == "Ed25519" { // Its newer name, RFC 9864.
		said = alg
	}
	return alg != "" && (said == "" || said == alg) && (m.USE == "" || m.USE == jwkset.UseSig) &&
		(len(m.KEYOPS) == 0 || slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify))
}

func parseJWK(m jwkset.JWKMarshal) (key, error) {
	secret := m.KTY == jwkset.KtyOct
	if m.D != "" {
		return key{}, errors.New("it is a private key, which belongs to the issuer alone: want the public one")
	}
	m.ALG, m.KEYOPS = "", nil // They were looked at.
	m.X5C, m.X5U, m.X5T, m.X5TS256 = nil, "", "", ""
	k, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{Private: secret}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, err
	}
	return newKey(m.KID, k.Key())
}

// newKey finds out what a key is good for.
func newKey(id string, k any) (key, error) {
	switch k := k.(type) {
	case []byte:
		if len(k) < leastSecret {
			return key{}, fmt.Errorf("a secret has %d bytes, want at least %d, as of: openssl rand -hex 32", len(k), leastSecret)
		}
		return key{id, "HS256", k}, nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < leastRSABits {
			return key{}, fmt.Errorf("an RSA key has %d bits, want at least %d", n, leastRSABits)
		}
		return key{id, "RS256", k}, nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return key{}, fmt.Errorf("a key is on the curve %s, want P-256, for ES256", k.Curve.Params().Name)
		}
		return key{id, "ES256", k}, nil
	case ed25519.PublicKey:
		return key{id, "EdDSA", k}, nil
	default:
		return key{}, fmt.Errorf("a key is a %T, want one of RSA, P-256 or Ed25519", k)
	}
}

// key is the jwt.Keyfunc: those keys that are for the algorithm that the token says, and have the
// id that it says or none. So what a token says of its algorithm cannot make a key into
// something else.
func (v *Verifier) key(t *jwt.Token) (any, error) {
	// RFC 7515, section 4.1.11: what is critical is to be understood, and here nothing is.
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("the token has critical headers (crit)")
	}
	id, _ := t.Header["kid"].(string)
	var set jwt.VerificationKeySet
	for _, k := range v.keys.Load().list() {
		if k.alg == t.Method.Alg() && (id == "" || k.id == "" || k.id == id) {
			set.Keys = append(set.Keys, k.key)
		}
	}
	if len(set.Keys) == 0 {
		return nil, fmt.Errorf("there is no key for %s with the id %.40q", t.Method.Alg(), id)
	}
	return set, nil
}
