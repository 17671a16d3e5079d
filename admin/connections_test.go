package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/httpjson"
	"github.com/crier-ws/crier/internal/servertest"
)

// TestAllConnections: the list has the connections of all channels or of an address, page by page. One request closes
// all connections of a channel.
func TestAllConnections(t *testing.T) {
	b := newBack(t, Config{})
	for i := range 5 {
		b.join(fmt.Sprint("room/", i%2))
	}
	nameless := b.join("")
	list := func(query string) (all []connInfo) {
		t.Helper()
		for after := ""; ; {
			var page struct {
				Connections []connInfo
				After       string
			}
			w, _ := b.ask("GET", "/v1/connections?limit=2"+query+after, nil)
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 || page.Connections == nil || len(page.Connections) > 2 {
				t.Fatalf("%s: got %d %s, %v", query, w.Code, w.Body, err)
			}
			if all = append(all, page.Connections...); page.After == "" {
				return all
			}
			after = "&after=" + page.After
		}
	}
	for query, want := range map[string]int{
		"": 6, "&channel=room/0": 3, "&channel=": 1, "&channel=none": 0, "&address=127.0.0.1": 6, "&address=::ffff:127.0.0.1": 6,
		"&address=127.0.0.0/8": 6, "&address=::ffff:127.0.0.0/104": 6, "&address=192.0.2.7": 0, "&address=::1": 0, "&channel=room/1&address=127.0.0.1": 2,
	} {
		if got := list(query); len(got) != want {
			t.Errorf("%s: got %+v, want %d", query, got, want)
		}
	}
	if got := list("&channel="); got[0].Remote != nameless.LocalAddr().String() {
		t.Errorf("the channel without a name: got %+v", got)
	}
	for query, want := range map[string]string{
		"?channel=room/0&status=4321&reason=over": `{"closed":3}`, "?channel=none": `{"closed":0}`, "?address=10.0.0.0/8": `{"closed":0}`,
	} {
		if w, _ := b.ask("DELETE", "/v1/connections"+query, nil); w.Code != 200 || strings.TrimSpace(w.Body.String()) != want {
			t.Errorf("DELETE %s: got %d %s, want %s", query, w.Code, w.Body, want)
		}
	}
	if got := list(""); len(got) != 3 {
		t.Errorf("afterwards: got %+v, want 3", got)
	}
	b.walks <- struct{}{}
	b.cfg.Wait = time.Millisecond
	for _, method := range []string{"GET", "DELETE"} {
		if w, p := b.ask(method, "/v1/connections?channel=x", nil); w.Code != 503 || p.Code != httpjson.Behind {
			t.Errorf("%s while another request looks at all: got %d %s", method, w.Code, w.Body)
		}
	}
}

// TestReceivers: in a cluster, receivers counts the connections at all servers that this server knows of.
func TestReceivers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		cluster Cluster
		channel string
		want    string
	}{
		{"no cluster, nobody", nil, "none", `"receivers":0}`},
		{"no cluster, here", nil, "here", `"receivers":1}`},
		{"elsewhere only", elsewhere{"far": 3}, "far", `"receivers":3}`},
		{"here and elsewhere", elsewhere{"here": 2}, "here", `"receivers":3}`},
		{"nobody", elsewhere{"far": 3}, "none", `"receivers":0}`},
		{"not known", elsewhere{unlisted: 5}, "none", `-1"}`},
		{"known in part", elsewhere{unlisted: 5}, "here", `"receivers":1}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv, addr := servertest.Start(t, servertest.Loopback, broadcast.Config{Channels: true, CloseTimeout: 200 * time.Millisecond})
			h := New(srv, Config{Cluster: tt.cluster, MaxMessageBytes: 1000})
			defer h.Close()
			b := &back{API: h, t: t, addr: addr.String(), head: make(http.Header)}
			b.join("here")
			w, _ := b.ask("POST", "/v1/publish/"+tt.channel, strings.NewReader("x"))
			if got := strings.TrimSpace(w.Body.String()); w.Code != 200 || !strings.HasSuffix(got, tt.want) {
				t.Errorf("got %d %s, want %s", w.Code, got, tt.want)
			}
			w, _ = b.ask("POST", "/v1/publish", strings.NewReader(`{"channel":"`+tt.channel+`","data":"x"}`))
			if got, want := strings.TrimSpace(w.Body.String()), strings.Replace(tt.want, "-1", "-2", 1); w.Code != 200 || !strings.HasSuffix(got, want) {
				t.Errorf("a batch: got %d %s, want %s", w.Code, got, want)
			}
		})
	}
}
