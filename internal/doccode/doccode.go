// Package doccode finds the code in the documents of the repository, for tests that check the code.
//
//	doccode.go  documents, code blocks and code spans
//	shell.go    commands of shell scripts
package doccode

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Documents returns the text of all Markdown files below root, by their paths relative to root.
func Documents(root string) (map[string]string, error) {
	docs := make(map[string]string)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
			return filepath.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		rel, _ := filepath.Rel(root, path)
		docs[rel] = string(text)
		return err
	})
	if err == nil && len(docs) < 8 {
		err = fmt.Errorf("doccode: got only %d documents below %s, want at least 8", len(docs), root)
	}
	return docs, err
}

// Block is a code block.
type Block struct {
	Line int    // The number of its first line, from 1 on.
	Kind string // The info string of its fence, or "indented".
	Text string
}

// indented begins each line of a code block without a fence.
const indented = "    "

// Blocks returns the code blocks of a Markdown text, in order.
func Blocks(text string) (blocks []Block) {
	var now *Block
	margin, blank := "", true
	for i, line := range strings.Split(text+"\n.", "\n") { // The line after the text ends the last block.
		bare := strings.TrimLeft(line, " ")
		fence := strings.HasPrefix(bare, "```")
		code := strings.HasPrefix(line, indented) && !strings.HasPrefix(bare, "- ")
		switch {
		case now != nil && now.Kind != "indented" && fence,
			now != nil && now.Kind == "indented" && bare != "" && !code:
			now.Text = strings.TrimRight(now.Text, "\n") + "\n"
			blocks = append(blocks, *now)
			now = nil
		case now != nil:
			now.Text += strings.TrimPrefix(line, margin) + "\n"
		case fence:
			margin = line[:len(line)-len(bare)]
			now = &Block{Line: i + 2, Kind: strings.TrimPrefix(bare, "```")}
		case code && blank:
			margin = indented
			now = &Block{Line: i + 1, Kind: "indented", Text: line[len(indented):] + "\n"}
		}
		blank = bare == ""
	}
	return blocks
}

var (
	span    = regexp.MustCompile("`([^`]+)`")
	comment = regexp.MustCompile(`(?m)^\s*(?:#|//)(?:   +|\t)(\S.*)$`)
)

// Spans returns the code spans of a Markdown text, in order.
func Spans(text string) (spans []string) {
	for _, b := range Blocks(text) {
		text = strings.Replace(text, b.Text, "", 1)
	}
	for _, m := range span.FindAllStringSubmatch(strings.ReplaceAll(text, "```", ""), -1) {
		spans = append(spans, strings.Join(strings.Fields(m[1]), " "))
	}
	return spans
}

// Comments returns the indented lines in the comments of a program or a configuration. They are commands.
func Comments(text string) (lines []string) {
	for _, m := range comment.FindAllStringSubmatch(text, -1) {
		lines = append(lines, m[1])
	}
	return lines
}
