package protocol

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/servertest"
)

// statuses returns what the page's table of answers to requests for events says: whether an EventSource reconnects
// after a status.
func statuses(t *testing.T) map[int]bool {
	t.Helper()
	page, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| status | why | an EventSource |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	all := make(map[int]bool)
	for row := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(row, "|")
		for _, digits := range regexp.MustCompile(`[0-9]{3}`).FindAllString(cells[1], -1) {
			status, _ := strconv.Atoi(digits)
			all[status] = strings.Contains(cells[3], "reconnects")
		}
	}
	if len(all) < 15 {
		t.Fatalf("got %d statuses, want the page's table of them", len(all))
	}
	return all
}

// TestEventStatuses: each refusal ends an EventSource or lets it reconnect, as the page's table says. Statuses that
// only hooks of an embedder have are final if they blame the request, and not if they blame the server.
func TestEventStatuses(t *testing.T) {
	cfg := broadcast.DefaultConfig()
	cfg.OnConnect = func(_ *broadcast.Conn, r *http.Request) error {
		status, err := strconv.Atoi(r.URL.Path[1:])
		if err != nil {
			return err
		}
		return &broadcast.Refusal{Status: status, Reason: "for a test"}
	}
	srv, addr := servertest.Start(t, servertest.Loopback, cfg)
	known := statuses(t)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	for status := 400; status < 600; status++ {
		reconnects, listed := known[status]
		if !listed {
			reconnects = status >= 500 || status == http.StatusTooEarly
		}
		r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://%s/%d", addr, status), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", "text/event-stream")
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			t.Errorf("%d: %v", status, err)
		}
		if want := map[bool]int{true: http.StatusOK, false: status}[reconnects]; answer.StatusCode != want {
			t.Errorf("%d: got %d, want %d", status, answer.StatusCode, want)
		}
		if got := bytes.Contains(body, []byte("\nretry: ")); got != reconnects {
			t.Errorf("%d: got %q, want it to say when to reconnect: %t", status, body, reconnects)
		}
		if n := srv.Stats().Refused[status]; n != 1 {
			t.Errorf("%d: %d are counted, want 1", status, n)
		}
	}
}
