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

// checkFunc adds an error unless a condition is met: ok, or else "--flag is value, want want".
type checkFunc func(ok bool, flag string, value any, want string)

// Validate returns an error for flags whose values the server would refuse, and for flags without effect. kong calls
// it.
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
	check(cmd.RetainTotal == 0 || cmd.Retain == nil || cmd.RetainTotal >= *cmd.Retain, "retain-total",
		int(cmd.RetainTotal), "at least --retain")
	check(cmd.RetainAge == 0 || time.Duration(cmd.RetainAge) >= time.Second, "retain-age",
		time.Duration(cmd.RetainAge), "at least 1s")
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
		"no space at either end: browsers drop it; write %20 for a space")
	check(cmd.PingTimeout == nil || cmd.PingInterval > 0, "ping-timeout", "given",
		"a --ping-interval of more than 0 as well")
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err := cmd.planned()
	return err
}

// planned returns the server's configuration with all defaults, except limits of this process.
func (cmd *serveCmd) planned() (broadcast.Config, error) {
	cfg := cmd.configured()
	cfg.Logger = slog.New(slog.DiscardHandler)
	adminCfg := admin.Config{MaxMessageBytes: cfg.MaxMessageBytes}
	own, names := cmd.ownMemory(adminCfg, cmd.Admin != "", cmd.OTLPEndpoint != "")
	if err := leaveMemory(&cfg, own, names); err != nil {
		return cfg, err
	}
	cfg, err := cfg.WithDefaults()
	return cfg, memoryFault(configFault(err), own, names)
}

// validateRates calls check with each condition that the limits of publishing must meet.
func (cmd *serveCmd) validateRates(check checkFunc) {
	check(cmd.BurstBytes == 0 || cmd.BurstBytes >= cmd.MaxMessage, "burst-bytes", int(cmd.BurstBytes),
		"at least --max-message")
	check(cmd.Burst == 0 || cmd.Rate > 0, "burst", cmd.Burst, "--rate as well")
	check(cmd.BurstBytes == 0 || cmd.RateBytes > 0, "burst-bytes", cmd.BurstBytes.Text(), "--rate-bytes as well")
	bounded := cmd.Rate > 0 || cmd.RateBytes > 0
	check(cmd.OverRate == "hold" || bounded, "over-rate", cmd.OverRate, "--rate or --rate-bytes as well")
	check(cmd.Publish == "all" || !bounded, "publish", cmd.Publish,
		"neither --rate nor --rate-bytes, because clients do not publish")
}

// deref returns *p, or the zero value if p is nil.
func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// checkAddress checks an address to listen on, as far as possible without listening.
func checkAddress(check checkFunc, flag, addr string) {
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
		want = "an IPv6 address in brackets, such as [::1]:18000"
	}
	if notIP == nil && (ip.IsMulticast() || ip == broadcastAddr) {
		err, want = errNoListener, "an address of this host: clients cannot connect to a multicast or broadcast address"
	}
	ok := err == nil && portSyntax.MatchString(port) && !strings.ContainsAny(host, "/, ")
	check(ok, flag, fmt.Sprintf("%q", addr), want)
}

// broadcastAddr is 255.255.255.255, RFC 919. Linux allows to listen on it, but clients cannot connect to it.
var broadcastAddr = netip.AddrFrom4([4]byte{255, 255, 255, 255})

var errNoListener = errors.New("not an address to listen on")

// portSyntax matches a number or the name of a service. The C library's resolver accepts more, such as " 80" and "+80".
var portSyntax = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z-]*$`)

// hasAddress reports whether a URL has a host and, if it has a port, one that can be connected to.
func hasAddress(u *url.URL) bool {
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Hostname() != "" && (u.Port() == "" || err == nil && port > 0)
}

// configError is an error about a Config whose text names flags instead of fields.
type configError struct{ err error }

func (e configError) Error() string {
	return configField.ReplaceAllStringFunc(e.err.Error(), func(text string) string {
		m := configField.FindStringSubmatch(text)
		if flag := flagByField[m[2]]; flag != "" {
			return strings.TrimPrefix(m[1], "broadcast: Config.") + "--" + flag
		}
		return text
	})
}

// Unwrap returns the error with the names of fields.
func (e configError) Unwrap() error { return e.err }

var configField = regexp.MustCompile(`(broadcast: Config\.|at least |want )((?:Replication\.)?[A-Z][A-Za-z]+)`)

// flagByField has the flags that set fields of a broadcast.Config, by the names of the fields.
var flagByField = map[string]string{
	"Path": "path", "Greeting": "greeting", "MaxMessageBytes": "max-message", "CompressMinBytes": "compress-min",
	"RetainBytes": "retain", "RetainTotalBytes": "retain-total", "RetainAge": "retain-age",
	"PingInterval": "ping-interval", "PingTimeout": "ping-timeout", "HandshakeTimeout": "handshake-timeout",
	"DrainTime": "drain", "SlowPass": "slow-pass", "Replication.HoldTime": "cluster-hold", "MemoryBytes": "memory",
	"MaxConns": "max-conns", "MaxConnsPerIP": "max-conns-per-ip", "TrustedProxies": "trusted-proxies",
	"ProxyProtocol": "proxy-protocol", "Origins": "origin", "Rate": "rate", "RateBytes": "rate-bytes",
	"Burst": "burst", "BurstBytes": "burst-bytes",
}

const moreMemory = "raise it, or lower --max-message, --retain or --max-conns; without --memory there is no limit"

// memoryFault adds to an error about --memory the bytes that other parts take of it. err may be nil.
func memoryFault(err error, own int, names string) error {
	if own == 0 || err == nil || !strings.HasPrefix(err.Error(), "--memory") {
		return err
	}
	return hinted(err, "%[2]s takes %[1]d bytes of --memory in addition; %[3]s", own, names, moreMemory)
}

// configFault returns an error about a Config in terms of flags, with a hint. err may be nil.
func configFault(err error) error {
	if err == nil {
		return nil
	}
	err = wrongSetting(configError{err})
	switch text := err.Error(); {
	case strings.HasPrefix(text, "--memory"):
		return hinted(err, "%s", moreMemory)
	case strings.HasPrefix(text, "--retain-total"):
		return hinted(err, "raise it, or lower --retain, which one channel may need alone")
	case strings.HasPrefix(text, "--origin"):
		return hinted(err, "an origin is the value of the header Origin that browsers send: scheme, host and port, "+
			"without a path")
	case strings.HasPrefix(text, "--path"):
		return hinted(err, "--path is the path of the address that clients connect to, such as /ws of "+
			"wss://example.com/ws?x=1")
	}
	return err
}
