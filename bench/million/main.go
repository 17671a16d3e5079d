// Command million holds a million connections on one crier process, or as many as the
// host's limits allow, and says which limits those are.
//
//	million [flags]
//
// It measures idling (memory of crier and of the kernel, CPU), the rate of connecting, a
// broadcast to all from the first receiver to the last, keep-alive, and a storm of a
// tenth of the connections that come back at once. Every connection must get every
// broadcast, or it fails. bench/vm runs it in a guest where the limits of a host forbid
// a million.
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
	if err := bench.MillionCommand(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
}
