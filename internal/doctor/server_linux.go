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

// server is a crier in a child process.
type server struct {
	cmd *exec.Cmd
	at  addresses
	log chan struct{} // closed once nothing more is logged
}

// addresses are what a server says at its start.
type addresses struct {
	Addr  netip.AddrPort // where it serves
	Pprof netip.AddrPort // where it tells of itself
}

// startServer starts crier on a port of its own, with nothing of this process's
// environment that is for another one. It ends with stop, or with the thread that called
// this, which must be locked.
func startServer(program string) (*server, error) {
	s := &server{cmd: exec.Command(program, "serve", "--listen=127.0.0.1:0", "--pprof=127.0.0.1:0", "--log-format=json"), log: make(chan struct{})}
	for _, v := range os.Environ() {
		// What sd_notify(3) and sd_listen_fds(3) are for is this process.
		if !slices.ContainsFunc([]string{"CRIER_", "NOTIFY_SOCKET=", "WATCHDOG_", "LISTEN_"}, func(p string) bool { return strings.HasPrefix(v, p) }) {
			s.cmd.Env = append(s.cmd.Env, v)
		}
	}
	// A group of its own, as a terminal sends SIGINT to the whole group.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	logged, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting a server to measure: %w", err)
	}
	found := make(chan addresses, 1)
	var said bytes.Buffer // the log's until log is closed
	// Ends with the child; stop waits for it.
	go func() {
		defer close(s.log)
		watchLog(io.TeeReader(logged, &said), found)
	}()
	const patience = 10 * time.Second
	select {
	case s.at = <-found:
		return s, nil
	case <-s.log:
		s.stop()
		return nil, fmt.Errorf("the server to measure ended: %s", bytes.TrimSpace(said.Bytes()))
	case <-time.After(patience):
		s.stop()
		return nil, errors.New("the server to measure does not begin to serve")
	}
}

// watchLog reads a log to its end, and tells the addresses in the line that has them.
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

// heap returns the bytes on the server's heap that are in use.
func (s *server) heap() (bytes int64, err error) {
	client := http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	for range 2 { // What a sync.Pool holds is freed by the second collection.
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

// heapAlloc returns the number in a heap profile of that name.
func heapAlloc(profile io.Reader) (n int64, err error) {
	lines := bufio.NewScanner(profile)
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "# HeapAlloc = %d", &n); err == nil {
			return n, nil
		}
	}
	return 0, errors.New("the heap's profile does not say how much is in use")
}

// stop ends the server and waits for its end.
func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	<-s.log
	_ = s.cmd.Wait() // It was killed.
}
