// Command scale says what crier nodes on NATS cost, and where the first limit is: docs/scale.md. Without flags it
// prints the tables of that page; with -nodes what a site of your own uses; with -measure the constants of the
// machine that it runs on, for -costs. Linux only.
//
//	go build -o /tmp/crier ./cmd/crier
//	go build -C test/cluster -o /tmp/nats-server github.com/nats-io/nats-server/v2
//	go run -C bench/scale . -measure -nats-server /tmp/nats-server -crier /tmp/crier >/tmp/costs.json
//	go run -C bench/scale . -costs /tmp/costs.json -nodes 50 -conns 20000 -rate 500 -size 300 -channels 1000
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/crier-ws/crier/bench/scale/measure"
	"github.com/crier-ws/crier/bench/scale/model"
)

// options are the command line's flags.
type options struct {
	measure      bool
	with         measure.Config
	costs, write string
	site         model.Site
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(exitCode(err))
	}
}

// usageError says what is wrong with the command line.
type usageError struct{ error }

func exitCode(err error) int {
	if errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}

func (o *options) define(f *flag.FlagSet) {
	f.BoolVar(&o.measure, "measure", false, "measure the constants on this machine and print them; takes some minutes")
	f.StringVar(&o.with.NATSServer, "nats-server", "nats-server", "-measure: the `program`")
	f.StringVar(&o.with.Crier, "crier", "crier", "-measure: the `program`")
	f.IntVar(&o.with.Rounds, "rounds", 5, "-measure: repetitions of each measurement; the median counts")
	f.StringVar(&o.costs, "costs", "", "read the constants from this `file` (default: those of docs/scale.md)")
	f.StringVar(&o.write, "write", "", "write the tables into this `page`, between their markers")
	f.IntVar(&o.site.Nodes, "nodes", 0, "print the load of a site with so many nodes, 1 or more")
	o.defineSite(f)
}

// defineSite defines the flags that describe a site, except -nodes.
func (o *options) defineSite(f *flag.FlagSet) {
	f.Float64Var(&o.site.Conns, "conns", 10000, "connections of a node")
	f.Float64Var(&o.site.Rate, "rate", 100, "messages per second, of the whole site")
	f.Float64Var(&o.site.Size, "size", 1024, "bytes of a message")
	f.Float64Var(&o.site.Channels, "channels", 1, "channels, of the whole site")
	f.Float64Var(&o.site.Interest, "interest", 0, "share of the nodes that receive a channel; 0 if connections choose nodes at random")
	f.Float64Var(&o.site.Follows, "follows", model.Follows, "most channels that a node follows one by one; with more it receives all; 0 is no bound")
	f.IntVar(&o.site.Replicas, "replicas", 3, "NATS servers, each of which holds the stream: 1 or 3")
	f.Float64Var(&o.site.Joins, "joins", 0, "channels per second that get their first connection at a node, in the whole site")
	f.DurationVar(&o.site.Presence, "presence", 0, "interval at which a node sends its receiver counts to the others; 0 is never")
	f.Float64Var(&o.site.Changed, "changed", 10, "channels in each of these messages")
	f.Float64Var(&o.site.Node.Cores, "cores", 8, "cores of each machine")
	f.Float64Var(&o.site.Node.Link, "link", 10e9, "bits per second of each machine's network")
}

// command runs the program with its arguments, without its name.
func command(ctx context.Context, args []string, out io.Writer) error {
	var o options
	f := flag.NewFlagSet("scale", flag.ContinueOnError)
	o.define(f)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return usageError{err}
	}
	if err := o.check(f); err != nil {
		return usageError{err}
	}
	costs := model.Measured()
	if o.measure {
		return o.measureCosts(ctx, costs, out)
	}
	if o.costs != "" {
		text, err := os.ReadFile(o.costs)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &costs); err != nil {
			return fmt.Errorf("%s: %w", o.costs, err)
		}
	}
	switch {
	case o.write != "":
		return writePage(o.write, costs.Tables())
	case o.site.Nodes != 0:
		_, err := fmt.Fprint(out, costs.Report(o.site))
		return err
	}
	return printTables(out, costs.Tables())
}

// check returns an error for flags that do not go together. A flag that would be ignored is an error, too.
func (o *options) check(f *flag.FlagSet) error {
	if f.NArg() > 0 || o.with.Rounds < 1 {
		return errors.New("there are flags only, and rounds are 1 or more")
	}
	var given []string
	ofSite := flag.NewFlagSet("", flag.ContinueOnError)
	new(options).defineSite(ofSite)
	f.Visit(func(set *flag.Flag) {
		if set.Name == "nodes" || ofSite.Lookup(set.Name) != nil {
			given = append(given, "-"+set.Name)
		}
	})
	switch {
	case len(given) == 0:
		return nil
	case o.measure || o.write != "":
		return fmt.Errorf("%s: for a site, and -measure and -write are not", strings.Join(given, ", "))
	case o.site.Nodes == 0:
		return fmt.Errorf("%s: for a site, so give -nodes as well: 1 or more", strings.Join(given, ", "))
	}
	o.site.NATS = o.site.Node
	return o.site.Check()
}

// measureCosts measures the constants and prints them. Those of docs/performance.md are kept from old.
func (o *options) measureCosts(ctx context.Context, old model.Costs, out io.Writer) error {
	o.with.Log = os.Stderr
	costs, err := measure.Run(ctx, o.with)
	if err != nil {
		return err
	}
	costs.Machine = "measured on " + time.Now().Format(time.DateOnly)
	costs.Send, costs.Handshake = old.Send, old.Handshake
	costs.ConnMemory, costs.KernelMemory = old.ConnMemory, old.KernelMemory
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(costs)
}

func printTables(out io.Writer, tables map[string]string) error {
	var names []string
	for name := range tables {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if _, err := fmt.Fprintf(out, "%s\n\n%s\n", name, tables[name]); err != nil {
			return err
		}
	}
	return nil
}

var part = regexp.MustCompile(`(?s)<!-- scale: ([a-z]+) -->\n.*?<!-- /scale -->`)

// fill replaces the text between the markers of page by the tables. A marker without a table is an error, and so is a table without a marker.
func fill(page string, tables map[string]string) (string, error) {
	var found []string
	var err error
	page = part.ReplaceAllStringFunc(page, func(s string) string {
		name := part.FindStringSubmatch(s)[1]
		if tables[name] == "" {
			err = fmt.Errorf("there is no table %q", name)
		}
		found = append(found, name)
		return "<!-- scale: " + name + " -->\n\n" + tables[name] + "\n<!-- /scale -->"
	})
	for name := range tables {
		if !slices.Contains(found, name) {
			err = fmt.Errorf("the page has no place for the table %q", name)
		}
	}
	if strings.Count(page, "<!-- scale: ") != len(found) {
		err = errors.New("a part of the page does not end")
	}
	return page, err
}

func writePage(file string, tables map[string]string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	page, err := fill(string(text), tables)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(page), 0o644)
}
