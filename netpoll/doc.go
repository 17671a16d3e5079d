// Package netpoll reports when file descriptors become readable or writable.
//
// It is a thin layer over the Epoll type of github.com/mailru/easygo, which has one goroutine for each epoll instance
// and one callback for each registered fd. netpoll adds what a server with a million sockets needs: several instances
// (loops), roll-back when a registration fails, epoll fds that children do not inherit, and registrations that keep
// their identity when the kernel reuses an fd number.
//
// It knows fds. It does not know sockets, connections or WebSocket.
//
// # Files
//
//   - netpoll_linux.go: Poller, its loops, Add, Del and Close
//
// # Who may do what
//
//   - Yield: callbacks.
//   - Add, Del: any goroutine, callbacks included.
//   - Close: one goroutine, and not from a callback.
//   - Callbacks run one after the other on the loop's goroutine. They must not block: while one runs, all other fds of
//     that loop wait.
//
// # What is guaranteed
//
// An event never reaches a registration other than the one it was raised for. The kernel reports events by fd number,
// and easygo looks the callback up by that number only after epoll_wait(2) has returned. If the number was closed and
// reused in between, the old socket's event would reach the new socket. Therefore a registered fd belongs to the
// Poller: Del takes the fd out of the set, and the loop closes it between two callbacks. At that moment, every event
// that the loop has in hand has been matched with its callback, and only then is the number free for reuse.
//
// After Del has returned, the callback may still be running, and it may run once more for an event that was collected
// before. It is never called for an event of another fd. A callback must therefore refer to its own object (as a method
// value does), and that object must know whether it has ended.
//
// # Glossary
//
//   - loop: one epoll instance and the goroutine that waits on it.
//   - registration: the time from a successful Add to Del.
//   - retired: deleted, and not closed by the loop yet.
package netpoll
