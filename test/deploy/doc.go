// Package deploy tests what is under deploy/: systemd's own checks of the units, the tarball
// installed under a real systemd, and, without an engine for containers, the image's one binary in
// a root that is empty but for it. What crier itself does for a service manager is tested in
// cmd/crier, too, and that make dist makes the same bytes in .ci/run. The packages of npm are installed from a
// registry that the test serves.
package deploy
