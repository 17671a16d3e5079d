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

// TestErrorLogger checks that a repeated error of NATS is logged once a minute and a new one at once, within a bound.
func TestErrorLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logError := errorLogger(slog.New(slog.NewTextHandler(&out, nil)))
		for range 90 {
			logError(nil, nil, errors.New("not permitted"))
			time.Sleep(time.Second)
		}
		for i := range 100 {
			logError(nil, nil, fmt.Errorf("another error, %d", i))
		}
		if n := strings.Count(out.String(), "not permitted"); n != 2 {
			t.Errorf("got %d lines of the repeated error, want 2:\n%s", n, &out)
		}
		if n := strings.Count(out.String(), "another error"); n != 19 {
			t.Errorf("got %d lines of new errors, want 19:\n%s", n, &out)
		}
	})
}
