package admin

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/httpjson"
)

// publish publishes the body as one message.
func (api *API) publish(w http.ResponseWriter, r *http.Request) {
	kind, err := kindOf(r.Header)
	if err != nil {
		failMediaType(w, err)
		return
	}
	channel, size := r.PathValue("channel"), 0
	api.servePublish(w, r, api.cfg.MaxMessageBytes, func(body []byte) (operation, error) {
		size = len(body)
		return func(ctx context.Context) ([]published, error) {
			p, err := api.srv.PublishTo(ctx, channel, broadcast.Message{Kind: kind, Payload: body})
			return []published{api.result(channel, p)}, err
		}, nil
	}, func(results []published) {
		spanPublished(r, channel, size, results[0])
		httpjson.Write(w, http.StatusOK, results[0])
	})
}

// operation publishes what a request has asked for.
type operation func(context.Context) ([]published, error)

// errKeyReused is the error for a key that an earlier request used with another body.
var errKeyReused = errors.New("the Idempotency-Key was used for another body: nothing was published")

// servePublish reads a body of at most n bytes, parses it into an operation, runs the operation unless a request with
// the same Idempotency-Key has done so, and answers.
func (api *API) servePublish(
	w http.ResponseWriter, r *http.Request, n int, parse func(body []byte) (operation, error), respond func([]published),
) {
	results, ok := api.perform(w, r, n, parse)
	if ok {
		respond(results)
	}
}

// perform does all of servePublish but the answer to success, so that a client that reads its answer slowly holds no
// slot.
func (api *API) perform(
	w http.ResponseWriter, r *http.Request, n int, parse func(body []byte) (operation, error),
) (results []published, ok bool) {
	waiting, cancel := context.WithTimeout(r.Context(), api.cfg.Wait)
	defer cancel()
	select {
	case api.slots <- struct{}{}:
		defer func() { <-api.slots }()
	case <-waiting.Done():
		failPublish(w, waiting.Err())
		return nil, false
	}
	key := r.Header.Get("Idempotency-Key")
	if len(key) > maxKey {
		httpjson.Fail(w, httpjson.BadHeader, "Idempotency-Key has %d bytes, at most %d", len(key), maxKey)
		return nil, false
	}
	body, ok := readBody(w, r, n)
	if !ok {
		return nil, false
	}
	spanBodyRead(r, len(body))
	publish, err := parse(body)
	if err != nil {
		failPublish(w, err)
		return nil, false
	}
	ctx, cancel := context.WithTimeout(r.Context(), api.cfg.Wait)
	defer cancel()
	if key == "" {
		results, err = publish(ctx)
	} else {
		// Only hashes are kept, so that all keys take the same memory.
		name, content := sha256.Sum256([]byte(r.URL.EscapedPath()+"\n"+key)), sha256.Sum256(body)
		ctx = broadcast.WithOnce(ctx, sha256.Sum256(slices.Concat(name[:], content[:])))
		results, err = api.once.do(ctx, name, content, publish)
	}
	if err != nil {
		failPublish(w, err)
		return nil, false
	}
	return results, true
}

// kindOf returns the kind of message that the headers of a request declare: text for text/* and JSON, binary for
// application/octet-stream. The default is text.
func kindOf(header http.Header) (broadcast.Kind, error) {
	if coding := header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return 0, fmt.Errorf("Content-Encoding is %q: send the body as it is", coding)
	}
	contentType := header.Get("Content-Type")
	if contentType == "" {
		return broadcast.Text, nil
	}
	typ, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return 0, fmt.Errorf("Content-Type is %q, want it as text/plain; charset=utf-8", contentType)
	}
	switch {
	case typ == "application/octet-stream":
		return broadcast.Binary, nil
	case !isText(typ):
		return 0, fmt.Errorf("Content-Type is %q, want text/plain, application/json or application/octet-stream", typ)
	case !isUTF8(params["charset"]):
		return 0, fmt.Errorf("the charset is %q, and text messages are UTF-8: convert the body, "+
			"or send it as application/octet-stream", params["charset"])
	}
	return broadcast.Text, nil
}

// isText reports whether a media type is for text messages.
func isText(typ string) bool {
	switch typ {
	case "application/json", "application/x-ndjson", "application/ndjson", "application/jsonl",
		"application/x-www-form-urlencoded": // The default of curl -d.
		return true
	}
	return strings.HasPrefix(typ, "text/") || strings.HasSuffix(typ, "+json")
}

// isUTF8 reports whether a charset is UTF-8 or ASCII, or is empty. The names of UTF-8 are those of the Encoding
// Standard, section 4.2.
func isUTF8(charset string) bool {
	switch strings.ToLower(strings.TrimSpace(charset)) {
	case "", "utf-8", "utf8", "unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8", "x-unicode20utf8",
		"us-ascii", "ascii":
		return true
	}
	return false
}

func failMediaType(w http.ResponseWriter, err error) {
	httpjson.Fail(w, httpjson.MediaType, "%v", err)
}

// readBody reads a body of at most n bytes. If that fails, it answers and returns false.
func readBody(w http.ResponseWriter, r *http.Request, n int) ([]byte, bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(n)))
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return body, true
	case errors.As(err, &large):
		httpjson.Fail(w, httpjson.TooLarge, "the body is larger than %d bytes", n)
	case errors.Is(err, os.ErrDeadlineExceeded):
		httpjson.Fail(w, httpjson.BodyTimeout, "the body took too long")
	default:
		httpjson.Fail(w, httpjson.BadBody, "the body ended early, or its chunks are malformed")
	}
	return nil, false
}

// failPublish answers with the reason why nothing was published.
func failPublish(w http.ResponseWriter, err error) {
	p := httpjson.Problem{Error: plain(err), Code: httpjson.BadMessage}
	switch {
	case errors.Is(err, broadcast.ErrTooLarge):
		p.Code = httpjson.TooLarge
	case errors.Is(err, broadcast.ErrChannel):
		p.Code = httpjson.BadChannel
	case errors.Is(err, errKeyReused):
		p.Code = httpjson.KeyReused
	case errors.Is(err, broadcast.ErrServerClosed):
		p.Code = httpjson.Draining
	case errors.Is(err, broadcast.ErrUnavailable):
		p.Code = httpjson.Unavailable
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		p.Code, p.Error = httpjson.Behind, "the server is behind: nothing was published"
	}
	var line *lineError
	if errors.As(err, &line) {
		p.Line, p.Error = line.line, plain(line.err)
	}
	httpjson.Write(w, httpjson.Statuses[p.Code], p)
}

// plain returns the text of an error without the name of the Go package.
func plain(err error) string { return strings.TrimPrefix(err.Error(), "broadcast: ") }
