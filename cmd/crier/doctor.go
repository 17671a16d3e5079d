package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/crier-ws/crier/internal/doctor"
	"github.com/crier-ws/crier/internal/flags"
	"github.com/crier-ws/crier/internal/term"
)

// doctorCmd has the flags of crier doctor.
type doctorCmd struct {
	Conns flags.Count `placeholder:"N" help:"Number of connections that should fit (default: as many as the limit of open files allows)."`
	Quick bool        `help:"Measure nothing: check the limits, and predict memory from figures of other machines."`
	JSON  bool        `name:"json" help:"Print JSON."`
}

// Help is shown by --help.
func (*doctorCmd) Help() string {
	return `Checks the limits of this host, of its control groups and of the user, and shows for each limit its value, ` +
		`what it allows, what the connections need, and the command that changes it. ` +
		`Run it as crier runs: in the same unit or container. ` +
		`Then it starts a crier on a free port of 127.0.0.1, opens up to 8,000 connections to it for ten seconds, ` +
		`and predicts memory and the time of a broadcast. ` +
		`The exit code is 0 if the connections fit, 1 if they do not, 2 if a flag is wrong. It changes nothing.`
}

// Run checks, measures and prints. kong calls it.
func (cmd *doctorCmd) Run(out io.Writer, s streams) error {
	var h doctor.Host
	goal := doctor.Goal{Conns: int(cmd.Conns), Reserved: reservedFDs}
	if goal.Conns == 0 {
		hard, err := h.HardLimit()
		if err != nil {
			return err
		}
		goal.Conns = int(max(1, min(hard, 1<<30)-reservedFDs))
	}
	var m doctor.Measured
	if !cmd.Quick {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		if m, err = h.Measure(self, goal); err != nil {
			printLine(s.log, "nothing is measured: "+oneLine(err))
		}
	}
	r, err := h.Examine(goal, m)
	if err != nil {
		return err
	}
	if cmd.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		err = e.Encode(r)
	} else {
		_, err = io.WriteString(out, doctorText(r, term.PaintFor(out)))
	}
	if (err == nil || errors.Is(err, errReaderGone)) && !r.Fits {
		err = fmt.Errorf("%d connections do not fit: this host allows %d (%s)", r.Conns, r.Allows, r.Binds)
		err = hinted(err, "%s", fixes(r))
	}
	return err
}

// fixes returns a hint to the commands that would make the connections fit.
func fixes(r doctor.Report) string {
	var small []string
	for _, c := range r.Checks {
		if c.Verdict == doctor.Small {
			small = append(small, c.Name)
		}
	}
	return "the lines of the report that begin with > change " + strings.Join(small, ", ")
}

// doctorText returns a report as text.
func doctorText(r doctor.Report, p term.Paint) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d connections on this host\n\n", r.Conns)
	var keep []string
	for _, c := range r.Checks {
		writeCheck(&b, c, p)
		keep = append(keep, settingsIn(c.Change)...)
	}
	if len(keep) > 0 {
		b.WriteString("\nTo keep the settings after a restart of the host, write to /etc/sysctl.d/90-crier.conf:\n\n")
		for _, line := range keep {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	writePrediction(&b, r.Prediction)
	verdict := p.Text(term.Green, "fit")
	if !r.Fits {
		verdict = p.Text(term.Red, "do not fit")
	}
	fmt.Fprintf(&b, "\n%d connections %s; the limits allow %d (%s).\n", r.Conns, verdict, r.Allows, r.Binds)
	return b.String()
}

// verdicts has the texts of verdicts.
var verdicts = map[doctor.Verdict]string{
	doctor.OK: "ok", doctor.Small: "SMALL", doctor.Advice: "advice", doctor.Absent: "absent", doctor.Unknown: "unknown",
}

// colours has the colours of verdicts. Other verdicts have none.
var colours = map[doctor.Verdict]term.Colour{doctor.OK: term.Green, doctor.Small: term.Red, doctor.Advice: term.Yellow}

// writeCheck writes the result of one check.
func writeCheck(b *strings.Builder, c doctor.Check, p term.Paint) {
	mark := fmt.Sprintf("%-7s", verdicts[c.Verdict])
	if colour, ok := colours[c.Verdict]; ok {
		mark = p.Text(colour, mark)
	}
	head := fmt.Sprintf("%s %-31s", mark, c.Name)
	if c.Found != "" {
		head += " " + c.Found
	}
	if c.Needed != "" {
		head += "; needed " + c.Needed
	}
	if c.Allows != nil {
		head += fmt.Sprintf("; allows %d", *c.Allows)
	}
	b.WriteString(strings.TrimRight(head, " ") + "\n")
	for _, text := range []string{c.What, c.Note} {
		wrap(b, "        ", "        ", text)
	}
	for _, command := range c.Change {
		fmt.Fprintf(b, "        > %s\n", command) // Not wrapped, so that it can be copied.
	}
}

// wrap writes a text in lines of at most 96 characters. first precedes the first line, and indent the others.
func wrap(b *strings.Builder, first, indent, text string) {
	const width = 96
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(indent)+len(line)+1+len(word) > width {
			fmt.Fprintf(b, "%s%s\n", first, line)
			first, line = indent, ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	if line != "" {
		fmt.Fprintf(b, "%s%s\n", first, line)
	}
}

// settingsIn returns the first of some commands as lines for sysctl.conf(5), or nil if it is not a sysctl(8).
func settingsIn(change []string) (lines []string) {
	if len(change) == 0 {
		return nil
	}
	setting, ok := strings.CutPrefix(change[0], "sysctl -w ")
	if !ok {
		return nil
	}
	setting, _, _ = strings.Cut(setting, "  ") // A remark follows two spaces.
	name, value, _ := strings.Cut(setting, "=")
	return []string{name + " = " + strings.Trim(value, "'")}
}

// writePrediction writes the memory and time that the connections are predicted to need.
func writePrediction(b *strings.Builder, p doctor.Prediction) {
	how := fmt.Sprintf("measured with %d", p.Measured)
	if p.Measured == 0 {
		how = "not measured"
	}
	fmt.Fprintf(b, "\n%d connections will need (%s):\n\n", p.Conns, how)
	row := func(name string, r doctor.Range, write func(float64) string) {
		fmt.Fprintf(b, "    %-36s %9s  (%s to %s)\n", name, write(r.Likely), write(r.Low), write(r.High))
	}
	row("memory of crier", p.Own, megabytes)
	row("    each further connection", p.OwnEach, wholeBytes)
	row("memory of the kernel, this end", p.Kernel, megabytes)
	row("    each further connection", p.KernelEach, wholeBytes)
	row("memory in total", p.Memory, megabytes)
	if p.Broadcast != nil {
		row("processor time of a delivery", *p.Delivery, duration)
		row(fmt.Sprintf("a broadcast, on %.3g processors", p.Processors), *p.Broadcast, duration)
	}
	b.WriteString("\nHow certain:\n")
	for _, s := range p.Certainty {
		wrap(b, "    - ", "      ", s)
	}
}

// megabytes formats bytes with four significant digits, or with all digits from 1,000 MB on.
func megabytes(v float64) string {
	if v >= 1e9 {
		return fmt.Sprintf("%.0f MB", v/1e6) // %.4g would use an exponent.
	}
	return fmt.Sprintf("%.4g MB", v/1e6)
}

func wholeBytes(v float64) string { return fmt.Sprintf("%.0f B", v) }

// duration formats seconds with three significant digits.
func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	unit := time.Nanosecond
	for unit*1000 <= d {
		unit *= 10
	}
	return d.Round(unit).String()
}
