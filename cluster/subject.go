package cluster

import (
	"fmt"
	"strconv"
	"strings"
)

// subject returns the subject of a channel in the stream.
func (c *Ordered) subject(channel string) string { return subjectIn(c.cfg.Stream+".", channel) }

// channel returns the channel of a subject in the stream. It returns false if the subject is not that of a channel.
func (c *Ordered) channel(subject string) (string, bool) { return channelIn(c.cfg.Stream+".", subject) }

// subjectIn returns the subject of a channel: the prefix and one token. In the token every byte except letters, digits,
// - and _ is written as = and two hex digits, so that it has no dots, spaces or wildcards. The channel without a name
// has the token =.
func subjectIn(prefix, channel string) string {
	var b strings.Builder
	b.WriteString(prefix)
	if channel == "" {
		return b.String() + "="
	}
	for i := range len(channel) {
		switch ch := channel[i]; {
		case ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch >= '0' && ch <= '9', ch == '-', ch == '_':
			b.WriteByte(ch)
		default:
			fmt.Fprintf(&b, "=%02x", ch)
		}
	}
	return b.String()
}

// channelIn is the inverse of subjectIn. It returns false if the subject is not that of a channel.
func channelIn(prefix, subject string) (string, bool) {
	token, ok := strings.CutPrefix(subject, prefix)
	if !ok || token == "=" || strings.HasPrefix(token, markerToken) {
		return "", ok && token == "="
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			b.WriteByte(token[i])
			continue
		}
		if len(token) < i+3 {
			return "", false
		}
		n, err := strconv.ParseUint(token[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), true
}
