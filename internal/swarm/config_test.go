package swarm

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestConfigDefaults(t *testing.T) {
	got, err := Config{Target: netip.MustParseAddrPort("[::1]:80"), Conns: 1}.complete()
	must(t, err)
	if got.PerProcess < 1 {
		t.Errorf("PerProcess: got %d, want what the limit allows", got.PerProcess)
	}
	got.PerProcess = 0
	want := Config{
		Target: got.Target, Host: "[::1]:80", Path: "/", Conns: 1, Senders: 1, Size: 64,
		Threads: 1, Patience: 30 * time.Second,
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestConfigFaults(t *testing.T) {
	good := Config{Target: netip.MustParseAddrPort("127.0.0.1:80"), Conns: 5000}
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no target", func(c *Config) { c.Target = netip.AddrPort{} }, "Target is not set"},
		{"path", func(c *Config) { c.Path = "x" }, `Path is "x"`},
		{"greeting", func(c *Config) { c.Greeting = strings.Repeat("x", 126) }, "Greeting is 126 bytes long"},
		{"negative connections", func(c *Config) { c.Conns, c.Senders = -1, 1 }, "Conns is -1, want at least 1\nswarm: Senders is 1, want 1 to Conns"},
		{"negative senders", func(c *Config) { c.Senders = -1 }, "Senders is -1"},
		{"more senders than connections", func(c *Config) { c.Conns, c.Senders = 4, 5 }, "Senders is 5"},
		{"too many senders", func(c *Config) { c.Senders = MaxSenders + 1 }, "Senders is 4097"},
		{"small", func(c *Config) { c.Size = MinSize - 1 }, "Size is 7"},
		{"large", func(c *Config) { c.Size = MaxSize + 1 }, "Size is 1048577"},
		{"threads", func(c *Config) { c.Threads = -1 }, "Threads is -1"},
		{"processes", func(c *Config) { c.PerProcess = -1 }, "PerProcess is -1"},
		{"patience", func(c *Config) { c.Patience = -1 }, "Patience is -1ns"},
	}
	all := good
	for _, tt := range tests {
		cfg := good
		tt.change(&cfg)
		tt.change(&all)
		if _, err := cfg.complete(); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Count(err.Error(), "\n") != strings.Count(tt.want, "\n") {
			t.Errorf("%s: got %v, want only %q", tt.name, err, tt.want)
		}
	}
	if _, err := New(all); err == nil || strings.Count(err.Error(), "\n") != 7 {
		t.Errorf("all at once: got %v, want 8 lines", err)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Senders, c.Size = MaxSenders, MinSize },
		func(c *Config) { c.Size, c.Greeting = MaxSize, strings.Repeat("x", 125) },
		func(c *Config) { c.Conns = 1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := cfg.complete(); err != nil {
			t.Errorf("%+v: got %v", cfg, err)
		}
	}
}

func TestParseTarget(t *testing.T) {
	tests := []struct{ url, target, host, path, err string }{
		{"ws://127.0.0.1:18000/chat", "127.0.0.1:18000", "127.0.0.1:18000", "/chat", ""},
		{"ws://127.0.0.1:18000", "127.0.0.1:18000", "127.0.0.1:18000", "/", ""},
		{"ws://127.0.0.1", "127.0.0.1:80", "127.0.0.1", "/", ""},
		{"ws://[::1]:81/a%20b?c=d#e", "[::1]:81", "[::1]:81", "/a%20b?c=d", ""},
		{"ws://[::ffff:127.0.0.1]:81?x", "127.0.0.1:81", "[::ffff:127.0.0.1]:81", "/?x", ""},
		{"wss://127.0.0.1/", "", "", "", "TLS is not supported"},
		{"http://127.0.0.1/", "", "", "", `the scheme is "http", want ws`},
		{"127.0.0.1:80", "", "", "", "is no URL"},
		{"ws:127.0.0.1", "", "", "", "is no URL"},
		{"ws:///x", "", "", "", "is no URL"},
		{"", "", "", "", "is no URL"},
		{"ws://127.0.0.1:99999/", "", "", "", "invalid port"},
	}
	for _, tt := range tests {
		var c Config
		err := c.ParseTarget(tt.url)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || c != (Config{}) {
				t.Errorf("%q: got %v, want %q", tt.url, err, tt.err)
			}
			continue
		}
		if err != nil || c.Target.String() != tt.target || c.Host != tt.host || c.Path != tt.path {
			t.Errorf("%q: got %v, %q, %q, %v, want %v, %q, %q", tt.url, c.Target, c.Host, c.Path, err, tt.target, tt.host, tt.path)
		}
	}
}
