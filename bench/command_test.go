package bench

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

func TestParseArgs(t *testing.T) {
	tests := []struct {
		name  string
		args  string
		check func(*options) bool
		fault string // part of the error
	}{
		{"mode", "fanout x", func(o *options) bool {
			return o.mode == "fanout" && o.rounds == 1 && o.conns == 1000 && o.size == 64 && o.burst == 1
		}, ""},
		{"compare", "compare -mode burst x", func(o *options) bool {
			return o.mode == "burst" && o.rounds == 3 && o.burst == 100
		}, ""},
		{"compare without mode", "compare x", func(o *options) bool { return o.mode == "fanout" }, ""},
		{"defaults of a mode", "stalled x", func(o *options) bool {
			return o.size == 16384 && o.rate == 25 && o.stalled == 200 && o.duration == 25*time.Second
		}, ""},
		{"flags", "fanout -conns 50 -size 8 -senders 50 -stalled 0 x", func(o *options) bool {
			return o.conns == 50 && o.size == 8 && o.senders == 50
		}, "are more than"},
		{"unknown mode", "nonsense x", nil, `no mode "nonsense"`},
		{"no server", "fanout", nil, "no server"},
		{"payload without room", "fanout -size 7 x", nil, "-size"},
		{"payload too large", "fanout -size 1048577 x", nil, "-size"},
		{"too many senders", "fanout -senders 1001 x", nil, "-senders"},
		{"no round", "fanout -rounds 0 x", nil, "-rounds"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, _, _, err := parseArgs(strings.Fields(tt.args))
			if tt.fault != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fault) {
					t.Errorf("got error %v, want one with %q", err, tt.fault)
				}
				return
			}
			if err != nil || !tt.check(o) {
				t.Errorf("got %+v, %v", o, err)
			}
		})
	}
}

func TestParseContender(t *testing.T) {
	tests := []struct {
		arg  string
		want contender
	}{
		{"floor=./floor -c", contender{"floor", "./floor -c"}},
		{"./bin/floor -c", contender{"floor", "./bin/floor -c"}},
		{"a-1.2=env GOGC=50 ./x --y=z", contender{"a-1.2", "env GOGC=50 ./x --y=z"}},
		{"./x --y=z", contender{"x", "./x --y=z"}},
	}
	for _, tt := range tests {
		if got := parseContender(tt.arg); got != tt.want {
			t.Errorf("parseContender(%q): got %+v, want %+v", tt.arg, got, tt.want)
		}
	}
}
