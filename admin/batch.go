package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/crier-ws/crier/broadcast"
)

// lineError is an error in a line of a batch. Lines count from 1.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

func (e *lineError) Unwrap() error { return e.err }

// publishBatch publishes the messages of a body, one JSON object a line: all or none.
func (api *API) publishBatch(w http.ResponseWriter, r *http.Request) {
	if _, err := kindOf(r.Header); err != nil {
		failMediaType(w, err)
		return
	}
	api.servePublish(w, r, api.cfg.MaxBatchBytes, func(body []byte) (operation, error) {
		messages, lines, err := parseBatch(body)
		return func(ctx context.Context) ([]published, error) {
			return api.publishAll(ctx, messages, lines)
		}, err
	}, func(results []published) {
		spanBatch(r, len(results))
		answerLines(w, results)
	})
}

// publishAll publishes the messages of a batch. lines has the line number of each. One batch at a time is published: the
// others wait, until ctx is done.
func (api *API) publishAll(ctx context.Context, messages []broadcast.Addressed, lines []int) ([]published, error) {
	select {
	case api.batch <- struct{}{}:
		defer func() { <-api.batch }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	all, err := api.srv.PublishAll(ctx, messages)
	var wrong *broadcast.AddressedError
	if errors.As(err, &wrong) {
		return nil, &lineError{lines[wrong.Index], wrong.Err}
	}
	results := make([]published, len(all))
	for i, p := range all {
		results[i] = api.result(messages[i].Channel, p)
	}
	return results, err
}

// parseBatch reads lines of {"channel": ..., "data": ...}; binary messages have "data_base64" instead. It also returns
// the line number of each message. Empty lines are skipped.
func parseBatch(body []byte) (messages []broadcast.Addressed, lines []int, err error) {
	number := 0
	for line := range bytes.Lines(body) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		m, err := parseLine(line)
		if err != nil {
			return nil, nil, &lineError{number, err}
		}
		messages = append(messages, m)
		lines = append(lines, number)
	}
	if len(messages) == 0 {
		return nil, nil, errors.New("the body is empty, want " + wantLine)
	}
	return messages, lines, nil
}

// wantLine describes a valid line, for errors.
const wantLine = `an object {"channel":"…","data":"…"} in each line`

// lineMembers are the members of the object.
var lineMembers = []string{"channel", "data", "data_base64"}

// parseLine returns the message of a line.
func parseLine(line []byte) (m broadcast.Addressed, err error) {
	var v struct {
		Channel member `json:"channel"`
		Data    member `json:"data"`
		Base64  member `json:"data_base64"`
	}
	if !utf8.Valid(line) {
		return m, errors.New("the line is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	switch err := dec.Decode(&v); {
	case errors.Is(err, errRepeated):
		return m, errRepeated
	case err != nil:
		return m, explainLine(line)
	}
	if _, err := dec.Token(); err != io.EOF {
		return m, errors.New("the line goes on after the message: want one message in each line")
	}
	switch {
	case v.Channel.text == nil:
		return m, errors.New("channel is missing")
	case (v.Data.text == nil) == (v.Base64.text == nil):
		return m, errors.New("want either data or data_base64")
	}
	m.Channel = *v.Channel.text
	if v.Data.text != nil {
		m.Message = broadcast.Message{Kind: broadcast.Text, Payload: []byte(*v.Data.text)}
		return m, nil
	}
	m.Message.Kind = broadcast.Binary
	if m.Payload, err = base64.StdEncoding.DecodeString(*v.Base64.text); err != nil {
		return m, errors.New("data_base64 is not base64: want the standard alphabet, with padding (RFC 4648, section 4)")
	}
	return m, nil
}

// member is the value of a member that must not be repeated: encoding/json takes the last one and drops the others.
type member struct {
	text *string // nil if the member is missing or null.
	seen bool
}

var errRepeated = errors.New("a member appears more than once in the object, want each once")

// UnmarshalJSON implements json.Unmarshaler.
func (m *member) UnmarshalJSON(b []byte) error {
	if m.seen {
		return errRepeated
	}
	m.seen = true
	return json.Unmarshal(b, &m.text)
}

// explainLine returns an error, in terms of JSON, for a line that is not a message.
func explainLine(line []byte) error {
	if line[0] == '[' {
		return fmt.Errorf("the line is %s, want %s, without brackets and commas between them", jsonType(line), wantLine)
	}
	if line[0] != '{' {
		return fmt.Errorf("the line is %s, want %s", jsonType(line), wantLine)
	}
	var members map[string]json.RawMessage
	var syntax *json.SyntaxError
	if err := json.NewDecoder(bytes.NewReader(line)).Decode(&members); errors.As(err, &syntax) {
		return fmt.Errorf("the line is not JSON: %w, at byte %d", syntax, syntax.Offset)
	} else if err != nil {
		return errors.New("the line ends in the middle of the JSON: want one message a line, without line breaks in it")
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		switch value := members[name]; {
		case !slices.ContainsFunc(lineMembers, func(known string) bool { return strings.EqualFold(name, known) }):
			return fmt.Errorf("unknown member %q: want channel, and data or data_base64", name)
		case value[0] == '"' || string(value) == "null":
		case strings.EqualFold(name, "data"):
			return fmt.Errorf(`data is %s, want a string; write JSON as a string: "{\"a\":1}"`, jsonType(value))
		default:
			return fmt.Errorf("%s is %s, want a string", name, jsonType(value))
		}
	}
	return errors.New("the line is not a message, want " + wantLine)
}

// jsonType names the type of a JSON value by its first byte.
func jsonType(value []byte) string {
	switch c := value[0]; {
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == '"':
		return "a string"
	case c == 't', c == 'f':
		return "a boolean"
	case c == 'n':
		return "null"
	case c == '-', '0' <= c && c <= '9':
		return "a number"
	}
	return "not JSON"
}

// answerLines answers a batch with a line of JSON for each message.
func answerLines(w http.ResponseWriter, results []published) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	for _, p := range results {
		_ = enc.Encode(p) // An error means that the client has gone.
	}
	_ = b.Flush()
}
