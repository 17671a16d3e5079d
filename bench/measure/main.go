// Command measure measures any WebSocket broadcaster that is given as a command line.
//
//	measure MODE    [flags] NAME='COMMAND' ...
//	measure compare -mode MODE [flags] NAME='COMMAND' ...
//
// Each round starts the command as a fresh process on one core and loads it from this
// process on the other. {port} in the command stands for a free port of 127.0.0.1,
// which is also in the environment as PORT. compare takes the servers in turn (A B A B
// A B), and prints the median of each figure and, for the first figure, the median of
// its ratios to that of the first server in the same round.
//
// What is measured, and how, is in the documentation of package bench.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"

	"github.com/crier-ws/crier/bench"
)

func main() {
	// The server dies with the thread that started it, which must be one that stays.
	runtime.LockOSThread()
	if err := bench.Command(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
}
