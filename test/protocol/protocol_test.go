// Package protocol replays the transcripts of docs/protocol.md.
package protocol

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crier-ws/crier/auth"
	"github.com/crier-ws/crier/broadcast"
	"github.com/crier-ws/crier/internal/leaktest"
	"github.com/crier-ws/crier/internal/servertest"
	"github.com/gobwas/ws"
	"github.com/golang-jwt/jwt/v5"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Main(m)) }

const patience = 20 * time.Second

// transcript is one exchange of the page.
type transcript struct {
	line  int // Where it starts.
	flags []string
	steps []string
}

func transcripts(t *testing.T) (all []transcript) {
	t.Helper()
	page, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	var now *transcript
	for i, line := range strings.Split(string(page), "\n") {
		switch {
		case now != nil && line == "```":
			all = append(all, *now)
			now = nil
		case now != nil:
			now.steps = append(now.steps, line)
		case strings.HasPrefix(line, "```transcript"):
			now = &transcript{line: i + 2, flags: strings.Fields(line)[1:]}
		}
	}
	if now != nil || len(all) < 8 {
		t.Fatalf("got %d transcripts, the last one whole: %t", len(all), now == nil)
	}
	return all
}

// replay is a transcript under way.
type replay struct {
	*testing.T
	srv   *broadcast.Server
	addr  string
	epoch string
	conn  net.Conn
	br    *bufio.Reader // Of the connection or, once that is chunked, of the body.
	phase phase
	heads []string // Of the answer, those to come.
}

type phase int

const (
	inRequest phase = iota
	inAnswer
	inFrames
	inEvents
	inRefusal
)

func TestTranscripts(t *testing.T) {
	for _, tr := range transcripts(t) {
		t.Run(fmt.Sprintf("line %d", tr.line), func(t *testing.T) {
			r := newReplay(t, tr.flags)
			for i, step := range tr.steps {
				who, what, _ := strings.Cut(step, " ")
				if err := r.step(who, what); err != nil {
					t.Fatalf("docs/protocol.md, line %d: %s: %v", tr.line+i, step, err)
				}
			}
		})
	}
}

func newReplay(t *testing.T, flags []string) *replay {
	cfg := broadcast.DefaultConfig()
	cfg.CloseTimeout = 200 * time.Millisecond
	cfg.DrainTime = 0
	for _, f := range flags {
		switch f {
		case "--channels":
			cfg.Channels = true
		case "--greeting=":
			cfg.Greeting = ""
		case "--auth":
			cfg.Authorize = verifier(t).Authorize
		case "--full":
			cfg.MaxConns = 1
		default:
			t.Fatalf("the test does not know %s", f)
		}
	}
	srv, addr := servertest.Start(t, servertest.Loopback, cfg)
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if cfg.MaxConns > 0 {
		occupy(t, addr.String())
	}
	info, _ := srv.Channel("")
	epoch, _, _ := strings.Cut(info.Head, "-")
	return &replay{T: t, srv: srv, addr: addr.String(), epoch: epoch, conn: conn, br: bufio.NewReader(conn)}
}

