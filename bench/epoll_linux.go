//go:build !amd64

package bench

import "golang.org/x/sys/unix"

// epollWait is epoll_pwait(2) where there is no epoll_wait(2).
const epollWait = unix.SYS_EPOLL_PWAIT
