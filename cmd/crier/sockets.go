package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/crier-ws/crier/broadcast"
	"golang.org/x/sys/unix"
)

// sockets has the listeners of crier.
type sockets struct {
	public []net.Listener // For clients.
	admin  net.Listener   // For back ends, or nil.
}

// openSockets returns the sockets that the service manager has passed, and opens the others.
func (cmd *serveCmd) openSockets(logger *slog.Logger) (sockets, error) {
	s, err := passedSockets()
	if err != nil {
		return s, err
	}
	if len(s.public) > 0 {
		logger.Info("a socket was passed: --listen is not opened", "addr", s.addr(), "listen", cmd.Listen)
	} else {
		ln, err := broadcast.Listen(cmd.Listen)
		if err != nil {
			return s, errors.Join(explainListen("listen", cmd.Listen, err, "want HOST:PORT or :PORT"), s.close())
		}
		s.public = []net.Listener{ln}
	}
	switch {
	case s.admin == nil:
		s.admin, err = cmd.adminFlags.listen()
	case cmd.AdminTokenFile == "" && !private(s.admin.Addr()):
		err = wrongSetting(fmt.Errorf("the socket %q that was passed is on %v: want a loopback address or a Unix socket, "+
			"or --admin-token-file as well", adminSocket, s.admin.Addr()))
	default:
		logger.Info("a socket was passed: --admin is not opened", "addr", s.admin.Addr().String(), "admin", cmd.Admin)
	}
	if err == nil && s.admin == nil && cmd.AdminTokenFile != "" {
		err = wrongSetting(fmt.Errorf("--admin-token-file is given, want --admin as well, or a socket %q", adminSocket))
	}
	if err != nil {
		return s, errors.Join(err, s.close())
	}
	return s, nil
}

// private reports whether only processes of this host can connect to an address.
func private(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}

// Names of sockets: FileDescriptorName= of systemd.socket(5). Without it, the name is that of the socket unit.
const (
	adminSocket  = "admin"
	publicSocket = "crier"
)

// activated reports whether the service manager may have passed sockets. It is set at the start, because passedSockets
// clears the environment.
var activated = os.Getenv("LISTEN_FDS") != ""

// passedSockets takes over the sockets that the service manager has passed.
func passedSockets() (s sockets, err error) {
	files, names := passedFiles()
	for i, f := range files {
		name := names[i]
		ln, err := passedListener(f)
		if err != nil {
			return s, errors.Join(wrongSetting(fmt.Errorf("the socket %q that was passed: %w", name, err)), s.close())
		}
		switch {
		case name == publicSocket, name == publicSocket+".socket", name == "unknown", name == "":
			s.public = append(s.public, ln)
		case name == adminSocket && s.admin == nil:
			s.admin = ln
		default:
			err := fmt.Errorf("the socket %q that was passed: want the name %q, or %q for at most one socket",
				name, publicSocket, adminSocket)
			return s, errors.Join(wrongSetting(err), ln.Close(), s.close())
		}
	}
	return s, nil
}

// passedListener returns a listener for a socket that was passed, and closes f.
func passedListener(f *os.File) (net.Listener, error) {
	defer f.Close()
	listens, err := unix.GetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	if err != nil {
		return nil, err
	}
	if listens == 0 {
		return nil, errors.New("it does not listen; want ListenStream= and Accept=no")
	}
	return net.FileListener(f)
}

// addr returns the addresses that clients connect to, separated by commas.
func (s sockets) addr() string {
	addrs := make([]string, len(s.public))
	for i, ln := range s.public {
		addrs[i] = ln.Addr().String()
	}
	return strings.Join(addrs, ",")
}

func (s sockets) close() error {
	var errs []error
	for _, ln := range append(s.public, s.admin) {
		if ln != nil {
			errs = append(errs, ln.Close())
		}
	}
	return errors.Join(errs...)
}
