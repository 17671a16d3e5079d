package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/crier-ws/crier/internal/flags"
	"github.com/crier-ws/crier/internal/term"
)

// pubCmd has the flags of crier pub. They are immutable after parsing.
type pubCmd struct {
	Channel string `arg:"" optional:"" help:"Channel to publish to; without it, the channel without a name."`
	File    string `arg:"" optional:"" type:"existingfile" help:"File whose lines are published; without it, standard input."`

	AdminURL  string     `name:"admin-url" default:"http://127.0.0.1:18001" placeholder:"URL" help:"URL of the server's --admin (default: ${default})."`
	TokenFile string     `placeholder:"FILE" help:"File with the token of the server's --admin."`
	Retry     flags.Span `default:"30s" placeholder:"DURATION" help:"How long to retry while the server is unreachable or overloaded (default: ${default})."`
	JSON      bool       `name:"json" help:"Print a line of JSON for each message: its ID and the number of receivers. In a cluster, the number is that of all servers, as far as they have reported."`
}

// Help is shown by --help.
func (*pubCmd) Help() string {
	return `Publishes each line as a text message, in order and exactly once, even if a request has to be repeated. ` +
		`Lines that are available at the same time are sent in one request. ` +
		`Examples: echo 'goal!' | crier pub news/sport; crier pub news headlines.txt; tail -f log | crier pub --json ops. ` +
		`The exit code is 0 if all lines are published, or 1 if not: then standard error has the last published line. ` +
		`Lines are published even if nobody reads the output of --json.`
}

// Validate returns an error for invalid flags and arguments. kong calls it.
func (cmd *pubCmd) Validate() error {
	u, err := url.Parse(cmd.AdminURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("--admin-url is %q, want http://HOST:PORT or https://HOST:PORT", cmd.AdminURL)
	}
	return checkChannelArgument("pub", cmd.Channel)
}

// checkChannelArgument returns an error for a channel that looks like an address.
func checkChannelArgument(command, channel string) error {
	fault := fmt.Errorf("CHANNEL is %q, want the name alone, such as news/sport", withoutQuery(channel))
	u, err := url.Parse(channel)
	switch {
	case strings.Contains(channel, "://") && (err != nil || u.Host == ""), strings.HasPrefix(channel, "//"):
		return hinted(fault, "crier %s --help describes its arguments", command)
	case strings.Contains(channel, "://") && command == "sub":
		return hinted(fault, "write crier sub --server ws://%s %s", u.Host, strings.TrimPrefix(u.Path, "/"))
	case strings.Contains(channel, "://"):
		return hinted(fault, "write crier pub %s, and --admin-url for the address of the server's --admin",
			strings.TrimPrefix(u.Path, "/"))
	case strings.HasPrefix(channel, "/"):
		return hinted(fault, "write crier %s %s", command, strings.TrimPrefix(channel, "/"))
	}
	return nil
}

// Limits of a request.
const (
	batchLines = 1000
	batchBytes = 1 << 20
)

// publisher publishes lines. Its fields are owned by the goroutine of Run.
type publisher struct {
	cmd   *pubCmd
	token string
	out   io.Writer
	log   io.Writer
	done  int // The number of published lines.
}

