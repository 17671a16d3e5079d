package admin

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/docfiles"
	"github.com/crier-ws/crier/internal/httpjson"
	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

// TestDocFiles: doc.go names every file of the package.
func TestDocFiles(t *testing.T) { docfiles.Check(t) }

func TestPublish(t *testing.T) {
	b := newBack(t, Config{})
	news, odd := b.join("news/sport"), b.join("a%20b%3F")
	for _, tt := range []struct {
		target, contentType, body string
		status                    int
		conn                      net.Conn
		op                        ws.OpCode
	}{
		{"/v1/publish/news/sport", "", "one", 200, news, ws.OpText},
		{"/v1/publish/news%2Fsport", "text/plain; charset=UTF-8", "zwölf", 200, news, ws.OpText},
		{"/v1/publish/news/sport", "application/json", `{"a":1}`, 200, news, ws.OpText},
		{"/v1/publish/news/sport", `application/json; charset="UTF-8"`, `{"a":2}`, 200, news, ws.OpText},
		{"/v1/publish/news/sport", "application/json;charset=utf8", `{"a":3}`, 200, news, ws.OpText},
		{"/v1/publish/news/sport", "application/x-www-form-urlencoded", "curl", 200, news, ws.OpText},
		{"/v1/publish/news/sport", "application/octet-stream", "\xff\x00", 200, news, ws.OpBinary},
		{"/v1/publish/news/sport", "", "", 200, news, ws.OpText},
		{"/v1/publish/a%20b%3F", "", "odd", 200, odd, ws.OpText},
		{"/v1/publish/", "", "to the channel without a name", 200, nil, 0},
		{"/v1/publish/news/sport", "", "\xff", 400, nil, 0},
		{"/v1/publish/a%0Ab", "", "x", 400, nil, 0},
		{"/v1/publish/" + strings.Repeat("x", 256), "", "x", 400, nil, 0},
		{"/v1/publish/news/sport", "", strings.Repeat("x", 1001), 413, nil, 0},
		{"/v1/publish/news/sport", "image/png", "x", 415, nil, 0},
		{"/v1/publish/news/sport", "text/plain; charset=latin1", "x", 415, nil, 0},
		{"/v1/publish/news/sport", "nonsense/", "x", 415, nil, 0},
	} {
		b.head.Set("Content-Type", tt.contentType)
		if tt.contentType == "" {
			b.head.Del("Content-Type")
		}
		status, body := b.do("POST", tt.target, tt.body)
		if status != tt.status {
			t.Errorf("%s, %s: got %d %s, want %d", tt.target, tt.contentType, status, body, tt.status)
		}
		if tt.conn != nil {
			b.expect(tt.conn, tt.op, tt.body)
			if !strings.Contains(body, `"receivers":1`) || !strings.Contains(body, `"id":"`) {
				t.Errorf("%s: got %s", tt.target, body)
			}
		}
	}
	if got, _ := b.do("GET", "/v1/publish/news", ""); got != http.StatusMethodNotAllowed {
		t.Errorf("GET: got %d, want 405", got)
	}
}

