package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestFollowBound checks that few channels are noted while NATS is away and none can be filled, whatever clients
// ask for.
func TestFollowBound(t *testing.T) {
	c := &Ordered{cfg: OrderedConfig{Config: Config{Channels: true}}, nc: new(nats.Conn)}
	c.interest.init(c)
	for i := range 200_000 {
		c.Follow(fmt.Sprint("channel ", i))
	}
	began := time.Now()
	c.interest.wantedGroup() // It holds the mutex of Follow, four times a second.
	t.Log(time.Since(began))
	if n := len(c.interest.channels.byName); n > 10*maxRead {
		t.Errorf("got %d channels noted, want at most %d", n, 10*maxRead)
	}
}
