package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

func pemFile(t *testing.T, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// signers are files with private keys by what they are, and the files to verify with.
func signers(t *testing.T) map[string]struct{ private, public []byte } {
	t.Helper()
	files := map[string]struct{ private, public []byte }{}
	for name, p := range pairs(t) {
		if name == "HS256" {
			files["secret"] = struct{ private, public []byte }{p.file, p.file}
			continue
		}
		der, err := x509.MarshalPKCS8PrivateKey(p.private)
		files[name] = struct{ private, public []byte }{pemFile(t, "PRIVATE KEY", der, err), p.file}
		switch k := p.private.(type) {
		case *rsa.PrivateKey:
			files["RSA, PKCS #1"] = struct{ private, public []byte }{pemFile(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k), nil), p.file}
		case *ecdsa.PrivateKey:
			der, err := x509.MarshalECPrivateKey(k)
			parameters := pemFile(t, "EC PARAMETERS", []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}, nil)
			files["EC with its parameters"] = struct{ private, public []byte }{append(parameters, pemFile(t, "EC PRIVATE KEY", der, err)...), p.file}
		}
	}
	private, public, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	files["generated"] = struct{ private, public []byte }{private, public}
	return files
}

// TestSign: a Verifier with the public key accepts what each kind of key has signed.
func TestSign(t *testing.T) {
	for name, file := range signers(t) {
		s, err := ParseSigner(file.private)
		if err != nil {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		token, err := s.Sign(Claims{
			Join: []string{"news/*"}, Publish: []string{"news/mine"}, Expires: now.Add(time.Minute),
			Audience: []string{"a", "b"}, Issuer: "site", Subject: "somebody",
		})
		if err != nil {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		v := newVerifier(t, file.public, Config{Audience: []string{"b"}, Issuer: "site"})
		for channel, publish := range map[string]bool{"news/mine": true, "news/sport": false} {
			got, err := v.Authorize(request(token), channel)
			if err != nil || got.Publish != publish || !got.Until.Equal(now.Add(time.Minute)) {
				t.Errorf("%s: channel %s: got %+v, %v, want publish %t until %v", name, channel, got, err, publish, now.Add(time.Minute))
			}
		}
		_, err = v.Authorize(request(token), "sport")
		expectDenied(t, err, 403, "news/*", token)
		_, err = newVerifier(t, file.public, Config{Audience: []string{"b"}, Issuer: "other"}).Authorize(request(token), "news/mine")
		expectDenied(t, err, 401, "site", token)
		_, err = newVerifier(t, file.public, Config{Audience: []string{"c"}, Issuer: "site"}).Authorize(request(token), "news/mine")
		expectDenied(t, err, 401, "the token is for", token)
		plain, err := s.Sign(Claims{Join: []string{"**"}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := newVerifier(t, file.public, Config{}).Authorize(request(plain), "any/channel")
		if err != nil || got.Publish || !got.Until.IsZero() {
			t.Errorf("%s: no expiry: got %+v, %v, want to join for ever and not to publish", name, got, err)
		}
	}
}

// TestSignPatterns: Sign refuses a pattern that can match no channel, and names it.
func TestSignPatterns(t *testing.T) {
	s, err := ParseSigner([]byte(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"**/news", "a*b*c", "news/***", "news\n", "\xff", strings.Repeat("x", 256)} {
		for name, c := range map[string]Claims{"join": {Join: []string{"ok", pattern}}, "publish": {Publish: []string{pattern}}} {
			if token, err := s.Sign(c); err == nil || !strings.Contains(err.Error(), "pattern ") {
				t.Errorf("%s %q: got %q, %v, want an error that names the pattern", name, pattern, token, err)
			}
		}
	}
	for _, pattern := range []string{"", "**", "*", "news/**", "user-*/x", "ünïcode/🎉"} {
		if _, err := s.Sign(Claims{Join: []string{pattern}}); err != nil {
			t.Errorf("%q: got %v", pattern, err)
		}
	}
}

// TestParseSigner: the error for an unusable key says what it is, and never shows the key.
func TestParseSigner(t *testing.T) {
	files := signers(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(p384)
	other := pemFile(t, "PRIVATE KEY", der, err)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("x")})
	for name, tt := range map[string]struct {
		file []byte
		why  string
	}{
		"nothing":          {nil, "0 bytes"},
		"a short secret":   {[]byte("sssss"), "5 bytes"},
		"two words":        {[]byte("ssssssssssssssssssss ssssssssssssssssssss"), "want a private key"},
		"a JWKS":           {[]byte(`{"keys":[]}`), "want a private key"},
		"a public key":     {files["ES256"].public, "it is a public key"},
		"two private keys": {bytes.Join([][]byte{files["ES256"].private, files["RS256"].private}, nil), "more than one"},
		"P-384":            {other, "P-384"},
		"1024 bits":        {pemFile(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small), nil), "1024 bits"},
		"encrypted":        {encrypted, "encrypted"},
		"encrypted PKCS 8": {pemFile(t, "ENCRYPTED PRIVATE KEY", []byte("x"), nil), "encrypted"},
		"OpenSSH's":        {pemFile(t, "OPENSSH PRIVATE KEY", []byte("x"), nil), "OpenSSH"},
		"a damaged key":    {pemFile(t, "PRIVATE KEY", []byte("x"), nil), "PEM block 1"},
		"a cut key":        {files["RS256"].private[:100], "no PEM block"},
		"a request":        {pemFile(t, "CERTIFICATE REQUEST", []byte("x"), nil), "CERTIFICATE REQUEST"},
		"a certificate":    {pemFile(t, "CERTIFICATE", []byte("x"), nil), "want a private key"},
	} {
		if _, err := ParseSigner(tt.file); err == nil || !strings.Contains(err.Error(), tt.why) || strings.Contains(err.Error(), "sssss") {
			t.Errorf("%s: got %v, want an error with %q", name, err, tt.why)
		}
	}
}
