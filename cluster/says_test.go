package cluster

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSays: what NATS says again and again is logged once a minute, and what is new at once.
func TestSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		say := says(slog.New(slog.NewTextHandler(&out, nil)))
		for range 90 {
			say(nil, nil, errors.New("not permitted"))
			time.Sleep(time.Second)
		}
		say(nil, nil, errors.New("something else"))
		if got := strings.Count(out.String(), "not permitted"); got != 2 || !strings.Contains(out.String(), "something else") {
			t.Errorf("got %d lines: %s", got, &out)
		}
	})
}
