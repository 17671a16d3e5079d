// Command compare measures crier, the bare floor and what people use in the same role
// today, and writes docs/performance.md from it.
//
//	go run -C bench/compare .            builds all, measures all cases, writes all: about 50 minutes
//	go run -C bench/compare . -quick     a try-out into a temporary directory: a few minutes
//	go run -C bench/compare . -resume    continues an interrupted run
//	go run -C bench/compare . -cases '^overload'   measures these cases again, and keeps the others
//	go run -C bench/compare . -from ../../docs/performance/results.json   tables and plots only
//
// It runs in the repository, on Linux with two free cores. What it writes below -out:
//
//	performance.md             the parts between "<!-- compare: NAME -->" and
//	                           "<!-- /compare -->"; what stands around them stays
//	performance/results.json   all figures, after each case
//	performance/*.svg          the plots
//
// In the order in which a run passes them:
//
//	main.go          flags, and the run as a whole
//	contender.go     who is compared, and how each is built and started
//	environment.go   what machine and which versions
//	case.go          what is measured
//	measure.go       one case, by bench/measure
//	results.go       results.json, and what of it can be kept
//	table.go         tables
//	plot.go          which plots, with what on their axes
//	chart.go         a plot, by gonum/plot
//	page.go          the marked parts of a page
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	rounds     int
	cases      *regexp.Regexp // nil for all
	contenders []string       // nil for all that can be built
	quick      bool
	resume     bool
	out        string
	from       string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	o, err := parseArgs(os.Args[1:])
	if err == nil {
		err = o.run(ctx)
	}
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func parseArgs(args []string) (*options, error) {
	o := &options{}
	var cases, contenders string
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.IntVar(&o.rounds, "rounds", 3, "measurements of each contender in each case")
	f.StringVar(&cases, "cases", "", "measure only the cases whose name matches this `regexp`; the others keep their results")
	f.StringVar(&contenders, "contenders", "", "`names` of those to measure, with commas (default all of "+
		strings.Join(contenderNames(), ",")+")")
	f.BoolVar(&o.quick, "quick", false, "try out: one round, few connections, short; the figures mean nothing")
	f.BoolVar(&o.resume, "resume", false, "keep the results that are there, and measure what is missing")
	f.StringVar(&o.out, "out", "", "`directory` to write to (default docs, with -quick a temporary one)")
	f.StringVar(&o.from, "from", "", "measure nothing: write tables and plots from this results.json `file`")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if contenders != "" {
		o.contenders = strings.Split(contenders, ",")
	}
	for _, name := range o.contenders {
		if !slices.Contains(contenderNames(), name) {
			return nil, fmt.Errorf("-contenders: no %q, there are %s", name, strings.Join(contenderNames(), ", "))
		}
	}
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("what is %q? All is said by flags, see -help", f.Arg(0))
	case o.rounds < 1:
		return nil, errors.New("-rounds must be at least 1")
	case o.from != "" && (o.resume || o.quick || cases != "" || contenders != ""):
		return nil, errors.New("-from measures nothing, so no other flag but -out goes with it")
	case o.quick:
		o.rounds = 1
	}
	if cases == "" {
		return o, nil
	}
	var err error
	if o.cases, err = regexp.Compile(cases); err != nil {
		return nil, fmt.Errorf("-cases: %w", err)
	}
	return o, nil
}

// run does what the flags say.
func (o *options) run(ctx context.Context) error {
	top, err := repository()
	if err != nil {
		return err
	}
	if err := o.openOut(top); err != nil {
		return err
	}
	if o.from != "" {
		r, err := loadResults(o.from)
		if err != nil {
			return err
		}
		return r.publish(o.out)
	}
	todo, err := o.selected()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "crier-compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	fmt.Println("building")
	k, err := buildKit(ctx, top, dir, o.contenders)
	if err != nil {
		return err
	}
	r, err := o.openResults(newEnvironment(ctx, top, k), k.leftOut)
	if err != nil {
		return err
	}
	if err := o.measureAll(ctx, k, todo, r); err != nil {
		return err
	}
	if err := r.publish(o.out); err != nil {
		return err
	}
	fmt.Println("written:", filepath.Join(o.out, pageName))
	return nil
}

// openOut makes the directory, with a page that can be filled.
func (o *options) openOut(top string) error {
	docs := filepath.Join(top, "docs")
	switch {
	case o.out == "" && o.quick:
		dir, err := os.MkdirTemp("", "crier-quick-")
		if err != nil {
			return err
		}
		o.out = dir
	case o.out == "":
		o.out = docs
	}
	if err := os.MkdirAll(filepath.Join(o.out, figuresDir), 0o755); err != nil {
		return err
	}
	page := filepath.Join(o.out, pageName)
	if _, err := os.Stat(page); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	text, err := os.ReadFile(filepath.Join(docs, pageName))
	if err != nil {
		return err
	}
	return os.WriteFile(page, text, 0o644)
}

// selected returns the cases that the flags name.
func (o *options) selected() ([]*benchCase, error) {
	var chosen []*benchCase
	for _, c := range cases(o.quick) {
		if o.cases == nil || o.cases.MatchString(c.name) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-cases: nothing matches, there are %s", strings.Join(caseNames(), ", "))
	}
	return chosen, nil
}

// measureAll measures what is not there yet, and writes results.json after each case.
func (o *options) measureAll(ctx context.Context, k *kit, todo []*benchCase, r *results) error {
	if o.resume {
		todo = slices.DeleteFunc(todo, func(c *benchCase) bool {
			return r.has(c.name, c.plan(k, o.rounds))
		})
	}
	fmt.Printf("%d cases, about %v\n", len(todo), expect(k, todo, o.rounds, 1))
	start, pace := time.Now(), 1.0
	for i, c := range todo {
		fmt.Printf("%d of %d, %s: about %v, and then %v\n", i+1, len(todo), c.name,
			expect(k, todo[i:i+1], o.rounds, pace), expect(k, todo[i+1:], o.rounds, pace))
		result, err := k.measure(ctx, c, o.rounds)
		if err != nil {
			return err
		}
		r.put(result)
		if err := r.save(filepath.Join(o.out, figuresDir, resultsName)); err != nil {
			return err
		}
		pace = float64(time.Since(start)) / float64(max(expect(k, todo[:i+1], o.rounds, 1), time.Second))
	}
	return nil
}

// expect returns how long cases will take, about. The pace is how much longer than
// estimated those before have taken.
func expect(k *kit, todo []*benchCase, rounds int, pace float64) time.Duration {
	var d time.Duration
	for _, c := range todo {
		d += time.Duration(pace * float64(c.estimate(k, rounds)))
	}
	return d.Round(time.Second)
}
