// Command swarm loads a WebSocket broadcaster and checks what it delivers. crier load is
// the same.
package main

import (
	"io"
	"os"

	"github.com/alecthomas/kong"
	"github.com/crier-ws/crier/internal/load"
	"github.com/crier-ws/crier/internal/swarm"
)

func main() {
	swarm.Child()
	var cmd load.Cmd
	ctx := kong.Parse(&cmd,
		kong.Name("swarm"),
		kong.Description("Load a WebSocket broadcaster and check what it delivers."),
		kong.BindTo(os.Stdout, (*io.Writer)(nil)),
	)
	ctx.FatalIfErrorf(ctx.Run())
}
