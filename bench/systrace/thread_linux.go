package systrace

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onChildlessThread runs f on an OS thread that has no children, and that ends with f.
//
// The end matters: the kernel detaches what f left attached. It is also why the thread
// may have no children, whose parent-death signal would be sent; and the main thread is
// left out because Go parks it instead.
func onChildlessThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() && childless() {
		f()
		return // The goroutine ends locked, and the thread with it.
	}
	done := make(chan struct{})
	// Ends with f; this goroutine waits for it, so as to keep the thread from it.
	go func() {
		defer close(done)
		onChildlessThread(f)
	}()
	<-done
	runtime.UnlockOSThread()
}

// childless reports whether the calling thread has neither children nor tracees.
func childless() bool {
	_, err := waitid(unix.WEXITED | unix.WNOHANG)
	return err == unix.ECHILD
}
