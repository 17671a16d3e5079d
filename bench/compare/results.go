package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

const (
	pageName    = "performance.md"
	figuresDir  = "performance" // beside the page
	resultsName = "results.json"
)

// results is what results.json holds.
type results struct {
	Environment environment  `json:"environment"`
	Quick       bool         `json:"quick,omitempty"`
	LeftOut     []string     `json:"left_out,omitempty"`
	Cases       []caseResult `json:"cases"` // in the order of cases
}

// caseResult is what came of one case.
type caseResult struct {
	Name  string `json:"name"`
	Mode  string `json:"mode"`
	Conns int    `json:"conns"`
	Rate  int    `json:"rate,omitempty"`
	plan
	Servers []server `json:"servers"`
}

// server returns a contender's figures, or nil.
func (c *caseResult) server(name string) *server {
	i := slices.IndexFunc(c.Servers, func(s server) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &c.Servers[i]
}

// figure returns a server's figure by its name. There is none if all rounds failed, or
// if s is nil.
func (s *server) figure(name string) (figure, bool) {
	if s == nil {
		return figure{}, false
	}
	i := slices.IndexFunc(s.Figures, func(f figure) bool { return f.Name == name })
	if i < 0 || len(s.Figures[i].Rounds) == 0 {
		return figure{}, false
	}
	return s.Figures[i], true
}

// find returns a case's result, or nil.
func (r *results) find(name string) *caseResult {
	i := slices.IndexFunc(r.Cases, func(c caseResult) bool { return c.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Cases[i]
}

// has tells whether a case was measured by this plan.
func (r *results) has(name string, p plan) bool {
	c := r.find(name)
	return c != nil && c.same(p)
}

// put adds a case's result or replaces it.
func (r *results) put(c caseResult) {
	r.Environment.Date = time.Now().Format(time.DateOnly)
	if old := r.find(c.Name); old != nil {
		*old = c
		return
	}
	r.Cases = append(r.Cases, c)
	order := caseNames()
	slices.SortStableFunc(r.Cases, func(a, b caseResult) int {
		return slices.Index(order, a.Name) - slices.Index(order, b.Name)
	})
}

// openResults returns what a run adds to: the results that are there, if the flags say
// that some of them stay, or none.
func (o *options) openResults(e environment, leftOut []string) (*results, error) {
	fresh := &results{Environment: e, Quick: o.quick, LeftOut: leftOut, Cases: []caseResult{}}
	if !o.resume && o.cases == nil {
		return fresh, nil
	}
	file := filepath.Join(o.out, figuresDir, resultsName)
	old, err := loadResults(file)
	if errors.Is(err, os.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return nil, err
	}
	if !old.Environment.same(e) || old.Quick != o.quick {
		return nil, fmt.Errorf("%s was taken elsewhere, so nothing can be added to it; "+
			"measure all anew without -resume and -cases, or choose another -out\nthere: %v\nhere:  %v",
			file, old.Environment, e)
	}
	old.LeftOut = leftOut
	return old, nil
}

func loadResults(file string) (*results, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &results{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// In strings there are no ends of lines, so that only white space is ever lost.
var (
	array  = regexp.MustCompile(`\[[^\[\]{}]*\]`)
	object = regexp.MustCompile(`\{[^{}]*\}`)
	indent = regexp.MustCompile(`\n *`)
)

// save writes the results so that an interruption leaves the old ones or the new ones.
func (r *results) save(file string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	// A line for each figure: easier to read, and to compare with the next run.
	for _, innermost := range []*regexp.Regexp{array, object} {
		text = innermost.ReplaceAllFunc(text, func(part []byte) []byte {
			return indent.ReplaceAll(part, nil)
		})
	}
	temporary := file + ".new"
	if err := os.WriteFile(temporary, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, file)
}

// publish writes the plots, and the tables into the page.
func (r *results) publish(out string) error {
	parts := map[string]string{"environment": r.about()}
	for _, name := range caseNames() {
		parts[name] = notMeasured
		if c := r.find(name); c != nil {
			parts[name] = c.table(r.Quick)
		}
	}
	for _, p := range pictures {
		file := filepath.Join(figuresDir, p.name+".svg")
		parts["plot-"+p.name] = notMeasured
		if c := p.draw(r); c != nil {
			if err := c.save(filepath.Join(out, file)); err != nil {
				return err
			}
			parts["plot-"+p.name] = fmt.Sprintf("![%s](%s)", c.title, filepath.ToSlash(file))
		} else if err := os.Remove(filepath.Join(out, file)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return fillPage(filepath.Join(out, pageName), parts)
}
