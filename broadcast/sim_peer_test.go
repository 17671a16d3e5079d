package broadcast

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/crier-ws/crier/netpoll"
	"github.com/gobwas/ws"
)

// simPeer is a client.
type simPeer struct {
	id     int
	sock   *simSocket // nil until it is accepted
	kind   simKind
	script []byte // what it is still to send
	got    []byte // what it has read and not understood yet

	channel  string
	ids      bool // it asks for ids
	events   bool // it asks for events
	at       int  // the id of the newest message, or of the place where it began; -1 before it knows
	upgraded bool
	last     int // the number of the newest message, 0 if it has none
	pings    []string
	closed   uint16 // with what the server closed; 1 without a status
	over     bool   // the connection is at its end
}

type simKind int

const (
	simHealthy simKind = iota // sends and reads
	simBroken                 // breaks the protocol in the end
	simStalled                // stops reading
	simGone                   // resets, or ends its stream, at any moment
	simSlow                   // never ends its handshake
	simKinds
)

// connect makes a peer.
func (s *simulation) connect(kind simKind) {
	p := &simPeer{id: len(s.peers), kind: kind, at: -1}
	s.peers = append(s.peers, p)
	s.waiting = append(s.waiting, p)
	var head []string
	if s.rng.IntN(2) == 0 {
		head = append(head, fmt.Sprintf("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=%d", 8+s.rng.IntN(8)))
	}
	target := "/"
	if s.srv.cfg.Channels {
		p.channel = []string{"", "a", "b/c"}[s.rng.IntN(3)]
		target += p.channel + fmt.Sprintf("?last=%d", s.rng.IntN(3)*s.rng.IntN(20))
	}
	if p.ids = s.rng.IntN(2) == 0; p.ids {
		head = append(head, "Sec-WebSocket-Protocol: crier.v1")
	}
	p.script = bytes.Replace([]byte(headPlus(head...)), []byte(" /ws "), []byte(" "+target+" "), 1)
	if p.events = s.rng.IntN(4) == 0; p.events {
		p.ids = true
		p.script = []byte("GET " + target + " HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n\r\n")
	}
	switch {
	case kind == simSlow:
		p.script = p.script[:s.rng.IntN(len(p.script))]
		return
	case p.events:
		return // It says nothing more.
	}
	for range s.rng.IntN(30) {
		p.script = append(p.script, s.frames(p)...)
	}
	switch {
	case kind == simBroken:
		p.script = append(p.script, frameWith(0x70, true, ws.OpText, nil)...)
	case s.rng.IntN(3) == 0:
		p.script = append(p.script, clientFrame(nil, true, ws.OpClose, binary.BigEndian.AppendUint16(nil, 1000))...)
	}
}

// frames is a message, whole or in fragments, or a ping.
func (s *simulation) frames(p *simPeer) (b []byte) {
	payload := bytes.Repeat([]byte{'m'}, s.rng.IntN(400))
	switch s.rng.IntN(4) {
	case 0:
		ping := fmt.Sprint(len(p.pings))
		p.pings = append(p.pings, ping)
		return clientFrame(nil, true, ws.OpPing, []byte(ping))
	case 1:
		cut := s.rng.IntN(len(payload) + 1)
		b = clientFrame(b, false, ws.OpText, payload[:cut])
		b = clientFrame(b, true, ws.OpPong, nil)
		return clientFrame(b, true, ws.OpContinuation, payload[cut:])
	}
	return clientFrame(nil, true, ws.OpText, payload)
}

// line removes the line before a message, and checks it. It returns nil if there is no message.
func (p *simPeer) line(payload []byte, bad func(string)) []byte {
	line, rest, _ := bytes.Cut(payload, []byte("\n"))
	word, value, _ := strings.Cut(string(line), ": ")
	id, _ := strconv.Atoi(value[strings.LastIndexByte(value, '-')+1:])
	switch {
	case word == "at" && p.at < 0, word == "gap" && id > p.at:
		p.at = id
		return nil
	case word != "id" || id != p.at+1:
		bad(fmt.Sprintf("another id than %d", p.at+1))
	}
	p.at = id
	return rest
}

// act lets a peer do something, and reports whether it did.
func (s *simulation) act(p *simPeer) bool {
	k := p.sock
	if k == nil || p.over {
		return false
	}
	if s.faults && p.kind == simGone && s.rng.IntN(60) == 0 {
		s.record("peer %d goes", p.id)
		p.over = true
		if s.rng.IntN(2) == 0 {
			k.reset = true
			s.edge(k, netpoll.Error|netpoll.Hangup|netpoll.Readable|netpoll.Writable)
		} else {
			k.fin = true
			s.edge(k, netpoll.Readable|netpoll.ReadHangup)
		}
		return true
	}
	if k.closed && len(k.out) == 0 {
		p.end(s)
		return true
	}
	reads := len(k.out) > 0 && !(p.kind == simStalled && k.sending > 20)
	sends := len(p.script) > 0 && !k.closed
	switch {
	case sends && (!reads || s.rng.IntN(2) == 0):
		n := 1 + s.rng.IntN(min(len(p.script), []int{3, 50, 3000}[s.rng.IntN(3)]))
		k.in = append(k.in, p.script[:n]...)
		p.script = p.script[n:]
		s.edge(k, netpoll.Readable)
	case reads:
		n := 1 + s.rng.IntN(len(k.out))
		p.got = append(p.got, k.out[:n]...)
		k.out = k.out[n:]
		if k.full && len(k.out) < k.room/2 {
			k.full = false
			s.edge(k, netpoll.Writable)
		}
		p.understand(s)
	default:
		return false
	}
	return true
}

