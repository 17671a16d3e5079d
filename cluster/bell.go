package cluster

import (
	"sync/atomic"
	"time"
)

// bell wakes the goroutine that receives from it. Rings while that goroutine is busy cause one more round. Any
// goroutine may ring.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

// ring does not block.
func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// oncePerSecond limits a log line to one a second. Its zero value allows the first one. Any goroutine may use it.
type oncePerSecond struct{ last atomic.Int64 } // In ns since 1970; written and read by allow.

// allow reports whether a second has passed since it last returned true.
func (o *oncePerSecond) allow() bool {
	now, last := time.Now().UnixNano(), o.last.Load()
	return now-last >= int64(time.Second) && o.last.CompareAndSwap(last, now)
}
