package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/crier-ws/crier/admin"
	"github.com/crier-ws/crier/broadcast"
)

// Validate finds flags of which the server would refuse the value, or which can have no effect. kong calls it.
func (cmd *serveCmd) Validate() error {
	var errs []error
	check := func(ok bool, flag string, value any, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("--%s is %v, want %s", flag, value, want))
		}
	}
	checkAddress(check, "listen", cmd.Listen)
	check(cmd.MaxMessage >= 1 && cmd.MaxMessage <= 1<<30, "max-message", int(cmd.MaxMessage), "1 to 1GiB")
	check(cmd.Retain == nil || *cmd.Retain >= 64<<10, "retain", deref(cmd.Retain), "at least 64KiB")
	check(cmd.RetainTotal == 0 || cmd.Channels, "retain-total", int(cmd.RetainTotal), "--channels as well")
	check(cmd.RetainTotal == 0 || cmd.Retain == nil || cmd.RetainTotal >= *cmd.Retain, "retain-total", int(cmd.RetainTotal), "at least --retain")
	check(cmd.RetainAge == 0 || time.Duration(cmd.RetainAge) >= time.Second, "retain-age", time.Duration(cmd.RetainAge), "at least 1s")
	cmd.authFlags.validate(check)
	cmd.adminFlags.validate(check)
	cmd.clusterFlags.validate(cmd.Channels, check)
	check(cmd.HandshakeTimeout > 0, "handshake-timeout", time.Duration(cmd.HandshakeTimeout), "more than 0")
	check(!cmd.ProxyProtocol || len(cmd.TrustedProxies) > 0, "proxy-protocol", "given", "--trusted-proxies as well")
	check(len(cmd.Greeting) <= 64<<10, "greeting", fmt.Sprintf("%d bytes long", len(cmd.Greeting)), "at most 64KiB")
	cmd.validateRates(check)
	check(cmd.Compress || cmd.CompressMin == 512, "compress-min", cmd.CompressMin.Text(), "--compress as well")
	check(!cmd.Compress || cmd.CompressMin <= max(512, cmd.MaxMessage), "compress-min", cmd.CompressMin.Text(),
		"at most --max-message, which is "+cmd.MaxMessage.Text())
	check(cmd.Path == strings.TrimSpace(cmd.Path), "path", fmt.Sprintf("%q", cmd.Path),
		"no space at either end: browsers leave it out, and %20 stands for one")
	check(cmd.PingTimeout == nil || cmd.PingInterval > 0, "ping-timeout", "given", "a --ping-interval of more than 0 as well")
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err := cmd.planned()
	return err
}

// planned returns the server's configuration with all defaults, but for what this process can have open.
func (cmd *serveCmd) planned() (broadcast.Config, error) {
	cfg := cmd.configured()
	cfg.Logger = slog.New(slog.DiscardHandler)
	own, names := cmd.ownMemory(admin.Config{MaxMessageBytes: cfg.MaxMessageBytes}, cmd.Admin != "", cmd.OTLPEndpoint != "")
	if err := leaveMemory(&cfg, own, names); err != nil {
		return cfg, err
	}
	cfg, err := cfg.WithDefaults()
	return cfg, memoryFault(configFault(err), own, names)
}

