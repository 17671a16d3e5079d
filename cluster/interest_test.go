package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// TestFollowBound: as long as nothing can be filled, as NATS is away, what clients ask for stays noted.
func TestFollowBound(t *testing.T) {
	c := &Cluster{cfg: Config{Channels: true}, nc: new(nats.Conn)}
	c.interest.init(c)
	for i := range 200_000 {
		c.Follow(fmt.Sprint("anything", i))
	}
	began := time.Now()
	c.interest.wanted() // With the mutex, which workers wait for in Follow; four times a second.
	t.Log(time.Since(began))
	if n := len(c.interest.of); n > 10*maxFollowed {
		t.Errorf("%d channels are noted", n)
	}
}
