package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// algorithms are those that a token may be signed with, RFC 7518, section 3.1, and RFC 8037,
// section 3.1.
var algorithms = []string{"HS256", "RS256", "ES256", "EdDSA"}

// Keys are what tokens are verified with. Each is good for one algorithm, whatever a token
// says of itself: a public key is never taken for a secret.
type Keys struct {
	all     []key
	skipped []SkippedKey
}

// SkippedKey is a key of a file that is not used; the other keys of the file are.
type SkippedKey struct {
	Place  string // Which one it is, as: JWKS key 2 (kid "a").
	Reason string // What is wrong with it, or what else it is for.

	// Nothing is wrong with the key: it is for another purpose or algorithm.
	OtherUse bool
}

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

// ParseKeys reads keys from a file's contents: public keys or certificates in PEM, one or more; a JWKS (RFC 7517,
// section 5); or else a secret for HS256: one word of visible ASCII. A line that looks like something else, such as a
// public key in base64, is not accepted as a secret, since it may be public.
//
// If a file has several keys, those that cannot be used are left out: see Keys.Skipped. ParseKeys returns an error if
// no key is left, if the file is damaged (it may be half written), and if it contains a private key.
func ParseKeys(b []byte) (*Keys, error) {
	b = bytes.TrimSpace(b)
	keys := new(Keys)
	var err error
	switch {
	case bytes.Contains(b, []byte("-----BEGIN")):
		err = keys.parsePEM(b)
	case bytes.HasPrefix(b, []byte("{")):
		err = keys.parseJWKS(b)
	case !isSecret(b):
		err = errors.New("want public keys in PEM, a JWKS, or one line with a secret; openssl rand -hex 32 makes one")
	default:
		var k key
		k, err = newKey("", b)
		keys.all = []key{k}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("auth: %w", err)
	case len(keys.all) == 0:
		return nil, fmt.Errorf("auth: no key for RS256, ES256, EdDSA or HS256%s", keys.whyNone())
	case len(keys.all) > mostKeys:
		return nil, fmt.Errorf("auth: the file has %d keys, want at most %d", len(keys.all), mostKeys)
	}
	return keys, nil
}

// whyNone returns the reasons why keys were skipped, of the first few.
func (k *Keys) whyNone() (text string) {
	const most = 3
	for i, s := range k.skipped {
		if i == most {
			return fmt.Sprintf("%s; and %d more", text, len(k.skipped)-most)
		}
		text += fmt.Sprintf("; %s: %s", s.Place, s.Reason)
	}
	return text
}

// Len returns how many keys there are.
func (k *Keys) Len() int { return len(k.list()) }

// Skipped returns those keys of the file that are not used. k may be nil.
func (k *Keys) Skipped() []SkippedKey {
	if k == nil {
		return nil
	}
	return k.skipped
}

// list returns all keys. k may be nil.
func (k *Keys) list() []key {
	if k == nil {
		return nil
	}
	return k.all
}

// add takes the key of a place, or skips it if there is an error.
func (k *Keys) add(place string, each key, err error) {
	if err != nil {
		reason := strings.ReplaceAll(err.Error(), "\n", ": ") // Joined errors have lines.
		k.skipped = append(k.skipped, SkippedKey{Place: place, Reason: reason})
		return
	}
	k.all = append(k.all, each)
}

// errPrivate concerns the whole file: whoever put the key there has to make a new one.
var errPrivate = errors.New("this is a private key, which only the issuer may have: want the public key")

// isSecret reports whether b may be meant as a secret, and not as something that others know.
func isSecret(b []byte) bool {
	notOne := func(r rune) bool { return r <= ' ' || r > '~' }
	if bytes.ContainsFunc(b, notOne) || bytes.Contains(b, []byte("://")) ||
		bytes.HasPrefix(b, []byte("/")) || bytes.HasPrefix(b, []byte("[")) {
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

func (k *Keys) parsePEM(b []byte) error {
	blocks := bytes.Count(b, []byte("-----BEGIN"))
	for n := 1; ; n++ {
		block, rest := pem.Decode(b)
		if block == nil {
			switch {
			case n == 1:
				return errors.New("the PEM is damaged: want whole lines from -----BEGIN to -----END")
			case len(bytes.TrimSpace(b)) > 0:
				return fmt.Errorf("the text after PEM block %d is not PEM: want nothing after the last block", n-1)
			}
			if n-1 < blocks {
				return fmt.Errorf("%d of %d PEM blocks are damaged", blocks-n+1, blocks)
			}
			return nil
		}
		b = rest
		place := fmt.Sprintf("PEM block %d", n)
		each, err := parseBlock(block)
		if errors.Is(err, errPrivate) {
			return fmt.Errorf("%s: %w", place, err)
		}
		k.add(place, each, err)
	}
}

// parseBlock reads the public key of one PEM block.
func parseBlock(block *pem.Block) (key, error) {
	var public any
	var err error
	switch typ := block.Type; {
	case strings.HasSuffix(typ, "PRIVATE KEY"):
		err = errPrivate
	case typ == "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case typ == "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case typ == "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			public = cert.PublicKey
		}
	default:
		err = fmt.Errorf("its type is %.40q, want PUBLIC KEY", typ)
	}
	if err != nil {
		return key{}, err
	}
	return newKey("", public)
}

// newKey finds out what a key is good for.
func newKey(id string, k any) (key, error) {
	switch k := k.(type) {
	case []byte:
		if len(k) < leastSecret {
			return key{}, fmt.Errorf("the secret has %d bytes, want at least %d; openssl rand -hex 32 makes one", len(k), leastSecret)
		}
		return key{id, "HS256", k}, nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < leastRSABits {
			return key{}, fmt.Errorf("the RSA key has %d bits, want at least %d", n, leastRSABits)
		}
		if k.E < 3 || k.E%2 == 0 || k.E > math.MaxInt32 || k.N.Bit(0) == 0 { // Package rsa verifies nothing with it.
			return key{}, errors.New("the RSA key has an invalid modulus or exponent (n, e)")
		}
		return key{id, "RS256", k}, nil
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() {
			return key{}, fmt.Errorf("the key is on the curve %s, want P-256, for ES256", k.Curve.Params().Name)
		}
		return key{id, "ES256", k}, nil
	case ed25519.PublicKey:
		return key{id, "EdDSA", k}, nil
	default:
		return key{}, errors.New("the key is of another kind, want RSA, P-256 or Ed25519")
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
		return nil, fmt.Errorf("no key for %s with the id %.40q", t.Method.Alg(), id)
	}
	return set, nil
}
