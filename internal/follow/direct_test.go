package follow

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/servertest"
)

// TestDirect: a message for this connection alone comes without an id.
func TestDirect(t *testing.T) {
	_, addr := servertest.Start(t, servertest.Loopback, broadcast.Config{
		OnConnect: func(c *broadcast.Conn, _ *http.Request) error {
			return c.Send(broadcast.Message{Kind: broadcast.Text, Payload: []byte("for you: \n")})
		},
	})
	enough := errors.New("enough")
	var got Event
	err := Follow(context.Background(), Config{URL: "ws://" + addr.String()}, func(e Event) error {
		got = e
		return enough
	})
	if !errors.Is(err, enough) || got.ID != "" || got.From != "" || string(got.Payload) != "for you: \n" {
		t.Errorf("got %+v, %v", got, err)
	}
}