// validateRates finds what is wrong with bounds of publishing.
func (cmd *serveCmd) validateRates(check func(ok bool, flag string, value any, want string)) {
	check(cmd.BurstBytes == 0 || cmd.BurstBytes >= cmd.MaxMessage, "burst-bytes", int(cmd.BurstBytes), "at least --max-message")
	check(cmd.Burst == 0 || cmd.Rate > 0, "burst", cmd.Burst, "--rate as well")
	check(cmd.BurstBytes == 0 || cmd.RateBytes > 0, "burst-bytes", cmd.BurstBytes.Text(), "--rate-bytes as well")
	bounded := cmd.Rate > 0 || cmd.RateBytes > 0
	check(cmd.OverRate == "hold" || bounded, "over-rate", cmd.OverRate, "--rate or --rate-bytes as well")
	check(cmd.Publish == "all" || !bounded, "publish", cmd.Publish, "neither --rate nor --rate-bytes, since nobody publishes")
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// checkAddress finds what is wrong with an address to listen on, as far as that can be seen without listening.
func checkAddress(check func(ok bool, flag string, value any, want string), flag, addr string) {
	host, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	want := "HOST:PORT, or :PORT for all interfaces, with a port from 0 to 65535"
	ip, notIP := netip.ParseAddr(host)
	if strings.Contains(host, ":") {
		err = notIP
	}
	if strings.Count(addr, ":") > 1 && !strings.ContainsAny(addr, "/, ") {
		want = "an IPv6 address in brackets, as [::1]:18000"
	}
	if notIP == nil && (ip.IsMulticast() || ip == broadcastAddr) {
		err, want = errNoListener, "an address of this host: nobody connects to a multicast or broadcast address"
	}
	check(err == nil && portSyntax.MatchString(port) && !strings.ContainsAny(host, "/, "), flag, fmt.Sprintf("%q", addr), want)
}

// broadcastAddr is 255.255.255.255, RFC 919. Linux listens on it, and nobody can connect.
var broadcastAddr = netip.AddrFrom4([4]byte{255, 255, 255, 255})

var errNoListener = errors.New("not an address to listen on")

// portSyntax is a number, or the name of a service. The C library's resolver takes more, such as " 80" and "+80".
var portSyntax = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z-]*$`)

// hasAddress reports whether a URL has a host and, if it has a port, one that can be connected to.
func hasAddress(u *url.URL) bool {
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Hostname() != "" && (u.Port() == "" || err == nil && port > 0)
}

// configError is what is wrong with a Config, in the words of the command line.
type configError struct{ err error }

func (e configError) Error() string {
	return configField.ReplaceAllStringFunc(e.err.Error(), func(text string) string {
		m := configField.FindStringSubmatch(text)
		if flag := flagOfField[m[2]]; flag != "" {
			return strings.TrimPrefix(m[1], "broadcast: Config.") + "--" + flag
		}
		return text
	})
}

// Unwrap returns what the package said.
func (e configError) Unwrap() error { return e.err }

var configField = regexp.MustCompile(`(broadcast: Config\.|at least |want )((?:Replication\.)?[A-Z][A-Za-z]+)`)

// flagOfField has the flags that fields of a broadcast.Config come from.
var flagOfField = map[string]string{
	"Path": "path", "Greeting": "greeting", "MaxMessageBytes": "max-message", "CompressMinBytes": "compress-min",
	"RetainBytes": "retain", "RetainTotalBytes": "retain-total", "RetainAge": "retain-age",
	"PingInterval": "ping-interval", "PingTimeout": "ping-timeout", "HandshakeTimeout": "handshake-timeout",
	"DrainTime": "drain", "SlowPass": "slow-pass", "Replication.HoldTime": "cluster-hold", "MemoryBytes": "memory",
	"MaxConns": "max-conns", "MaxConnsPerIP": "max-conns-per-ip", "TrustedProxies": "trusted-proxies",
	"ProxyProtocol": "proxy-protocol", "Origins": "origin", "Rate": "rate", "RateBytes": "rate-bytes",
	"Burst": "burst", "BurstBytes": "burst-bytes",
}

const moreMemory = "give more of it, or lower --max-message, --retain or --max-conns; without --memory there is no bound"

// memoryFault returns err, which may be nil, with what --memory does not count of the other parts, if there are any.
func memoryFault(err error, own int, names string) error {
	if own == 0 || err == nil || !strings.HasPrefix(err.Error(), "--memory") {
		return err
	}
	return hinted(err, "that is without the %d bytes of %s; %s", own, names, moreMemory)
}

// configFault says what is wrong with a Config, and what to do. err may be nil.
func configFault(err error) error {
	if err == nil {
		return nil
	}
	err = wrongSetting(configError{err})
	switch text := err.Error(); {
	case strings.HasPrefix(text, "--memory"):
		return hinted(err, "%s", moreMemory)
	case strings.HasPrefix(text, "--retain-total"):
		return hinted(err, "raise it, or lower --retain: one channel may need that much")
	case strings.HasPrefix(text, "--origin"):
		return hinted(err, "an origin is what browsers send in the header Origin: scheme, host and port, no path")
	case strings.HasPrefix(text, "--path"):
		return hinted(err, "--path is the path of the address that clients connect to, as /ws of wss://example.com/ws?x=1")
	}
	return err
}
