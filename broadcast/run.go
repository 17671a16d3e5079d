package broadcast

import (
	"context"
	"errors"
	"net"
)

// Run serves listeners until ctx is done, or Shutdown is called. It then drains as Shutdown does, and returns nil
// when all connections are closed and all goroutines of the server have ended. Draining takes at most
// Config.DrainTime plus Config.CloseTimeout, plus the time of a hook that is running. Call Run without a listener for
// a server that is used only through its Handler. Run takes the listeners over and closes them. Like Shutdown, Run must
// not be called from a hook.
//
// If a listener cannot be served, Run drains at once and returns that error. If Shutdown was called before, Run
// returns ErrServerClosed.
func (srv *Server) Run(ctx context.Context, listeners ...net.Listener) error {
	if srv.Draining() {
		for _, ln := range listeners {
			if ln != nil {
				ln.Close()
			}
		}
		return ErrServerClosed
	}
	ended := make(chan error, len(listeners))
	for _, ln := range listeners {
		go func() { ended <- srv.Serve(ln) }() // Ends with Shutdown below, awaited below.
	}
	var err error
	pending := len(listeners)
	select {
	case err = <-ended:
		pending--
	case <-ctx.Done():
	case <-srv.closed:
	}
	// With ctx, which is done, Shutdown would cut everybody off.
	_ = srv.Shutdown(context.WithoutCancel(ctx))
	<-srv.stopped // Another call of Shutdown may have come first.
	for range pending {
		if other := <-ended; err == nil || errors.Is(err, ErrServerClosed) {
			err = other
		}
	}
	if errors.Is(err, ErrServerClosed) {
		return nil
	}
	return err
}
