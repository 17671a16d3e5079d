package crier

import (
	"errors"
	"net/http"
	"testing"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/servertest"
)

// TestDirect: a message for this connection alone has no ID, and is not a gap.
func TestDirect(t *testing.T) {
	_, addr := servertest.Start(t, servertest.Loopback, broadcast.Config{
		OnConnect: func(c *broadcast.Conn, _ *http.Request) error {
			return c.Send(broadcast.Message{Kind: broadcast.Text, Payload: []byte("for you: \n")})
		},
	})
	var got Event
	err := follow(t, t.Context(), Config{URL: "ws://" + addr.String()}, func(e Event) error {
		got = e
		return errEnough
	})
	if !errors.Is(err, errEnough) || got.ID != "" || got.IsGap() || string(got.Payload) != "for you: \n" {
		t.Errorf("got %+v, %v", got, err)
	}
}
