package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/crier-ws/crier/auth"
	"github.com/crier-ws/crier/internal/flags"
)

// tokenCmd has the flags of crier token.
type tokenCmd struct {
	NewKey bool   `help:"Make a key pair (Ed25519) and no token: --key is the file for the issuer of tokens, --public-key the file for the server's --auth. Existing files are kept."`
	Key    string `default:"private.pem" placeholder:"FILE" help:"Private key in PEM (Ed25519, P-256 or RSA), or a secret in one line (default: ${default})."`

	PublicKey string `default:"public.pem" placeholder:"FILE" help:"With --new-key: file for the public key (default: ${default})."`

	// The variable CRIER_PUBLISH sets the flag of serving.
	Join     []string   `placeholder:"PATTERN" help:"Channels that the bearer may connect to, such as news/*; repeat it or separate by commas for more."`
	Publish  []string   `env:"-" placeholder:"PATTERN" help:"Channels of --join that the bearer may publish to, such as news/chat; repeat it or separate by commas for more (default: none)."`
	Audience []string   `placeholder:"AUD" help:"Audience of the token, for servers with --auth-audience; repeat it or separate by commas for more (default: not stated)."`
	Issuer   string     `placeholder:"ISS" help:"Issuer of the token, for servers with --auth-issuer (default: not stated)."`
	Subject  string     `placeholder:"SUB" help:"User that the token is for; crier does not check it (default: not stated)."`
	TTL      flags.Span `name:"ttl" default:"1h" placeholder:"DURATION" help:"Time until the token expires and its connection is closed (default: ${default})."`
}

// Help is shown by --help.
func (*tokenCmd) Help() string {
	return `Prints a token (JWT) for servers with --auth, and nothing else. ` +
		`Patterns are as in the claim: * matches one part of a name, and ** at the end any number of parts. ` +
		`Examples: crier token --new-key; crier --channels --auth public.pem; ` +
		`crier token --join 'news/*' --publish news/chat --ttl 10m; ` +
		`CRIER_TOKEN=$(crier token --join 'news/*') crier sub news/chat.`
}

// Validate returns what is wrong with the flags. kong calls it.
func (cmd *tokenCmd) Validate() error {
	switch {
	case cmd.NewKey && (len(cmd.Join) > 0 || len(cmd.Publish) > 0):
		return hinted(errors.New("--new-key and --join: want one of them"), "make the keys first, then a token with --join")
	case cmd.NewKey:
		return nil
	case len(cmd.Join) == 0:
		return hinted(errors.New("--join is not given: with the token, a client could not connect to any channel"),
			"write --join 'news/*' for the channels below news, or --join '**' for all channels")
	case cmd.TTL == 0:
		return hinted(errors.New("--ttl is 0s, want more than 0"), "write --ttl 1h for an hour")
	}
	for _, list := range []struct {
		flag     string
		patterns []string
	}{{"--join", cmd.Join}, {"--publish", cmd.Publish}} {
		for _, pattern := range list.patterns {
			if err := checkChannelPattern(pattern); err != nil {
				return hinted(fmt.Errorf("%s: %w", list.flag, err),
					"patterns are like news/sport, news/* or news/**: see docs/protocol.md")
			}
		}
	}
	for _, pattern := range cmd.Publish {
		joins := func(join string) bool { return auth.Match(join, pattern) }
		if !strings.Contains(pattern, "*") && !slices.ContainsFunc(cmd.Join, joins) {
			return hinted(fmt.Errorf("--publish %s: no --join allows connections to that channel", pattern),
				"add --join %s", pattern)
		}
	}
	return nil
}

// checkChannelPattern returns an error if a pattern matches no channel that a client would name.
func checkChannelPattern(pattern string) error {
	if strings.HasPrefix(pattern, "/") {
		return fmt.Errorf("pattern %q: names of channels do not begin with /", pattern)
	}
	return auth.CheckPattern(pattern)
}

// Run prints a token, or makes a key pair. kong calls it.
func (cmd *tokenCmd) Run(out io.Writer, s streams) error {
	if cmd.NewKey {
		return cmd.makeKeys(s.log)
	}
	b, err := readSetting(cmd.Key)
	if err != nil {
		err = fileError("--key", cmd.Key, err)
		if errors.Is(err, os.ErrPermission) {
			return err
		}
		return hinted(err, "check the name; crier token --new-key makes a key pair")
	}
	signer, err := auth.ParseSigner(b)
	if err != nil {
		return hinted(wrongSetting(fmt.Errorf("--key %s: %w", cmd.Key, err)),
			"crier token --new-key makes a key pair; openssl rand -hex 32 makes a secret")
	}
	token, err := signer.Sign(auth.Claims{
		Join: cmd.Join, Publish: cmd.Publish, Expires: time.Now().Add(time.Duration(cmd.TTL)),
		Audience: cmd.Audience, Issuer: cmd.Issuer, Subject: cmd.Subject,
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, token)
	return err
}

// makeKeys writes a key pair to two new files.
func (cmd *tokenCmd) makeKeys(log io.Writer) error {
	private, public, err := auth.GenerateKey()
	if err != nil {
		return err
	}
	if err := writeNew("--key", cmd.Key, private, 0o600); err != nil {
		return err
	}
	if err := writeNew("--public-key", cmd.PublicKey, public, 0o644); err != nil {
		return errors.Join(err, os.Remove(cmd.Key)) // A private key alone is of no use.
	}
	printNote(log, fmt.Sprintf("wrote %s, which signs tokens: keep it secret; and %s, for crier --auth %s",
		cmd.Key, cmd.PublicKey, cmd.PublicKey))
	return nil
}

// writeNew writes a file that the flag names, and fails if the file exists.
func writeNew(flag, file string, b []byte, mode os.FileMode) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, os.ErrExist) {
		return hinted(wrongSetting(fmt.Errorf("%s %s: the file exists", flag, file)),
			"existing keys are kept: choose other names with --key and --public-key, or remove the file")
	}
	if err != nil {
		return fileError(flag, file, err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		return fileError(flag, file, errors.Join(err, os.Remove(file)))
	}
	return nil
}
