package main

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// TestWatchdogTimeout checks that a watchdog is fed only if it waits for this process, and that child processes do not
// see it.
func TestWatchdogTimeout(t *testing.T) {
	self := strconv.Itoa(os.Getpid())
	for _, tt := range []struct {
		name, usec, pid string
		want            time.Duration
		valid           bool
	}{
		{"no watchdog", "", "", 0, true},
		{"watchdog", "1500", self, 1500 * time.Microsecond, true},
		{"watchdog without a process", "1500", "", 1500 * time.Microsecond, true},
		{"watchdog of another process", "1500", "1", 0, true},
		{"zero", "0", self, 0, false},
		{"negative", "-1", self, 0, false},
		{"no number", "5s", self, 0, false},
		{"overflow", "9000000000000000000", self, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("WATCHDOG_USEC", tt.usec)
			t.Setenv("WATCHDOG_PID", tt.pid)
			got, err := watchdogTimeout()
			if got != tt.want || (err == nil) != tt.valid {
				t.Errorf("got %v, %v, want %v, valid %t", got, err, tt.want, tt.valid)
			}
			if left := os.Getenv("WATCHDOG_USEC") + os.Getenv("WATCHDOG_PID"); left != "" {
				t.Errorf("the environment still has %q", left)
			}
		})
	}
}
