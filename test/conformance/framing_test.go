package conformance

import (
	"fmt"
	"strings"
	"testing"
)

// text returns the frame that a server sends for a text message.
func text(s string) frame { return frame{fin | opText, []byte(s)} }

func binaryOf(s string) frame { return frame{fin | opBinary, []byte(s)} }

func pong(s string) frame { return frame{fin | opPong, []byte(s)} }

func TestFraming(t *testing.T) {
	var checks []check
	add := func(section, name string, send []byte, code uint16, want ...frame) {
		checks = append(checks, check{section, name, send, want, code})
	}
	for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536, 100_000} {
		s := strings.Repeat("*", n)
		add("5.2", fmt.Sprintf("text of %d bytes", n), say(fin|opText, s), 0, text(s))
		add("5.2", fmt.Sprintf("binary of %d bytes", n), say(fin|opBinary, strings.Repeat("\xfe", n)), 0, binaryOf(strings.Repeat("\xfe", n)))
	}
	for _, c := range []struct{ size, length int }{{0, 2}, {125, 2}, {0, 8}, {125, 8}, {126, 8}, {65535, 8}} {
		f := client{first: fin | opBinary, payload: make([]byte, c.size), length: c.length, mask: mask}
		add("5.2", fmt.Sprintf("length %d not in its shortest form, %d bytes", c.size, c.length), f.bytes(), 1002)
	}
	add("5.2", "length with its top bit set",
		client{first: fin | opBinary, length: 8, declared: 1 << 63, mask: mask}.bytes(), 1002)
	add("5.3", "mask of zeros", client{first: fin | opText, payload: []byte("plain"), length: -1}.bytes(), 0, text("plain"))
	for _, op := range []byte{opText, opBinary, opPing, opClose} {
		add("5.1", fmt.Sprintf("opcode %#x unmasked", op), client{first: fin | op, payload: []byte("\x03\xe8"), length: -1, unmasked: true}.bytes(), 1002)
	}
	for rsv := byte(0x10); rsv <= 0x70; rsv += 0x10 {
		for _, op := range []byte{opText, opBinary, opPing, opPong, opClose} {
			add("5.2", fmt.Sprintf("reserved bits %#x with opcode %#x", rsv, op), say(fin|rsv|op, ""), 1002)
		}
		add("5.2", fmt.Sprintf("reserved bits %#x behind a message", rsv),
			join(say(fin|opText, "one"), say(fin|rsv|opText, "two"), say(fin|opPing, "")), 1002)
		add("5.2", fmt.Sprintf("reserved bits %#x on a continuation", rsv),
			join(say(opText, "one"), say(fin|rsv|opCont, "two")), 1002)
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf} {
		add("5.2", fmt.Sprintf("opcode %#x", op), say(fin|op, ""), 1002)
		add("5.2", fmt.Sprintf("opcode %#x with payload, behind a message", op),
			join(say(fin|opText, "one"), say(fin|op, "two"), say(fin|opPing, "")), 1002)
	}
	run(t, checks)
}

func TestControl(t *testing.T) {
	var checks []check
	add := func(section, name string, send []byte, code uint16, want ...frame) {
		checks = append(checks, check{section, name, send, want, code})
	}
	long := strings.Repeat("\xfe", 125)
	add("5.5.2", "ping without payload", say(fin|opPing, ""), 0, pong(""))
	add("5.5.2", "ping with text", say(fin|opPing, "Hello"), 0, pong("Hello"))
	add("5.5.2", "ping with 125 bytes that are no text", say(fin|opPing, long), 0, pong(long))
	for _, op := range []byte{opPing, opPong, opClose} {
		add("5.5", fmt.Sprintf("opcode %#x of 126 bytes", op), say(fin|op, long+"x"), 1002)
		add("5.5", fmt.Sprintf("opcode %#x in fragments", op), join(say(op, "a"), say(fin|opCont, "b")), 1002)
		add("5.5", fmt.Sprintf("opcode %#x in fragments within a message", op), join(say(opText, "a"), say(op, "a"), say(fin|opCont, "b")), 1002)
	}
	add("5.5.3", "unsolicited pong", join(say(fin|opPong, ""), say(fin|opPong, "payload")), 0)
	add("5.5.3", "pong, then ping", join(say(fin|opPong, "unasked"), say(fin|opPing, "asked")), 0, pong("asked"))
	add("5.4", "ping between fragments", join(say(opText, "frag"), say(fin|opPing, "p"), say(fin|opCont, "ment")), 0, pong("p"), text("fragment"))
	add("5.4", "pong between fragments", join(say(opText, "frag"), say(fin|opPong, "p"), say(fin|opCont, "ment")), 0, text("fragment"))
	// One pong may answer several pings, but the newest ping must be answered: section 5.5.3.
	run(t, checks)
	t.Run("5.5.3/ten_pings", func(t *testing.T) {
		addr := start(t)
		for _, chop := range chops {
			p := open(t, addr)
			var pings []byte
			for i := range 10 {
				pings = append(pings, say(fin|opPing, fmt.Sprint(i))...)
			}
			go p.send(pings, chop) // Ends when everything is sent.
			last := -1
			for last < 9 {
				f, err := p.read()
				var i int
				if _, bad := fmt.Sscan(string(f.payload), &i); err != nil || bad != nil || f.first != fin|opPong || i <= last {
					t.Fatalf("chops of %d: got %v, %v behind pong %d", chop, f, err, last)
				}
				last = i
			}
			p.Close()
		}
	})
}

