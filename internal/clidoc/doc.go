// Package clidoc writes manual pages, shell completion and a Markdown document from the one definition of a command
// line: kong's model, which --help is made of, too.
//
//	man.go         manual pages, man(7)
//	markdown.go    a document with all flags
//	completion.go  what the completion of all shells has in common
//	bash.go, zsh.go, fish.go
//
// It knows programs with one level of commands, one of which may be the default. Two packages add completion to kong
// (kongplete, kong-completion): neither has had a release since 2023, and both run the program at each key press.
package clidoc
