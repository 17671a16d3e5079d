package main

import (
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/crier-ws/crier/internal/load"
)

// loadCmd is the flags of loading a server.
type loadCmd struct {
	load.Cmd `embed:""`
}

// explain says what to do about an error of loading; those of other commands stay as they are.
func (cmd *loadCmd) explain(ctx *kong.Context, err error) error {
	if ctx.Selected().Name != "load" {
		return err
	}
	var file *fs.PathError
	if errors.As(err, &file) {
		return fileError("--plot", file.Path, err)
	}
	statuses := maps.Clone(clientStatuses)
	statuses[http.StatusUnauthorized] = "crier load takes a token in the address only: ws://HOST:PORT/?token=TOKEN"
	err = peer{addr: cmd.URL, is: "--listen", want: "ws://HOST:PORT/", statuses: statuses}.explain(err)
	text := err.Error()
	for _, known := range []struct {
		says, hint string
		setting    bool
	}{
		{"did not send the first message", "--greeting says what the server sends first; --greeting= is for nothing", false},
		{"does not greet as it should", "--greeting says what the server sends first; --greeting= is for nothing", false},
		{"limit of open files", "raise it, with ulimit -n; crier doctor --quick says what there is", false},
		{"want ws", "want ws://HOST:PORT/", true},
		{"is no URL", "want ws://HOST:PORT/", true},
		{"TLS is not supported", "want ws://HOST:PORT/", true},
		{"which is not this host", "crier load is for servers on this host, or your own ones", true},
	} {
		if !strings.Contains(text, known.says) || hintOf(err) != "" {
			continue
		}
		if known.setting {
			err = wrongSetting(err)
		}
		return hinted(err, "%s", known.hint)
	}
	return err
}
