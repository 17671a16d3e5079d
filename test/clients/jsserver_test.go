package clients

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
)

// backEnd keeps no connections, which would be left over.
var backEnd = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: startTimeout}

// A jsServer is a crier with channels and a back end, which can be started again, and a record
// of what was published. One goroutine at a time may use it.
type jsServer struct {
	*target
	addr, admin string
	flags       []string

	ids      []string             // of what was published, in order
	data     map[string]happening // of each of them
	attempts map[string]bool      // data that may have been published, or not
}

func startJSServer(t *testing.T, flags ...string) *jsServer {
	t.Helper()
	needCrier(t)
	s := &jsServer{addr: freeAddr(t), admin: freeAddr(t), data: map[string]happening{}, attempts: map[string]bool{}}
	s.flags = append([]string{"--channels", "--drain", "200ms", "--listen", s.addr, "--admin", s.admin}, flags...)
	s.start(t)
	return s
}

func (s *jsServer) start(t *testing.T) {
	t.Helper()
	s.target = &target{process: startProcess(t, "", crierBin, s.flags...)}
	s.waitListening(t, s.addr)
	s.waitListening(t, s.admin)
}

// restart ends the server with a signal and starts another one in its place.
func (s *jsServer) restart(t *testing.T, sig syscall.Signal) {
	t.Helper()
	s.signal(t, sig)
	if err := s.wait(leaveTimeout); sig != syscall.SIGKILL && err != nil {
		t.Errorf("server after %v: %v", sig, err)
	}
	s.start(t)
}

func (s *jsServer) url(channel string) string { return "ws://" + s.addr + "/" + channel }

// call asks the back end's port; what is wrong with the answer is an error.
func (s *jsServer) call(method, path, contentType, body string, answer any) error {
	r, err := http.NewRequest(method, "http://"+s.admin+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", contentType)
	resp, err := backEnd.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, b)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(b, answer)
}

// try publishes a message to the channel "room", and notes it.
func (s *jsServer) try(data string, binary bool) error {
	contentType := "text/plain"
	if binary {
		contentType = "application/octet-stream"
	}
	var published struct{ ID string }
	if err := s.call("POST", "/v1/publish/room", contentType, data, &published); err != nil {
		s.attempts[data] = true
		return err
	}
	s.ids = append(s.ids, published.ID)
	s.data[published.ID] = happening{Data: data, Binary: binary}
	return nil
}

// publish is try where it must succeed, and returns the message's id.
func (s *jsServer) publish(t *testing.T, data string) string {
	t.Helper()
	if err := s.try(data, false); err != nil {
		t.Fatal(err)
	}
	return s.newest()
}

func (s *jsServer) newest() string { return s.ids[len(s.ids)-1] }

// disconnect closes all connections with a code.
func (s *jsServer) disconnect(t *testing.T, code int, reason string) {
	t.Helper()
	var list struct{ Connections []struct{ ID string } }
	if err := s.call("GET", "/v1/connections?channel=room", "", "", &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Connections) == 0 {
		t.Fatal("there are no connections")
	}
	for _, c := range list.Connections {
		path := fmt.Sprintf("/v1/connections/%s?status=%d&reason=%s", c.ID, code, url.QueryEscape(reason))
		if err := s.call("DELETE", path, "", "", nil); err != nil {
			t.Fatal(err)
		}
	}
}

// account checks that from its first message on c got what was published, whole, once and in
// order, up to the newest, except what gaps say; and that there are so many gaps.
func (s *jsServer) account(t *testing.T, c *jsClient, gaps int) {
	t.Helper()
	var at string
	got, said := 0, 0
	seen := map[string]bool{}
	for _, h := range c.happened() {
		switch h.Type {
		case "gap":
			if said++; at != "" && h.From != at {
				t.Errorf("%s: a gap from %s behind %s", c.name, h.From, at)
			}
			at = h.To
		case "message":
			if at != "" && h.ID != following(at) {
				t.Errorf("%s: %s behind %s", c.name, h.ID, at)
			}
			at = h.ID
			want, ok := s.data[h.ID]
			if ok && (h.Data != want.Data || h.Binary != want.Binary) || !ok && !s.attempts[h.Data] {
				t.Errorf("%s: %s is %.60q, published was %.60q", c.name, h.ID, h.Data, want.Data)
			}
			if seen[h.ID] {
				t.Errorf("%s: %s came twice", c.name, h.ID)
			}
			seen[h.ID] = true
			got++
		}
	}
	if at != s.newest() || said != gaps || got == 0 {
		t.Errorf("%s: got %d messages up to %s and %d gaps, want up to %s and %d", c.name, got, at, said, s.newest(), gaps)
	}
	t.Logf("%s: %d messages, %d gaps, of %d published", c.name, got, said, len(s.ids))
}

// following is the id behind another one.
func following(id string) string {
	epoch, digits, _ := strings.Cut(id, "-")
	var n int
	if _, err := fmt.Sscan(digits, &n); err != nil {
		return ""
	}
	return fmt.Sprintf("%s-%d", epoch, n+1)
}
