package admin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/crier-ws/crier/broadcast"
)

// published is what became of a message.
type published struct {
	ID        string `json:"id"`
	Receivers int    `json:"receivers"`
}

// lineError says which line of a batch is wrong.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

func (e *lineError) Unwrap() error { return e.err }

// publish publishes the body as it is.
func (h *Handler) publish(w http.ResponseWriter, r *http.Request) {
	kind, err := kindOf(r.Header.Get("Content-Type"))
	if err != nil {
		fail(w, http.StatusUnsupportedMediaType, "%v", err)
		return
	}
	channel, size := r.PathValue("channel"), 0
	h.handle(w, r, h.cfg.MaxMessageBytes, func(body []byte) (thing, error) {
		size = len(body)
		return func(ctx context.Context) ([]published, error) {
			p, err := h.srv.PublishTo(ctx, channel, broadcast.Message{Kind: kind, Payload: body})
			return []published{published(p)}, err
		}, nil
	}, func(results []published) {
		spanPublished(r, channel, size, results[0])
		answer(w, http.StatusOK, results[0])
	})
}

// thing is what a request wants done.
type thing func(context.Context) ([]published, error)

// errKeyReused: the key of a request was another one's, which said something else.
var errKeyReused = errors.New("the Idempotency-Key was used for another body: nothing was published")

// handle reads a body of at most n bytes, has it made a thing to do, does that unless a request with the
// same Idempotency-Key has, and answers.
func (h *Handler) handle(w http.ResponseWriter, r *http.Request, n int, parse func(body []byte) (thing, error), respond func([]published)) {
	results, ok := h.do(w, r, n, parse)
	if ok {
		respond(results)
	}
}

// do is handle up to the answer, unless that is a refusal. Who reads its answer slowly holds no
// slot meanwhile.
func (h *Handler) do(w http.ResponseWriter, r *http.Request, n int, parse func(body []byte) (thing, error)) (results []published, ok bool) {
	waiting, cancel := context.WithTimeout(r.Context(), h.cfg.Wait)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-waiting.Done():
		failPublish(w, waiting.Err())
		return nil, false
	}
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKey {
		fail(w, http.StatusBadRequest, "Idempotency-Key has %d bytes, at most %d", len(key), maxKey)
		return nil, false
	}
	body, ok := read(w, r, n)
	if !ok {
		return nil, false
	}
	spanOf(r).AddEvent("body read")
	do, err := parse(body)
	if err != nil {
		failPublish(w, err)
		return nil, false
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.cfg.Wait)
	defer cancel()
	if key == "" {
		results, err = do(ctx)
	} else {
		// Only hashes are kept, so that a key takes up the same whatever its length.
		name, content := sha256.Sum256([]byte(r.URL.EscapedPath()+"\n"+key)), sha256.Sum256(body)
		ctx = broadcast.WithOnce(ctx, sha256.Sum256(slices.Concat(name[:], content[:])))
		results, err = h.once.do(ctx, name, content, do)
	}
	if err != nil {
		failPublish(w, err)
		return nil, false
	}
	return results, true
}

// kindOf says what a Content-Type makes of a body: text for text/* and JSON, binary for
// application/octet-stream. Without one it is text.
func kindOf(contentType string) (broadcast.Kind, error) {
	if contentType == "" {
		return broadcast.Text, nil
	}
	typ, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return 0, fmt.Errorf("Content-Type is %q: %w", contentType, err)
	}
	charset := strings.ToLower(params["charset"])
	switch {
	case typ == "application/octet-stream":
		return broadcast.Binary, nil
	case strings.HasPrefix(typ, "text/"), typ == "application/json", strings.HasSuffix(typ, "+json"),
		typ == "application/x-www-form-urlencoded": // What curl says without being asked.
		if charset != "" && charset != "utf-8" && charset != "us-ascii" {
			return 0, fmt.Errorf("the charset is %q, and messages are UTF-8", charset)
		}
		return broadcast.Text, nil
	}
	return 0, fmt.Errorf("Content-Type is %q, want text/plain, application/json or application/octet-stream", typ)
}

// read reads a body of at most n bytes, and answers if it cannot.
func read(w http.ResponseWriter, r *http.Request, n int) ([]byte, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(n)))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		fail(w, http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", n)
	case err != nil:
		fail(w, http.StatusBadRequest, "reading the body: %v", err)
	}
	return body, err == nil
}

// publishBatch publishes lines of JSON, all or none.
func (h *Handler) publishBatch(w http.ResponseWriter, r *http.Request) {
	h.handle(w, r, h.cfg.MaxBatchBytes, func(body []byte) (thing, error) {
		messages, lines, err := parseBatch(body)
		return func(ctx context.Context) ([]published, error) {
			return h.publishAll(ctx, messages, lines)
		}, err
	}, func(results []published) {
		spanBatch(r, len(results))
		answerLines(w, results)
	})
}

func (h *Handler) publishAll(ctx context.Context, messages []broadcast.Addressed, lines []int) ([]published, error) {
	select {
	case h.batch <- struct{}{}:
		defer func() { <-h.batch }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	all, err := h.srv.PublishAll(ctx, messages)
	var wrong *broadcast.AddressedError
	if errors.As(err, &wrong) {
		return nil, &lineError{lines[wrong.Index], wrong.Err}
	}
	results := make([]published, len(all))
	for i, p := range all {
		results[i] = published(p)
	}
	return results, err
}

// parseBatch reads lines of {"channel": ..., "data": ...}, or "data_base64" for what is binary.
// lines are their numbers; empty lines are left out.
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
		return nil, nil, errors.New(`the body has no line, want {"channel":"…","data":"…"}`)
	}
	return messages, lines, nil
}

func parseLine(line []byte) (m broadcast.Addressed, err error) {
	var v struct {
		Channel *string `json:"channel"`
		Data    *string `json:"data"`
		Base64  *[]byte `json:"data_base64"`
	}
	if !utf8.Valid(line) {
		return m, errors.New("not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return m, fmt.Errorf("no message in JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return m, errors.New("more than one JSON value in a line")
	}
	switch {
	case v.Channel == nil:
		return m, errors.New("channel is missing")
	case (v.Data == nil) == (v.Base64 == nil):
		return m, errors.New("want either data or data_base64")
	}
	m.Channel = *v.Channel
	if v.Data != nil {
		m.Message = broadcast.Message{Kind: broadcast.Text, Payload: []byte(*v.Data)}
	} else {
		m.Message = broadcast.Message{Kind: broadcast.Binary, Payload: *v.Base64}
	}
	return m, nil
}

// answerLines answers a batch, a line for each message.
func answerLines(w http.ResponseWriter, results []published) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	b := bufio.NewWriter(w)
	enc := json.NewEncoder(b)
	for _, p := range results {
		_ = enc.Encode(p) // Who has gone is owed no answer.
	}
	_ = b.Flush()
}
