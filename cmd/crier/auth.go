package main

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/crier-ws/crier/auth"
	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/flags"
)

// authFlags has the flags of authentication. They are immutable after parsing.
type authFlags struct {
	Auth         *string    `placeholder:"FILE" help:"Require a token (JWT) signed with a key of this file; its claim \"crier\" says what the client may do. The file has public keys in PEM, a JWKS, or a secret for HS256. SIGHUP reads it again (default: off; all may do all)."`
	AuthAudience flags.List `placeholder:"AUD,..." help:"Audience that a token must name; repeat it or separate by commas to allow one of several (default: tokens must not name one)."`
	AuthIssuer   string     `placeholder:"ISS" help:"Issuer that tokens must name (default: any issuer with the key)."`
	AuthLeeway   flags.Span `default:"10s" placeholder:"DURATION" help:"By how much the clocks of issuer and server may differ (default: ${default})."`

	// Atomic: written by authorize and at SIGHUP, read by each handshake. It is nil without --auth.
	current atomic.Pointer[auth.Verifier]
}

// validate calls check with each condition that the flags must meet.
func (f *authFlags) validate(check checkFunc) {
	check(f.Auth == nil || *f.Auth != "", "auth", "empty", "FILE, or leave it out")
	check(f.Auth != nil || len(f.AuthAudience) == 0, "auth-audience", "given", "--auth as well")
	check(f.Auth != nil || f.AuthIssuer == "", "auth-issuer", "given", "--auth as well")
	check(time.Duration(f.AuthLeeway) <= 10*time.Minute, "auth-leeway", time.Duration(f.AuthLeeway), "at most 10m")
}

// keys reads the file of --auth.
func (f *authFlags) keys() (*auth.Keys, error) {
	err := checkRegular(*f.Auth)
	var b []byte
	if err == nil {
		b, err = readSetting(*f.Auth)
	}
	var keys *auth.Keys
	if err == nil {
		keys, err = auth.ParseKeys(b)
	}
	if err != nil {
		return nil, keysError(*f.Auth, err)
	}
	return keys, nil
}

// keysError returns err as the error of the file of --auth, with a hint.
func keysError(file string, err error) error {
	err = fileError("--auth", file, err)
	if hintOf(err) != "" {
		return err
	}
	return hinted(err, "want public keys in PEM, a JWKS, or one line with a secret of at least 32 bytes")
}

// verifier returns a verifier with the keys of --auth, or nil without --auth.
func (f *authFlags) verifier(logger *slog.Logger) (*auth.Verifier, error) {
	if f.Auth == nil {
		return nil, nil
	}
	keys, err := f.keys()
	if err != nil {
		return nil, err
	}
	for _, skipped := range keys.Skipped() {
		level := slog.LevelWarn
		if skipped.OtherUse {
			level = slog.LevelInfo // Issuers publish such keys for other purposes.
		}
		logger.Log(context.Background(), level, "a key is not used",
			"file", *f.Auth, "key", skipped.Place, "why", skipped.Reason)
	}
	logger.Info("clients need tokens",
		"file", *f.Auth, "keys", keys.Len(), "audience", f.AuthAudience, "issuer", f.AuthIssuer)
	cfg := auth.Config{
		Keys: keys, Audience: f.AuthAudience, Issuer: f.AuthIssuer, Leeway: time.Duration(f.AuthLeeway),
	}
	return auth.New(cfg), nil
}

// authorize returns the function that authorizes handshakes with the current keys, or nil without --auth.
func (f *authFlags) authorize(logger *slog.Logger) (func(*http.Request, string) (broadcast.Grant, error), error) {
	verifier, err := f.verifier(logger)
	if err != nil || verifier == nil {
		return nil, err
	}
	f.current.Store(verifier)
	return func(r *http.Request, channel string) (broadcast.Grant, error) {
		return f.current.Load().Authorize(r, channel)
	}, nil
}
