package main

import (
	"testing"

	"github.com/crier-ws/crier/internal/docfiles"
)

// TestDocFiles checks that doc.go names all files.
func TestDocFiles(t *testing.T) { docfiles.Check(t) }