func TestFragmentation(t *testing.T) {
	var checks []check
	add := func(name string, send []byte, code uint16, want ...frame) {
		checks = append(checks, check{"5.4", name, send, want, code})
	}
	add("two fragments", join(say(opText, "frag"), say(fin|opCont, "ment")), 0, text("fragment"))
	add("binary", join(say(opBinary, "\xff"), say(fin|opCont, "\xfe")), 0, binaryOf("\xff\xfe"))
	add("five fragments and pings", join(say(opText, "a"), say(fin|opPing, "1"), say(opCont, "b"), say(opCont, "c"), say(opCont, "d"),
		say(fin|opCont, "e"), say(fin|opText, "next")), 0, pong("1"), text("abcde"), text("next"))
	add("empty fragments", join(say(opText, ""), say(opCont, ""), say(fin|opCont, "")), 0, text(""))
	add("empty fragments with something between", join(say(opText, ""), say(opCont, "middle"), say(fin|opCont, "")), 0, text("middle"))
	var endless []byte
	for range 20_000 {
		endless = append(endless, say(opCont, "")...)
	}
	add("many empty fragments", join(say(opText, "a"), endless, say(fin|opCont, "b")), 0, text("ab"))
	var bits []byte
	for range 5000 {
		bits = append(bits, say(opCont, "x")...)
	}
	add("many fragments of one byte", join(say(opText, ""), bits, say(fin|opCont, "")), 0, text(strings.Repeat("x", 5000)))
	add("continuation of nothing", say(fin|opCont, "a"), 1002)
	add("continuation of nothing, not final", say(opCont, "a"), 1002)
	add("continuation behind a whole message", join(say(fin|opText, "a"), say(fin|opCont, "b")), 1002)
	add("continuation behind a finished message", join(say(opText, "a"), say(fin|opCont, "b"), say(opCont, "c")), 1002)
	add("new message within one", join(say(opText, "a"), say(fin|opText, "b")), 1002)
	add("new fragments within a message", join(say(opText, "a"), say(opBinary, "b")), 1002)
	run(t, checks)
}

// TestLimits checks that messages up to the limit arrive, in all forms, and that larger ones are refused.
func TestLimits(t *testing.T) {
	addr := start(t)
	defer bystander(t, addr)()
	for _, size := range []int{1 << 16, 1 << 20, maxMessage} {
		for _, op := range []byte{opText, opBinary} {
			for _, fragment := range []int{whole, 64 << 10, 64} {
				for _, chop := range []int{whole, 1460, 64} {
					if fragment == 64 && size > 1<<20 || chop == 64 && (size > 1<<20 || fragment != whole) {
						continue
					}
					t.Run(fmt.Sprintf("opcode=%d/size=%d/fragment=%d/chop=%d", op, size, fragment, chop), func(t *testing.T) {
						payload := strings.Repeat("0123456789abcdef", size/16)
						var send []byte
						first := op
						for rest := payload; ; {
							n := min(fragment, len(rest))
							f := byte(0)
							if n == len(rest) {
								f = fin
							}
							send = append(send, say(f|first, rest[:n])...)
							rest, first = rest[n:], opCont
							if rest == "" {
								break
							}
						}
						c := check{send: send, want: []frame{{fin | op, []byte(payload)}}}
						c.run(t, addr, chop)
					})
				}
			}
		}
	}
	over := client{first: fin | opBinary, length: 8, declared: maxMessage + 1, mask: mask}
	c := check{send: over.bytes(), code: 1009} // Its header is enough.
	c.run(t, addr, whole)
	over.declared = 1<<63 - 1
	c.send = over.bytes()
	c.run(t, addr, whole)
	c.send = join(say(opBinary, strings.Repeat("x", maxMessage)), say(fin|opCont, "x"))
	c.run(t, addr, whole)
}
