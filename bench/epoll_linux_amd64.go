package bench

import "golang.org/x/sys/unix"

// epollWait is epoll_wait(2), which newer architectures do not have.
const epollWait = unix.SYS_EPOLL_WAIT
