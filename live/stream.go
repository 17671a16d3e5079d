package live

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/crier-ws/crier/internal/httpjson"
	"golang.org/x/sys/unix"
)

// Stream answers a request for the snapshots: server-sent events, as docs/protocol.md has them.
// Errors are JSON: see httpjson.Problem.
func (l *Live) Stream(w http.ResponseWriter, r *http.Request) {
	if err := l.enter(r.Context()); err != nil {
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	defer l.leave()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{})                 // The server's is for requests; a recorder has none.
	_ = control.SetWriteDeadline(time.Now().Add(l.patience)) // The proxy flushes the head before it writes.
	l.proxy.ServeHTTP(&patient{w, control, l.patience}, r)
}

// defaultPatience is how long a viewer may take to read what there is.
const defaultPatience = 30 * time.Second

// patient is a ResponseWriter that may be written to for ever, and gives up on who does not read.
type patient struct {
	http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(p.patience)) // A recorder has none.
	return p.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// refusal is what the small server says in the place of events.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func (l *Live) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite:       rewrite,
		Transport:     l.transport,
		FlushInterval: -1,                         // At once.
		ErrorLog:      log.New(io.Discard, "", 0), // That a viewer has gone is no fault.
		ModifyResponse: func(r *http.Response) error {
			if r.StatusCode == http.StatusOK {
				return nil
			}
			text, _ := io.ReadAll(io.LimitReader(r.Body, 1<<10)) // What there is of it.
			return &refusal{r.StatusCode, string(text)}
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			var r *refusal
			if errors.As(err, &r) {
				refuse(w, r.status, r.text)
				return
			}
			refuse(w, http.StatusServiceUnavailable, err.Error())
		},
	}
}

// rewrite makes the request that the small server gets. Of the one that came it has where to
// begin, and nothing else: neither token nor origin.
func rewrite(r *httputil.ProxyRequest) {
	from, query := r.In.URL.Query(), url.Values{}
	for _, name := range []string{"since", "last"} {
		if from.Has(name) {
			query.Set(name, from.Get(name))
		}
	}
	r.Out.URL = &url.URL{Scheme: "http", Host: "live", Path: "/", RawQuery: query.Encode()}
	r.Out.Host = ""
	r.Out.Body, r.Out.ContentLength = http.NoBody, 0
	r.Out.Header = http.Header{"Accept": {"text/event-stream"}, "User-Agent": {""}}
	if id := r.In.Header.Get("Last-Event-ID"); id != "" {
		r.Out.Header.Set("Last-Event-ID", id)
	}
}

// dial connects to the small server, which has no address: over a pair of sockets.
func (l *Live) dial(context.Context, string, string) (net.Conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours, err := fileConn(fds[0])
	theirs, err2 := fileConn(fds[1])
	if err = errors.Join(err, err2); err == nil {
		l.mu.Lock()
		inner := l.inner // There is one: the caller is a viewer.
		l.mu.Unlock()
		err, theirs = inner.ServeConn(theirs), nil
	}
	if err == nil {
		return ours, nil
	}
	for _, conn := range []net.Conn{ours, theirs} {
		if conn != nil {
			conn.Close()
		}
	}
	return nil, err
}

// fileConn makes a connection of an fd, which it takes over.
func fileConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "socketpair")
	defer f.Close() // It makes one of its own.
	return net.FileConn(f)
}

func refuse(w http.ResponseWriter, status int, text string) {
	code := httpjson.BadQuery
	switch status {
	case http.StatusServiceUnavailable:
		code = httpjson.Behind
		w.Header().Set("Retry-After", "2")
	case http.StatusMethodNotAllowed: // HEAD: there is no head of a stream without the stream.
		code, text = httpjson.MethodNotAllowed, "this is a stream: want GET"
		w.Header().Set("Allow", http.MethodGet)
	}
	httpjson.Write(w, status, httpjson.Problem{Error: strings.TrimSpace(text), Code: code})
}
