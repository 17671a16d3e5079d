package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/golang-jwt/jwt/v5"
)

// pair is a key to sign with, and the file to verify with.
type pair struct {
	method  jwt.SigningMethod
	private any
	file    []byte
}

func publicPEM(t *testing.T, k any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func pairs(t *testing.T) map[string]pair {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte(rand.Text() + rand.Text())
	return map[string]pair{
		"HS256": {jwt.SigningMethodHS256, secret, append(secret, '\n')},
		"RS256": {jwt.SigningMethodRS256, rsaKey, publicPEM(t, rsaKey.Public())},
		"ES256": {jwt.SigningMethodES256, ecKey, publicPEM(t, ecKey.Public())},
		"EdDSA": {jwt.SigningMethodEdDSA, edKey, publicPEM(t, edKey.Public())},
	}
}

var now = time.Unix(1_800_000_000, 0)

func newVerifier(t *testing.T, file []byte, cfg Config) *Verifier {
	t.Helper()
	var err error
	if cfg.Keys, err = ParseKeys(file); err != nil {
		t.Fatal(err)
	}
	cfg.now = func() time.Time { return now }
	return New(cfg)
}

func sign(t *testing.T, method jwt.SigningMethod, key any, header map[string]any, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	for name, value := range header {
		token.Header[name] = value
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// claims is what a good token says, and further claims, of which nil takes one away.
func claims(more ...any) jwt.MapClaims {
	c := jwt.MapClaims{
		"sub": "somebody", "exp": now.Unix() + 60,
		"crier": map[string]any{"join": []string{"news/*"}, "publish": []string{"news/mine"}},
	}
	for i := 0; i < len(more); i += 2 {
		if more[i+1] == nil {
			delete(c, more[i].(string))
		} else {
			c[more[i].(string)] = more[i+1]
		}
	}
	return c
}

func request(token string) *http.Request {
	r := httptest.NewRequest("GET", "/news/mine", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// expectDenied checks that a request is refused with a status, that the error says why, and that
// neither error nor answer have anything of the tokens.
func expectDenied(t *testing.T, err error, status int, why string, tokens ...string) {
	t.Helper()
	var refusal *broadcast.Refusal
	if !errors.As(err, &refusal) || refusal.Status != status || !strings.Contains(err.Error(), why) {
		t.Errorf("got %v (%v), want status %d and %q", err, refusal, status, why)
		return
	}
	for _, token := range tokens {
		for part := range strings.SplitSeq(token, ".") {
			if len(part) > 4 && (strings.Contains(err.Error(), part) || strings.Contains(refusal.Reason, part)) {
				t.Errorf("%v: it shows %q", err, part)
			}
		}
	}
	if strings.Contains(refusal.Reason, "somebody") || strings.Contains(err.Error(), "somebody") {
		t.Errorf("%v: it shows a claim", err)
	}
}

// TestTokens: tokens of all algorithms are accepted in all three places.
func TestTokens(t *testing.T) {
	for name, p := range pairs(t) {
		v := newVerifier(t, p.file, Config{})
		token := sign(t, p.method, p.private, nil, claims())
		places := map[string]func(r *http.Request){
			"header":       func(r *http.Request) { r.Header.Set("Authorization", "bearer  "+token) },
			"query":        func(r *http.Request) { r.URL.RawQuery = "since=a-1&token=" + token },
			"odd query":    func(r *http.Request) { r.URL.RawQuery = "a=b;c=d&rate=100%&token=" + token + "&%zz" },
			"subprotocol":  func(r *http.Request) { r.Header.Set("Sec-WebSocket-Protocol", "crier.v1, bearer."+token) },
			"other scheme": func(r *http.Request) { r.Header.Set("Authorization", "Basic QQ=="); r.URL.RawQuery = "token=" + token },
		}
		for place, put := range places {
			r := httptest.NewRequest("GET", "/", nil)
			put(r)
			for channel, publish := range map[string]bool{"news/mine": true, "news/sport": false} {
				got, err := v.Authorize(r, channel)
				if want := (broadcast.Grant{Publish: publish, Until: now.Add(time.Minute)}); err != nil || got.Publish != publish || !got.Until.Equal(want.Until) {
					t.Errorf("%s in %s: got %+v, %v, want %+v", name, place, got, err, want)
				}
			}
			_, err := v.Authorize(r, "sport")
			expectDenied(t, err, 403, `"news/*"`, token)
		}
		for what, r := range map[string]*http.Request{
			"another key": request(sign(t, p.method, pairs(t)[name].private, nil, claims())),
			"changed":     request(strings.Replace(token, ".ey", ".eyA", 1)),
			"cut":         request(token[:len(token)-3]),
		} {
			if _, err := v.Authorize(r, "news/mine"); err == nil {
				t.Errorf("%s: %s: got no error", name, what)
			} else {
				expectDenied(t, err, 401, "token", token)
			}
		}
	}
	v := newVerifier(t, pairs(t)["HS256"].file, Config{})
	_, err := v.Authorize(httptest.NewRequest("GET", "/?token=x", nil), "news/mine")
	expectDenied(t, err, 401, "malformed")
	_, err = v.Authorize(httptest.NewRequest("GET", "/", nil), "news/mine")
	expectDenied(t, err, 401, "no token")
	for name, value := range map[string][]string{"Authorization": {"Bearer a.b.c", "Bearer d.e.f"}, "Sec-Websocket-Protocol": {"chat, bearer.a.b.c", "bearer.d.e.f"}} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header[name] = value
		_, err = v.Authorize(r, "news/mine")
		expectDenied(t, err, 400, "2 tokens")
	}
	_, err = New(Config{}).Authorize(request(sign(t, jwt.SigningMethodHS256, []byte("x"), nil, claims())), "news/mine")
	expectDenied(t, err, 401, "no key")
	r := request("a.b.c")
	r.URL.RawQuery = "token=d.e.f"
	_, err = v.Authorize(r, "news/mine")
	expectDenied(t, err, 400, "2 tokens")
}

// TestEmptyTokens: an empty token does not count, alone or beside a token.
func TestEmptyTokens(t *testing.T) {
	p := pairs(t)["HS256"]
	v := newVerifier(t, p.file, Config{})
	token := sign(t, p.method, p.private, nil, claims())
	for _, tt := range []struct {
		name, authorization, query, protocols string
		status                                int // 0 if it is taken.
	}{
		{"empty query", "Bearer " + token, "token=", "", 0},
		{"query without a sign", "Bearer " + token, "token", "", 0},
		{"empty twice", "Bearer " + token, "token=&x=1&token=", "", 0},
		{"empty subprotocol", "Bearer " + token, "", "crier.v1, bearer.", 0},
		{"empty subprotocol beside a query", "", "token=" + token, "bearer., chat", 0},
		{"empty query beside a subprotocol", "", "token=", "bearer." + token, 0},
		{"empty beside one in its own place", "", "token=&token=" + token, "", 0},
		{"empty header", " ", "token=" + token, "", 0},
		{"scheme without a token", "Bearer", "token=" + token, "", 0},
		{"scheme and blanks", "Bearer   ", "token=" + token, "", 0},
		{"all empty", "Bearer ", "token=", "bearer.", 401},
		{"two that are the same", "Bearer " + token, "token=" + token, "", 400},
		{"two that differ, and an empty one", "Bearer " + token, "token=&token=x", "", 400},
	} {
		r := httptest.NewRequest("GET", "/?"+tt.query, nil)
		if tt.authorization != "" {
			r.Header.Set("Authorization", tt.authorization)
		}
		if tt.protocols != "" {
			r.Header.Set("Sec-WebSocket-Protocol", tt.protocols)
		}
		_, err := v.Authorize(r, "news/mine")
		if tt.status != 0 {
			expectDenied(t, err, tt.status, "token", token)
		} else if err != nil {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
}

// unsigned is a token of a header without a signature.
func unsigned(t *testing.T, header map[string]any, c jwt.MapClaims) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return part(header) + "." + part(c) + "."
}

// TestAlgorithmConfusion: the algorithm in the header of a token does not change what a key is used for.
func TestAlgorithmConfusion(t *testing.T) {
	all := pairs(t)
	for name, p := range all {
		v := newVerifier(t, p.file, Config{})
		tokens := map[string]string{}
		for _, none := range []string{"none", "None", "NONE", "nOnE", "", "HS256 "} {
			tokens["alg "+none] = unsigned(t, map[string]any{"typ": "JWT", "alg": none}, claims())
		}
		tokens["no alg"] = unsigned(t, map[string]any{"typ": "JWT"}, claims())
		tokens["alg a number"] = unsigned(t, map[string]any{"alg": 256}, claims())
		tokens["said only"] = unsigned(t, map[string]any{"alg": name}, claims())
		// The public key for a secret: as the file has it, and as its bytes.
		block, _ := pem.Decode(p.file)
		if name != "HS256" {
			for what, secret := range map[string][]byte{"file": p.file, "trimmed": []byte(strings.TrimSpace(string(p.file))), "DER": block.Bytes} {
				tokens["public key as a secret, "+what] = sign(t, jwt.SigningMethodHS256, secret, nil, claims())
			}
		}
		for other, q := range all {
			if other != name {
				tokens["signed with "+other] = sign(t, q.method, q.private, nil, claims())
			}
		}
		switch key := p.private.(type) {
		case []byte:
			tokens["HS384"] = sign(t, jwt.SigningMethodHS384, key, nil, claims())
		case *rsa.PrivateKey:
			tokens["RS512"] = sign(t, jwt.SigningMethodRS512, key, nil, claims())
			tokens["PS256"] = sign(t, jwt.SigningMethodPS256, key, nil, claims())
		}
		for what, token := range tokens {
			if _, err := v.Authorize(request(token), "news/mine"); err == nil {
				t.Errorf("%s: %s: taken", name, what)
			} else {
				expectDenied(t, err, 401, "", token)
			}
		}
		_, err := v.Authorize(request(sign(t, p.method, p.private, map[string]any{"crit": []string{"b64"}}, claims())), "news/mine")
		expectDenied(t, err, 401, "crit")
	}
}

// TestClaims: dates, audience, issuer and channels are checked.
func TestClaims(t *testing.T) {
	p := pairs(t)["HS256"]
	const leeway = 10
	at := func(s int64) int64 { return now.Unix() + s }
	crier := func(join, publish any) map[string]any { return map[string]any{"join": join, "publish": publish} }
	tests := []struct {
		what   string
		cfg    Config
		claims jwt.MapClaims
		status int // 0 if it is taken.
		why    string
		until  int64 // Seconds from now, 0 for ever.
	}{
		{"just before exp", Config{}, claims("exp", at(1)), 0, "", 1},
		{"at exp", Config{}, claims("exp", at(0)), 401, "expired", 0},
		{"issuer's clock is behind", Config{Leeway: leeway * time.Second}, claims("exp", at(1-leeway)), 0, "", 1},
		{"too far behind", Config{Leeway: leeway * time.Second}, claims("exp", at(-leeway)), 401, "expired", 0},
		{"leeway adds nothing to a good one", Config{Leeway: leeway * time.Second}, claims("exp", at(5)), 0, "", 5},
		{"at nbf", Config{}, claims("nbf", at(0)), 0, "", 60},
		{"before nbf", Config{}, claims("nbf", at(1)), 401, "not valid yet", 0},
		{"issuer's clock is ahead", Config{Leeway: leeway * time.Second}, claims("nbf", at(leeway), "iat", at(leeway)), 0, "", 60},
		{"too far ahead", Config{Leeway: leeway * time.Second}, claims("nbf", at(leeway+1)), 401, "not valid yet", 0},
		{"no exp", Config{}, claims("exp", nil), 0, "", 0},
		{"exp 0", Config{}, claims("exp", 0), 401, "expired", 0},
		{"exp below 0", Config{}, claims("exp", -1), 401, "expired", 0},
		{"exp a text", Config{}, claims("exp", "tomorrow"), 401, "exp", 0},
		{"exp null", Config{}, claims("exp", json.RawMessage("null")), 401, "exp", 0},
		{"exp out of all bounds", Config{}, claims("exp", 1e300), 401, "expired", 0},
		{"exp in milliseconds", Config{}, claims("exp", at(60)*1000), 401, "want seconds", 0},
		{"exp with a fraction", Config{}, claims("exp", float64(at(1))+0.5), 0, "", 1},
		{"nbf out of all bounds", Config{}, claims("nbf", 1e300), 401, "want seconds", 0},
		{"exp in other letters", Config{}, claims("Exp", at(-100)), 0, "", 60},
		{"for us", Config{Audience: []string{"a", "crier"}}, claims("aud", "crier"), 0, "", 60},
		{"for us and others", Config{Audience: []string{"crier"}}, claims("aud", []string{"x", "crier"}), 0, "", 60},
		{"for others", Config{Audience: []string{"crier"}}, claims("aud", []string{"x", "crier2"}), 401, `"crier2"`, 0},
		{"for nobody said", Config{Audience: []string{"crier"}}, claims(), 401, "aud", 0},
		{"for somebody, and we are nobody", Config{}, claims("aud", "crier"), 401, "this server has none", 0},
		{"for a number", Config{Audience: []string{"crier"}}, claims("aud", 7), 401, "aud", 0},
		{"for a number, and we are nobody", Config{}, claims("aud", 7), 401, "this server has none", 0},
		{"from the issuer", Config{Issuer: "https://id"}, claims("iss", "https://id"), 0, "", 60},
		{"from another", Config{Issuer: "https://id"}, claims("iss", "https://id/"), 401, `"https://id/"`, 0},
		{"from nobody said", Config{Issuer: "https://id"}, claims(), 401, "iss", 0},
		{"nothing allowed", Config{}, claims("crier", nil), 401, `"crier"`, 0},
		{"in other letters", Config{}, claims("crier", nil, "Crier", crier([]string{"**"}, nil)), 401, `"crier"`, 0},
		{"a list", Config{}, claims("crier", []string{"**"}), 401, `"crier"`, 0},
		{"join a text", Config{}, claims("crier", crier("**", nil)), 401, "crier.join", 0},
		{"join numbers", Config{}, claims("crier", crier([]any{"**", 1}, []string{})), 401, "crier.join", 0},
		{"no pattern", Config{}, claims("crier", crier([]string{"a*b*c"}, []string{})), 401, "crier.join", 0},
		{"publish an object", Config{}, claims("crier", crier([]string{"**"}, map[string]any{})), 401, "crier.publish", 0},
		{"join nothing", Config{}, claims("crier", crier([]string{}, []string{"**"})), 403, "join", 0},
		{"something new", Config{}, claims("crier", map[string]any{"join": []string{"**"}, "publish": []string{"**"}, "new": 1}), 0, "", 60},
	}
	for _, tt := range tests {
		v := newVerifier(t, p.file, tt.cfg)
		token := sign(t, p.method, p.private, nil, tt.claims)
		got, err := v.Authorize(request(token), "news/mine")
		if tt.status != 0 {
			if err == nil {
				t.Errorf("%s: taken", tt.what)
			} else {
				expectDenied(t, err, tt.status, tt.why, token)
			}
			continue
		}
		var until time.Time
		if tt.until != 0 {
			until = now.Add(time.Duration(tt.until) * time.Second)
		}
		if err != nil || !got.Publish || !got.Until.Equal(until) {
			t.Errorf("%s: got %+v, %v, want until %v", tt.what, got, err, until)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		pattern, channel string
		want             bool
	}{
		{"**", "", true}, {"**", "a/b", true}, {"", "", true}, {"", "a", false},
		{"*", "", false}, {"*", "a", true}, {"*", "a/b", false}, {"*/*", "a/b", true}, {"*/*", "a/", false},
		{"news", "news", true}, {"news", "News", false}, {"news", "news/", false}, {"news", "new", false},
		{"news/*", "news/sport", true}, {"news/*", "news", false}, {"news/*", "news/", false}, {"news/*", "news/a/b", false}, {"news/*", "news2/a", false},
		{"news/**", "news/a/b", true}, {"news/**", "news/a", true}, {"news/**", "news", false}, {"news/**", "newsy/a", false}, {"news/**", "news/", true},
		{"user-*", "user-7", true}, {"user-*", "user-", false}, {"user-*", "user-7/x", false}, {"*-x", "a-x", true}, {"a*a", "a", false}, {"a*a", "aa", false}, {"a*a", "aba", true},
		{"../*", "../x", true}, {"a?c", "abc", false}, {"[ab]", "a", false}, {"**/a", "b/a", false}, {"a**", "ab", false}, {"a*b*c", "a*b*c", false},
	} {
		if got := Match(tt.pattern, tt.channel); got != tt.want {
			t.Errorf("Match(%q, %q): got %t", tt.pattern, tt.channel, got)
		}
	}
}
