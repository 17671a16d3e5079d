package broadcast

import (
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestConfigBounds(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		name string
		set  func(*Config)
		want string // What the error must say; "" for no error.
	}{
		{"zero", func(*Config) {}, ""},
		{"any path", func(c *Config) { c.Path = "/ws" }, ""},
		{"path without slash", func(c *Config) { c.Path = "ws" }, `Config.Path is "ws",`},
		{"longest greeting", func(c *Config) { c.Greeting = strings.Repeat("g", 64<<10) }, ""},
		{"greeting too long", func(c *Config) { c.Greeting = strings.Repeat("g", 64<<10+1) }, "Config.Greeting is 65537 bytes long,"},
		{"greeting no text", func(c *Config) { c.Greeting = "\xff" }, `Config.Greeting is "\xff",`},
		{"message of 1", func(c *Config) { c.MaxMessageBytes = 1 }, ""},
		{"message negative", func(c *Config) { c.MaxMessageBytes = -1 }, "Config.MaxMessageBytes is -1,"},
		{"message of 1 GiB", func(c *Config) { c.MaxMessageBytes = 1 << 30 }, ""},
		{"message above 1 GiB", func(c *Config) { c.MaxMessageBytes = 1<<30 + 1 }, "Config.MaxMessageBytes is 1073741825,"},
		{"least retention", func(c *Config) { c.RetainBytes = 64 << 10 }, ""},
		{"retention too small", func(c *Config) { c.RetainBytes = 64<<10 - 1 }, "Config.RetainBytes is 65535,"},
		{"skip", func(c *Config) { c.Slow = SlowSkip }, ""},
		{"no such policy", func(c *Config) { c.Slow = SlowSkip + 1 }, "Config.Slow is 2,"},
		{"ping interval negative", func(c *Config) { c.PingInterval = -1 }, "Config.PingInterval is -1ns,"},
		{"ping interval of a week", func(c *Config) { c.PingInterval = 7 * day }, ""},
		{"longest ping interval", func(c *Config) { c.PingInterval, c.PingTimeout = 14*day, -1 }, ""},
		{"ping interval too long", func(c *Config) { c.PingInterval, c.PingTimeout = 14*day+1, -1 }, "Config.PingInterval is 336h0m0.000000001s,"},
		{"no ping timeout", func(c *Config) { c.PingTimeout = -1 }, ""},
		{"ping timeout too long", func(c *Config) { c.PingTimeout = 14*day + 1 }, "Config.PingTimeout is 336h0m0.000000001s,"},
		{"least handshake timeout", func(c *Config) { c.HandshakeTimeout = time.Millisecond }, ""},
		{"handshake timeout too short", func(c *Config) { c.HandshakeTimeout = time.Millisecond - 1 }, "Config.HandshakeTimeout is 999.999µs,"},
		{"handshake timeout negative", func(c *Config) { c.HandshakeTimeout = -time.Second }, "Config.HandshakeTimeout is -1s,"},
		{"handshake timeout too long", func(c *Config) { c.HandshakeTimeout = 15 * day }, "Config.HandshakeTimeout is 360h0m0s,"},
		{"least close timeout", func(c *Config) { c.CloseTimeout = time.Millisecond }, ""},
		{"close timeout too short", func(c *Config) { c.CloseTimeout = 1 }, "Config.CloseTimeout is 1ns,"},
		{"close timeout too long", func(c *Config) { c.CloseTimeout = 15 * day }, "Config.CloseTimeout is 360h0m0s,"},
		{"drain time negative", func(c *Config) { c.DrainTime = -1 }, "Config.DrainTime is -1ns,"},
		{"drain time too long", func(c *Config) { c.DrainTime = 15 * day }, "Config.DrainTime is 360h0m0s,"},
		{"one connection", func(c *Config) { c.MaxConns = 1 }, ""},
		{"connections negative", func(c *Config) { c.MaxConns = -1 }, "Config.MaxConns is -1,"},
		{"least unsent", func(c *Config) { c.UnsentBytes = 4096 }, ""},
		{"unsent too small", func(c *Config) { c.UnsentBytes = 4095 }, "Config.UnsentBytes is 4095,"},
		{"shards negative", func(c *Config) { c.Shards = -1 }, "Config.Shards is -1,"},
		{"workers negative", func(c *Config) { c.Workers = -1 }, "Config.Workers is -1,"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var cfg Config
			tt.set(&cfg)
			_, err := cfg.WithDefaults()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "broadcast: "+tt.want)):
				t.Errorf("got %v, want one that says %q", err, tt.want)
			case tt.want != "" && strings.Contains(err.Error(), "\n"):
				t.Errorf("got several faults, want one: %v", err)
			}
		})
	}
}

