package broadcast

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gobwas/ws/wsutil"
)

func TestAlive(t *testing.T) {
	t.Parallel()
	hooked, release := make(chan struct{}), make(chan struct{})
	srv, addr := newServer(t, Config{Workers: 1, OnMessage: func(_ *Conn, m Message) (Message, bool) {
		hooked <- struct{}{}
		<-release
		return m, true
	}})
	alive := func(d time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		return srv.Alive(ctx)
	}
	if err := alive(time.Minute); err != nil {
		t.Fatalf("at rest: got %v, want nil", err)
	}

	conn := dialPath(t, addr, "/")
	if err := wsutil.WriteClientText(conn, []byte("hold")); err != nil {
		t.Fatal(err)
	}
	<-hooked
	if err := alive(20 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("all workers are held: got %v, want %v", err, context.DeadlineExceeded)
	}
	release <- struct{}{}
	if err := alive(time.Minute); err != nil {
		t.Errorf("they are free again: got %v, want nil", err)
	}

	held := make(chan struct{})
	go srv.eachShard(func(i int, _ *shard) { // Ends when its shards go on.
		if i == len(srv.shards)-1 {
			held <- struct{}{}
			<-release
		}
	})
	<-held
	if err := alive(20 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a shard is held: got %v, want %v", err, context.DeadlineExceeded)
	}
	release <- struct{}{}
	if err := alive(time.Minute); err != nil {
		t.Errorf("it goes on: got %v, want nil", err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if err := alive(time.Minute); !errors.Is(err, ErrServerClosed) {
		t.Errorf("at the end: got %v, want %v", err, ErrServerClosed)
	}
}
