package swarm

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Config says what to load, and with what.
type Config struct {
	// Target is where the broadcaster listens.
	Target netip.AddrPort
	// Host is the Host field of the handshake. Defaults to Target.
	Host string
	// Path is the request target of the handshake. Defaults to "/".
	Path string
	// Greeting is the text message that the server sends first, of at most 125 bytes;
	// empty if it sends none.
	Greeting string

	// Conns is the most connections that the swarm will have at a time; from 1.
	Conns int
	// Senders is the number of connections that send, in turn; 1 to Conns and 4096.
	// Defaults to 1.
	Senders int
	// Size is the payload of each message in bytes, from 8 to 1 MiB. Defaults to 64.
	Size int

	// Deflate offers permessage-deflate, RFC 7692, and fails if the server does not take
	// it. The swarm itself sends uncompressed.
	Deflate bool

	// Threads is the number of loops in each process. With 1, and everything in one
	// process, they run on the caller's thread. Defaults to 1.
	Threads int
	// PerProcess is the most connections in one process. Defaults to what the hard
	// limit of file descriptors allows.
	PerProcess int

	// Strict makes every fault an error at once: a delivery that is not the one due,
	// a connection that the server closes.
	Strict bool
	// Timed takes the time of each delivery, for latencies.
	Timed bool
	// Patience is how long connecting, or waiting for all to have a message, may go on
	// without a step forward. Defaults to 30 s.
	Patience time.Duration
}

// Bounds of a Config.
const (
	MinSize     = prefixBytes
	MaxSize     = maxPayload
	MaxSenders  = maxSenders
	maxGreeting = 125
)

// complete returns c with its defaults, or all that is wrong with it.
func (c Config) complete() (Config, error) {
	if c.Host == "" {
		c.Host = c.Target.String()
	}
	if c.Path == "" {
		c.Path = "/"
	}
	c.Senders = orDefault(c.Senders, 1)
	c.Size = orDefault(c.Size, 64)
	c.Threads = orDefault(c.Threads, 1)
	c.Patience = orDefault(c.Patience, 30*time.Second)
	var err error
	if c.PerProcess == 0 {
		c.PerProcess, err = freeDescriptors(c.Threads)
		if err == nil && c.PerProcess < 1 {
			return c, errors.New("swarm: the limit of open files leaves none for connections")
		}
	}
	errs := []error{err}
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("swarm: "+format, args...))
		}
	}
	check(c.Target.IsValid(), "Target is not set")
	check(strings.HasPrefix(c.Path, "/"), "Path is %q, want one that starts with /", c.Path)
	check(len(c.Greeting) <= maxGreeting, "Greeting is %d bytes long, want at most %d", len(c.Greeting), maxGreeting)
	check(c.Conns >= 1, "Conns is %d, want at least 1", c.Conns)
	check(c.Senders >= 1 && c.Senders <= min(c.Conns, MaxSenders), "Senders is %d, want 1 to Conns and %d", c.Senders, MaxSenders)
	check(c.Size >= MinSize && c.Size <= MaxSize, "Size is %d, want %d to %d", c.Size, MinSize, MaxSize)
	check(c.Threads >= 1, "Threads is %d, want at least 1", c.Threads)
	check(c.PerProcess >= 1, "PerProcess is %d, want at least 1", c.PerProcess)
	check(c.Patience > 0, "Patience is %v, want more than 0", c.Patience)
	return c, errors.Join(errs...)
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// ParseTarget sets Target, Host and Path from a URL such as ws://127.0.0.1:18000/chat.
// It looks up names, and blocks meanwhile.
func (c *Config) ParseTarget(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return fmt.Errorf("swarm: %q is no URL like ws://127.0.0.1:18000/", text)
	}
	switch u.Scheme {
	case "ws":
	case "wss":
		return fmt.Errorf("swarm: %s: TLS is not supported: load the plain port behind it, ws://", text)
	default:
		return fmt.Errorf("swarm: %s: the scheme is %q, want ws", text, u.Scheme)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	addr, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return fmt.Errorf("swarm: %s: %w", text, err)
	}
	target := addr.AddrPort()
	c.Target = netip.AddrPortFrom(target.Addr().Unmap(), target.Port())
	c.Host, c.Path = u.Host, u.RequestURI()
	return nil
}
