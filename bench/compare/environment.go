package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// environment says on what was measured. Nothing in it tells whose machine that is.
type environment struct {
	Date     string `json:"date"` // of the last case
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	Kernel   string `json:"kernel"`
	Go       string `json:"go"`
	Node     string `json:"node,omitempty"`
	Compiler string `json:"compiler,omitempty"`
	Crier    string `json:"crier,omitempty"` // the last commit that changed what is measured, or measures
}

// measured are the parts of the repository whose change makes figures old.
var measured = []string{
	"go.mod", "cmd", "broadcast", "internal", "netpoll", "bench",
	":(exclude)bench/compare", ":(exclude)bench/Makefile", ":(exclude)*.md",
}

func newEnvironment(ctx context.Context, top string, k *kit) environment {
	e := environment{
		Date:     time.Now().Format(time.DateOnly),
		CPU:      cpuModel(),
		Cores:    runtime.NumCPU(),
		Kernel:   kernel(),
		Go:       strings.TrimPrefix(firstLine(ctx, top, "go", "env", "GOVERSION"), "go"),
		Compiler: firstLine(ctx, top, "cc", "--version"),
		Crier:    firstLine(ctx, top, "git", append([]string{"log", "-1", "--format=%h", "--"}, measured...)...),
	}
	if e.Crier != "" && firstLine(ctx, top, "git", append([]string{"status", "--porcelain", "--"}, measured...)...) != "" {
		e.Crier += " with changes"
	}
	for _, name := range k.names {
		if name == "node" {
			e.Node = strings.TrimPrefix(firstLine(ctx, top, "node", "--version"), "v")
		}
	}
	return e
}

// same tells whether figures taken in both can stand on one page.
func (e environment) same(other environment) bool {
	e.Date = other.Date
	return e == other
}

func (e environment) String() string {
	s := fmt.Sprintf("%s, %d cores, Linux %s, Go %s", e.CPU, e.Cores, e.Kernel, e.Go)
	if e.Node != "" {
		s += ", Node " + e.Node
	}
	if e.Compiler != "" {
		s += ", " + e.Compiler
	}
	if e.Crier != "" {
		s += "; crier at " + e.Crier
	}
	return s + "; " + e.Date
}

// cpuModel returns the processor's name from /proc/cpuinfo, or its kind.
func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "?"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// firstLine returns the first line that a program writes, or nothing.
func firstLine(ctx context.Context, dir, name string, args ...string) string {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
