package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/crier-ws/crier/bench/scale/model"
)

// page is where the tables stand.
const page = "../../docs/scale.md"

// TestPage: the tables of docs/scale.md are those that the program prints.
func TestPage(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	costs := model.Measured()
	filled, err := fill(string(text), costs.Tables())
	if err != nil {
		t.Fatal(err)
	}
	if filled != string(text) {
		t.Errorf("%s is not what comes of the constants: go run -C bench/scale . -write ../../docs/scale.md", page)
	}
	if !strings.Contains(filled, costs.Machine) {
		t.Errorf("%s does not say that the constants stand for %q", page, costs.Machine)
	}
}

func TestFill(t *testing.T) {
	tables := map[string]string{"a": "A\n", "b": "B\n"}
	for _, tt := range []struct{ name, page, want, err string }{
		{"both", "x\n<!-- scale: a -->\nold\n<!-- /scale -->\ny\n<!-- scale: b -->\n<!-- /scale -->\n",
			"x\n<!-- scale: a -->\n\nA\n\n<!-- /scale -->\ny\n<!-- scale: b -->\n\nB\n\n<!-- /scale -->\n", ""},
		{"one is missing", "<!-- scale: a -->\n<!-- /scale -->", "", `no place for the table "b"`},
		{"one too many", "<!-- scale: a -->\n<!-- /scale -->\n<!-- scale: b -->\n<!-- /scale --><!-- scale: c -->\n<!-- /scale -->", "", `no table "c"`},
		{"no end", "<!-- scale: a -->\n<!-- /scale -->\n<!-- scale: b -->\n<!-- /scale -->\n<!-- scale: a -->\n", "", "does not end"},
	} {
		got, err := fill(tt.page, tables)
		switch {
		case tt.err == "" && (err != nil || got != tt.want):
			t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.err)
		}
	}
}

// TestSite: what somebody asks for of a site of their own.
func TestSite(t *testing.T) {
	var out bytes.Buffer
	if err := command(t.Context(), []string{"-nodes", "50", "-rate", "500", "-channels", "1000", "-interest", "0"}, &out); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^the first limit [a-zA-Z ]+: [0-9,]+/s$`).MatchString(out.String()) {
		t.Errorf("got no limit:\n%s", &out)
	}
	for _, args := range [][]string{{"-nodes", "-1"}, {"-nodes", "3", "-replicas", "2"}, {"-nodes", "3", "-size", "NaN"}, {"-nodes", "3", "-interest", "2"},
		{"x"}, {"-rounds", "0"}, {"-no-such-flag"}, {"-measure", "-nodes", "3"}, {"-write", page, "-rate", "1"}} {
		if err := command(t.Context(), args, &out); exitCode(err) != 2 {
			t.Errorf("%q: got %v, want an error with exit code 2", args, err)
		}
	}
	if err := command(t.Context(), []string{"-costs", filepath.Join(t.TempDir(), "none")}, &out); err == nil || exitCode(err) != 1 {
		t.Errorf("costs that are not there: got %v, want an error with exit code 1", err)
	}
}

// TestNoSite: what is said of a site without how many nodes it has is not ignored.
func TestNoSite(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"-conns 20000 -rate 500", "-conns, -rate: for a site, so give -nodes as well"},
		{"-nodes 0 -conns 20000", "-conns, -nodes: for a site"},
		{"-nodes 0", "-nodes: for a site"},
	} {
		var out bytes.Buffer
		err := command(t.Context(), strings.Fields(tt.args), &out)
		if err == nil || exitCode(err) != 2 || !strings.HasPrefix(err.Error(), tt.want) || out.Len() > 0 {
			t.Errorf("%s: got %v, exit code %d, %q; want an error %q, exit code 2, and nothing", tt.args, err, exitCode(err), &out, tt.want)
		}
	}
}
