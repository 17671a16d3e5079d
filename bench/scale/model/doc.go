// Package model calculates the cost of a site with many crier nodes and NATS from measured constants (package measure).
// It measures nothing and does not read the clock: the same constants give the same tables, those of docs/scale.md.
//
//   - costs.go: the constants
//   - site.go: a site, its load, and the limit that it reaches first
//   - remedy.go: several clusters, mirrors, all connections of a channel at one node
//   - storm.go: clients that reconnect all at once, event by event
//   - queue.go: one node during that storm
//   - tables.go: the tables of docs/scale.md
//   - markdown.go: their Markdown
package model
