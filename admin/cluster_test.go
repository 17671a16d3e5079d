package admin

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// elsewhere is a Cluster: connections of channels at other servers.
type elsewhere map[string]int

func (e elsewhere) Elsewhere(channel string) int { return e[channel] }

// unlisted is the name under which elsewhere has connections whose channels are unknown.
const unlisted = "\x00"

func (e elsewhere) Unlisted() int { return e[unlisted] }

func (e elsewhere) Channels(prefix, after string, n int) []string {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(e)), func(name string) bool {
		return name == unlisted || !strings.HasPrefix(name, prefix) || after != "" && name <= after
	})
	return names[:min(n, len(names))]
}

// TestCluster: the list has the channels of other servers, too, sorted, page by page, with the connections at all
// servers.
func TestCluster(t *testing.T) {
	b := newBack(t, Config{Cluster: elsewhere{"news": 3, "a": 1, "zoo": 2, "": 4}})
	b.join("news")
	b.join("news")
	b.join("only/here")
	list := func(query string) (channels []channelInfo, after *string) {
		t.Helper()
		status, body := b.do("GET", "/v1/channels"+query, "")
		var list struct {
			Channels []channelInfo
			After    *string
		}
		if err := json.Unmarshal([]byte(body), &list); err != nil || status != 200 {
			t.Fatalf("got %d %s, %v", status, body, err)
		}
		return list.Channels, list.After
	}
	said := func(channels []channelInfo) string {
		var s []string
		for _, c := range channels {
			s = append(s, fmt.Sprintf("%q %d/%d", c.Channel, c.Connections, *c.ClusterConnections))
			if here := c.Channel != "a" && c.Channel != "zoo"; here != (c.Head != "") { // The one without a name is always here.
				t.Errorf("%q has the head %q", c.Channel, c.Head)
			}
		}
		return strings.Join(s, ", ")
	}
	const want = `"" 0/4, "a" 0/1, "news" 2/5, "only/here" 1/1, "zoo" 0/2`
	all, _ := list("")
	if got := said(all); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var paged []channelInfo
	for query := "?limit=2"; ; {
		page, after := list(query)
		paged = append(paged, page...)
		if after == nil {
			break
		}
		query = "?limit=2&after=" + *after
	}
	if got := said(paged); got != want {
		t.Errorf("page by page: got %s, want %s", got, want)
	}
	if some, _ := list("?prefix=z"); said(some) != `"zoo" 0/2` {
		t.Errorf("got %s", said(some))
	}
	for target, want := range map[string]string{
		"/v1/channels/zoo":       `"cluster_connections":2`,
		"/v1/channels/news":      `"cluster_connections":5`,
		"/v1/channels/only/here": `"cluster_connections":1`,
	} {
		if status, body := b.do("GET", target, ""); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: got %d %s", target, status, body)
		}
	}
	if status, _ := b.do("GET", "/v1/channels/none", ""); status != 404 {
		t.Errorf("got %d", status)
	}
	if _, body := newBack(t, Config{}).do("GET", "/v1/channels", ""); strings.Contains(body, "cluster") {
		t.Errorf("without a cluster: got %s", body)
	}
}
