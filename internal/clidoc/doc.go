// Package clidoc makes manual pages and shell completion of a command line's one definition:
// kong's model, of which --help comes, too.
//
//	man.go         manual pages, man(7)
//	completion.go  what the shells have in common
//	bash.go, zsh.go, fish.go
//
// It knows programs with one level of commands, of which one may be the default. Packages that
// make completion for kong there are (kongplete, kong-completion), but none had a release
// since 2023, and each needs the program to be run at each key press.
package clidoc
