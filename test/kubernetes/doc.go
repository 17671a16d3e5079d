// Package kubernetes tests deploy/kubernetes: that the manifest is of Kubernetes' own types, field by field, that its
// parts fit each other, that a real crier takes its flags and answers its probes, and that what docs/operations.md
// does with it fits, too. It is a module of its own, so that those types are in none but this. It needs no cluster,
// and cannot say how one would run it.
package kubernetes
