package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// versionCmd has the flags of crier version.
type versionCmd struct {
	JSON bool `name:"json" help:"Print a line of JSON that also has the commit, the Go version and the platform."`
}

// Run prints the version. kong calls it.
func (cmd versionCmd) Run(out io.Writer) error {
	if cmd.JSON {
		return json.NewEncoder(out).Encode(readBuildInfo())
	}
	_, err := fmt.Fprintln(out, "crier", version())
	return err
}

// buildInfo describes the build of crier, as the go command stamped it.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"` // Of the commit.
	Modified bool   `json:"modified"`       // There were uncommitted changes.
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
}

// readBuildInfo returns the description of this build.
func readBuildInfo() buildInfo {
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

// version returns the module's version as the go command stamped it, or "(devel)".
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}
