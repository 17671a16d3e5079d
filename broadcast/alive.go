package broadcast

import "context"

// Alive waits until a worker has had a turn for it, and then each shard has come by: as long as
// that goes on, connections are accepted and read, and what is published is sent. It returns
// ctx's error if ctx is done before, and ErrServerClosed if the server has ended. It waits
// behind the turns that are queued, and under load that takes its time. It may be called from
// any goroutine, but not from within a hook without a deadline: that holds a worker.
func (srv *Server) Alive(ctx context.Context) error {
	t := aliveTask{make(chan struct{})}
	srv.queue.push(t)
	select {
	case <-t.ran:
	case <-srv.ended:
		return ErrServerClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return srv.awaitShards(ctx, func(int, *shard) {})
}

// aliveTask is a turn that does nothing but to have been had.
type aliveTask struct{ ran chan struct{} }

func (t aliveTask) turn(*worker)                  { close(t.ran) }
func (t aliveTask) isCostly() bool                { return false }
func (t aliveTask) panicked(*worker, any, []byte) {}
