// Command soak lets thousands of clients of all kinds come, misbehave and go, while a
// healthy population is checked for every message.
//
//	soak [flags]
//
// It prints what it did, and fails if a healthy client lacks one message, or if in the
// end the server keeps a goroutine, an open file or memory. -seed repeats what the
// clients do, in kind and order; time is not repeated. crier is built from this repository,
// with the race detector if -race is given.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"

	"github.com/crier-ws/crier/bench"
	"github.com/crier-ws/crier/internal/swarm"
)

func main() {
	swarm.Child()
	// The server dies with the thread that started it, which must be one that stays.
	runtime.LockOSThread()
	if err := bench.SoakCommand(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
}