// Run publishes all lines of its input. kong calls it.
func (cmd *pubCmd) Run(out io.Writer, s streams) error {
	in := io.Reader(os.Stdin)
	if cmd.File != "" {
		f, err := os.Open(cmd.File)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	if term.IsTerminal(os.Stdin) && cmd.File == "" && term.IsTerminal(s.log) {
		printNote(s.log, "publishing each line that you type; Ctrl-D ends")
	}
	p := &publisher{cmd: cmd, out: out, log: s.log}
	if cmd.TokenFile != "" {
		token, err := readToken("token-file", cmd.TokenFile)
		if err != nil {
			return err
		}
		if token == "" {
			err := fmt.Errorf("--token-file %s is empty", cmd.TokenFile)
			return hinted(wrongSetting(err), "want the token alone, in one line")
		}
		p.token = token
	}
	return p.publishAll(in)
}

// publishAll publishes the lines of in as they arrive, until its end.
func (p *publisher) publishAll(in io.Reader) error {
	lines := make(chan []byte, batchLines)
	failed := make(chan error, 1)
	go func() { // Ends at the end of in, or with the process.
		defer close(lines)
		rd := bufio.NewReaderSize(in, 64<<10)
		for {
			line, err := rd.ReadBytes('\n')
			if len(line) > 0 {
				lines <- bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
			}
			if err != nil {
				if err != io.EOF {
					failed <- err
				}
				return
			}
		}
	}()
	for line := range lines {
		batch, size := [][]byte{line}, len(line)
		for more := true; more && len(batch) < batchLines && size < batchBytes; {
			select {
			case line, ok := <-lines:
				if more = ok; ok {
					batch, size = append(batch, line), size+len(line)
				}
			default:
				more = false
			}
		}
		if err := p.publish(batch); err != nil {
			return err
		}
	}
	select {
	case err := <-failed:
		return fmt.Errorf("after line %d: %w", p.done, err)
	default:
		return nil
	}
}

// publish publishes all lines of a batch or none. It retries for the time of --retry.
func (p *publisher) publish(batch [][]byte) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	for i, line := range batch {
		if !utf8.Valid(line) {
			err := p.failed(fmt.Errorf("line %d is not valid UTF-8", p.done+i+1))
			return hinted(err, "lines are text messages; iconv -t UTF-8 converts them")
		}
		// Encoding into a Buffer cannot fail.
		_ = enc.Encode(map[string]string{"channel": p.cmd.Channel, "data": string(line)})
	}
	key := rand.Text() // A batch whose request got no answer may have been published.
	until := time.Now().Add(time.Duration(p.cmd.Retry))
	for tries := 0; ; tries++ {
		answer, wait, err := p.post(body.Bytes(), key)
		if err == nil {
			p.done += len(batch)
			return p.print(answer)
		}
		var refused *refusedError
		if errors.As(err, &refused) && refused.line > 0 {
			return p.failed(fmt.Errorf("line %d: %w", p.done+refused.line, err))
		}
		wait += mathrand.N(min(100*time.Millisecond<<min(tries, 10), 5*time.Second))
		if refused != nil && refused.final() || time.Now().Add(wait).After(until) {
			return p.failed(err)
		}
		if tries == 0 {
			reason := oneLine(p.server().explain(err))
			printLine(p.log, fmt.Sprintf("%s; retrying for %v", reason, time.Duration(p.cmd.Retry)))
		}
		time.Sleep(wait)
	}
}

// print prints an answer if --json is given. It returns nil if nobody reads the output any longer, so that the other
// lines are still published.
func (p *publisher) print(answer []byte) error {
	if !p.cmd.JSON {
		return nil
	}
	_, err := p.out.Write(answer)
	if errors.Is(err, errReaderGone) {
		p.out, err = io.Discard, nil
	}
	return err
}

// server returns the server as the peer that explains errors.
func (p *publisher) server() peer {
	return peer{
		flag: "--admin-url", addr: p.cmd.AdminURL, is: "--admin", want: "http://HOST:PORT", plain: "http",
		statuses: adminStatuses,
	}
}

// failed returns err with the number of published lines.
func (p *publisher) failed(err error) error {
	err = p.server().explain(err)
	hint := hintOf(err)
	if strings.Contains(err.Error(), "--channels") {
		hint = "start crier with --channels; without it there is a single channel, " +
			"to which crier pub without a CHANNEL publishes"
	}
	return hinted(fmt.Errorf("%w; published up to line %d", err, p.done), "%s", hint)
}

// refusedError is an answer of a server that refuses a request.
type refusedError struct {
	code   int    // The HTTP status.
	status string // The status line.
	text   string // The reason.
	line   int    // The refused line of a batch, from 1 on, or 0.
}

func (e *refusedError) Error() string { return e.status + ": " + e.text }

// StatusCode returns the HTTP status.
func (e *refusedError) StatusCode() int { return e.code }

// final reports whether a repeated request would be refused as well.
func (e *refusedError) final() bool { return e.code != http.StatusServiceUnavailable }

// post sends one request. After an error other than a final *refusedError, the caller may repeat the request after
// wait.
func (p *publisher) post(body []byte, key string) (answer []byte, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	target := strings.TrimSuffix(p.cmd.AdminURL, "/") + "/v1/publish"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, 0, err
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	r.Header.Set("Idempotency-Key", key)
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode == http.StatusOK {
		return answer, 0, err
	}
	var problem struct {
		Error string
		Line  int
	}
	if json.Unmarshal(answer, &problem) != nil {
		problem.Error = strings.TrimSpace(string(answer))
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // 0 without the header.
	err = &refusedError{resp.StatusCode, resp.Status, problem.Error, problem.Line}
	return nil, time.Duration(seconds) * time.Second, err
}
