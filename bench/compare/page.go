package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// notMeasured stands where there are no results.
const notMeasured = "Not measured yet."

const partEnd = "<!-- /compare -->"

var partStart = regexp.MustCompile(`^<!-- compare: ([a-z0-9-]+) -->$`)

// fillPage writes the parts between their markers in a file.
func fillPage(file string, parts map[string]string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	filled, err := fill(string(text), parts)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(filled), 0o644)
}

// fill returns the text with what stands between each pair of markers replaced. The
// markers have lines of their own. A part may be in the text several times, or not at
// all; a marker without a part is an error, and nothing outside of markers changes.
func fill(text string, parts map[string]string) (string, error) {
	var b strings.Builder
	open := "" // the name of the part that we are in
	for line := range strings.Lines(text) {
		marker := strings.TrimSpace(line)
		start := partStart.FindStringSubmatch(marker)
		switch {
		case start != nil && open != "":
			return "", fmt.Errorf("part %q begins within part %q", start[1], open)
		case start != nil:
			open = start[1]
			part, ok := parts[open]
			if !ok {
				return "", fmt.Errorf("there is no part %q", open)
			}
			fmt.Fprintf(&b, "%s\n\n%s\n\n", marker, strings.TrimSpace(part))
		case marker == partEnd && open == "":
			return "", fmt.Errorf("%q ends no part", partEnd)
		case marker == partEnd:
			open = ""
			b.WriteString(line)
		case open == "":
			b.WriteString(line)
		}
	}
	if open != "" {
		return "", fmt.Errorf("part %q does not end", open)
	}
	return b.String(), nil
}
