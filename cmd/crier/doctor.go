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

// doctorCmd is the flags of looking at a host.
type doctorCmd struct {
	Conns flags.Count `placeholder:"N" help:"Connections that are to fit (default: what the limit of open files allows)."`
	Quick bool        `help:"Measure nothing: look at limits, and predict memory from figures of other machines."`
	JSON  bool        `name:"json" help:"Print JSON."`
}

// Help is shown by --help.
func (*doctorCmd) Help() string {
	return `Looks at the limits of this host and of the control groups and user that it runs as, and says for each what it is, ` +
		`what it allows, what the connections need, and the command that changes it. Run it as crier runs: in the same unit or container. ` +
		`Then it starts a crier on a free port of 127.0.0.1, makes up to 8,000 connections to it for ten seconds, and predicts memory and the time of a broadcast. ` +
		`The exit code is 0 if the connections fit, 1 if they do not, 2 if a flag is wrong. Nothing is changed.`
}

// Run looks, measures and prints.
func (cmd *doctorCmd) Run(out io.Writer, s streams) error {
	var h doctor.Host
	w := doctor.Wish{Conns: int(cmd.Conns), Reserved: reservedFDs}
	if w.Conns == 0 {
		hard, err := h.HardLimit()
		if err != nil {
			return err
		}
		w.Conns = int(max(1, min(hard, 1<<30)-reservedFDs))
	}
	var m doctor.Measured
	if !cmd.Quick {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		if m, err = h.Measure(self, w); err != nil {
			say(s.log, "nothing is measured: "+oneLine(err))
		}
	}
	r, err := h.Examine(w, m)
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
		err = hinted(fmt.Errorf("%d connections do not fit: this host allows %d (%s)", r.Conns, r.Allows, r.Binds), "%s", fixes(r))
	}
	return err
}

// fixes says where the commands are that would make the connections fit.
func fixes(r doctor.Report) string {
	var small []string
	for _, c := range r.Checks {
		if c.Verdict == doctor.Small {
			small = append(small, c.Name)
		}
	}
	return "the report has, behind >, what changes " + strings.Join(small, ", ")
}

// doctorText writes a report for people.
func doctorText(r doctor.Report, p term.Paint) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d connections on this host\n\n", r.Conns)
	var keep []string
	for _, c := range r.Checks {
		writeCheck(&b, c, p)
		keep = append(keep, settingsIn(c.Change)...)
	}
	if len(keep) > 0 {
		b.WriteString("\nTo keep settings when the host starts anew, in /etc/sysctl.d/90-crier.conf:\n\n")
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

// verdicts are how verdicts are written.
var verdicts = map[doctor.Verdict]string{doctor.OK: "ok", doctor.Small: "SMALL", doctor.Advice: "advice", doctor.Absent: "absent", doctor.Unknown: "unknown"}

// colours are those of verdicts; the others have none.
var colours = map[doctor.Verdict]term.Colour{doctor.OK: term.Green, doctor.Small: term.Red, doctor.Advice: term.Yellow}

// writeCheck writes what one thing came to.
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
		fmt.Fprintf(b, "        > %s\n", command) // Whole, to be copied.
	}
}

// wrap writes a text in lines of at most 96 characters, the first and the others behind an
// indent each.
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

// settingsIn returns what of the first of some commands sysctl.conf(5) takes, as lines for it.
func settingsIn(change []string) (lines []string) {
	if len(change) == 0 {
		return nil
	}
	setting, ok := strings.CutPrefix(change[0], "sysctl -w ")
	if !ok {
		return nil
	}
	setting, _, _ = strings.Cut(setting, "  ") // what is said of it
	name, value, _ := strings.Cut(setting, "=")
	return []string{name + " = " + strings.Trim(value, "'")}
}

// writePrediction writes what the connections will come to.
func writePrediction(b *strings.Builder, p doctor.Prediction) {
	how := fmt.Sprintf("measured with %d", p.Measured)
	if p.Measured == 0 {
		how = "not measured"
	}
	fmt.Fprintf(b, "\n%d connections will come to (%s):\n\n", p.Conns, how)
	row := func(name string, r doctor.Range, write func(float64) string) {
		fmt.Fprintf(b, "    %-36s %9s  (%s to %s)\n", name, write(r.Likely), write(r.Low), write(r.High))
	}
	row("memory of crier", p.Own, megabytes)
	row("    one connection more", p.OwnEach, wholeBytes)
	row("memory of the kernel, this end", p.Kernel, megabytes)
	row("    one connection more", p.KernelEach, wholeBytes)
	row("memory in all", p.Memory, megabytes)
	if p.Broadcast != nil {
		row("processor's time of a delivery", *p.Delivery, duration)
		row(fmt.Sprintf("a broadcast, on %.3g processors", p.Processors), *p.Broadcast, duration)
	}
	b.WriteString("\nHow sure:\n")
	for _, s := range p.Sure {
		wrap(b, "    - ", "      ", s)
	}
}

// megabytes writes bytes with four digits, or all that there are.
func megabytes(v float64) string {
	if v >= 1e9 {
		return fmt.Sprintf("%.0f MB", v/1e6) // And no exponent.
	}
	return fmt.Sprintf("%.4g MB", v/1e6)
}

func wholeBytes(v float64) string { return fmt.Sprintf("%.0f B", v) }

// duration writes seconds with three digits.
func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	unit := time.Nanosecond
	for unit*1000 <= d {
		unit *= 10
	}
	return d.Round(unit).String()
}
