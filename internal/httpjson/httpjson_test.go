package httpjson

import (
	"math"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestQuery(t *testing.T) {
	for _, tt := range []struct {
		query string
		wrong string // Part of the error, or empty.
	}{
		{"", ""},
		{"channel=a%3Bb&limit=5", ""},
		{"channel=&name[]=a&name%5B%5D=b", ""},
		{"&&channel=a+b&", ""},
		{"channel=a;b", "%3B"},
		{"channel=a&limit=5;x", "%3B"},
		{"channel=100%", "%25"},
		{"channel=%zz", "%25"},
		{"chan%nel=x", "%25"},
		{"chanel=x", `unknown parameter "chanel": want channel, limit or name[]`},
		{"Channel=x", `unknown parameter "Channel"`},
		{"channel=x&cache=1", `unknown parameter "cache"`},
		{"x", `unknown parameter "x"`},
		{"=x", `unknown parameter ""`},
		{"channel=a&channel=a", "2 times"},
		{"channel=%FF", "UTF-8"},
	} {
		values, err := Query(&url.URL{RawQuery: tt.query}, "channel", "limit", "name[]")
		if (err != nil) != (tt.wrong != "") || err != nil && (!strings.Contains(err.Error(), tt.wrong) || values != nil) {
			t.Errorf("%s: got %v, %v, want an error with %q", tt.query, values, err, tt.wrong)
		}
	}
	for names, want := range map[string]string{"": "want no parameters", "since": "want since"} {
		if _, err := Query(&url.URL{RawQuery: "x=1"}, strings.Fields(names)...); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("with %q: got %v, want %s", names, err, want)
		}
	}
}

func TestWrite(t *testing.T) {
	w := httptest.NewRecorder()
	Fail(w, Draining, "100%% is %d & <more>", 5)
	if got := w.Body.String(); got != `{"error":"100% is 5 & <more>","code":"draining"}`+"\n" ||
		w.Header().Get("Retry-After") != "1" {
		t.Errorf("got %s, %v", got, w.Header())
	}
	w = httptest.NewRecorder()
	if Write(w, 200, math.NaN()); w.Code != 500 || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("what JSON cannot write: got %d %s", w.Code, w.Body)
	}
}
