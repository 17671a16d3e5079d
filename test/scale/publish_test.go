package scale

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
)

// TestPublishBatches checks that all receivers receive every message of batches over HTTP in order, and logs the CPU
// time that the server uses.
func TestPublishBatches(t *testing.T) {
	const receivers, batch, size = 100, 1000, 64
	batches := 100
	if criertest.Race {
		batches = 5
	}
	p, port := startCrier(t, buildCrier(t), "--channels", "--admin=127.0.0.1:0", "--greeting=", "--log-level=info")
	admin := "http://" + adminAddr.FindStringSubmatch(p.log.String())[1]
	total := batch * batches
	var all sync.WaitGroup
	var ready sync.WaitGroup
	ready.Add(receivers)
	for i := range receivers {
		c := &comesBack{from: address(swarmNet, i), port: port}
		if err := c.connect(); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			defer c.conn.Close()
			ready.Done()
			for n := 1; n <= total; n++ {
				_, text, err := c.next()
				if want := fmt.Sprintf("%0*d", size, n); err != nil || text != want {
					t.Errorf("receiver %d: got %q, %v, want %q", i, text, err, want)
					return
				}
			}
		})
	}
	ready.Wait()
	began, cpu := time.Now(), p.cpu()
	n := 0
	for range batches {
		var body bytes.Buffer
		for range batch {
			n++
			fmt.Fprintf(&body, `{"channel":"room","data":"%0*d"}`+"\n", size, n)
		}
		resp, err := http.Post(admin+"/v1/publish", "application/x-ndjson", &body)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || strings.Count(string(lines), fmt.Sprintf(`"receivers":%d`, receivers)) != batch {
			t.Fatalf("got %d %.200s, %v", resp.StatusCode, lines, err)
		}
	}
	all.Wait()
	http.DefaultClient.CloseIdleConnections()
	took, used := time.Since(began), p.cpu()-cpu
	t.Logf("%d messages to %d receivers in %v (%.0f a second); the server's CPU: %v (%.0f a second of it)",
		total, receivers, took.Round(time.Millisecond), float64(total)/took.Seconds(), used, float64(total)/used.Seconds())
}
