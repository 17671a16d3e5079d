package systrace

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crier-ws/crier/internal/leaktest"
)

// childEnv makes the test binary the child that is traced.
const childEnv = "SYSTRACE_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		serveChild()
		return
	}
	if err := probe(); errors.Is(err, ErrNotPermitted) && os.Getenv("CI") == "" {
		fmt.Println("not tested:", err)
		os.Exit(0)
	}
	os.Exit(leaktest.Main(m))
}

// probe counts the system calls of some process, to see whether that is permitted here.
func probe() error {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = Count(cmd.Process.Pid, func() error { return nil })
	_ = in.Close()
	_ = cmd.Wait()
	return err
}

// workers is the number of threads of the child that obey "work".
const workers = 4

// serveChild obeys a command per line of its stdin and answers each with a line.
func serveChild() {
	usr1 := make(chan os.Signal, 1)
	signal.Notify(usr1, unix.SIGUSR1)
	go func() {
		for range usr1 {
			fmt.Println("usr1")
		}
	}()
	var orders [workers]chan int
	done := make(chan struct{})
	for i := range orders {
		orders[i] = make(chan int)
		go func() {
			runtime.LockOSThread()
			for n := range orders[i] {
				getppid(n)
				done <- struct{}{}
			}
		}()
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var verb string
		var n int
		fmt.Sscan(lines.Text(), &verb, &n)
		switch verb {
		case "work":
			for _, order := range orders {
				order <- n
			}
			for range orders {
				<-done
			}
		case "create":
			createThreads(n)
		case "churn":
			go churn()
		case "fork":
			cmd := exec.Command("/proc/self/exe")
			cmd.Stdin = strings.NewReader(fmt.Sprintf("work %d\n", n))
			if err := cmd.Run(); err != nil {
				panic(err)
			}
		case "exec":
			panic(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
		case "count":
			_, err := Count(n, func() error { return nil })
			fmt.Println(err)
			continue
		case "filter":
			forbidPtrace()
		case "exit":
			os.Exit(n)
		}
		fmt.Println(verb)
	}
}

func getppid(n int) {
	for range n {
		unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
	}
}

// createThreads starts 20 threads, each of which makes n calls and ends.
func createThreads(n int) {
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			runtime.LockOSThread() // Never undone: the thread ends.
			getppid(n)
		})
	}
	group.Wait()
}

// churn makes Go's runtime send itself SIGURG to preempt a loop.
func churn() {
	go func() {
		for x := 0; ; x++ {
			_ = x
		}
	}()
	for {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
}

// child is a process for a test to trace.
type child struct {
	t     *testing.T
	cmd   *exec.Cmd
	pid   int
	stdin interface{ Write([]byte) (int, error) }
	lines chan string
}

func startChild(t *testing.T) *child {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	c := &child{t: t, cmd: cmd, pid: cmd.Process.Pid, stdin: stdin, lines: make(chan string, 1000)}
	// Ends with the child, which the cleanup kills.
	go func() {
		defer r.Close()
		defer close(c.lines)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			c.lines <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		for range c.lines {
		}
	})
	c.expect("ready")
	return c
}

// say sends a command and does not wait for the answer.
func (c *child) say(command string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.stdin, command); err != nil {
		c.t.Errorf("%s: %v", command, err)
	}
}

// answer returns the next line of the child.
func (c *child) answer() string {
	c.t.Helper()
	select {
	case line := <-c.lines:
		return line
	case <-time.After(30 * time.Second):
		c.t.Errorf("the child %d does not answer", c.pid)
		return ""
	}
}

func (c *child) expect(want string) {
	c.t.Helper()
	if got := c.answer(); got != want {
		c.t.Errorf("the child answers %q, want %q", got, want)
	}
}

// do sends a command and waits for the answer.
func (c *child) do(command string) {
	c.t.Helper()
	c.say(command)
	c.expect(strings.Fields(command)[0])
}

// kill sends a signal.
func (c *child) kill(signal unix.Signal) {
	c.t.Helper()
	if err := unix.Kill(c.pid, signal); err != nil {
		c.t.Error(err)
	}
}

// awaitEnd waits for the end of the child without reaping it.
func (c *child) awaitEnd() {
	c.t.Helper()
	if err := AwaitEnd(c.pid); err != nil {
		c.t.Error(err)
	}
}

// awaitStates waits until every thread of the child is in one of the states, see
// proc_pid_stat(5).
func (c *child) awaitStates(states string) {
	c.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		tids, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", c.pid))
		if err != nil {
			c.t.Error(err)
			return
		}
		off := ""
		for _, tid := range tids {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", c.pid, tid.Name()))
			_, after, _ := strings.Cut(string(text), ") ")
			if after != "" && !strings.Contains(states, after[:1]) {
				off = after[:1]
			}
		}
		if off == "" {
			return
		}
		if time.Now().After(deadline) {
			c.t.Errorf("a thread is in state %s, want one of %s", off, states)
			return
		}
	}
}

// forbidPtrace puts a seccomp filter on all threads that answers ptrace(2) with EPERM.
func forbidPtrace() {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_PTRACE},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	setFilter(&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
}
