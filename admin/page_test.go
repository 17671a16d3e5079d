package admin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// leaving is a viewer that leaves when a snapshot has arrived. The event "at", whose data is no JSON, may arrive before
// the first snapshot.
type leaving struct {
	*httptest.ResponseRecorder
	leave func()
}

func (w leaving) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "\ndata: {") {
		defer w.leave()
	}
	return w.ResponseRecorder.Write(b)
}

// look requests the snapshots and returns the answer up to the first one.
func (b *back) look(query string) *httptest.ResponseRecorder {
	b.t.Helper()
	ctx, leave := context.WithCancel(b.t.Context())
	defer leave()
	r := httptest.NewRequestWithContext(ctx, "GET", "/v1/live"+query, nil)
	r.Header = b.head.Clone()
	w := httptest.NewRecorder()
	b.ServeHTTP(leaving{w, leave}, r)
	checkDocumented(b.t, "GET", "/v1/live", w)
	return w
}

// TestPage: the page needs no token; its data does.
func TestPage(t *testing.T) {
	b := newBack(t, Config{Token: "s3cret"})
	if status, body := b.do("GET", "/", ""); status != http.StatusOK || !strings.Contains(body, "<title>crier</title>") {
		t.Errorf("the page: got %d %.100s", status, body)
	}
	if got := b.look("?last=1"); got.Code != http.StatusUnauthorized {
		t.Errorf("without the token: got %d %s", got.Code, got.Body)
	}
	if status, body := b.do("GET", "/v1/live/history", ""); status != http.StatusUnauthorized {
		t.Errorf("the history without the token: got %d %s", status, body)
	}
	b.head.Set("Authorization", "Bearer s3cret")
	if status, body := b.do("GET", "/v1/live/history", ""); status != http.StatusOK || !strings.Contains(body, `"samples":[`) {
		t.Errorf("the history: got %d %s", status, body)
	}
	b.join("news")
	if got := b.look("?last=1"); got.Code != http.StatusOK || !strings.Contains(got.Body.String(), `{"name":"news","connections":1,`) {
		t.Errorf("got %d %s", got.Code, got.Body)
	}
	if got := b.look("?last=x"); got.Code != http.StatusBadRequest {
		t.Errorf("last=x: got %d %s", got.Code, got.Body)
	}
	b.Close()
	if got := b.look("?last=1"); got.Code != http.StatusServiceUnavailable || got.Header().Get("Retry-After") == "" {
		t.Errorf("after Close: got %d %s", got.Code, got.Body)
	}
}
