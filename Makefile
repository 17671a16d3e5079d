# make dist: a tarball with all that a host needs, into DIST, for ARCH. The same commit makes
# the same bytes; see deploy/dist.
#     make dist ARCH=arm64
# make deb: the same as a Debian package, beside the tarball; see deploy/deb.
# make man: the manual pages, into DIST/man.

DIST = dist
ARCH = $(shell go env GOARCH)

.PHONY: dist deb man

dist:
	deploy/dist "$(DIST)" "$(ARCH)"

deb:
	deploy/deb "$(DIST)" "$(ARCH)"

man:
	go run ./cmd/crier man "$(DIST)/man"
