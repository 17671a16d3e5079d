package systrace_test

import (
	"bufio"
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/crier-ws/crier/bench/systrace"
)

func ExampleCount() {
	server := exec.Command("sh", "-c", `while read line; do echo "$line"; done`)
	stdin, _ := server.StdinPipe()
	stdout, _ := server.StdoutPipe()
	if err := server.Start(); err != nil {
		panic(err)
	}
	answers := bufio.NewReader(stdout)
	calls, err := systrace.Count(server.Process.Pid, func() error {
		for range 3 {
			fmt.Fprintln(stdin, "hello")
			if _, err := answers.ReadString('\n'); err != nil {
				return err
			}
		}
		return nil
	})
	fmt.Println(calls.Of(unix.SYS_WRITE), err)

	// Not Wait alone in a goroutine from the start: that may not be pending during Count.
	stdin.Close()
	fmt.Println(systrace.AwaitEnd(server.Process.Pid), server.Wait())
	// Output:
	// 3 <nil>
	// <nil> <nil>
}
