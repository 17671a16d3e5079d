// Package admin is the HTTP API of a broadcast server for back ends: they publish messages, list channels and
// connections, and close connections. It also serves a page that shows the server at work. openapi.json describes the
// API.
//
// The API belongs on a listener of its own, which must not be public. Package admin does not listen, and knows
// nothing of NATS: interfaces in Config tell it about the cluster.
//
// # Files, in the order in which a request passes
//
//   - admin.go: Config, API, the token
//   - routes.go: which request goes where, and which parameters it may have
//   - health.go: the probes
//   - publish.go: publishing a message
//   - batch.go: publishing many
//   - once.go: Idempotency-Key
//   - channels.go: listing channels
//   - connections.go: listing and closing connections
//   - cluster.go: the connections at other servers
//   - trace.go: spans of requests that publish
//
// # Glossary
//
//   - back end: a program of the site that uses the API.
//   - body: the content of a request: a message, or the lines of a batch.
//   - key: the value of the header Idempotency-Key. What was published with a key is not published again.
//   - walk: looking at all connections, or closing them; one request at a time does so.
//
// # Ownership
//
// Any number of goroutines serve requests. once has a mutex. The slots of an API are channels: whoever has put a value
// into one takes it out again.
package admin
