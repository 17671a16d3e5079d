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

// algorithms are the algorithms that a token may be signed with (RFC 7518, section 3.1, and RFC 8037, section 3.1).
var algorithms = []string{"HS256", "RS256", "ES256", "EdDSA"}

// Keys are keys that verify tokens. Each key is for one algorithm, whatever the header of a token says: a public key is
// never used as a secret. Keys are immutable; a nil *Keys has none.
type Keys struct {
	all     []key
	skipped []SkippedKey
}

// SkippedKey describes a key of a file that is not used. The other keys of the file are.
type SkippedKey struct {
	Place  string // Where the key is, such as: JWKS key 2 (kid "a").
	Reason string // Why it is not used.

	// OtherUse reports that the key is valid, but for another purpose or algorithm.
	OtherUse bool
}

// key is one key of Keys.
type key struct {
	id  string // kid, RFC 7515, section 4.1.4; may be empty
	alg string // one of algorithms
	key any
}

const (
	minSecret  = 32   // bytes: RFC 7518, section 3.2
	minRSABits = 2048 // section 3.3
	maxKeys    = 16   // a token without kid is tried with all keys for its algorithm
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
		return nil, fmt.Errorf("auth: no key for RS256, ES256, EdDSA or HS256%s", keys.skippedReasons())
	case len(keys.all) > maxKeys:
		return nil, fmt.Errorf("auth: the file has %d keys, want at most %d", len(keys.all), maxKeys)
	}
	return keys, nil
}

// skippedReasons returns why the first few skipped keys are not used.
func (k *Keys) skippedReasons() (text string) {
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

// Skipped returns the keys of the file that are not used. k may be nil.
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

// add adds the key at a place of the file, or records it as skipped if err is not nil.
func (k *Keys) add(place string, each key, err error) {
	if err != nil {
		reason := strings.ReplaceAll(err.Error(), "\n", ": ") // Joined errors have lines.
		k.skipped = append(k.skipped, SkippedKey{Place: place, Reason: reason})
		return
	}
	k.all = append(k.all, each)
}

// errPrivate fails the whole file: a private key on this server is no longer private, and must be replaced.
var errPrivate = errors.New("this is a private key, which only the issuer may have: want the public key")

// isSecret reports whether b can be a secret. It returns false for URLs, paths and keys, which others may know.
func isSecret(b []byte) bool {
	invalid := func(r rune) bool { return r <= ' ' || r > '~' }
	if bytes.ContainsFunc(b, invalid) || bytes.Contains(b, []byte("://")) ||
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

// parsePEM reads the public keys of PEM blocks. Text before the first block is ignored.
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

// newKey returns k as a key for the algorithm of its type, or an error if it is too weak or of another type.
func newKey(id string, k any) (key, error) {
	switch k := k.(type) {
	case []byte:
		if len(k) < minSecret {
			return key{}, fmt.Errorf("the secret has %d bytes, want at least %d; openssl rand -hex 32 makes one", len(k), minSecret)
		}
		return key{id, "HS256", k}, nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits {
			return key{}, fmt.Errorf("the RSA key has %d bits, want at least %d", n, minRSABits)
		}
		if k.E < 3 || k.E%2 == 0 || k.E > math.MaxInt32 || k.N.Bit(0) == 0 { // Package rsa would refuse each signature.
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

// keysFor is the jwt.Keyfunc. It returns the keys for the algorithm of the token, without those that have another ID than
// the token's kid. So the algorithm in a token cannot change what a key is used for.
func (v *Verifier) keysFor(t *jwt.Token) (any, error) {
	// RFC 7515, section 4.1.11: critical headers must be understood, and none is here.
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