// TestConfigJoinsFaults: New reports all faults at once, one a line.
func TestConfigJoinsFaults(t *testing.T) {
	srv, err := New(Config{Path: "x", RetainBytes: 7, Slow: 9, MaxConns: -3, UnsentBytes: 1, Workers: -2})
	if err == nil || srv != nil {
		t.Fatalf("got %v, %v, want no server and an error", srv, err)
	}
	lines := strings.Split(err.Error(), "\n")
	wants := []string{`Path is "x"`, "RetainBytes is 7", "Slow is 9", "MaxConns is -3", "UnsentBytes is 1", "Workers is -2"}
	if len(lines) != len(wants) {
		t.Fatalf("got %d faults, want %d:\n%v", len(lines), len(wants), err)
	}
	for i, want := range wants {
		if want = "broadcast: Config." + want + ", want "; !strings.HasPrefix(lines[i], want) {
			t.Errorf("fault %d: got %q, want %q", i, lines[i], want)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	type plain struct { // What of a Config can be compared.
		greeting                           string
		message, retain, unsent, shards, w int
		slow                               SlowPolicy
		ping, pingOut, hand, closing       time.Duration
		drain                              time.Duration
	}
	procs := runtime.GOMAXPROCS(0)
	zero := plain{message: 1 << 20, retain: 8 << 20, unsent: 128 << 10, shards: procs, w: 2 * procs,
		hand: 10 * time.Second, closing: 5 * time.Second}
	node := zero
	node.greeting, node.ping, node.pingOut, node.drain = "connection established", 30*time.Second, time.Minute, 5*time.Second
	large := zero
	large.message, large.retain = 6<<20, 12<<20
	kept := zero
	kept.message, kept.retain, kept.pingOut = 6<<20, 1<<20, -1
	tests := []struct {
		name string
		cfg  Config
		want plain
	}{
		{"zero", Config{}, zero},
		{"DefaultConfig", DefaultConfig(), node},
		{"retention grows with the messages", Config{MaxMessageBytes: 6 << 20}, large},
		{"what is set stays", Config{MaxMessageBytes: 6 << 20, RetainBytes: 1 << 20, PingTimeout: -1}, kept},
	}
	for _, tt := range tests {
		cfg, err := tt.cfg.WithDefaults()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		got := plain{greeting: cfg.Greeting, message: cfg.MaxMessageBytes, retain: cfg.RetainBytes, unsent: cfg.UnsentBytes,
			shards: cfg.Shards, w: cfg.Workers, slow: cfg.Slow, ping: cfg.PingInterval, pingOut: cfg.PingTimeout,
			hand: cfg.HandshakeTimeout, closing: cfg.CloseTimeout, drain: cfg.DrainTime}
		if got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
		if cfg.Logger != slog.Default() {
			t.Errorf("%s: got another logger than slog.Default()", tt.name)
		}
		if _, ok := cfg.sockets.(*kernel); !ok {
			t.Errorf("%s: got sockets %T, want the kernel", tt.name, cfg.sockets)
		}
	}
}

// TestConfigLongPingInterval: an interval within its bounds needs no timeout with it.
func TestConfigLongPingInterval(t *testing.T) {
	if _, err := (Config{PingInterval: 14 * 24 * time.Hour}).WithDefaults(); err != nil {
		t.Errorf("got %v, want no error", err)
	}
}
