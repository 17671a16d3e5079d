package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// printed runs a command line that succeeds, and returns its output.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	var out, log bytes.Buffer
	if code := run(args, &out, &log); code != 0 || log.Len() > 0 {
		t.Errorf("%q: got exit code %d and %q, want 0 and nothing", args, code, log.String())
	}
	return out.String()
}

// TestHelp checks that the overview has all commands and flags of serving on one screen of 80 columns, and that each
// way to ask for help prints the same.
func TestHelp(t *testing.T) {
	overview := printed(t, "--help")
	lines := strings.Split(overview, "\n")
	if len(lines) > 50 {
		t.Errorf("the overview has %d lines, want at most 50", len(lines))
	}
	for _, line := range lines {
		if len(line) > helpWidth {
			t.Errorf("a line of %d columns: %s", len(line), line)
		}
	}
	commands, _ := model()
	for name, cmd := range commands {
		if got := strings.Contains(overview, "\n  "+name+" "); got == cmd.Hidden {
			t.Errorf("is the command %s listed: got %t", name, got)
		}
		if cmd.Hidden {
			continue
		}
		if help := printed(t, name, "--help"); printed(t, "help", name) != help ||
			!strings.HasPrefix(help, "Usage: crier "+name) {
			t.Errorf("crier help %s and crier %s --help differ, or are %q", name, name, help)
		}
	}
	for _, args := range [][]string{{"-h"}, {"help"}, {"-help"}} {
		if printed(t, args...) != overview {
			t.Errorf("%q prints something else than --help", args)
		}
	}
	for _, args := range [][]string{{"--version"}, {"-v"}, {"-V"}, {"--version", "--json"}} {
		if got, want := printed(t, args...), printed(t, append([]string{"version"}, args[1:]...)...); got != want {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
	}
}

// TestHelpGroups checks that each flag of serving is in exactly one group, and that groups have no other flags.
func TestHelpGroups(t *testing.T) {
	commands, _ := model()
	var grouped, names []string
	for _, g := range flagGroups {
		grouped = append(grouped, strings.Fields(g.flags)...)
	}
	for _, f := range commands["serve"].Flags {
		names = append(names, f.Name)
	}
	slices.Sort(grouped)
	slices.Sort(names)
	if !slices.Equal(grouped, names) {
		t.Errorf("got flags in groups\n%q, want\n%q", grouped, names)
	}
	help := printed(t, "serve", "--help")
	for _, g := range flagGroups {
		_, after, _ := strings.Cut(help, "\n"+g.title+":\n")
		after, _, _ = strings.Cut(after, "\n\n")
		for name := range strings.FieldsSeq(g.flags) {
			if !strings.Contains(after, "  --"+name) {
				t.Errorf("--%s is not below %s:", name, g.title)
			}
		}
	}
}

// TestOtherSpellings checks the hints for flags and commands of other programs.
func TestOtherSpellings(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"start", "no command start\nhint: did you mean crier serve?"},
		{"publish news", "did you mean crier pub?"},
		{"Subscribe", "did you mean crier sub?"},
		{"bogus", "no command bogus\nhint: crier help lists"},
		{"help publish", "no command publish\nhint: did you mean crier help pub?"},
		{"help bogus", "no command bogus\nhint: crier help lists"},
		{"--port 8080", "unknown flag --port\nhint: write --listen :8080;"},
		{"--port=8080", "write --listen :8080;"},
		{"-p 8080", "unknown flag -p\nhint: write --listen :8080;"},
		{"-p8080", "write --listen :8080;"},
		{"-port 8080", "write --listen :8080;"},
		{"--port", "write --listen :PORT;"},
		{"8080", "write --listen :8080 "},
		{"0.0.0.0:8080", "write --listen 0.0.0.0:8080 "},
		{"ws://127.0.0.1:18000", "crier sub --server URL"},
		{"--channels true", "--channels=false"},
		{"-listen :1", "unknown flag -listen\nhint: write --listen, with two dashes"},
		{"-listen=:1", "unknown flag -listen\nhint: write --listen, with two dashes"},
		{"serve -channels", "write --channels, with two dashes"},
		{"-lisen :1", "unknown flag -lisen\nhint: did you mean --listen? "},
		{"--host 10.0.0.1", "write --listen 10.0.0.1:18000;"},
		{"--bind 10.0.0.1:80", "write --listen 10.0.0.1:80;"},
		{"--verbose", "write --log-level debug"},
		{"-v --listen :1", "write --log-level debug"},
		{"--debug", "write --log-level debug"},
		{"--tls", "no TLS of its own"},
		{"--cert a.pem --key b.pem", "no TLS of its own"},
		{"--workers 4", "GOMAXPROCS=4"},
		{"-c x.toml", "write --config x.toml"},
		{"-x", "unknown flag -x\nhint: crier serve --help"},
		{"serve --version", "crier version prints"},
		{"config --port 1", "write --listen :1"},
		{"pub --server 10.0.0.1:18001 news", "write --admin-url http://10.0.0.1:18001:"},
		{"pub -m hello news", "echo hello | crier pub"},
		{"pub news hello", "echo hello | crier pub"},
		{"pub /news", "write crier pub news"},
		{"pub http://127.0.0.1:18001/news", "write crier pub news,"},
		{"sub --url ws://10.0.0.1:1 news", "write --server ws://10.0.0.1:1;"},
		{"sub ws://10.0.0.1:1/news/sport", "write crier sub --server ws://10.0.0.1:1 news/sport"},
		{"sub ws://10.0.0.1:1/news?token=s3cret", "write crier sub --server ws://10.0.0.1:1 news"},
		{"sub /news", "write crier sub news"},
		{"sub -n 5 news", "write --count 5"},
		{"token --new-key my.pem", "write --key my.pem"},
	} {
		if got := complaint(t, 2, strings.Fields(tt.args)...); !strings.Contains(got, tt.says) ||
			strings.Contains(got, "s3cret") {
			t.Errorf("%s: got %q, want it to say %q", tt.args, got, tt.says)
		}
	}
}
