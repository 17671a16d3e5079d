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

// files returns an error if a file for NATS cannot be used. nats.go reads the files each time it connects, and its
// errors do not name the file.
func (f *clusterFlags) files() error {
	seed := func(file string) error { _, err := nats.NkeyOptionFromSeed(file); return err }
	option := func(o nats.Option) error { return o(new(nats.Options)) }
	for _, file := range []struct {
		flag, name, want string
		read             func(file string) error
	}{
		{"--cluster-credentials", f.ClusterCredentials, "a user's JWT and seed, as nsc generate creds writes them",
			credentials},
		{"--cluster-nkey", f.ClusterNKey, "a user's seed, which begins with SU", seed},
		{"--cluster-ca", f.ClusterCA, "certificates in PEM",
			func(file string) error { return option(nats.RootCAs(file)) }},
		{"--cluster-cert", f.ClusterCert, "a certificate in PEM, and its key in --cluster-key",
			func(file string) error { return option(nats.ClientCert(file, f.ClusterKey)) }},
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

// credentials returns an error if a file does not have both parts that nats.go reads when it connects.
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

// hint returns what to do about an error of NATS, or otherwise if the error is not known.
func (f *clusterFlags) hint(err error, otherwise string) string {
	text := strings.ToLower(err.Error())
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		return "docs/operations.md has the permissions that crier needs of NATS"
	case strings.Contains(text, "authorization"), strings.Contains(text, "authentication"):
		return "NATS wants to know the user: give --cluster-credentials or --cluster-nkey, " +
			"or user and password in the URL, nats://USER:PASSWORD@HOST:4222"
	case errors.Is(err, cluster.ErrNoJetStream):
		return "start nats-server with -js, and give the account a share of it; --cluster-mode fast needs no JetStream"
	case errors.Is(err, cluster.ErrUnalterable):
		return fmt.Sprintf("delete the stream with all its messages (nats stream rm %s), or choose another "+
			"--cluster-stream; "+
			"then start crier again", f.ClusterStream)
	case errors.Is(err, cluster.ErrStream):
		return fmt.Sprintf("change the stream (nats stream edit %s), or --cluster-replicas, --cluster-max-bytes and "+
			"--cluster-max-age; then start crier again", f.ClusterStream)
	case hasCode(err, overlap):
		return "another stream has some of these subjects (nats stream ls): choose another --cluster-stream"
	case hasCode(err, noRoom...):
		return fmt.Sprintf("--cluster-replicas needs %d NATS servers with JetStream, each with room for "+
			"--cluster-max-bytes (%s); nats server report jetstream lists the servers and their room",
			max(1, f.ClusterReplicas), f.ClusterMaxBytes.Text())
	}
	return otherwise
}

// Codes of JetStream's errors, from errors.json of nats-server.
const overlap jetstream.ErrorCode = 10065 // Another stream has some of the subjects.

var noRoom = []jetstream.ErrorCode{ // No room, or too few servers for the replicas.
	10002, 10005, 10023, 10028, 10047, 10074, 10113, 10122,
}

// hasCode reports whether err is an error of JetStream with one of these codes.
func hasCode(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode)
}

// contradictsStream reports whether the flags or the stream must be changed before this server can start: the
// existing stream differs from the flags, or another stream has its subjects. Other refusals of NATS, such as an
// unknown user, may end without a change of flags.
func contradictsStream(err error) bool {
	return errors.Is(err, cluster.ErrStream) || hasCode(err, overlap)
}
