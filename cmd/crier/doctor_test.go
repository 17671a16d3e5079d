package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/crier-ws/crier/internal/doctor"
	"github.com/crier-ws/crier/internal/term"
	"golang.org/x/sys/unix"
)

// TestDoctor runs the built program on this host.
func TestDoctor(t *testing.T) {
	bin := build(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}

	out, log, code := command(t, bin, "", "doctor", "--conns=300")
	if code != 0 || log != "" {
		t.Errorf("300 connections: got code %d, %q, %s", code, log, out)
	}
	for _, want := range []string{"open files of a process", "clock source", "(measured with 300)", "memory in total",
		"a broadcast, on", "\n300 connections fit; the limits allow "} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}

	// More connections than any kernel allows.
	out, log, code = command(t, bin, "", "doctor", "--quick", "--conns=2000000000")
	if code != 1 || !strings.HasPrefix(log, "crier: 2000000000 connections do not fit: this host allows ") ||
		!isComplaint.MatchString(log) || !strings.Contains(log, "fs.nr_open") {
		t.Errorf("more than fit: got code %d, %q", code, log)
	}
	for _, want := range []string{"SMALL   open files of a process", "> LimitNOFILE=2147483584",
		"> sysctl -w fs.nr_open=2147483584", "\n    fs.nr_open = 2147483584\n", "(not measured)",
		"2000000000 connections do not fit"} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}

	// The default is the limit of open files, even if other limits are lower.
	out, _, code = command(t, bin, "", "doctor", "--quick", "--json")
	var r doctor.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if want := int(min(limit.Max, 1<<30)) - reservedFDs; r.Conns != want || r.Fits != (code == 0) || code > 1 ||
		len(r.Checks) < 15 || r.Prediction.Measured != 0 {
		t.Errorf("got code %d, %+v, want %d connections", code, r, want)
	}

	if _, log, code := command(t, bin, "", "doctor", "--conns=many"); code != 2 || !strings.Contains(log, "--conns") {
		t.Errorf("wrong flag: got code %d, %q", code, log)
	}
}

// TestDoctorText checks the report as text.
func TestDoctorText(t *testing.T) {
	allows := 19900
	long := strings.Repeat("word ", 60)
	text := doctorText(doctor.Report{
		Conns: 1000000, Allows: 19900, Binds: "fs.nr_open",
		Checks: []doctor.Check{
			{Name: "fs.nr_open", What: "the ceiling", Found: "20000", Needed: "1000100", Allows: &allows, Verdict: doctor.Small,
				Change: []string{"sysctl -w fs.nr_open=1101000"}},
			{Name: "net.ipv4.tcp_mem", What: long, Found: "1 2 3", Verdict: doctor.Advice, Note: "a note",
				Change: []string{"sysctl -w net.ipv4.tcp_mem='4 5 6'   # why", "sysctl -w other=1"}},
			{Name: "open files", What: "files", Verdict: doctor.Small,
				Change: []string{"LimitNOFILE=5   # [Service]", "ulimit -Hn 5"}},
			{Name: "net.netfilter.nf_conntrack_max", What: "a table", Verdict: doctor.Absent, Note: "none"},
		},
		Prediction: doctor.Prediction{
			Conns: 1000000, Measured: 8000, Processors: 1.5, Own: doctor.Range{Low: 1e8, Likely: 1.2345e8, High: 2e8},
			Kernel:    doctor.Range{Low: 3.25e9, Likely: 4e10, High: 1.5e11},
			Delivery:  &doctor.Range{Low: 2.5e-6, Likely: 5.123e-6, High: 8e-6},
			Broadcast: &doctor.Range{Low: 1.25, Likely: 2.5, High: 61.5},
			Certainty: []string{long, "short"},
		},
	}, term.Paint{})
	for _, want := range []string{
		"1000000 connections on this host\n\nSMALL   fs.nr_open                      20000; needed 1000100; allows " +
			"19900\n        the ceiling\n        > sysctl -w fs.nr_open=1101000\nadvice  ",
		"\nabsent  net.netfilter.nf_conntrack_max\n        a table\n        none\n",
		"/etc/sysctl.d/90-crier.conf:\n\n    fs.nr_open = 1101000\n    net.ipv4.tcp_mem = 4 5 6\n\n",
		"123.5 MB  (100 MB to 200 MB)\n", "40000 MB  (3250 MB to 150000 MB)\n", "5.12µs  (2.5µs to 8µs)\n",
		"a broadcast, on 1.5 processors            2.5s  (1.25s to 1m1.5s)\n",
		"\n    - short\n", "\n1000000 connections do not fit; the limits allow 19900 (fs.nr_open).\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if len(strings.TrimRight(line, "\n")) > 100 || strings.HasSuffix(line, " \n") {
			t.Errorf("too long, or with space at its end: %q", line)
		}
	}
}
