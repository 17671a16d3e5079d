package deploy

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// image is what a Containerfile's last stage makes, and how what it copies is built.
type image struct {
	base        string
	build       string // The last RUN of the stage before.
	copies      []string
	user        string
	env         []string
	entrypoint  []string
	healthcheck []string
}

// readImage reads the Containerfile, as far as ours goes: an instruction is a line.
func readImage(t *testing.T) image {
	t.Helper()
	b, err := os.ReadFile("../../deploy/container/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	var img image
	run := ""
	for line := range strings.Lines(string(b)) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verb {
		case "", "#", "ARG", "WORKDIR", "EXPOSE", "STOPSIGNAL":
		case "FROM":
			img = image{base: rest, build: run}
		case "RUN":
			run = rest
		case "COPY":
			img.copies = append(img.copies, rest)
		case "USER":
			img.user = rest
		case "ENV":
			img.env = append(img.env, rest)
		case "ENTRYPOINT":
			img.entrypoint = argv(t, rest)
		case "HEALTHCHECK":
			_, command, _ := strings.Cut(rest, "CMD ")
			img.healthcheck = argv(t, command)
		default:
			if !strings.HasPrefix(verb, "#") {
				t.Fatalf("the test does not know %q", line)
			}
		}
	}
	return img
}

// argv reads the form of a command that needs no shell.
func argv(t *testing.T, s string) (args []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &args); err != nil || len(args) == 0 {
		t.Fatalf("%q needs a shell, and there is none: %v", s, err)
	}
	return args
}
