# make dist: a tarball with all that a host needs, into DIST, for ARCH. The same commit makes
# the same bytes; see deploy/dist.
#     make dist ARCH=arm64
# make deb: the same as a Debian package, beside the tarball; see deploy/deb.
# make npm: packages for npm, of the tarballs for both processors; see deploy/npm.
# make man: the manual pages, into DIST/man.

DIST = dist
ARCH = $(shell go env GOARCH)

.PHONY: dist deb npm man

dist:
	deploy/dist "$(DIST)" "$(ARCH)"

deb:
	deploy/deb "$(DIST)" "$(ARCH)"

npm:
	deploy/npm "$(DIST)" "$$(deploy/dist "$(DIST)" amd64)" "$$(deploy/dist "$(DIST)" arm64)"

man:
	go run ./cmd/crier man "$(DIST)/man"
