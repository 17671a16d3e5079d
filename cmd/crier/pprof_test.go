package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/leaktest"
)

const patience = 20 * time.Second // How long a test waits for an event.

func TestPprofAddress(t *testing.T) {
	for _, text := range []string{
		"", "127.0.0.1:6060", "127.0.0.1:0", "127.8.9.10:6060", "[::1]:6060", "[::ffff:127.0.0.1]:6060", "localhost:6060",
		"LocalHost:0",
	} {
		var got loopback
		if err := got.UnmarshalText([]byte(text)); err != nil || string(got) != text {
			t.Errorf("%q: got %q, %v, want it taken", text, got, err)
		}
	}
	for _, text := range []string{
		":6060", "0.0.0.0:6060", "[::]:6060", "10.0.0.1:6060", "192.168.1.5:6060", "128.0.0.1:6060", "126.255.255.255:6060",
		"[::2]:6060", "[fe80::1]:6060", "[::ffff:10.0.0.1]:6060", "example.org:6060", "localhost.example.org:6060",
		"127.0.0.1.nip.io:6060",
		"127.1:6060", "2130706433:6060", "6060", "127.0.0.1", "127.0.0.1:", "localhost", "::1:6060", "[::1]",
		"http://127.0.0.1:6060", " 127.0.0.1:6060",
	} {
		var got loopback
		err := got.UnmarshalText([]byte(text))
		if err == nil || got != "" || !strings.Contains(err.Error(), "127.0.0.1:PORT") {
			t.Errorf("%q: got %q, %v, want an error that says what to write", text, got, err)
		}
	}
}

func TestPprofCommandLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	addr := taken.Addr().String()
	tests := []struct {
		name string
		args string
		env  string // CRIER_PPROF
		code int
		says []string
	}{
		{"help", "serve --help", "", 0, []string{"--pprof=HOST:PORT", "$CRIER_PPROF"}},
		{"all interfaces", "--pprof :6060", "", 2, []string{"--pprof", `":6060"`, "loopback", "127.0.0.1:PORT"}},
		{"other host's", "serve --pprof 192.168.1.5:6060", "", 2,
			[]string{"--pprof", `"192.168.1.5:6060"`, "this host only", "127.0.0.1:PORT"}},
		{"from the environment", "", "0.0.0.0:6060", 2, []string{"--pprof", "CRIER_PPROF", `"0.0.0.0:6060"`}},
		{"port in use", "--listen 127.0.0.1:0 --pprof " + addr, "", 1, []string{"--pprof " + addr, "in use"}},
		{"port too large", "--listen 127.0.0.1:0 --pprof 127.0.0.1:65536", "", 2,
			[]string{"--pprof 127.0.0.1:65536", "port", "127.0.0.1:PORT"}},
		{"port of --listen in use", "--pprof 127.0.0.1:0 --listen " + addr, "", 1, []string{"--listen " + addr, "in use"}},
		{"empty is off", "--listen " + addr, "", 1, []string{"--listen " + addr, "in use"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CRIER_PPROF", tt.env)
			fds := leaktest.FDs()
			var out bytes.Buffer
			if got := run(strings.Fields(tt.args), &out, &out); got != tt.code {
				t.Errorf("exit code: got %d, want %d", got, tt.code)
			}
			for _, want := range tt.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("got %q, want it to say %q", out.String(), want)
				}
			}
			if tt.code != 0 && !isComplaint.MatchString(out.String()) {
				t.Errorf("got %q, want what is wrong and a hint, a line each", out.String())
			}
			if got := leaktest.FDs(); got > fds {
				t.Errorf("left %d fds open, want none", got-fds)
			}
		})
	}
}

