// Package auth decides by JSON Web Tokens (RFC 7519) who may join which channels of a server,
// who may publish there, and until when.
//
// A token comes in the header Authorization (Bearer, RFC 6750, section 2.1), in the query as
// token=, or, from browsers, as a subprotocol "bearer." followed by the token: in one of these.
// Its claim "crier" says what it allows:
//
//	{"exp": 1795500000, "crier": {"join": ["news/*", "chat/42"], "publish": ["chat/42"]}}
//
// What a token does not list is not allowed. The entries are patterns, see Match. A connection may publish only if its
// channel matches both lists.
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

// Config is what a Verifier is made with.
type Config struct {
	// Keys is what tokens must be signed with. nil is none: then no token is good.
	Keys *Keys

	// Audience is who tokens must be for, one of these (RFC 7519, section 4.1.3). If it is
	// empty, tokens that say who they are for are refused.
	Audience []string

	// Issuer is whom tokens must be from (section 4.1.1); empty for anybody who has the key.
	Issuer string

	// Leeway is by how much the clocks of issuer and server may differ: a token is taken for
	// so long before its nbf and after its exp.
	Leeway time.Duration

	now func() time.Time // time.Now, except in tests.
}

// Verifier verifies tokens. Its methods may be called from any goroutine.
type Verifier struct {
	cfg    Config
	keys   atomic.Pointer[Keys]
	parser *jwt.Parser
}

// New makes a Verifier.
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

// SetKeys replaces the keys. Connections that are open stay.
func (v *Verifier) SetKeys(keys *Keys) { v.keys.Store(keys) }

// denied is why a request is refused: more than its sender is told.
type denied struct {
	refusal *broadcast.Refusal
	why     string
}

func (d *denied) Error() string { return d.why }
func (d *denied) Unwrap() error { return d.refusal }

// The answers do not give the reason: anybody can ask.
var (
	refusalNone = &broadcast.Refusal{Status: http.StatusUnauthorized,
		Reason: "want a token: in the header Authorization, as token= in the query, or as a subprotocol"}
	refusalMany    = &broadcast.Refusal{Status: http.StatusBadRequest, Reason: "more than one token"}
	refusalInvalid = &broadcast.Refusal{Status: http.StatusUnauthorized,
		Reason: "the token is not valid, or has expired"}
	refusalChannel = &broadcast.Refusal{Status: http.StatusForbidden, Reason: "the token does not allow this channel"}
)

// Authorize is a broadcast.Config.Authorize. It takes some 30 to 150 us for each key that may be the
// token's. Its errors say what is wrong, and nothing of the token but names that it has in plain text: its
// algorithm, key, issuer, audience, and the channels that it allows.
func (v *Verifier) Authorize(r *http.Request, channel string) (broadcast.Grant, error) {
	var grant broadcast.Grant
	tokens := tokensOf(r)
	switch {
	case len(tokens) == 0:
		return grant, &denied{refusalNone, "no token"}
	case len(tokens) > 1:
		return grant, &denied{refusalMany, fmt.Sprintf("%d tokens", len(tokens))}
	}
	claims := jwt.MapClaims{} // Unlike a struct's fields, its keys are compared with regard to case.
	if _, err := v.parser.ParseWithClaims(tokens[0], claims, v.key); err != nil {
		return grant, &denied{refusalInvalid, why(err, claims)}
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
	exp, _ := claims.GetExpirationTime() // It was checked.
	switch _, has := claims["exp"]; {
	case !has:
	case exp == nil: // The library takes 0 for none.
		return grant, &denied{refusalInvalid, "the token has expired: its exp is 0"}
	case exp.After(v.cfg.now()):
		grant.Until = exp.Time
	default:
		grant.Until = exp.Add(v.cfg.Leeway) // The leeway let it in, and so it counts.
	}
	return grant, nil
}

// maxDate is the last date that is taken for one, in seconds since 1970: in the year 5138.
const maxDate = 1e11

// brief is a claim's value in a message, cut if it is long.
func brief(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "?" // It came from JSON.
	}
	return string(b[:min(len(b), 200)])
}

// tokensOf returns the tokens that a request brings. An empty one is none: there is client code that always appends
// token= to the query, and fills it only where it cannot set a header.
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

// why returns what is wrong with a token. Parts of what does not decode are not quoted.
func why(err error, claims jwt.MapClaims) string {
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

// allowed returns the lists of the claim crier.
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
		ok = ok && isText && checkPattern(pattern)
		all = append(all, pattern)
	}
	if has && !ok {
		return nil, fmt.Errorf("the token's claim crier.%s is not an array of channel patterns", name)
	}
	return all, nil
}
