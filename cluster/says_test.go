package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSays: what NATS says again and again is logged once a minute, what is new at once, and not without end.
func TestSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		say := says(slog.New(slog.NewTextHandler(&out, nil)))
		for range 90 {
			say(nil, nil, errors.New("not permitted"))
			time.Sleep(time.Second)
		}
		for i := range 100 {
			say(nil, nil, fmt.Errorf("something else, %d", i))
		}
		if got := strings.Count(out.String(), "not permitted"); got != 2 || strings.Count(out.String(), "something else") != 19 {
			t.Errorf("got %d lines: %s", got, &out)
		}
	})
}
