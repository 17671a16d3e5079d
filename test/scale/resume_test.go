package scale

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crier-ws/crier/internal/criertest"
)

// comesBack is a client that asks for message IDs, and resumes after the last one that it has received. It uses
// WebSocket or server-sent events.
type comesBack struct {
	events bool
	from   [4]byte
	port   int

	conn net.Conn
	br   *bufio.Reader
	id   string // The newest ID.
	got  int    // The number of messages, received in order.
}

// connect connects after the last ID, and reads the position that the server confirms.
func (c *comesBack) connect() error {
	conn, err := dial(c.from, c.port)
	if err != nil {
		return err
	}
	c.conn = conn
	_ = conn.SetDeadline(time.Now().Add(patience))
	query := ""
	if c.id != "" {
		query = "?since=" + c.id
	}
	head := "GET /room" + query + " HTTP/1.1\r\nHost: test\r\n"
	if c.events {
		head += "Accept: text/event-stream\r\n\r\n"
	} else {
		head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: crier.v1\r\n\r\n"
	}
	if _, err := io.WriteString(conn, head); err != nil {
		return err
	}
	c.br = bufio.NewReaderSize(conn, 2048)
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		return err
	}
	if c.events {
		c.br = bufio.NewReaderSize(httputil.NewChunkedReader(c.br), 2048)
	}
	if want := map[bool]int{false: 101, true: 200}[c.events]; resp.StatusCode != want {
		return fmt.Errorf("got status %d", resp.StatusCode)
	}
	return c.read("at")
}

// read reads the confirmed position (kind "at") or a message, and checks that it is the expected one.
func (c *comesBack) read(kind string) error {
	line, text, err := c.next()
	if err != nil {
		return err
	}
	if kind == "at" {
		if was := c.id; was != "" && line != was {
			return fmt.Errorf("the server resumes after %q, want %q", line, was)
		}
		c.id = line
		return nil
	}
	epoch, _, _ := strings.Cut(c.id, "-")
	c.got++
	if want := fmt.Sprintf("%s-%d", epoch, c.got); line != want || text != fmt.Sprintf("message %d", c.got) {
		return fmt.Errorf("got %q %q, want %q", line, text, want)
	}
	c.id = line
	return nil
}

// next reads an ID and a text.
func (c *comesBack) next() (id, text string, err error) {
	if c.events {
		for hasData := false; ; {
			line, err := c.br.ReadString('\n')
			switch name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); {
			case err != nil:
				return "", "", err
			case name == "id":
				id = value
			case name == "data":
				text, hasData = value, true
			case name == "" && hasData:
				return id, text, nil
			}
		}
	}
	var header [4]byte
	if _, err := io.ReadFull(c.br, header[:2]); err != nil {
		return "", "", err
	}
	n := int(header[1])
	if n == 126 {
		if _, err := io.ReadFull(c.br, header[2:]); err != nil {
			return "", "", err
		}
		n = int(binary.BigEndian.Uint16(header[2:]))
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(c.br, p); err != nil {
		return "", "", err
	}
	line, text, _ := strings.Cut(string(p), "\n")
	_, id, _ = strings.Cut(line, ": ")
	return id, text, nil
}

var adminAddr = regexp.MustCompile(`msg=serving .*admin=(\S+)`)

// TestResumeStorm: very many lose their connections, and come back after 1,000 messages:
// each gets every one, once and in order, over WebSocket and over server-sent events.
func TestResumeStorm(t *testing.T) {
	clients, missed := 9000, 1000 // Of each kind: so many fds has a process, on small machines.
	if criertest.Race {
		clients, missed = 1000, 300
	}
	needFDs(t, uint64(2*clients))
	p, port := startCrier(t, buildCrier(t), "--channels", "--admin=127.0.0.1:0", "--greeting=", "--log-level=info")
	admin := "http://" + adminAddr.FindStringSubmatch(p.log.String())[1]
	all := make([]*comesBack, 2*clients)
	for i := range all {
		all[i] = &comesBack{events: i%2 == 1, from: address(swarmNet, i), port: port}
	}
	each := func(what string, do func(*comesBack) error) {
		t.Helper()
		began := time.Now()
		var failed atomic.Int32
		var wg sync.WaitGroup
		few := make(chan struct{}, 64)
		for i, c := range all {
			few <- struct{}{}
			wg.Go(func() {
				defer func() { <-few }()
				if err := do(c); err != nil && failed.Add(1) < 5 {
					t.Errorf("%s: client %d: %v", what, i, err)
				}
			})
		}
		wg.Wait()
		if failed.Load() > 0 {
			t.Fatalf("%s: %d of %d failed", what, failed.Load(), len(all))
		}
		t.Logf("%s: %v", what, time.Since(began).Round(time.Millisecond))
	}
	published := 0
	publish := func(n int) {
		t.Helper()
		var body bytes.Buffer
		for range n {
			published++
			fmt.Fprintf(&body, `{"channel":"room","data":"message %d"}`+"\n", published)
		}
		resp, err := http.Post(admin+"/v1/publish", "application/x-ndjson", &body)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || bytes.Count(lines, []byte("\n")) != n {
			t.Fatalf("publishing: got %d, %d lines, %v", resp.StatusCode, bytes.Count(lines, []byte("\n")), err)
		}
	}
	each("connect", (*comesBack).connect)
	publish(1)
	each("get a message", func(c *comesBack) error { return c.read("message") })
	each("go", func(c *comesBack) error { return c.conn.Close() })
	for range missed / 100 {
		publish(100)
	}
	began := p.cpu()
	each("come back, and get what was missed", func(c *comesBack) error {
		if err := c.connect(); err != nil {
			return err
		}
		for c.got < published {
			if err := c.read("message"); err != nil {
				return err
			}
		}
		return nil
	})
	t.Logf("the server's CPU for that: %v, %v for each", p.cpu()-began, (p.cpu()-began)/time.Duration(len(all)))
	publish(3)
	each("get what comes", func(c *comesBack) error {
		for c.got < published {
			if err := c.read("message"); err != nil {
				return err
			}
		}
		return c.conn.Close()
	})
	http.DefaultClient.CloseIdleConnections()
}
