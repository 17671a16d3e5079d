package doctor

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// server is a crier in a child process. Its fields are immutable after startServer.
type server struct {
	cmd *exec.Cmd
	at  addresses
	log chan struct{} // Closed at the end of the log.
}

// addresses has the addresses that a server logs at its start.
type addresses struct {
	Addr  netip.AddrPort // For clients.
	Pprof netip.AddrPort // For profiles.
}

// startServer starts crier on a free port. The child does not get variables of the environment that are meant for
// another process. It ends with stop, or with the calling thread, which must be locked.
func startServer(program string) (*server, error) {
	args := []string{"serve", "--listen=127.0.0.1:0", "--pprof=127.0.0.1:0", "--log-format=json"}
	s := &server{cmd: exec.Command(program, args...), log: make(chan struct{})}
	// The variables of sd_notify(3) and sd_listen_fds(3) are for this process, and flags may be for another server.
	foreign := []string{"CRIER_", "NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_"}
	for _, v := range os.Environ() {
		if !slices.ContainsFunc(foreign, func(prefix string) bool { return strings.HasPrefix(v, prefix) }) {
			s.cmd.Env = append(s.cmd.Env, v)
		}
	}
	// The child has a process group of its own, because a terminal sends SIGINT to the whole group.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	logged, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting a server to measure: %w", err)
	}
	found := make(chan addresses, 1)
	var output bytes.Buffer // Owned by the goroutine below until s.log is closed.
	go func() {             // Ends with the child; awaited by stop.
		defer close(s.log)
		watchLog(io.TeeReader(logged, &output), found)
	}()
	const patience = 10 * time.Second
	select {
	case s.at = <-found:
		return s, nil
	case <-s.log:
		s.stop()
		return nil, fmt.Errorf("the server to measure ended: %s", bytes.TrimSpace(output.Bytes()))
	case <-time.After(patience):
		s.stop()
		return nil, errors.New("the server to measure did not start within 10 s")
	}
}

// watchLog reads a log to its end, and sends the addresses from its line "serving" to found.
func watchLog(log io.Reader, found chan<- addresses) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var line struct {
			Msg string
			addresses
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			found <- line.addresses
			break
		}
	}
	_, _ = io.Copy(io.Discard, log)
}

// heap returns how many bytes of the server's heap are in use.
func (s *server) heap() (bytes int64, err error) {
	client := http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for range 2 { // The second collection frees the objects of a sync.Pool.
		r, err := client.Get("http://" + s.at.Pprof.String() + "/debug/pprof/heap?gc=1&debug=1")
		if err != nil {
			return 0, err
		}
		bytes, err = heapAlloc(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return 0, err
		}
	}
	return bytes, nil
}

// heapAlloc returns HeapAlloc from a heap profile.
func heapAlloc(profile io.Reader) (n int64, err error) {
	lines := bufio.NewScanner(profile)
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "# HeapAlloc = %d", &n); err == nil {
			return n, nil
		}
	}
	return 0, errors.New("the heap profile has no line HeapAlloc")
}

// stop ends the server and waits for its end.
func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	<-s.log
	_ = s.cmd.Wait() // The error is that the child was killed.
}