// TestPprofLocalhost checks that all addresses of localhost must be loopback addresses.
func TestPprofLocalhost(t *testing.T) {
	tests := []struct {
		name, resolved string
		want           string // The host of the listener, or "" if it is refused.
	}{
		{"usual", "127.0.0.1", "127.0.0.1"},
		{"both, IPv6 first", "::1 127.0.0.1", "127.0.0.1"},
		{"mapped", "::ffff:127.0.0.1", "127.0.0.1"},
		{"elsewhere", "10.0.0.1", ""},
		{"also elsewhere", "127.0.0.1 10.0.0.1", ""},
		{"not found", "", ""},
	}
	defer func(old func(context.Context, string, string) ([]netip.Addr, error)) { lookup = old }(lookup)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lookup = func(_ context.Context, _, host string) (addrs []netip.Addr, err error) {
				if host != "localhost" || tt.resolved == "" {
					return nil, errors.New("no such host")
				}
				for s := range strings.FieldsSeq(tt.resolved) {
					addrs = append(addrs, netip.MustParseAddr(s))
				}
				return addrs, nil
			}
			ln, err := loopback("localhost:0").listen()
			if tt.want == "" {
				if err == nil {
					ln.Close()
					t.Fatalf("listens on %v, want an error", ln.Addr())
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			if host, _, _ := net.SplitHostPort(ln.Addr().String()); host != tt.want {
				t.Errorf("listens on %v, want %s", ln.Addr(), tt.want)
			}
		})
	}
}

// TestPprofOff checks that profiles are not served without the flag.
func TestPprofOff(t *testing.T) {
	p, err := startProfiles("", slog.New(slog.DiscardHandler))
	if p != nil || err != nil {
		t.Fatalf("got %v, %v, want nil, nil", p, err)
	}
	p.close()
	if got := len(p.attrs()); got != 0 {
		t.Errorf("the start line: got %d attributes, want none", got)
	}
}

// openProfiles serves profiles until the end of the test, and returns a client for them.
func openProfiles(t *testing.T) (p *endpoint, client *http.Client) {
	t.Helper()
	p, err := startProfiles("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return p, &http.Client{Transport: tr, Timeout: patience}
}

func (e *endpoint) url(path string) string { return "http://" + e.ln.Addr().String() + path }

// fetch requests a URL, after change has modified the request, and returns the status and the body.
func fetch(t *testing.T, client *http.Client, url string, change func(*http.Request)) (int, []byte) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(r)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// TestPprofProfiles checks the profiles that go tool pprof requests: they are compressed and name their samples.
func TestPprofProfiles(t *testing.T) {
	p, client := openProfiles(t)
	for path, want := range map[string]string{
		"heap": "inuse_space", "allocs": "alloc_space", "goroutine": "goroutine", "profile?seconds=1": "nanoseconds",
	} {
		status, body := fetch(t, client, p.url("/debug/pprof/"+path), nil)
		if status != http.StatusOK {
			t.Errorf("%s: got %d %q, want 200", path, status, body)
			continue
		}
		zr, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Errorf("%s: got %v, want gzip", path, err)
			continue
		}
		if plain, err := io.ReadAll(zr); err != nil || !strings.Contains(string(plain), want) {
			t.Errorf("%s: got %d bytes, %v, want a profile of %s", path, len(plain), err, want)
		}
	}
	for path, want := range map[string]string{
		"/debug/pprof/":                         "full goroutine stack dump",
		"/debug/pprof/cmdline":                  "crier.test",
		"/debug/pprof/symbol":                   "num_symbols: 1",
		"/debug/pprof/goroutine?debug=1":        "goroutine profile: total",
		"/debug/pprof/trace?seconds=0.01":       "go 1.",
		"/debug/pprof/nothing-of-this-name":     `"code":"not_found"`,
		"/":                                     "404",
		"/debug/vars":                           "404",
		"/debug/pprof/../../etc/passwd?debug=1": "404",
	} {
		if _, body := fetch(t, client, p.url(path), nil); !strings.Contains(string(body), want) {
			t.Errorf("%s: got %.100q, want it to say %q", path, body, want)
		}
	}
	if got := runtime.SetMutexProfileFraction(-1); got != 0 {
		t.Errorf("mutex profiling: got 1 in %d, want it off", got)
	}
}

