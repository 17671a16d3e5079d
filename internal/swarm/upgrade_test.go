package swarm

import (
	"errors"
	"testing"
)

func TestAnswer(t *testing.T) {
	const head = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + accept + "\r\n\r\n"
	tests := []struct {
		name, bytes, greeting string
		rest                  string
		whole                 bool
		err                   error
	}{
		{"nothing", "", "hi", "", false, nil},
		{"half a head", head[:30], "hi", "", false, nil},
		{"no greeting yet", head, "hi", "", false, nil},
		{"half a greeting", head + "\x81\x02h", "hi", "", false, nil},
		{"greeted", head + "\x81\x02hi", "hi", "", true, nil},
		{"greeted and more", head + "\x81\x02hi\x89", "hi", "\x89", true, nil},
		{"no greeting wanted", head + "\x89", "", "\x89", true, nil},
		{"the begin of another greeting", head + "\x81\x03", "hi", "", false, errGreeting},
		{"a ping for a greeting", head + "\x89", "hi", "", false, errGreeting},
		{"another greeting", head + "\x81\x02ho", "hi", "", false, errGreeting},
		{"another status", "HTTP/1.1 400 Bad Request\r\n\r\n", "hi", "", false, errRefused},
		{"another key", "HTTP/1.1 101 X\r\nSec-WebSocket-Accept: x\r\n\r\n", "hi", "", false, errRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rest, whole, err := answer([]byte(tt.bytes), tt.greeting, false)
			if string(rest) != tt.rest || whole != tt.whole || !errors.Is(err, tt.err) {
				t.Errorf("got %q, %v, %v, want %q, %v, %v", rest, whole, err, tt.rest, tt.whole, tt.err)
			}
		})
	}
}
