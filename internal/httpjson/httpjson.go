// Package httpjson has the common parts of crier's HTTP handlers for back ends: answers in JSON, a single form of
// errors, and strict parsing of queries.
//
//	httpjson.go   answers, and the form of errors
//	query.go      the parameters that a request may have
package httpjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
)

// Problem is the body of an answer that reports an error.
type Problem struct {
	Error string `json:"error"`          // What was wrong, for people. It may change.
	Code  Code   `json:"code"`           // For programs.
	Line  int    `json:"line,omitempty"` // The line of a batch that was wrong, from 1 on.
}

// Code identifies a kind of error for programs. Each code belongs to one HTTP status.
type Code string

// The codes of problems.
const (
	BadRequest       Code = "bad_request"        // the request is not valid HTTP/1.1.
	HeadTooLarge     Code = "head_too_large"     // the head of the request is too large.
	BadPath          Code = "bad_path"           // the path is ambiguous.
	BadQuery         Code = "bad_query"          // the query cannot be read, or has an unknown parameter or a wrong value.
	BadHeader        Code = "bad_header"         // a header is wrong.
	BadBody          Code = "bad_body"           // the body is incomplete.
	BadMessage       Code = "bad_message"        // a message is malformed.
	BadChannel       Code = "bad_channel"        // a channel cannot have this name.
	Unauthorized     Code = "unauthorized"       // the token is missing or wrong.
	Forbidden        Code = "forbidden"          // the request may come from a page of another site.
	NotFound         Code = "not_found"          // no such path.
	NoChannel        Code = "no_such_channel"    // the channel has neither connections nor messages.
	NoConnection     Code = "no_such_connection" // there is no open connection with this ID.
	MethodNotAllowed Code = "method_not_allowed" // the header Allow lists the allowed methods.
	BodyTimeout      Code = "body_timeout"       // the body took too long.
	TooLarge         Code = "too_large"          // the body, or a message in it, is too large.
	MediaType        Code = "bad_media_type"     // the Content-Type, its charset or the Content-Encoding is not supported.
	KeyReused        Code = "key_reused"         // the Idempotency-Key was used for another body.
	Internal         Code = "internal"           // see the server's log.
	Behind           Code = "behind"             // the server is busy; try again.
	Draining         Code = "draining"           // the server is shutting down.
	Unavailable      Code = "unavailable"        // the cluster does not accept messages at the moment.
	NotReady         Code = "not_ready"          // the server is not a full part of its cluster.
	NotAlive         Code = "not_alive"          // connections are not read, or messages are not sent.
)

// Statuses has the status of each code.
var Statuses = map[Code]int{
	BadRequest:       http.StatusBadRequest,
	HeadTooLarge:     http.StatusRequestHeaderFieldsTooLarge,
	BadPath:          http.StatusBadRequest,
	BadQuery:         http.StatusBadRequest,
	BadHeader:        http.StatusBadRequest,
	BadBody:          http.StatusBadRequest,
	BadMessage:       http.StatusBadRequest,
	BadChannel:       http.StatusBadRequest,
	Unauthorized:     http.StatusUnauthorized,
	Forbidden:        http.StatusForbidden,
	NotFound:         http.StatusNotFound,
	NoChannel:        http.StatusNotFound,
	NoConnection:     http.StatusNotFound,
	MethodNotAllowed: http.StatusMethodNotAllowed,
	BodyTimeout:      http.StatusRequestTimeout,
	TooLarge:         http.StatusRequestEntityTooLarge,
	MediaType:        http.StatusUnsupportedMediaType,
	KeyReused:        http.StatusUnprocessableEntity,
	Internal:         http.StatusInternalServerError,
	Behind:           http.StatusServiceUnavailable,
	Draining:         http.StatusServiceUnavailable,
	Unavailable:      http.StatusServiceUnavailable,
	NotReady:         http.StatusServiceUnavailable,
	NotAlive:         http.StatusServiceUnavailable,
}

// Fail answers with an error.
func Fail(w http.ResponseWriter, code Code, format string, args ...any) {
	Write(w, Statuses[code], Problem{Error: fmt.Sprintf(format, args...), Code: code})
}

// Write answers with body as JSON. A client that gets 503 is told to try again.
func Write(w http.ResponseWriter, status int, body any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // People read the errors: "write & between parameters".
	if enc.Encode(body) != nil {
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"error":"the answer cannot be encoded as JSON","code":"internal"}` + "\n")
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if status == http.StatusServiceUnavailable && h.Get("Retry-After") == "" {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // An error means that the client has gone.
}
