package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// report is what the measuring program prints with -json, as far as it is used here.
type report struct {
	Servers []server `json:"servers"`
}

// server has one contender's figures. The first one is compared.
type server struct {
	Name    string   `json:"server"`
	Figures []figure `json:"figures"`         // empty if all rounds failed
	Ratio   float64  `json:"ratio,omitempty"` // to the first one; 0 if there is none

	// Not the measuring program's: one reason for each round that failed.
	Failures []string `json:"failures,omitempty"`
}

// figure is one value over all rounds that did not fail.
type figure struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit,omitempty"`
	Median float64   `json:"median"`
	Rounds []float64 `json:"rounds"`
}

// perMeasurement bounds one measurement; what takes longer has failed.
const perMeasurement = 90 * time.Second

var errInterrupted = errors.New("interrupted; -resume goes on from here")

// spareFiles is what each side has open besides its connections.
const spareFiles = 100

// measure measures one case. What fails is in the result; an error means that there is
// none: only that the run was interrupted.
func (k *kit) measure(ctx context.Context, c *benchCase, rounds int) (caseResult, error) {
	result := caseResult{Name: c.name, Mode: c.mode, Conns: c.conns, Rate: c.rate, plan: c.plan(k, rounds)}
	if len(result.Contenders) == 0 {
		return result, nil
	}
	reason := tooManyFiles(c.conns)
	var out, said string
	if reason == "" {
		out, said = k.call(ctx, result.plan)
	}
	if ctx.Err() != nil {
		return result, errInterrupted
	}
	result.Servers = k.read(result.plan, out, said, reason)
	for _, s := range result.Servers {
		for _, f := range slices.Compact(slices.Clone(s.Failures)) {
			fmt.Printf("  %s failed: %s\n", s.Name, f)
		}
	}
	return result, nil
}

// tooManyFiles says so if this many connections cannot be open at once.
func tooManyFiles(conns int) string {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return os.NewSyscallError("getrlimit", err).Error()
	}
	if need := uint64(conns + spareFiles); limit.Max < need {
		return fmt.Sprintf("needs %d open files, the limit is %d (ulimit -Hn)", need, limit.Max)
	}
	return ""
}

// call runs the measuring program and returns its standard output and standard error.
func (k *kit) call(ctx context.Context, p plan) (out, said string) {
	args := slices.Concat(p.Args, []string{
		"-rounds", strconv.Itoa(p.Rounds), "-timeout", perMeasurement.String(), "-json",
	})
	for _, name := range p.Contenders {
		args = append(args, k.argument(name))
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(k.dir, "measure"), args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Env = plainEnv(os.Environ())
	// The servers die with the measuring program, and keep its standard error for no longer.
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil && stderr.Len() == 0 {
		fmt.Fprintln(&stderr, err)
	}
	return stdout.String(), stderr.String()
}

// plainEnv leaves out what would tune a contender.
func plainEnv(env []string) []string {
	tuning := []string{"GOMAXPROCS=", "GOGC=", "GOMEMLIMIT=", "GODEBUG=", "NODE_OPTIONS=", "UV_", "CRIER_"}
	return slices.DeleteFunc(env, func(v string) bool {
		return slices.ContainsFunc(tuning, func(t string) bool { return strings.HasPrefix(v, t) })
	})
}

// failure is a line of the measuring program about a round that failed. What the
// servers write stands between these lines.
var failure = regexp.MustCompile(`(?m)^round \d+, ([A-Za-z0-9_.+-]+): (.*)$`)

// read makes one server of each contender of a plan out of what the measuring program
// has written, or of the reason why it was not called.
func (k *kit) read(p plan, out, said, reason string) []server {
	var got report
	if reason == "" {
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			lines := strings.Split(strings.TrimSpace(said), "\n")
			reason = k.clean(lines[len(lines)-1])
		}
	}
	reasons := map[string][]string{}
	for _, m := range failure.FindAllStringSubmatch(said, -1) {
		reasons[m[1]] = append(reasons[m[1]], k.clean(m[2]))
	}
	var servers []server
	for _, name := range p.Contenders {
		s := server{Name: name, Failures: reasons[name]}
		i := slices.IndexFunc(got.Servers, func(s server) bool { return s.Name == name })
		switch {
		case i >= 0:
			s.Figures, s.Ratio = got.Servers[i].Figures, got.Servers[i].Ratio
		case reason != "":
			s.Failures = []string{reason}
		}
		if len(s.Figures) == 0 && len(s.Failures) == 0 {
			s.Failures = []string{"no figures"}
		}
		servers = append(servers, s)
	}
	return servers
}