// occupy opens a WebSocket, which takes a place until the test ends.
func occupy(t *testing.T, addr string) {
	t.Helper()
	conn, _, _, err := ws.Dial(context.Background(), "ws://"+addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
}

// secret is what tokens are signed with.
const secret = "a-secret-that-is-as-long-as-it-has-to-be"

func verifier(t *testing.T) *auth.Verifier {
	t.Helper()
	keys, err := auth.ParseKeys([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return auth.New(auth.Config{Keys: keys, Leeway: 10 * time.Second})
}

// token is one that is good until a time, or for ever if that is zero.
func token(t *testing.T, until time.Time) string {
	t.Helper()
	claims := jwt.MapClaims{"crier": map[string]any{"join": []string{"news/*"}}}
	if !until.IsZero() {
		claims["exp"] = until.Unix()
	}
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// step does or awaits one line of a transcript.
func (r *replay) step(who, what string) error {
	what = strings.ReplaceAll(what, "EPOCH", r.epoch)
	if who == "C" {
		what = strings.ReplaceAll(what, "TOKEN", token(r.T, time.Time{}))
		what = strings.ReplaceAll(what, "SHORT", token(r.T, time.Now().Add(time.Second)))
	}
	switch {
	case who == "B":
		return r.publish(what)
	case who == "C" && r.phase == inRequest:
		if what == "" {
			r.phase = inAnswer
		}
		_, err := io.WriteString(r.conn, what+"\r\n")
		return err
	case who == "C" && r.phase == inFrames:
		f, err := frame(what)
		if err != nil {
			return err
		}
		return ws.WriteFrame(r.conn, ws.MaskFrameInPlace(f))
	case who == "S" && r.phase == inAnswer:
		return r.answer(what)
	case who == "S" && what == "end":
		rest, err := io.ReadAll(r.br)
		if len(rest) > 0 && r.phase != inRefusal {
			return fmt.Errorf("got %q", rest)
		}
		return err
	case who == "S" && r.phase == inFrames:
		return r.expectFrame(what)
	case who == "S" && r.phase == inEvents:
		return r.expectEvent(strings.TrimPrefix(what, "event "))
	}
	return fmt.Errorf("it has no place here")
}

// publish is: KIND "CHANNEL" "PAYLOAD".
func (r *replay) publish(what string) error {
	kind, rest, _ := strings.Cut(what, " ")
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return err
	}
	channel, _ := strconv.Unquote(quoted)
	f, err := frame(kind + rest[len(quoted):])
	if err != nil {
		return err
	}
	_, err = r.srv.PublishTo(context.Background(), channel, broadcast.Message{Kind: broadcast.Kind(f.Header.OpCode), Payload: f.Payload})
	return err
}

// answer awaits the answer's status line, and then that a header is in it.
func (r *replay) answer(what string) error {
	if r.heads == nil {
		for {
			line, err := r.br.ReadString('\n')
			if err != nil {
				return err
			}
			if line = strings.TrimSuffix(line, "\r\n"); line == "" {
				break
			}
			r.heads = append(r.heads, line)
		}
		if r.heads[0] != what {
			return fmt.Errorf("got %q", r.heads[0])
		}
		return nil
	}
	if what != "" {
		if name, value, _ := strings.Cut(what, ": "); !slices.ContainsFunc(r.heads, func(h string) bool {
			n, v, _ := strings.Cut(h, ": ")
			return strings.EqualFold(n, name) && (v == value || name == "Connection" && strings.Contains(v, value))
		}) {
			return fmt.Errorf("got %q", r.heads)
		}
		return nil
	}
	switch status := strings.Fields(r.heads[0])[1]; status {
	case "101":
		r.phase = inFrames
	case "200":
		r.phase = inEvents
		r.br = bufio.NewReader(httputil.NewChunkedReader(r.br))
	default:
		r.phase = inRefusal
	}
	return nil
}

// frame is: text "PAYLOAD", binary, ping, pong, or close CODE "REASON".
func frame(what string) (f ws.Frame, err error) {
	name, rest, _ := strings.Cut(what, " ")
	ops := map[string]ws.OpCode{"text": ws.OpText, "binary": ws.OpBinary, "ping": ws.OpPing, "pong": ws.OpPong, "close": ws.OpClose}
	op, ok := ops[name]
	if !ok {
		return f, fmt.Errorf("no frame %q", name)
	}
	var payload []byte
	if op == ws.OpClose {
		code, reason, _ := strings.Cut(rest, " ")
		n, err := strconv.ParseUint(code, 10, 16)
		if err != nil {
			return f, err
		}
		payload = binary.BigEndian.AppendUint16(nil, uint16(n))
		rest = reason
	}
	s, err := strconv.Unquote(rest)
	return ws.NewFrame(op, true, append(payload, s...)), err
}

func (r *replay) expectFrame(what string) error {
	want, err := frame(what)
	if err != nil {
		return err
	}
	h, err := ws.ReadHeader(r.br)
	if err != nil {
		return err
	}
	got := make([]byte, h.Length)
	if _, err := io.ReadFull(r.br, got); err != nil {
		return err
	}
	if h.OpCode != want.Header.OpCode || !bytes.Equal(got, want.Payload) {
		return fmt.Errorf("got opcode %d %q", h.OpCode, got)
	}
	return nil
}

// expectEvent awaits an event, whose lines are told with bars between them. RETRY and LATER stand for the
// numbers that are drawn.
func (r *replay) expectEvent(want string) error {
	var lines []string
	for {
		line, err := r.br.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "\n" {
			break
		}
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	got := strings.Join(lines, "|")
	if strings.HasSuffix(want, "retry: LATER") {
		got = regexp.MustCompile(`retry: ([5-9]|1[0-4])[0-9]{3}$`).ReplaceAllString(got, "retry: LATER")
	} else {
		got = regexp.MustCompile(`retry: [1-4][0-9]{3}`).ReplaceAllString(got, "retry: RETRY")
	}
	if got != want {
		return fmt.Errorf("got %q", got)
	}
	return nil
}
