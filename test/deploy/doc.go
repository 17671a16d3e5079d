// Package deploy tests what is under deploy/ as far as that goes without systemd running and
// without containers: systemd's own checks of the units, and the image's one binary in a root
// that is empty but for it. What crier itself does for a service manager is tested in
// cmd/crier, and make dist in .ci/run.
package deploy