func TestBatch(t *testing.T) {
	b := newBack(t, Config{MaxBatchBytes: 2000})
	news, other := b.join("news"), b.join("other")
	good := `{"channel":"news","data":"one"}` + "\n\n" + `{"channel":"other","data_base64":"/wA="}` + "\r\n" + `{"channel":"news","data":"z\u00f6"}`
	status, body := b.do("POST", "/v1/publish", good)
	var results []published
	for line := range strings.Lines(body) {
		var p published
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		results = append(results, p)
	}
	if status != 200 || len(results) != 3 || results[0].ID == results[2].ID || results[1].Receivers != 1 {
		t.Errorf("got %d %s", status, body)
	}
	b.expect(news, ws.OpText, "one")
	b.expect(news, ws.OpText, "zö")
	b.expect(other, ws.OpBinary, "\xff\x00")

	first := `{"channel":"news","data":"never"}` + "\n"
	for _, tt := range []struct {
		name, body string
		line       int
		status     int
	}{
		{"no JSON", first + "x", 2, 400},
		{"cut", first + "\n" + `{"channel":"news","data":"x"`, 3, 400},
		{"two in a line", first + first[:len(first)-1] + first, 2, 400},
		{"no channel", first + `{"data":"x"}`, 2, 400},
		{"no data", first + `{"channel":"news"}`, 2, 400},
		{"both", first + `{"channel":"news","data":"x","data_base64":"eA=="}`, 2, 400},
		{"no base64", first + `{"channel":"news","data_base64":"?"}`, 2, 400},
		{"unknown member", first + `{"channel":"news","dta":"x"}`, 2, 400},
		{"another type", first + `{"channel":"news","data":5}`, 2, 400},
		{"not UTF-8", first + "{\"channel\":\"news\",\"data\":\"\xff\"}", 2, 400},
		{"no such channel", first + `{"channel":"a\u0000","data":"x"}`, 2, 400},
		{"an array", first + "[]", 2, 400},
		{"nothing", "\n\n", 0, 400},
		{"too large", first + `{"channel":"news","data":"` + strings.Repeat("x", 1001) + `"}`, 2, 413},
		{"body too large", strings.Repeat(first, 100), 0, 413},
	} {
		status, body := b.do("POST", "/v1/publish", tt.body)
		var p httpjson.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || status != tt.status || p.Line != tt.line || p.Error == "" {
			t.Errorf("%s: got %d %s, want %d and line %d", tt.name, status, body, tt.status, tt.line)
		}
	}
	b.do("POST", "/v1/publish/news", "last") // Nothing came before it.
	b.expect(news, ws.OpText, "last")
}

// TestIdempotency: a key publishes once, whatever arrives at the same time.
func TestIdempotency(t *testing.T) {
	b := newBack(t, Config{})
	news := b.join("news")
	b.head.Set("Idempotency-Key", "k1")
	var wg sync.WaitGroup
	answers := make([]string, 10)
	for i := range answers {
		wg.Go(func() { _, answers[i] = b.do("POST", "/v1/publish/news", "once") })
	}
	wg.Wait()
	for _, a := range answers {
		if a != answers[0] || !strings.Contains(a, `"receivers":1`) {
			t.Fatalf("got %q", answers)
		}
	}
	b.do("POST", "/v1/publish/other", "another channel")
	if status, _ := b.do("POST", "/v1/publish", "nonsense"); status != 400 {
		t.Errorf("nonsense: got %d", status)
	}
	for _, target := range []string{"/v1/publish/news", "/v1/publish"} {
		b.do("POST", target, `{"channel":"else","data":"1"}`)
		if status, _ := b.do("POST", target, `{"channel":"else","data":"2"}`); status != 422 {
			t.Errorf("%s: the key of another body: got %d, want 422", target, status)
		}
	}
	b.head.Set("Idempotency-Key", "k2")
	batch := `{"channel":"news","data":"batch"}`
	_, one := b.do("POST", "/v1/publish", batch) // What failed may be done again.
	_, two := b.do("POST", "/v1/publish", batch)
	if one != two || !strings.Contains(one, `"id"`) {
		t.Errorf("batch: got %q, then %q", one, two)
	}
	b.head.Set("Idempotency-Key", strings.Repeat("k", maxKey+1))
	if status, _ := b.do("POST", "/v1/publish/news", "x"); status != 400 {
		t.Errorf("long key: got %d, want 400", status)
	}
	b.head.Del("Idempotency-Key")
	b.do("POST", "/v1/publish/news", "last")
	for _, want := range []string{"once", "batch", "last"} {
		b.expect(news, ws.OpText, want)
	}
}

