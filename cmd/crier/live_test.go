package main

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestLivePage checks that --admin serves the live page, and that an open page does not delay the end of crier.
func TestLivePage(t *testing.T) {
	addrs, stop := startCrier(t, "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--memory=1GiB")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	get := func(path, host string) *http.Response {
		t.Helper()
		r, err := http.NewRequest("GET", "http://"+addrs["admin"]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	for _, path := range []string{"/", "/v1/live"} {
		if got := get(path, "evil.example").StatusCode; got != http.StatusForbidden {
			t.Errorf("%s of another host's name: got %d, want 403", path, got)
		}
	}
	page := get("/", "")
	if body, err := io.ReadAll(page.Body); err != nil || page.StatusCode != http.StatusOK ||
		!strings.Contains(string(body), "<title>crier</title>") {
		t.Errorf("the page: got %s, %v", page.Status, err)
	}
	events := bufio.NewScanner(get("/v1/live?last=1", "").Body)
	for events.Scan() && !strings.HasPrefix(events.Text(), "data: {") { // The event "at" has data as well.
	}
	if !strings.Contains(events.Text(), `"memory":1073741824`) || !strings.Contains(events.Text(), `"started":`) {
		t.Errorf("the first snapshot: got %s", events.Text())
	}
	if err := stop(); err != nil {
		t.Errorf("crier ended with %v", err)
	}
	text := ""
	for events.Scan() {
		text += events.Text() + "\n"
	}
	if !strings.Contains(text, "event: close\ndata: 1001 server is shutting down\n") || events.Err() != nil {
		t.Errorf("the end: got %q, %v", text, events.Err())
	}
}
