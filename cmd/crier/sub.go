package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	crier "github.com/crier-ws/crier/clients/go"
	"github.com/crier-ws/crier/internal/flags"
	"github.com/crier-ws/crier/internal/term"
)

// subCmd has the flags of crier sub. They are immutable after parsing.
type subCmd struct {
	Channel string `arg:"" optional:"" help:"Channel to follow; without it, the channel without a name."`

	Server    string      `default:"ws://127.0.0.1:18000" placeholder:"URL" help:"URL of the server, with its --path if it has one (default: ${default})."`
	Since     string      `placeholder:"ID" help:"Begin after the message with this ID."`
	Last      flags.Count `placeholder:"N" help:"Begin with the last N messages (default: 0)."`
	Count     flags.Count `placeholder:"N" help:"End after N messages; 0 for never (default: 0)."`
	JSON      bool        `name:"json" help:"Print a line of JSON for each message, with its ID."`
	Once      bool        `help:"Exit with code 1 when the connection is lost, instead of reconnecting."`
	TokenFile string      `placeholder:"FILE" help:"File with the token (JWT) for a server with --auth; read at each connection."`
	Token     string      `placeholder:"TOKEN" help:"The token itself. Everybody on this host can read a command line: to keep the token secret, use the environment variable CRIER_TOKEN or --token-file."`
	Silence   flags.Span  `default:"90s" placeholder:"DURATION" help:"How long nothing may arrive, not even a ping, before the connection is considered dead; 0 for ever (default: ${default})."`
}

// Help is shown by --help.
func (*subCmd) Help() string {
	return `Prints each message as a line. After a lost connection it reconnects and resumes: ` +
		`each message is printed once, and standard error reports messages that are no longer available. ` +
		`On a terminal, control characters in messages are written out. ` +
		`A server without --channels sends all messages, whatever channel is named. ` +
		`Examples: crier sub news/sport; crier sub --last 10 --json news | jq .data; ` +
		`crier sub --count 1 deploy && ./restart. ` +
		`The exit code is 0 after --count messages, SIGINT or SIGTERM, or when nobody reads the output any longer, ` +
		`and 1 if the server refuses the connection or closes it for good.`
}

// Validate returns an error for invalid flags and arguments. kong calls it.
func (cmd *subCmd) Validate() error {
	if cmd.Since != "" && cmd.Last != 0 {
		return errors.New("--since and --last: want one of them")
	}
	if cmd.Token != "" && cmd.TokenFile != "" {
		return errors.New("--token and --token-file: want one of them")
	}
	if strings.ContainsFunc(cmd.Token, notInToken) {
		err := errors.New("--token has spaces or characters that are not ASCII")
		return hinted(err, "want the token alone, as crier token prints it")
	}
	if _, err := cmd.url(); err != nil {
		return err
	}
	return checkChannelArgument("sub", cmd.Channel)
}

// url returns the address of the channel.
func (cmd *subCmd) url() (string, error) {
	u, err := url.Parse(cmd.Server)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "" {
		return "", fmt.Errorf("--server is %q, want ws://HOST:PORT or wss://HOST:PORT", cmd.Server)
	}
	base := strings.TrimSuffix(u.Path, "/")
	u.Path = base + "/" + cmd.Channel
	u.RawPath = base + "/" + strings.ReplaceAll(url.PathEscape(cmd.Channel), "%2F", "/")
	return u.String(), nil
}

// errCounted ends a subscription after --count messages.
var errCounted = errors.New("--count messages have arrived")

// Run follows the channel until --count messages have arrived, or for ever. kong calls it.
func (cmd *subCmd) Run(out io.Writer, s streams) error {
	target, err := cmd.url()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	left := int(cmd.Count)
	server := peer{
		flag: "--server", addr: target, is: "--listen", want: "ws://HOST:PORT", plain: "ws", statuses: clientStatuses,
	}
	var lost error
	var lastHint string
	cfg := crier.Config{
		URL: target, Since: cmd.Since, Last: int(cmd.Last),
		Silence: cmp.Or(time.Duration(cmd.Silence), -1), // --silence 0 means for ever.
		Lost: func(err error, wait time.Duration) {
			if cmd.Once {
				lost = err
				stop()
				return
			}
			err = server.explain(err)
			printLine(s.log, fmt.Sprintf("%s; reconnecting in %v", oneLine(err), wait.Round(time.Millisecond)))
			if hint := hintOf(err); hint != lastHint {
				printHint(s.log, hint)
				lastHint = hint
			}
		},
	}
	if cmd.TokenFile != "" || cmd.Token != "" {
		if _, err := cmd.readToken(); err != nil {
			return err
		}
		cfg.Token = func(context.Context) (string, error) { return cmd.readToken() }
	}
	if term.IsTerminal(s.log) { // A person may wait long for a first message.
		cfg.Connected = func() {
			printNote(s.log, "connected to "+withoutQuery(target)+"; Ctrl-C ends")
			s.flush() // Before the first message.
		}
	}
	client, err := crier.New(cfg)
	if err != nil {
		return err
	}
	err = followUntil(ctx, client, func(e crier.Event) error {
		if e.IsGap() {
			printLine(s.log, fmt.Sprintf("the messages after %s, up to %s, are no longer available", e.From, e.To))
			return nil
		}
		if err := cmd.print(out, e); err != nil {
			return err
		}
		if left--; left == 0 {
			return errCounted
		}
		return nil
	})
	switch {
	case lost != nil:
		return server.explain(lost)
	case errors.Is(err, errCounted), errors.Is(err, errReaderGone), ctx.Err() != nil:
		return nil
	}
	return server.explain(err)
}

// followUntil calls client.Follow, but returns soon after ctx is done even if each blocks because nobody reads its
// output.
func followUntil(ctx context.Context, client *crier.Client, each func(crier.Event) error) error {
	ended := make(chan error, 1)
	go func() { ended <- client.Follow(ctx, each) }() // Ends soon after ctx is done, or with the process.
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(logPatience):
		return ctx.Err()
	}
}

// readToken returns the token to connect with.
func (cmd *subCmd) readToken() (string, error) {
	if cmd.Token != "" {
		return cmd.Token, nil
	}
	token, err := readToken("token-file", cmd.TokenFile)
	if err == nil && token == "" {
		err = wrongSetting(fmt.Errorf("--token-file %s is empty", cmd.TokenFile))
		err = hinted(err, "want the token alone, in one line, as crier token prints it")
	}
	return token, err
}

// print prints a message.
func (cmd *subCmd) print(out io.Writer, e crier.Event) error {
	if !cmd.JSON {
		_, err := out.Write(append(term.Safe(out, e.Payload), '\n'))
		return err
	}
	line := struct {
		ID     string  `json:"id"`
		Data   *string `json:"data,omitempty"`
		Base64 *string `json:"data_base64,omitempty"`
	}{ID: e.ID}
	var data string
	if e.Binary || !utf8.Valid(e.Payload) {
		data = base64.StdEncoding.EncodeToString(e.Payload)
		line.Base64 = &data
	} else {
		data = string(e.Payload)
		line.Data = &data
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(line)
}
