package presence

import "strings"

// table is the connections that channels have at other servers: of each server, and together. It holds so much as
// it may, and what it has no room for it leaves out.
type table struct {
	of    map[string]*channel
	bytes int // What it takes up, about: see TestTableBytes.
	most  int
}

// channel is a channel with its connections at all other servers together.
type channel struct {
	name    string
	conns   uint64
	servers int // Which have it in their counts.
}

// What the parts of a table take up: a channel with its place in the map, and one in a server's.
const (
	channelBytes = 112 // Beside its name.
	countBytes   = 40
)

// count is a channel's connections at a server, as that said in a beat, or in a snapshot behind that.
type count struct{ conns, seq uint32 }

// counted is what one server has in the table.
type counted struct {
	of    map[*channel]count
	conns uint64 // All together.
	short bool   // There was no room for some.
}

// set sets a channel's connections at a server, unless what is known is newer. One without connections is kept if
// so wanted, as news that an older message must not undo.
func (t *table) set(c *counted, name string, conns, seq uint32, keep bool) {
	ch := t.of[name]
	was, ok := c.of[ch]
	switch {
	case ok && seq < was.seq:
		return
	case ok && conns == 0 && !keep:
		t.remove(c, ch)
		return
	case !ok:
		if conns == 0 && !keep {
			return
		}
		if ch = t.add(ch, name); ch == nil {
			c.short = true
			return
		}
	}
	c.of[ch] = count{conns, seq}
	c.conns += uint64(conns) - uint64(was.conns)
	ch.conns += uint64(conns) - uint64(was.conns)
}

// add makes room for another server's count of a channel, which is nil if there is none of that name. It returns nil if there
// is no room.
func (t *table) add(ch *channel, name string) *channel {
	need := countBytes
	if ch == nil {
		need += channelBytes + len(name)
	}
	if t.bytes+need > t.most {
		return nil
	}
	t.bytes += need
	if ch == nil {
		ch = &channel{name: strings.Clone(name)}
		t.of[ch.name] = ch
	}
	ch.servers++
	return ch
}

// remove takes out a server's count of a channel.
func (t *table) remove(c *counted, ch *channel) {
	was := c.of[ch].conns
	delete(c.of, ch)
	c.conns -= uint64(was)
	ch.conns -= uint64(was)
	t.bytes -= countBytes
	if ch.servers--; ch.servers == 0 {
		delete(t.of, ch.name)
		t.bytes -= channelBytes + len(ch.name)
	}
}

// sweep takes out of a server's counts those that are older than a beat, and those of channels without connections.
func (t *table) sweep(c *counted, seq uint32) {
	for ch, n := range c.of {
		if n.seq < seq || n.conns == 0 {
			t.remove(c, ch)
		}
	}
}

// clear takes out all of a server's counts.
func (t *table) clear(c *counted) {
	for ch := range c.of {
		t.remove(c, ch)
	}
}

// list is the names of the channels that have connections, which begin with prefix and come after another one, in no order.
func (t *table) list(prefix, after string) (names []string) {
	for name, ch := range t.of {
		if ch.conns > 0 && strings.HasPrefix(name, prefix) && (after == "" || name > after) {
			names = append(names, name)
		}
	}
	return names
}
