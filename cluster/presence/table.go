package presence

import "strings"

// table has the connections that channels have at other servers, of each server and together. It leaves out what
// exceeds maxBytes. Guarded by Presence.mu, with the serverCounts.
type table struct {
	byName   map[string]*channel
	bytes    int // What the table takes up, about: see TestTableBytes.
	maxBytes int
}

// channel is a channel with its connections at all other servers.
type channel struct {
	name    string
	conns   uint64
	servers int // How many servers have it in their counts.
}

// What the parts of a table take up.
const (
	channelBytes = 112 // A channel with its place in the map, beside its name.
	countBytes   = 40  // Its place in the counts of a server.
)

// count is how many connections a channel has at a server, as of the beat with the number seq.
type count struct{ conns, seq uint32 }

// serverCounts are the counts of one server.
type serverCounts struct {
	byChannel map[*channel]count
	conns     uint64 // The sum of byChannel.
	truncated bool   // There was no room for some of its channels.
}

// set sets how many connections a channel has at a server, unless the table has a newer count. A count of 0 is kept
// only if keepZero is set: an older message must not undo it.
func (t *table) set(c *serverCounts, name string, conns, seq uint32, keepZero bool) {
	ch := t.byName[name]
	was, ok := c.byChannel[ch]
	switch {
	case ok && seq < was.seq:
		return
	case ok && conns == 0 && !keepZero:
		t.remove(c, ch)
		return
	case !ok:
		if conns == 0 && !keepZero {
			return
		}
		if ch = t.addServer(ch, name); ch == nil {
			c.truncated = true
			return
		}
	}
	c.byChannel[ch] = count{conns, seq}
	c.conns += uint64(conns) - uint64(was.conns)
	ch.conns += uint64(conns) - uint64(was.conns)
}

// addServer makes room for the count of one more server. ch is nil if the channel is new. It returns the channel,
// or nil if there is no room. The name is copied.
func (t *table) addServer(ch *channel, name string) *channel {
	need := countBytes
	if ch == nil {
		need += channelBytes + len(name)
	}
	if t.bytes+need > t.maxBytes {
		return nil
	}
	t.bytes += need
	if ch == nil {
		ch = &channel{name: strings.Clone(name)}
		t.byName[ch.name] = ch
	}
	ch.servers++
	return ch
}

// remove removes the count of a channel at a server, and the channel if it was the last one.
func (t *table) remove(c *serverCounts, ch *channel) {
	was := c.byChannel[ch].conns
	delete(c.byChannel, ch)
	c.conns -= uint64(was)
	ch.conns -= uint64(was)
	t.bytes -= countBytes
	if ch.servers--; ch.servers == 0 {
		delete(t.byName, ch.name)
		t.bytes -= channelBytes + len(ch.name)
	}
}

// removeOlder removes the counts of a server that are older than a beat, and those of 0.
func (t *table) removeOlder(c *serverCounts, seq uint32) {
	for ch, n := range c.byChannel {
		if n.seq < seq || n.conns == 0 {
			t.remove(c, ch)
		}
	}
}

// removeAll removes all counts of a server.
func (t *table) removeAll(c *serverCounts) {
	for ch := range c.byChannel {
		t.remove(c, ch)
	}
}

// names returns the names of channels that have connections, begin with prefix and are greater than after, in no order.
// An empty after stands for all.
func (t *table) names(prefix, after string) (names []string) {
	for name, ch := range t.byName {
		if ch.conns > 0 && strings.HasPrefix(name, prefix) && (after == "" || name > after) {
			names = append(names, name)
		}
	}
	return names
}
