package auth

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/golang-jwt/jwt/v5"
)

// Claims are the contents of a token.
type Claims struct {
	// Join and Publish are patterns of channels: see Match. The bearer may connect to the channels of Join, and
	// publish to those of Publish over its connection.
	Join, Publish []string

	// Expires is when the token expires, in whole seconds. The zero value means never.
	Expires time.Time

	// Audience, Issuer and Subject are the registered claims aud, iss and sub (RFC 7519, section 4.1). Empty ones are
	// left out.
	Audience        []string
	Issuer, Subject string
}

// Signer signs tokens with one key. Its methods are safe for concurrent use.
type Signer struct {
	method jwt.SigningMethod
	key    any // a []byte or a crypto.Signer, as method needs
}

// ParseSigner reads a key from a file's contents: one private key in PEM (RSA, P-256 or Ed25519; PKCS #8,
// PKCS #1 or SEC 1), or else a secret as ParseKeys accepts it. It accepts the keys whose tokens a
// Verifier accepts, and no others.
func ParseSigner(b []byte) (*Signer, error) {
	b = bytes.TrimSpace(b)
	var private, public any = b, b
	var err error
	switch {
	case bytes.Contains(b, []byte("-----BEGIN")):
		private, public, err = parsePrivatePEM(b)
	case !isSecret(b) || bytes.HasPrefix(b, []byte("{")):
		err = errors.New("want a private key in PEM, or one line with a secret")
	}
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	k, err := newKey("", public)
	if err != nil {
		return nil, fmt.Errorf("auth: %w", err)
	}
	return &Signer{jwt.GetSigningMethod(k.alg), private}, nil
}

// parsePrivatePEM returns the only private key of a PEM file, and its public key.
func parsePrivatePEM(b []byte) (private, public any, err error) {
	for n := 1; ; n++ {
		block, rest := pem.Decode(b)
		if block == nil {
			break
		}
		b = rest
		k, err := parsePrivateBlock(block)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("PEM block %d: %w", n, err)
		case k == nil:
		case private != nil:
			return nil, nil, errors.New("there is more than one private key, want one")
		default:
			private = k
		}
	}
	if private == nil {
		return nil, nil, errors.New("no PEM block is intact, want a private key")
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("the key is a %T, want RSA, P-256 or Ed25519", private)
	}
	return private, signer.Public(), nil
}

// parsePrivateBlock returns the private key of a PEM block, or nil for the other blocks that a file with a private key
// may have.
func parsePrivateBlock(block *pem.Block) (any, error) {
	encrypted := strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") // RFC 1421, section 4.6.1.1.
	switch {
	case encrypted, block.Type == "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("the key is encrypted; openssl pkey -in FILE -out NEW writes it without a passphrase")
	case block.Type == "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case block.Type == "EC PARAMETERS", block.Type == "CERTIFICATE":
		return nil, nil
	case block.Type == "PUBLIC KEY", block.Type == "RSA PUBLIC KEY":
		return nil, errors.New("it is a public key, which only verifies tokens: want the private one")
	case block.Type == "OPENSSH PRIVATE KEY":
		return nil, errors.New("it is a key of OpenSSH, want one of openssl genpkey -algorithm ed25519")
	}
	return nil, fmt.Errorf("its type is %.40q, want PRIVATE KEY", block.Type)
}

// Sign returns a token with the claims c. It returns an error if a pattern can match no channel.
func (s *Signer) Sign(c Claims) (string, error) {
	claims := jwt.MapClaims{}
	lists := map[string][]string{}
	for name, list := range map[string][]string{"join": c.Join, "publish": c.Publish} {
		for _, pattern := range list {
			if err := CheckPattern(pattern); err != nil {
				return "", err
			}
			lists[name] = list
		}
	}
	claims["crier"] = lists
	if !c.Expires.IsZero() {
		claims["exp"] = c.Expires.Unix()
	}
	switch len(c.Audience) {
	case 0:
	case 1:
		claims["aud"] = c.Audience[0]
	default:
		claims["aud"] = c.Audience
	}
	for name, value := range map[string]string{"iss": c.Issuer, "sub": c.Subject} {
		if value != "" {
			claims[name] = value
		}
	}
	token, err := jwt.NewWithClaims(s.method, claims).SignedString(s.key)
	if err != nil {
		return "", fmt.Errorf("auth: %w", err)
	}
	return token, nil
}

// CheckPattern returns nil if a pattern can match a channel, and otherwise the reason: see Match.
func CheckPattern(pattern string) error {
	if !isPattern(pattern) {
		return fmt.Errorf("auth: pattern %q: want at most one * between slashes, or ** at the end", pattern)
	}
	if err := broadcast.CheckChannel(strings.ReplaceAll(pattern, "*", "x")); err != nil {
		return fmt.Errorf("auth: pattern %q: %w", pattern, err)
	}
	return nil
}

// GenerateKey returns a new Ed25519 key in PEM: the private key, which ParseSigner reads, and the
// public one, which ParseKeys reads.
func GenerateKey() (private, public []byte, err error) {
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, nil, err
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, nil, err
	}
	publicDER, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, nil, err
	}
	private = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER})
	return private, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER}), nil
}
