package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// versionCmd is the flags of printing the version.
type versionCmd struct {
	JSON bool `name:"json" help:"Print a line of JSON, with the commit, and what crier was built with and for."`
}

// Run prints the version.
func (cmd versionCmd) Run(out io.Writer) error {
	if cmd.JSON {
		return json.NewEncoder(out).Encode(builtOf())
	}
	_, err := fmt.Fprintln(out, "crier", version())
	return err
}

// buildInfo is what crier was built of, as the go command stamped it.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"` // Of the commit.
	Modified bool   `json:"modified"`       // There were changes that were not committed.
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

func builtOf() buildInfo {
	b := buildInfo{Version: version(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// version is the module's version as the go command stamped it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
