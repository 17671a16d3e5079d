// Package netpoll tells when file descriptors become readable or writable.
//
// It is a thin layer over the Epoll type of github.com/mailru/easygo, which
// runs one wait goroutine per epoll instance and one callback per registered
// fd. netpoll adds what a server with a million sockets needs on top: several
// instances (loops) side by side, roll-back when a registration fails, epoll
// fds that are not inherited by children, and above all registrations that
// keep their identity when the kernel uses an fd number again.
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
//   - Callbacks: run one after the other on the loop's goroutine. They must
//     not block: while one runs, every other fd of that loop waits.
//
// # What is guaranteed
//
// An event never reaches a registration other than the one it was raised for.
// The kernel reports events by fd number, and easygo looks the callback up by
// that number only after epoll_wait(2) has returned, so a number that was
// closed and used again in between would hand the old socket's event to the
// new one. Therefore a registered fd belongs to the Poller: Del takes it out
// of the set and the loop closes it between two of its callbacks. At that
// moment every event that the loop still has in hand has already been matched
// with its callback, and the number becomes free only then.
//
// After Del has returned, the callback may still be running, and it may run
// once more for an event that was collected before. It is never called for an
// event of another fd. A callback must therefore hold what it is about (as a
// method value does) and that must know for itself whether it is finished.
//
// # Glossary
//
//   - loop: one epoll instance and the goroutine that waits on it.
//   - registration: the span from a successful Add to Del.
//   - retired: deleted, and waiting for the loop to close it.
package netpoll
