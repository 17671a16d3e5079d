package protocol

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	crier "github.com/crier-ws/crier/clients/go"
	"github.com/gobwas/ws"
)

// verdicts returns what a table of the page says a client does after a code or status: whether it reconnects.
func verdicts(t *testing.T, heading string) map[int]bool {
	t.Helper()
	page, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| "+heading+" |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	all := make(map[int]bool)
	for row := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(row, "|")
		if strings.Contains(cells[1], "none") {
			continue
		}
		for _, digits := range regexp.MustCompile(`[0-9]+`).FindAllString(cells[1], -1) {
			n, _ := strconv.Atoi(digits)
			back, up := strings.Contains(cells[3], "reconnects"), strings.Contains(cells[3], "gives up")
			if back == up {
				t.Errorf("%s: want either of: reconnects, gives up", row)
			}
			all[n] = back
		}
	}
	if len(all) < 9 {
		t.Fatalf("got %d rows of the table %q", len(all), heading)
	}
	return all
}

// reconnects reports whether crier's own client reconnects after an answer to its first connection.
func reconnects(t *testing.T, answer func(net.Conn) error) bool {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	back := make(chan error, 1)
	client, err := crier.New(crier.Config{
		URL:     "ws://" + ln.Addr().String() + "/",
		Backoff: time.Hour, MaxBackoff: time.Hour,
		Lost: func(error, time.Duration) { cancel() },
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { back <- client.Follow(ctx, func(crier.Event) error { return nil }) }() // Awaited below.
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := answer(conn); err != nil {
		t.Fatal(err)
	}
	err = <-back
	var fatal *crier.FatalError
	if gaveUp := errors.As(err, &fatal); gaveUp || errors.Is(err, context.Canceled) {
		return !gaveUp
	}
	t.Fatalf("the client ended with %v", err)
	return false
}

// TestFinalCodes: crier's own client reconnects or gives up, after each close code as the page says.
func TestFinalCodes(t *testing.T) {
	for code, want := range verdicts(t, "code | when | the client") {
		got := reconnects(t, func(conn net.Conn) error {
			if _, err := (ws.Upgrader{Protocol: func([]byte) bool { return true }}).Upgrade(conn); err != nil {
				return err
			}
			return ws.WriteFrame(conn, ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), "")))
		})
		if got != want {
			t.Errorf("%d: the client reconnects: got %t, want %t", code, got, want)
		}
	}
}

// TestFinalStatuses: the same for the statuses of refused handshakes.
func TestFinalStatuses(t *testing.T) {
	for status, want := range verdicts(t, "status | why | the client") {
		got := reconnects(t, func(conn net.Conn) error {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				return err
			}
			_, err := fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\n\r\n", status, http.StatusText(status))
			return err
		})
		if got != want {
			t.Errorf("%d: the client reconnects: got %t, want %t", status, got, want)
		}
	}
}