// TestPprofForeignPages checks requests that a page in a browser on this host can send.
func TestPprofForeignPages(t *testing.T) {
	p, client := openProfiles(t)
	_, port, _ := net.SplitHostPort(p.ln.Addr().String())
	tests := []struct {
		name, host, site string
		want             int
	}{
		{"address", "127.0.0.1:" + port, "", 200},
		{"another of 127.0.0.0/8", "127.0.0.2:" + port, "", 200},
		{"IPv6", "[::1]:" + port, "", 200},
		{"IPv6 without port", "[::1]", "", 200},
		{"name", "localhost:" + port, "", 200},
		{"name through a forwarded port", "LOCALHOST:1234", "", 200},
		{"name without port", "localhost", "", 200},
		{"rebound name", "evil.example:" + port, "", 403},
		{"rebound name without port", "evil.example", "", 403},
		{"name that begins like an address", "127.0.0.1.evil.example:" + port, "", 403},
		{"name that begins like localhost", "localhost.evil.example:" + port, "", 403},
		{"name that ends like localhost", "evil.localhost:" + port, "", 403},
		{"LAN address", "192.168.1.5:" + port, "", 403},
		{"all interfaces", "0.0.0.0:" + port, "", 403},
		{"all interfaces, IPv6", "[::]:" + port, "", 403},
		{"typed into the address bar", "127.0.0.1:" + port, "none", 200},
		{"followed from the index", "127.0.0.1:" + port, "same-origin", 200},
		{"another port's page", "localhost:" + port, "same-site", 403},
		{"another site's page", "127.0.0.1:" + port, "cross-site", 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/heap", "/debug/pprof/symbol"} {
				got, _ := fetch(t, client, p.url(path), func(r *http.Request) {
					r.Host = tt.host
					if tt.site != "" {
						r.Header.Set("Sec-Fetch-Site", tt.site)
					}
				})
				if got != tt.want {
					t.Errorf("%s: got %d, want %d", path, got, tt.want)
				}
			}
		})
	}
	t.Run("no host", func(t *testing.T) {
		conn, err := net.Dial("tcp", p.ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(conn, "GET /debug/pprof/cmdline HTTP/1.0\r\n\r\n")
		if answer, _ := io.ReadAll(conn); !bytes.HasPrefix(answer, []byte("HTTP/1.0 403 ")) {
			t.Errorf("got %.40q, want 403", answer)
		}
	})
}

// longProfile starts a CPU profile of 30 s at a base URL, and returns when it runs. ended gets the result of the
// request.
func longProfile(t *testing.T, client *http.Client, base string) (ended <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { // Ends with the server.
		resp, err := client.Get(base + "profile?seconds=30")
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		done <- err
	}()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, body := fetch(t, client, base+"goroutine?debug=1", nil); strings.Contains(string(body),
			"net/http/pprof.Profile") {
			return done
		}
	}
	t.Fatal("the long profile does not begin")
	return nil
}

// TestPprofClose checks that close does not wait for a profile, and that no goroutine and no connection remains.
func TestPprofClose(t *testing.T) {
	goroutines, fds := runtime.NumGoroutine(), leaktest.FDs()
	tr := &http.Transport{}
	client := &http.Client{Transport: tr, Timeout: time.Minute}
	p, err := startProfiles("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended := longProfile(t, client, p.url("/debug/pprof/"))
	began := time.Now()
	p.close()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("close took %v, want it not to wait for a profile of 30 s", took)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("got a complete profile, want it cut off")
		}
	case <-time.After(patience):
		t.Error("the request is still in progress after close")
	}
	if conn, err := net.Dial("tcp", p.ln.Addr().String()); err == nil {
		conn.Close()
		t.Error("the port is still open after close")
	}
	tr.CloseIdleConnections()
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > goroutines ||
		leaktest.FDs() > fds; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %d goroutines, want %d; %d fds, want %d", runtime.NumGoroutine(), goroutines, leaktest.FDs(),
				fds)
		}
	}
}
