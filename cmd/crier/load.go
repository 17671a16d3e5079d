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

// loadCmd has the flags of crier load.
type loadCmd struct {
	load.Cmd `embed:""`
}

// explain adds a hint to an error of crier load. It returns errors of other commands unchanged.
func (cmd *loadCmd) explain(ctx *kong.Context, err error) error {
	if ctx.Selected().Name != "load" {
		return err
	}
	var file *fs.PathError
	if errors.As(err, &file) {
		return fileError("--plot", file.Path, err)
	}
	statuses := maps.Clone(clientStatuses)
	statuses[http.StatusUnauthorized] = "crier load takes a token only in the address: ws://HOST:PORT/?token=TOKEN"
	err = peer{addr: cmd.URL, is: "--listen", want: "ws://HOST:PORT/", statuses: statuses}.explain(err)
	text := err.Error()
	for _, known := range []struct {
		says, hint string
		setting    bool
	}{
		{"did not send the first message",
			"--greeting is the first message of the server; write --greeting= if it sends none", false},
		{"does not greet as it should", "--greeting is the first message of the server; write --greeting= if it sends none",
			false},
		{"limit of open files", "raise it with ulimit -n; crier doctor --quick shows the limits", false},
		{"want ws", "want ws://HOST:PORT/", true},
		{"is no URL", "want ws://HOST:PORT/", true},
		{"TLS is not supported", "want ws://HOST:PORT/", true},
		{"which is not this host", "crier load is for servers on this host", true},
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
