package cluster

import (
	"fmt"
	"strconv"
	"strings"
)

// subject is a channel's: the stream's name and a token.
func (c *Cluster) subject(channel string) string { return subjectIn(c.cfg.Stream+".", channel) }

// channel is the channel of a subject. It says no if there is none.
func (c *Cluster) channel(subject string) (string, bool) { return channelIn(c.cfg.Stream+".", subject) }

// subjectIn is a channel's: a prefix and a token, of which all but letters, digits, - and _ is written as = and
// two digits, so that neither dots, spaces nor wildcards are in it.
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

// channelIn is the channel of a subject with a prefix. It says no if there is none.
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
