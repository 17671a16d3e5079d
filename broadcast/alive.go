package broadcast

import "context"

// Alive waits until a worker has run a turn for it, and then until each shard has made a round. While that works,
// connections are accepted and read, and published messages are sent. Alive waits for the queued turns, which
// takes time under load. It returns ctx's error if ctx is done first, and ErrServerClosed if the server has ended.
// Any goroutine may call Alive, but a hook must do so with a deadline only, because it holds a worker.
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

// aliveTask is a turn that does nothing but close ran.
type aliveTask struct{ ran chan struct{} }

func (t aliveTask) turn(*worker)                  { close(t.ran) }
func (t aliveTask) isCostly() bool                { return false }
func (t aliveTask) panicked(*worker, any, []byte) {}