// end checks what a peer has received when the server has closed its connection.
func (p *simPeer) end(s *simulation) {
	p.over = true
	if p.kind == simHealthy && p.upgraded && p.closed == 0 && !p.sock.reset && s.srv.cfg.RetainBytes > minRetain {
		s.t.Errorf("seed %d: peer %d, which is healthy, was cut off without a word", s.seed, p.id)
	}
}

// understand parses what a peer has read, and checks it.
func (p *simPeer) understand(s *simulation) {
	if !p.upgraded {
		i := bytes.Index(p.got, []byte("\r\n\r\n"))
		if i < 0 {
			return
		}
		if want := map[bool]string{false: "HTTP/1.1 101 ", true: "HTTP/1.1 200 "}[p.events]; !bytes.HasPrefix(p.got, []byte(want)) {
			p.got = nil
			return
		}
		p.got, p.upgraded = p.got[i+4:], true
	}
	for p.events {
		i := bytes.Index(p.got, crlf)
		if i < 0 || len(p.got) < chunkLen(p.got) {
			return
		}
		n := chunkLen(p.got)
		chunk := string(p.got[i+len(crlf) : n-len(crlf)])
		p.got = p.got[n:]
		p.event(s, chunk)
	}
	for {
		rd := bytes.NewReader(p.got)
		h, err := ws.ReadHeader(rd)
		if err != nil || h.Length > int64(rd.Len()) {
			return
		}
		payload := p.got[len(p.got)-rd.Len():][:h.Length]
		p.got = p.got[len(p.got)-rd.Len()+int(h.Length):]
		p.frame(s, h, payload)
	}
}

// event handles the content of one chunk.
func (p *simPeer) event(s *simulation, chunk string) {
	s.record("peer %d gets a chunk of %d", p.id, len(chunk))
	bad := func(what string) {
		s.t.Fatalf("seed %d: peer %d got %s: %s", s.seed, p.id, what, brief([]byte(chunk)))
	}
	if p.closed == 1 || p.closed != 0 && chunk != "" {
		bad("an event that may not be")
	}
	if chunk == "" { // The answer's end.
		p.sock.fin = true // It goes.
		s.edge(p.sock, netpoll.Readable|netpoll.ReadHangup)
		return
	}
	fields := make(map[string]string)
	for line := range strings.SplitSeq(strings.TrimSuffix(chunk, "\n\n"), "\n") {
		name, value, _ := strings.Cut(line, ": ")
		fields[name] = value
	}
	switch {
	case chunk == ":\n\n":
	case fields["event"] == "close":
		if _, err := fmt.Sscan(fields["data"], &p.closed); err != nil || p.closed != 1008 && p.closed != 1001 {
			bad("another status")
		}
	case fields["event"] == "gap":
		p.line([]byte("gap: "+fields["id"]), bad)
	case fields["retry"] != "": // Its chunk has the event "at", too.
		p.line([]byte("at: "+fields["id"]), bad)
	case fields["event"] == "":
		p.message(s, p.line([]byte("id: "+fields["id"]+"\n"+fields["data"]), bad), bad)
	default:
		bad("no event that a server sends")
	}
}

// message checks a message.
func (p *simPeer) message(s *simulation, payload []byte, bad func(string)) {
	s.delivered++
	var n int
	if _, err := fmt.Sscan(string(payload), &n); err != nil {
		bad("no message")
	}
	skipped := s.srv.cfg.Slow == SlowSkip && n > p.last && p.sock.refusals > 0
	if p.last != 0 && n != p.last+1 && !skipped {
		bad(fmt.Sprintf("another message than %d", p.last+1))
	}
	p.last = n
}

func (p *simPeer) frame(s *simulation, h ws.Header, payload []byte) {
	s.record("peer %d gets %v of %d", p.id, h.OpCode, len(payload))
	bad := func(what string) {
		s.t.Fatalf("seed %d: peer %d got %s: %v %s", s.seed, p.id, what, h, brief(payload))
	}
	if p.closed != 0 || h.Masked || !h.Fin {
		bad("a frame that may not be")
	}
	switch h.OpCode {
	case ws.OpText:
		if h.Rsv != 0 {
			payload = inflated(s.t, payload)
		}
		if p.ids {
			if payload = p.line(payload, bad); payload == nil {
				return
			}
		}
		p.message(s, payload, bad)
	case ws.OpPong:
		for len(p.pings) > 0 && p.pings[0] != string(payload) { // Older ones may go unanswered.
			p.pings = p.pings[1:]
		}
		if len(p.pings) == 0 {
			bad("a pong that it did not ask for, or again")
		}
		p.pings = p.pings[1:]
	case ws.OpClose:
		p.closed = 1
		if len(payload) >= 2 {
			p.closed = binary.BigEndian.Uint16(payload)
		}
		want := map[simKind]uint16{simBroken: 1002}[p.kind]
		if p.closed != want && p.closed != 1000 && p.closed != 1008 && p.closed != 1001 {
			bad("another status")
		}
		p.sock.fin = true // It goes.
		s.edge(p.sock, netpoll.Readable|netpoll.ReadHangup)
	default:
		bad("no frame that a server sends")
	}
}
