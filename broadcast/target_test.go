package broadcast

import (
	"fmt"
	"strings"
	"testing"
)

// TestPath: a path is found however a client encodes it.
func TestPath(t *testing.T) {
	for _, tt := range []struct{ path, target, rest string }{
		{"", "/any", "/any"},
		{"/ws", "/ws", ""},
		{"/ws", "/%77s", ""},
		{"/ws", "/ws/news", "/news"},
		{"/ws", "/wsx", "x"},
		{"/ws", "/w", "none"},
		{"/ws", "/WS", "none"},
		{"/ws", "/ws%2Fnews", "%2Fnews"},
		{"/ws/", "/ws/", ""},
		{"/ws/", "/ws/news", "news"},
		{"/ws/", "/ws", "none"},
		{"/ws/", "/ws%2F", "none"},
		{"/", "/news", "news"},
		{"//ws", "//ws", ""},
		{"/a b", "/a%20b", ""},
		{"/a b", "/a+b", "none"},
		{"/café", "/caf%C3%A9/news", "/news"},
		{"/café", "/caf%c3%a9", ""},
		{"/café", "/café", ""},
		{"/café", "/cafe", "none"},
		{"/caf%c3%a9", "/caf%C3%A9", ""},
		{"/~joe", "/%7Ejoe", ""},
		{"/%7ejoe", "/~joe", ""},
		{"/a^b|\"c\"", "/a%5Eb|%22c%22", ""},
		{"/100%25", "/100%25", ""},
		{"/100%25", "/1%30%30%25", ""},
		{"/a%2Fb", "/a%2fb", ""},
		{"/a%2Fb", "/a/b", "none"},
		{"/x.../.y", "/x.../.y", ""},
	} {
		if err := checkPath(tt.path); err != nil {
			t.Errorf("%s: got %v", tt.path, err)
		}
		rest, ok := cutPath([]byte(tt.target), tt.path)
		if !ok {
			rest = []byte("none")
		}
		if string(rest) != tt.rest {
			t.Errorf("%s, asked for %s: got %s, want %s", tt.path, tt.target, rest, tt.rest)
		}
		below := tt.rest != "none" && (tt.rest == "" || tt.path == "" || tt.rest[0] == '/' || strings.HasSuffix(tt.path, "/"))
		if got := serves([]byte(tt.target), tt.path, true); got != below {
			t.Errorf("%s with channels, asked for %s: got %t, want %t", tt.path, tt.target, got, below)
		}
		if got, want := serves([]byte(tt.target), tt.path, false), tt.rest == "" || tt.path == ""; got != want {
			t.Errorf("%s, asked for %s: got %t, want %t", tt.path, tt.target, got, want)
		}
	}
}

// TestPathsThatCannotBe: a path that no client can ask for is an error.
func TestPathsThatCannotBe(t *testing.T) {
	for path, want := range map[string]string{
		"ws": "starts with /", "ws://host/ws": "starts with /", "/ws?x=1": "query", "/ws?": "query", "/ws#a": "fragment",
		"/a/../b": `segment ..`, "/./b": "segment .", "/b/.": "segment .", "/%2e%2E/b": "segment %2e%2E", "/.%2e": "segment",
		"/100%": "%25", "/%zz": "%25", "/%2": "%25", "/a\tb": "control", "/a\x7f": "control", "/\xff": "UTF-8", `/a\b`: "/ instead of",
		"/" + strings.Repeat("a", maxPath): "at most 2048 bytes",
	} {
		_, err := New(Config{Path: path})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("Config.Path is %q, want ", path)) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", path, err, want)
		}
	}
}

// TestPathOfChannels: a channel's name is what follows the path, encoded or not.
func TestPathOfChannels(t *testing.T) {
	srv, addr := newServer(t, Config{Channels: true, Path: "/café"})
	dialPath(t, addr, "/caf%c3%a9/m%C3%BCnchen")
	dialPath(t, addr, "/%63af%C3%A9/")
	eventually(t, "both", func() bool { return srv.channel("münchen") != nil && srv.channel("") != nil })
	c := connect(t, addr)
	c.send([]byte(headWith(baseLine, "GET /cafe/news HTTP/1.1")))
	if got := c.readResponse().StatusCode; got != 404 {
		t.Errorf("another path: got %d, want 404", got)
	}
}