// TestOnceIsBounded: old keys are forgotten. An operation that panics can run again, and does not block requests that
// wait for it.
func TestOnceIsBounded(t *testing.T) {
	var o once
	calls := 0
	do := func(key string, results int) {
		_, _ = o.do(context.Background(), sha256.Sum256([]byte(key)), hash{}, func(context.Context) ([]published, error) {
			calls++
			return make([]published, results), nil
		})
	}
	do("old", 1)
	do("old", 1)
	do("large", maxResults)
	do("new", 1)
	do("old", 1)
	do("new", 1)
	if calls != 4 || len(o.byKey) != 2 || o.order.Len() != 2 || o.results != 2 {
		t.Errorf("got %d calls, %d keys, %d results, want 4, 2, 2", calls, len(o.byKey), o.results)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = o.do(context.Background(), sha256.Sum256([]byte("panics")), hash{}, func(context.Context) ([]published, error) { panic("x") })
	}()
	do("panics", 1)
	if calls != 5 {
		t.Errorf("behind a panic: got %d calls, want 5", calls)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, _ = o.do(ctx, hash{1}, hash{}, func(context.Context) ([]published, error) {
		cancel()
		if _, err := o.do(ctx, hash{1}, hash{}, nil); err != context.Canceled {
			t.Errorf("waiting for itself: got %v", err)
		}
		return nil, nil
	})
}

func TestChannelsAndConnections(t *testing.T) {
	b := newBack(t, Config{})
	b.join("news")
	closing := b.join("news")
	b.do("POST", "/v1/publish/sport", "x")
	status, body := b.do("GET", "/v1/channels", "")
	var list struct{ Channels []channelInfo }
	if err := json.Unmarshal([]byte(body), &list); err != nil || status != 200 || len(list.Channels) != 3 {
		t.Fatalf("got %d %s, %v", status, body, err)
	}
	if c := list.Channels[1]; c.Channel != "news" || c.Connections != 2 || c.Tail != "" || !strings.HasSuffix(c.Head, "-0") {
		t.Errorf("got %+v", c)
	}
	if c := list.Channels[2]; c.Channel != "sport" || c.Connections != 0 || c.Tail != c.Head || !strings.HasSuffix(c.Head, "-1") {
		t.Errorf("got %+v", c)
	}
	if _, body := b.do("GET", "/v1/channels?limit=1", ""); !strings.Contains(body, `"after":""`) {
		t.Errorf("got %s", body)
	}
	if _, body := b.do("GET", "/v1/channels?limit=1&after=", ""); !strings.Contains(body, `"after":"news"`) {
		t.Errorf("behind the one without a name: got %s", body)
	}
	if _, body := b.do("GET", "/v1/channels?limit=1&after=a&prefix=n", ""); !strings.Contains(body, `"after":"news"`) {
		t.Errorf("got %s", body)
	}
	for target, want := range map[string]int{
		"/v1/channels?limit=0": 400, "/v1/channels?limit=1001": 400, "/v1/channels?limit=x": 400, "/v1/connections?limit=x": 400,
		"/v1/channels/a//b": 400, "/v1/channels/a/../b": 400, "/v1/channels/.": 400, "/v1/channels/a%2F%2Fb": 404,
		"/v1/channels/news": 200, "/v1/channels/none": 404, "/v1/connections?channel=none": 200,
		"/livez": 200, "/readyz": 200, "/v1/openapi.json": 200, "/v1/nothing": 404,
	} {
		if got, body := b.do("GET", target, ""); got != want {
			t.Errorf("%s: got %d %s, want %d", target, got, body, want)
		}
	}
	_, body = b.do("GET", "/v1/connections?channel=news", "")
	var conns struct {
		Connections []struct{ ID, Channel, Remote string }
	}
	if err := json.Unmarshal([]byte(body), &conns); err != nil || len(conns.Connections) != 2 {
		t.Fatalf("got %s, %v", body, err)
	}
	id := ""
	for _, c := range conns.Connections {
		if c.Remote == closing.LocalAddr().String() {
			id = c.ID
		}
	}
	for target, want := range map[string]int{
		"/v1/connections/" + id + "?reason=a%0Ab": 400, "/v1/connections/" + id + "?reason=%FF": 400,
		"/v1/connections/" + id + "?status=99": 400, "/v1/connections/" + id + "?status=x": 400,
		"/v1/connections/" + id + "?reason=" + strings.Repeat("x", 124): 400,
		"/v1/connections/5-0": 404,
	} {
		if got, body := b.do("DELETE", target, ""); got != want {
			t.Errorf("DELETE %s: got %d %s, want %d", target, got, body, want)
		}
	}
	if got, body := b.do("DELETE", "/v1/connections/"+id+"?status=4321&reason=enough", ""); got != 204 || body != "" {
		t.Errorf("DELETE: got %d %q, want 204", got, body)
	}
	var closed wsutil.ClosedError
	if _, _, err := wsutil.ReadServerData(closing); !asClosed(err, &closed) || closed.Code != 4321 || closed.Reason != "enough" {
		t.Errorf("its client got %v", err)
	}
}

func asClosed(err error, closed *wsutil.ClosedError) (ok bool) {
	*closed, ok = err.(wsutil.ClosedError)
	return ok
}

func TestToken(t *testing.T) {
	b := newBack(t, Config{Token: "secret"})
	for value, want := range map[string]int{
		"": 401, "Bearer": 401, "Bearer ": 401, "Bearer secre": 401, "Bearer secret2": 401, "Basic secret": 401, "secret": 401,
		"Bearer secret": 200, "bearer  secret": 200,
	} {
		b.head.Set("Authorization", value)
		for _, target := range []string{"/v1/channels", "/v1/openapi.json", "/v1/connections"} {
			if got, _ := b.do("GET", target, ""); got != want {
				t.Errorf("%q: %s: got %d, want %d", value, target, got, want)
			}
		}
		if got, _ := b.do("GET", "/livez", ""); got != 200 {
			t.Errorf("%q: livez: got %d", value, got)
		}
	}
	b.head.Del("Authorization")
	for _, target := range []string{"POST /v1/publish", "POST /v1/publish/x", "GET /v1/channels/x", "DELETE /v1/connections/x", "DELETE /v1/connections"} {
		method, path, _ := strings.Cut(target, " ")
		if got, _ := b.do(method, path, "x"); got != 401 {
			t.Errorf("%s: got %d, want 401", target, got)
		}
	}
}

// TestBehind: a request that cannot be served in time is answered 503.
func TestBehind(t *testing.T) {
	b := newBack(t, Config{Wait: 10 * time.Millisecond})
	for range bodies {
		b.slots <- struct{}{}
	}
	if got, body := b.do("POST", "/v1/publish/x", "x"); got != 503 || !strings.Contains(body, "nothing was published") {
		t.Errorf("no slot: got %d %s", got, body)
	}
	for range bodies {
		<-b.slots
	}
	b.batch <- struct{}{}
	if got, body := b.do("POST", "/v1/publish", `{"channel":"x","data":"x"}`); got != 503 || !strings.Contains(body, "nothing was published") {
		t.Errorf("batch: got %d %s", got, body)
	}
	<-b.batch
	w := httptest.NewRecorder()
	if failPublish(w, fmt.Errorf("wrapped: %w", context.DeadlineExceeded)); w.Code != 503 {
		t.Errorf("deadline: got %d", w.Code)
	}
	if _, ok := b.srv.Channel("x"); ok {
		t.Error("something was published")
	}
}

func TestDraining(t *testing.T) {
	b := newBack(t, Config{})
	b.join("news") // It does not answer the close.
	done := make(chan struct{})
	go func() { // Awaited below.
		defer close(done)
		_ = b.srv.Shutdown(context.Background())
	}()
	for deadline := time.Now().Add(20 * time.Second); !b.srv.Draining(); {
		if time.Now().After(deadline) {
			t.Fatal("it does not drain")
		}
		time.Sleep(time.Millisecond)
	}
	for _, target := range []string{"GET /readyz", "POST /v1/publish/news", "POST /v1/publish"} {
		method, path, _ := strings.Cut(target, " ")
		if got, body := b.do(method, path, `{"channel":"news","data":"x"}`); got != 503 {
			t.Errorf("%s: got %d %s, want 503", target, got, body)
		}
	}
	if got, _ := b.do("GET", "/livez", ""); got != 200 {
		t.Errorf("livez: got %d, want 200", got)
	}
	<-done
}

var seen sync.Map // "GET /path 200": what the tests have met.
