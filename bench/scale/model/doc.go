// Package model says what crier nodes on NATS cost, from what single things cost (package measure). Nothing in it
// measures, and nothing depends on the clock: the same constants give the same tables, those of docs/scale.md.
//
//   - costs.go: the constants
//   - site.go: a site, what it uses, and which limit it meets first
//   - remedy.go: more clusters, mirrors, channels in one place
//   - storm.go: clients that come back all at once, event by event; queue.go: one node in that
//   - tables.go: the tables of docs/scale.md; markdown.go: how they are written
package model
