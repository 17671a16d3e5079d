package broadcast

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestEventsReconnect: a browser that was connected once gets 200 whatever ID it sends, and continues after the message
// with that ID.
func TestEventsReconnect(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true, Authorize: func(*http.Request, string) (Grant, error) { return Grant{}, nil }})
	publishTo(t, srv, "news", "1", "2", "3")
	id := func(n int) string { return fmt.Sprint(srv.forms[0].epoch, "-", n) }
	for _, tt := range []struct {
		name, query, header string
		at                  int
		gap                 string
	}{
		{"first time", "", "", 3, ""},
		{"header", "", id(1), 1, ""},
		{"header and since", "?since=" + id(2), id(1), 1, ""},
		{"header and last", "?last=3", id(2), 2, ""},
		{"header and ID in the query", "?lastEventId=" + id(1), id(2), 2, ""},
		{"header and a since that cannot be", "?since=%zz", id(2), 2, ""},
		{"header and a last that cannot be", "?last=x;y", id(2), 2, ""},
		{"semicolons", "?a=b;c=d", id(2), 2, ""},
		{"semicolons, first time", "?a=b;c=d", "", 3, ""},
		{"a percent sign", "?rate=100%", id(2), 2, ""},
		{"a percent sign, first time", "?rate=100%", "", 3, ""},
		{"an escape that is none", "?x=%zz&last=1", "", 2, ""},
		{"no value", "?since=&last=&lastEventId=", "", 3, ""},
		{"an empty header", "?last=1", " ", 2, ""},
		{"lastEventId", "?lastEventId=" + id(1), "", 1, ""},
		{"lastEventId, escaped", "?x=;&lastEventId=" + strings.Replace(id(1), "-", "%2D", 1), "", 1, ""},
		{"lastEventId, appended to an older one", "?lastEventId=" + id(1) + "&lastEventId=" + id(2), "", 2, ""},
		{"Last-Event-ID", "?Last-Event-ID=" + id(1), "", 1, ""},
		{"last-event-id", "?last-event-id=" + id(1), "", 1, ""},
		{"last_event_id", "?last_event_id=" + id(1), "", 1, ""},
		{"evs_last_event_id", "?evs_preamble=2048&evs_last_event_id=" + id(1), "", 1, ""},
		{"ID in the query and last", "?last=2&lastEventId=" + id(2), "", 2, ""},
		{"ID in the query and since", "?since=" + id(1) + "&lastEventId=" + id(2), "", 2, ""},
		{"since and last", "?last=1&since=" + id(1), "", 1, ""},
		{"another epoch", "", "before-7", 0, "before-7"},
		{"a message to come", "", id(4), 0, id(4)},
		{"another server's number", "", "42", 0, "-"},
		{"another server's UUID", "", "urn:uuid:5e94c686-2c0b-4f9b-958c-92ccc3bbb4eb", 0, "-"},
		{"another server's JSON", "", `{"topic":"a b","offset":3}`, 0, "-"},
		{"another server's UTF-8", "", "caf\xc3\xa9", 0, "-"},
		{"another server's dashes", "", "1526919030474-55", 0, "1526919030474-55"},
		{"a number that is too large", "", "abc-99999999999999999999", 0, "-"},
		{"another server's ID in the query", "?lastEventId=a%20b", "", 0, "-"},
	} {
		var lines []string
		if tt.header != "" {
			lines = append(lines, "Last-Event-ID: "+tt.header)
		}
		e := getEvents(t, addr, "/news"+tt.query, lines...)
		if hello := e.event(); !strings.HasSuffix(hello, "\nid: "+id(tt.at)+"\n") {
			t.Errorf("%s: got %q first, want it to begin after %d", tt.name, hello, tt.at)
		}
		e.expect("event: at\nid: " + id(tt.at) + "\ndata: " + id(tt.at) + "\n")
		if tt.gap != "" {
			e.expect("event: gap\nid: " + id(tt.at) + "\ndata: " + tt.gap + " " + id(tt.at) + "\n")
		}
		for n := tt.at + 1; n <= 3; n++ {
			e.expect(fmt.Sprintf("id: %s\ndata: %d\n", id(n), n))
		}
		e.Close()
	}
}
