package main

import (
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/flags"
	"github.com/crier-ws/crier/internal/frontpage"
	"github.com/crier-ws/crier/internal/term"
)

// pageFlag has the flag of the page for browsers.
type pageFlag struct {
	Page flags.Choice `default:"auto" enum:"auto,off,on" placeholder:"auto|off|on" help:"Show browsers that open the address a page to try crier out: on, off, or auto. With auto, only browsers on this host get it, and only if crier was started from a terminal without --auth, --origin, --trusted-proxies and --path (default: auto)."`
}

// page returns the page for browsers, or nil. onTerminal reports whether crier was started from a terminal.
func (cmd *serveCmd) page(onTerminal bool) *broadcast.Page {
	var show func(*http.Request) bool
	if cmd.Page == "auto" {
		if !onTerminal || cmd.Auth != nil || len(cmd.Origin) > 0 || len(cmd.TrustedProxies) > 0 || cmd.Path != "" {
			return nil
		}
		show = frontpage.Local
	}
	if cmd.Page == "off" {
		return nil
	}
	return frontpage.New(frontpage.Config{
		Path: cmd.Path, Channels: cmd.Channels, ReceiveOnly: cmd.Publish == "none", Show: show,
	})
}

// startedFromTerminal reports whether a person started crier: its log or its standard input is a terminal. Under a
// service manager or a container runtime, neither is.
func (s streams) startedFromTerminal() bool {
	return term.IsTerminal(s.log) || term.IsTerminal(os.Stdin)
}

// pageURL returns the address of the page for a browser on this host, or "" if a browser cannot open ln.
func pageURL(ln net.Listener, path string) string {
	tcp, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := tcp.IP.String()
	if tcp.IP.IsUnspecified() {
		host = "localhost"
	}
	if path == "" {
		path = "/"
	}
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(host, strconv.Itoa(tcp.Port))}
	return u.String() + path // A request's path is compared as it is written.
}
