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

// report is the part of the output of bench/measure -json that this program uses.
type report struct {
	Servers []server `json:"servers"`
}

// server has the figures of one contender. The first contender is the one that the others are compared with.
type server struct {
	Name    string   `json:"server"`
	Figures []figure `json:"figures"`         // Empty if all rounds failed.
	Ratio   float64  `json:"ratio,omitempty"` // To the first contender; 0 if unknown.

	// One reason for each round that failed. The measuring program does not print this member.
	Failures []string `json:"failures,omitempty"`
}

// figure is one value, measured in all rounds that succeeded.
type figure struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit,omitempty"`
	Median float64   `json:"median"`
	Rounds []float64 `json:"rounds"`
}

// perMeasurement bounds one measurement. A measurement that takes longer has failed.
const perMeasurement = 90 * time.Second

var errInterrupted = errors.New("interrupted; run it again with -resume to continue")

// spareFiles is how many files each side has open besides its connections.
const spareFiles = 100

// measure measures one case. Failures are in the result. The only error is errInterrupted.
func (k *kit) measure(ctx context.Context, c *benchCase, rounds int) (caseResult, error) {
	result := caseResult{Name: c.name, Mode: c.mode, Conns: c.conns, Rate: c.rate, plan: c.plan(k, rounds)}
	if len(result.Contenders) == 0 {
		return result, nil
	}
	reason := tooManyFiles(c.conns)
	var out, log string
	if reason == "" {
		out, log = k.call(ctx, result.plan)
	}
	if ctx.Err() != nil {
		return result, errInterrupted
	}
	result.Servers = k.read(result.plan, out, log, reason)
	for _, s := range result.Servers {
		for _, f := range slices.Compact(slices.Clone(s.Failures)) {
			fmt.Printf("  %s failed: %s\n", s.Name, f)
		}
	}
	return result, nil
}

// tooManyFiles returns the reason why so many connections cannot be open at once, or "".
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
func (k *kit) call(ctx context.Context, p plan) (out, log string) {
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
	// The servers, which share its standard error, end with the measuring program.
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil && stderr.Len() == 0 {
		fmt.Fprintln(&stderr, err)
	}
	return stdout.String(), stderr.String()
}

// plainEnv returns env without the variables that would tune a contender.
func plainEnv(env []string) []string {
	tuning := []string{"GOMAXPROCS=", "GOGC=", "GOMEMLIMIT=", "GODEBUG=", "NODE_OPTIONS=", "UV_", "CRIER_"}
	return slices.DeleteFunc(env, func(v string) bool {
		return slices.ContainsFunc(tuning, func(t string) bool { return strings.HasPrefix(v, t) })
	})
}

// failure matches a line of the measuring program about a round that failed. Between these lines may be output of the
// servers.
var failure = regexp.MustCompile(`(?m)^round \d+, ([A-Za-z0-9_.+-]+): (.*)$`)

// read returns a server for each contender of a plan, from the output of the measuring program, or with the reason why
// it was not run.
func (k *kit) read(p plan, out, log, reason string) []server {
	var got report
	if reason == "" {
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			lines := strings.Split(strings.TrimSpace(log), "\n")
			reason = k.clean(lines[len(lines)-1])
		}
	}
	reasons := map[string][]string{}
	for _, m := range failure.FindAllStringSubmatch(log, -1) {
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
