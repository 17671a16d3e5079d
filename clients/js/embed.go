// Package js has the client for browsers and Node, for programs in Go that serve it.
package js

import _ "embed"

// Crier is crier.js, an ES module.
//
//go:embed crier.js
var Crier []byte
