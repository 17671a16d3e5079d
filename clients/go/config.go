package crier

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Config is what a Client follows, and how. The zero value of each field but URL is fine.
type Config struct {
	// URL is the address of the channel, such as ws://host:18000/news, or wss:// for TLS. A query may contain a
	// token (?token=...); since and last are replaced.
	URL string

	// Since is the ID of the message after which to begin. If it is empty, Follow begins Last messages back.
	Since string

	// Last is how many retained messages to begin with, 0 or more. 0 begins with the next message that is published.
	// Since takes precedence.
	Last int

	// Token, if it is not nil, returns the token (JWT) to connect with. It is called before each connection, by the
	// goroutine that called Follow, with Follow's context. If it returns an error, the client waits and tries again.
	// A token that the server refuses is fatal for the first connection only.
	Token func(context.Context) (string, error)

	// Header has further fields for the handshake, such as Cookie. The client only reads it.
	Header http.Header

	// TLS is for wss URLs. The zero value trusts the system's certificate authorities.
	TLS *tls.Config

	// Silence is how long nothing may arrive, not even a ping, before the connection is considered dead. Defaults to
	// 90 s, three times the server's default ping interval. Negative: for ever.
	Silence time.Duration

	// Backoff is the upper bound of the first wait before the client reconnects. The bound doubles with each try, up
	// to MaxBackoff; the wait is a random part of it, and the server's Retry-After is added. A message resets the
	// bound, and so does a connection that lasted longer than MaxBackoff. Backoff defaults to 500 ms, MaxBackoff to
	// 30 s, or to Backoff if that is longer.
	Backoff, MaxBackoff time.Duration

	// Connected, if it is not nil, is called for each connection before its first event, by the goroutine that called
	// Follow.
	Connected func()

	// Lost, if it is not nil, is called with the reason when a connection was lost or could not be made, and with how
	// long the client will wait before the next try. The goroutine that called Follow calls it.
	Lost func(err error, wait time.Duration)
}

// withDefaults returns cfg with its defaults, or an error with all that is wrong.
func (cfg Config) withDefaults() (Config, error) {
	var errs []error
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil:
		errs = append(errs, fmt.Errorf("crier: URL: %w", err))
	case u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "":
		errs = append(errs, fmt.Errorf("crier: URL %q is not the address of a channel, want ws://HOST:PORT/CHANNEL", cfg.URL))
	}
	if cfg.Last < 0 {
		errs = append(errs, fmt.Errorf("crier: Last is %d, want 0 or more", cfg.Last))
	}
	if cfg.Backoff < 0 || cfg.MaxBackoff < 0 {
		errs = append(errs, fmt.Errorf("crier: Backoff is %v and MaxBackoff %v, want 0 or more", cfg.Backoff, cfg.MaxBackoff))
	}
	if cfg.Silence == 0 {
		cfg.Silence = 90 * time.Second
	}
	if cfg.Backoff == 0 {
		cfg.Backoff = 500 * time.Millisecond
	}
	if cfg.MaxBackoff == 0 {
		cfg.MaxBackoff = max(cfg.Backoff, 30*time.Second)
	}
	return cfg, errors.Join(errs...)
}
