// Package clidoc generates manual pages, shell completion and a Markdown document from kong's model of a command
// line, from which kong generates --help.
//
//	man.go         manual pages, man(7)
//	markdown.go    a document with all flags
//	completion.go  the common parts of the completion of all shells
//	bash.go, zsh.go, fish.go
//
// It supports programs with one level of commands, one of which may be the default. Two libraries add completion to
// kong (kongplete, kong-completion), but neither has had a release since 2023, and both run the program at each key
// press.
package clidoc
