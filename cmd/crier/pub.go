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

// pubCmd is the flags of publishing.
type pubCmd struct {
	Channel string `arg:"" optional:"" help:"Channel to publish to; the one without a name if it is left out."`
	File    string `arg:"" optional:"" type:"existingfile" help:"File whose lines are published; standard input if it is left out."`

	AdminURL  string     `name:"admin-url" default:"http://127.0.0.1:18001" placeholder:"URL" help:"Where the server has its --admin (default: ${default})."`
	TokenFile string     `placeholder:"FILE" help:"File with its token."`
	Retry     flags.Span `default:"30s" placeholder:"DURATION" help:"How long to try again when the server cannot be reached or is behind (default: ${default})."`
	JSON      bool       `name:"json" help:"Print a line of JSON for each message: its id and the number of receivers; in a cluster, those at all servers, as far as they have reported."`
}

// Help is shown by --help.
func (*pubCmd) Help() string {
	return `Publishes each line as a text message, in order and each once, also when the server has to be asked again. ` +
		`Lines that are there at the same time go in one request. ` +
		`Examples: echo 'goal!' | crier pub news/sport; crier pub news headlines.txt; tail -f log | crier pub --json ops. ` +
		`The exit code is 0 if all are published, 1 if not: then standard error says from which line on. ` +
		`Lines are published also when nobody reads what --json prints.`
}

// Validate finds what is wrong with the flags. kong calls it.
func (cmd *pubCmd) Validate() error {
	u, err := url.Parse(cmd.AdminURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("--admin-url is %q, want http://HOST:PORT or https://HOST:PORT", cmd.AdminURL)
	}
	return checkChannelArgument("pub", cmd.Channel)
}

// checkChannelArgument returns what is wrong with a channel that looks like an address.
func checkChannelArgument(command, channel string) error {
	fault := fmt.Errorf("CHANNEL is %q, want the name alone, as news/sport", withoutQuery(channel))
	u, err := url.Parse(channel)
	switch {
	case strings.Contains(channel, "://") && (err != nil || u.Host == ""), strings.HasPrefix(channel, "//"):
		return hinted(fault, "crier %s --help says what it takes", command)
	case strings.Contains(channel, "://") && command == "sub":
		return hinted(fault, "write crier sub --server ws://%s %s", u.Host, strings.TrimPrefix(u.Path, "/"))
	case strings.Contains(channel, "://"):
		return hinted(fault, "write crier pub %s, and --admin-url for the address of the server's --admin", strings.TrimPrefix(u.Path, "/"))
	case strings.HasPrefix(channel, "/"):
		return hinted(fault, "write crier %s %s", command, strings.TrimPrefix(channel, "/"))
	}
	return nil
}

// Bounds of a request.
const (
	batchLines = 1000
	batchBytes = 1 << 20
)

// publisher publishes lines.
type publisher struct {
	cmd   *pubCmd
	token string
	out   io.Writer
	log   io.Writer
	done  int // Lines that are published.
}

// Run publishes all there is.
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
		note(s.log, "publishing each line that you type; Ctrl-D ends")
	}
	p := &publisher{cmd: cmd, out: out, log: s.log}
	if cmd.TokenFile != "" {
		token, err := readToken("token-file", cmd.TokenFile)
		if err != nil {
			return err
		}
		if token == "" {
			return hinted(wrongSetting(fmt.Errorf("--token-file %s is empty", cmd.TokenFile)), "want the token alone, in one line")
		}
		p.token = token
	}
	return p.publishAll(in)
}

// publishAll publishes lines as they come.
func (p *publisher) publishAll(in io.Reader) error {
	lines := make(chan []byte, batchLines)
	failed := make(chan error, 1)
	go func() { // Ends with what there is to read, or with the process.
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
		return fmt.Errorf("behind line %d: %w", p.done, err)
	default:
		return nil
	}
}

// publish publishes lines, all or none.
func (p *publisher) publish(batch [][]byte) error {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	for i, line := range batch {
		if !utf8.Valid(line) {
			return hinted(p.failed(fmt.Errorf("line %d is not valid UTF-8", p.done+i+1)), "lines are text messages; iconv -t UTF-8 converts them")
		}
		_ = enc.Encode(map[string]string{"channel": p.cmd.Channel, "data": string(line)}) // A buffer takes everything.
	}
	key := rand.Text() // One that had no answer may have been published.
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
			say(p.log, fmt.Sprintf("%s; trying again for %v", oneLine(p.where().explain(err)), time.Duration(p.cmd.Retry)))
		}
		time.Sleep(wait)
	}
}

// print prints an answer if it is to be printed. If nobody reads the output any longer, lines are still published.
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

// where is the server, for errors.
func (p *publisher) where() peer {
	return peer{flag: "--admin-url", addr: p.cmd.AdminURL, is: "--admin", want: "http://HOST:PORT", plain: "http", statuses: adminStatuses}
}

// failed says with an error how far it came.
func (p *publisher) failed(err error) error {
	err = p.where().explain(err)
	hint := hintOf(err)
	if strings.Contains(err.Error(), "--channels") {
		hint = "start crier with --channels; without it there is one channel for all, to which crier pub without a CHANNEL publishes"
	}
	return hinted(fmt.Errorf("%w; published up to line %d", err, p.done), "%s", hint)
}

// refusedError is an answer that says no.
type refusedError struct {
	code   int
	status string
	text   string
	line   int // of the batch, or 0
}

func (e *refusedError) Error() string { return e.status + ": " + e.text }

// StatusCode is the status.
func (e *refusedError) StatusCode() int { return e.code }

// final says whether there is no point in asking again.
func (e *refusedError) final() bool { return e.code != http.StatusServiceUnavailable }

// post makes one request. With an error that is no *refusedError, or not a final one, it may be made
// again after wait.
func (p *publisher) post(body []byte, key string) (answer []byte, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(p.cmd.AdminURL, "/")+"/v1/publish", bytes.NewReader(body))
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
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // Without one it is 0.
	return nil, time.Duration(seconds) * time.Second, &refusedError{resp.StatusCode, resp.Status, problem.Error, problem.Line}
}
