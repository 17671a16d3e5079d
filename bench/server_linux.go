package bench

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/crier-ws/crier/internal/procfs"
	"golang.org/x/sys/unix"
)

// server is the process that is measured.
type server struct {
	cmd   *exec.Cmd
	port  int
	ended chan struct{} // closed once the process was waited for
}

// startServer starts a command, on certain cores unless cpu is empty, and waits until it
// accepts.
func startServer(command, cpu string, deadline time.Time) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	text := strconv.Itoa(port)
	// exec twice, so that the child is the server itself and not a shell.
	command = "exec " + strings.ReplaceAll(command, "{port}", text)
	args := []string{"sh", "-c", command}
	if cpu != "" {
		args = append([]string{"taskset", "-c", cpu}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PORT="+text)
	cmd.Stderr = os.Stderr
	// A group of its own, so that stop reaches what a wrapper like strace(1) forked.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, port: port, ended: make(chan struct{})}
	// Ends with the process, which stop kills; stop waits for it.
	go func() {
		_ = cmd.Wait()
		close(s.ended)
	}()
	if err := s.awaitAccept(deadline); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// addr returns where the server listens.
func (s *server) addr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(s.port))
}

// awaitAccept connects until that works.
func (s *server) awaitAccept(deadline time.Time) error {
	for time.Now().Before(deadline) {
		c, err := net.Dial("tcp4", s.addr().String())
		if err == nil {
			return c.Close()
		}
		select {
		case <-s.ended:
			return fmt.Errorf("measure: the server ended: %v", s.cmd.ProcessState)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return errors.New("measure: the server does not listen")
}

// stop ends the server and what it forked, and waits for its end.
func (s *server) stop() {
	const patience = 2 * time.Second
	group := -s.cmd.Process.Pid
	_ = unix.Kill(group, unix.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(patience):
	}
	_ = unix.Kill(group, unix.SIGKILL)
	<-s.ended
}

// cpu returns the time that all threads of the server were on a core so far.
func (s *server) cpu() (time.Duration, error) { return procfs.CPU(s.cmd.Process.Pid) }

// waited returns the time that the server's present threads were ready to run so far
// while their core was taken: the second field of schedstat, see the kernel's
// Documentation/scheduler/sched-stats.rst.
func (s *server) waited() (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread ended
		}
		var ran, waited time.Duration
		if _, err := fmt.Sscan(string(text), &ran, &waited); err != nil {
			return 0, fmt.Errorf("measure: %s: %w", file, err)
		}
		sum += waited
	}
	return sum, nil
}

// memory returns the server's resident anonymous memory in bytes.
func (s *server) memory() (int64, error) { return procfs.RssAnon(s.cmd.Process.Pid) }

// threads returns the number of the server's threads.
func (s *server) threads() (int64, error) { return procfs.Status(s.cmd.Process.Pid, "Threads") }

// pin binds all threads of this process, and those that they will start, to a core.
func pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return os.NewSyscallError("sched_setaffinity", err)
		}
	}
	return nil
}

// freePort returns a port of 127.0.0.1 that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
