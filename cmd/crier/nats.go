package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/crier-ws/crier/cluster"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// files returns what is wrong with the files for NATS. nats.go reads them at each connect, and its errors do not tell
// which of them is wrong.
func (f *clusterFlags) files() error {
	seed := func(file string) error { _, err := nats.NkeyOptionFromSeed(file); return err }
	option := func(o nats.Option) error { return o(new(nats.Options)) }
	for _, file := range []struct {
		flag, name, want string
		read             func(file string) error
	}{
		{"--cluster-credentials", f.ClusterCredentials, "a user's JWT and seed, as nsc generate creds writes them", credentials},
		{"--cluster-nkey", f.ClusterNKey, "a user's seed, which begins with SU", seed},
		{"--cluster-ca", f.ClusterCA, "certificates in PEM", func(file string) error { return option(nats.RootCAs(file)) }},
		{"--cluster-cert", f.ClusterCert, "a certificate in PEM, and in --cluster-key its key", func(file string) error { return option(nats.ClientCert(file, f.ClusterKey)) }},
	} {
		if file.name == "" {
			continue
		}
		err := checkRegular(file.name)
		if err == nil {
			err = file.read(file.name)
		}
		if err != nil {
			var at *fs.PathError
			if errors.As(err, &at) && file.name == f.ClusterCert && at.Path == f.ClusterKey {
				file.flag, file.name = "--cluster-key", f.ClusterKey
			}
			if err = fileError(file.flag, file.name, err); hintOf(err) == "" {
				err = hinted(err, "want %s", file.want)
			}
			return err
		}
	}
	return nil
}

// credentials reads the parts of a file that nats.go reads when it connects.
func credentials(file string) error {
	var o nats.Options
	if err := nats.UserCredentials(file)(&o); err != nil {
		return err
	}
	if _, err := o.UserJWT(); err != nil {
		return err
	}
	_, err := o.SignatureCB(nil)
	return err
}

// hint returns what to do about an error of NATS, or otherwise if that is not known.
func (f *clusterFlags) hint(err error, otherwise string) string {
	text := strings.ToLower(err.Error())
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		return "docs/operations.md has the permissions that crier needs of NATS"
	case strings.Contains(text, "authorization"), strings.Contains(text, "authentication"):
		return "who is crier to NATS? --cluster-credentials or --cluster-nkey says so, or user and password in the URL, nats://USER:PASSWORD@HOST:4222"
	case errors.Is(err, cluster.ErrNoJetStream):
		return "nats-server -js has it, and the account needs its share; --cluster-mode fast does without"
	case errors.Is(err, cluster.ErrUnalterable):
		return fmt.Sprintf("delete the stream with all its messages (nats stream rm %s), or choose another --cluster-stream; then start crier again", f.ClusterStream)
	case errors.Is(err, cluster.ErrStream):
		return fmt.Sprintf("change the stream (nats stream edit %s), or --cluster-replicas, --cluster-max-bytes and --cluster-max-age; then start crier again", f.ClusterStream)
	case says(err, overlap):
		return "another stream has some of these subjects (nats stream ls): choose another --cluster-stream"
	case says(err, noRoom...):
		return fmt.Sprintf("--cluster-replicas takes %d servers of NATS with JetStream, each with room for --cluster-max-bytes (%s): nats server report jetstream shows what there is",
			max(1, f.ClusterReplicas), f.ClusterMaxBytes.Text())
	}
	return otherwise
}

// Codes of JetStream's errors, which are in nats-server's errors.json.
const overlap jetstream.ErrorCode = 10065 // Another stream has some of the subjects.

var noRoom = []jetstream.ErrorCode{ // No room, or too few servers for the replicas.
	10002, 10005, 10023, 10028, 10047, 10074, 10113, 10122,
}

// says reports whether err is JetStream's with one of these codes.
func says(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode)
}

// contradictsStream reports whether a server cannot start until the flags or the stream are changed: the existing
// stream differs from the flags, or another stream has its subjects. What NATS refuses otherwise, such as a user that
// it does not know, may be allowed later without a change of flags.
func contradictsStream(err error) bool {
	return errors.Is(err, cluster.ErrStream) || says(err, overlap)
}
