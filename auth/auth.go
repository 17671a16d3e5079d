package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/queryparam"
	"github.com/golang-jwt/jwt/v5"
)

// Config configures a Verifier.
type Config struct {
	// Keys are the keys that tokens must be signed with. With nil, no token is valid.
	Keys *Keys

	// Audience lists audiences. A token must have one of them in its claim aud (RFC 7519, section 4.1.3). If Audience
	// is empty, tokens with an audience are refused.
	Audience []string

	// Issuer, if not empty, is what the claim iss of a token must be (section 4.1.1).
	Issuer string

	// Leeway is by how much the clocks of issuer and server may differ: tokens are accepted this long before their nbf
	// and after their exp.
	Leeway time.Duration

	now func() time.Time // time.Now, except in tests.
}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	// Immutable after construction. SetKeys does not change cfg.Keys.
	cfg    Config
	parser *jwt.Parser

	// Atomic: written by SetKeys, read by Authorize.
	keys atomic.Pointer[Keys]
}

// New returns a Verifier.
func New(cfg Config) *Verifier {
	if cfg.now == nil {
		cfg.now = time.Now
	}
	v := &Verifier{cfg: cfg}
	v.keys.Store(cfg.Keys)
	options := []jwt.ParserOption{
		jwt.WithValidMethods(algorithms), jwt.WithLeeway(cfg.Leeway), jwt.WithTimeFunc(cfg.now),
		jwt.WithIssuer(cfg.Issuer), jwt.WithStrictDecoding(),
	}
	if len(cfg.Audience) > 0 {
		options = append(options, jwt.WithAudience(cfg.Audience...))
	}
	v.parser = jwt.NewParser(options...)
	return v
}

// SetKeys replaces the keys; nil means none. Open connections are not affected.
func (v *Verifier) SetKeys(keys *Keys) { v.keys.Store(keys) }

// denied is the reason why a request is refused. The server logs it; the answer has only the refusal.
type denied struct {
	refusal *broadcast.Refusal
	why     string
}

func (d *denied) Error() string { return d.why }
func (d *denied) Unwrap() error { return d.refusal }

// The answers do not give the reason, since anybody can send requests.
var (
	refusalNone = &broadcast.Refusal{Status: http.StatusUnauthorized,
		Reason: "want a token: in the header Authorization, as token= in the query, or as a subprotocol"}
	refusalMany    = &broadcast.Refusal{Status: http.StatusBadRequest, Reason: "more than one token"}
	refusalInvalid = &broadcast.Refusal{Status: http.StatusUnauthorized,
		Reason: "the token is not valid, or has expired"}
	refusalChannel = &broadcast.Refusal{Status: http.StatusForbidden, Reason: "the token does not allow this channel"}
)

// Authorize is for broadcast.Config.Authorize: it returns what the token of a request allows in a channel, or an error
// that wraps a *broadcast.Refusal. It takes some 30 to 150 us for each key that the token may be signed with. Of the
// token, its errors contain only the algorithm, key ID, issuer, audience, and the channels that it allows.
func (v *Verifier) Authorize(r *http.Request, channel string) (broadcast.Grant, error) {
	var grant broadcast.Grant
	tokens := tokensOf(r)
	switch {
	case len(tokens) == 0:
		return grant, &denied{refusalNone, "no token"}
	case len(tokens) > 1:
		return grant, &denied{refusalMany, fmt.Sprintf("%d tokens", len(tokens))}
	}
	claims := jwt.MapClaims{} // Unlike the fields of a struct, the keys of a map are case-sensitive.
	if _, err := v.parser.ParseWithClaims(tokens[0], claims, v.keysFor); err != nil {
		return grant, &denied{refusalInvalid, reasonOf(err, claims)}
	}
	if aud, has := claims["aud"]; has && len(v.cfg.Audience) == 0 {
		return grant, &denied{refusalInvalid, fmt.Sprintf(
			"the token is for the audience %s, and this server has none: set --auth-audience", brief(aud))}
	}
	for _, name := range []string{"exp", "nbf"} {
		if at, _ := claims[name].(float64); math.Abs(at) > maxDate {
			return grant, &denied{refusalInvalid, fmt.Sprintf("the token's %s is %.0f: want seconds since 1970, and not milliseconds", name, at)}
		}
	}
	join, publish, err := allowed(claims)
	if err != nil {
		return grant, &denied{refusalInvalid, err.Error()}
	}
	if !slices.ContainsFunc(join, matches(channel)) {
		list := brief(append([]string{}, join...)) // [] and not null.
		return grant, &denied{refusalChannel, "the token's claim crier.join allows only " + list}
	}
	grant.Publish = slices.ContainsFunc(publish, matches(channel))
	exp, _ := claims.GetExpirationTime() // The parser has checked its type.
	switch _, has := claims["exp"]; {
	case !has:
	case exp == nil: // The library treats 0 as no exp.
		return grant, &denied{refusalInvalid, "the token has expired: its exp is 0"}
	case exp.After(v.cfg.now()):
		grant.Until = exp.Time
	default:
		grant.Until = exp.Add(v.cfg.Leeway) // Accepted only by the leeway.
	}
	return grant, nil
}

// maxDate is the largest date that is accepted, in seconds since 1970: a day in the year 5138.
const maxDate = 1e11

// brief returns the value of a claim for an error text, cut to 200 bytes.
func brief(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "?" // Not reached: the value came from JSON.
	}
	return string(b[:min(len(b), 200)])
}

// tokensOf returns the tokens of a request. Empty ones do not count: some clients always append token= to the query, and
// fill it only where they cannot set a header.
func tokensOf(r *http.Request) (tokens []string) {
	for _, value := range r.Header["Authorization"] {
		if scheme, token, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "Bearer") {
			tokens = append(tokens, strings.Trim(token, " "))
		}
	}
	tokens = slices.AppendSeq(tokens, queryparam.Values(r.URL.RawQuery, queryparam.Named("token")))
	for _, list := range r.Header["Sec-Websocket-Protocol"] {
		for item := range strings.SplitSeq(list, ",") {
			if token, ok := strings.CutPrefix(strings.Trim(item, " \t"), "bearer."); ok {
				tokens = append(tokens, token)
			}
		}
	}
	return slices.DeleteFunc(tokens, func(token string) bool { return token == "" })
}

// reasonOf returns what is wrong with a token. It quotes nothing from a token that does not decode.
func reasonOf(err error, claims jwt.MapClaims) string {
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		return "the token is malformed"
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		aud, _ := claims.GetAudience()
		return "the token is for " + brief(aud)
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		iss, _ := claims.GetIssuer()
		return "the token is from " + brief(iss)
	}
	return err.Error()
}

// allowed returns the two lists of the claim crier.
func allowed(claims jwt.MapClaims) (join, publish []string, err error) {
	object, ok := claims["crier"].(map[string]any)
	if !ok {
		return nil, nil, errors.New(`the token has no claim "crier" that is an object`)
	}
	if join, err = patterns(object, "join"); err == nil {
		publish, err = patterns(object, "publish")
	}
	return join, publish, err
}

// patterns returns a list of the claim, or nothing if the claim does not have it.
func patterns(object map[string]any, name string) (all []string, err error) {
	value, has := object[name]
	list, ok := value.([]any)
	for _, entry := range list {
		pattern, isText := entry.(string)
		ok = ok && isText && isPattern(pattern)
		all = append(all, pattern)
	}
	if has && !ok {
		return nil, fmt.Errorf("the token's claim crier.%s is not an array of channel patterns", name)
	}
	return all, nil
}
