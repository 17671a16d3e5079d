package clients

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// needChat returns the path of the C# chat.
func needChat(t *testing.T) string {
	t.Helper()
	source := filepath.Join(chatCSharp, "Chat.cs")
	flags := strings.Fields(commented(t, source, "mcs"))
	return needMono(t, source, flags[:len(flags)-1]...) // Without the source.
}

var chatCSharp = filepath.Join("..", "..", "examples", "chat-csharp")

// commented returns the arguments of the command that a comment at the top of a file shows.
func commented(t *testing.T, file, command string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^//   ` + command + ` (.*)$`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s: no comment has %s", file, command)
	}
	return string(m[1])
}

// TestChatCSharpComment: CI compiles and runs the chat with the packages that its comment names, and nothing
// else of Mono; and .NET gets a project of the same file.
func TestChatCSharpComment(t *testing.T) {
	ci, err := os.ReadFile(filepath.Join("..", "..", ".ci", "run"))
	if err != nil {
		t.Fatal(err)
	}
	installed := regexp.MustCompile(`(?:lib)?mono-[a-z0-9.-]+`).FindAllString(string(ci), -1)
	slices.Sort(installed)
	named := strings.Fields(commented(t, filepath.Join(chatCSharp, "Chat.cs"), "apt-get install"))
	slices.Sort(named)
	if !slices.Equal(named, installed) {
		t.Errorf("the comment names %q, CI installs %q", named, installed)
	}
	var project struct {
		SDK    string `xml:"Sdk,attr"`
		Output string `xml:"PropertyGroup>OutputType"`
		Target string `xml:"PropertyGroup>TargetFramework"`
	}
	text, err := os.ReadFile(filepath.Join(chatCSharp, "Chat.csproj"))
	if err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(text, &project); err != nil || project.SDK != "Microsoft.NET.Sdk" || project.Output != "Exe" || !strings.HasPrefix(project.Target, "net") {
		t.Errorf("got %+v, %v, want a project of a program", project, err)
	}
}

// startChannels starts crier with channels at an address.
func startChannels(t *testing.T, addr string) *process {
	t.Helper()
	p := startProcess(t, "", crierBin, "--listen", addr, "--channels", "--drain", "0")
	(&target{process: p}).waitListening(t, addr)
	return p
}

// chatter is the C# chat, and somebody who types.
type chatter struct {
	*process
	keys io.WriteCloser
}

func startChatter(t *testing.T, addr, name string) *chatter {
	t.Helper()
	cmd := exec.Command("mono", needChat(t), "ws://"+addr, "lobby", name)
	keys, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return &chatter{start(t, cmd), keys}
}

func (c *chatter) types(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(c.keys, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// TestChatCSharp: who is there hears, who comes late gets what was said, and a server that is
// restarted receives all of them.
func TestChatCSharp(t *testing.T) {
	t.Parallel()
	needCrier(t)
	addr := freeAddr(t)
	crier := startChannels(t, addr)
	ada, grace := startChatter(t, addr, "Ada"), startChatter(t, addr, "Grace")
	for _, c := range []*chatter{ada, grace} {
		c.waitLine(t, "* connected", scriptTimeout)
	}
	ada.types(t, "안녕하세요 \"<b>\\")
	for _, c := range []*chatter{ada, grace} {
		c.waitLine(t, "Ada: 안녕하세요 \"<b>\\", scriptTimeout)
	}
	late := startChatter(t, addr, "Edsger")
	late.waitLine(t, "Ada: 안녕하세요 \"<b>\\", scriptTimeout)

	crier.signal(t, syscall.SIGTERM)
	if err := crier.wait(scriptTimeout); err != nil {
		t.Fatal(err)
	}
	startChannels(t, addr)
	all := []*chatter{ada, grace, late}
	for _, c := range all {
		c.waitLines(t, "* connected", 2, scriptTimeout)
		c.waitLine(t, "* some messages are missing here", scriptTimeout) // Its ids are of another time.
	}
	for i, c := range all {
		c.types(t, fmt.Sprint("still here ", i))
	}
	for _, c := range all {
		for i, name := range []string{"Ada", "Grace", "Edsger"} {
			c.waitLine(t, fmt.Sprintf("%s: still here %d", name, i), scriptTimeout)
		}
		c.keys.Close()
		if err := c.wait(scriptTimeout); err != nil {
			t.Errorf("at the end of its input: %v", err)
		}
		if n := c.out.lines("Ada: 안녕하세요 \"<b>\\"); n != 1 {
			t.Errorf("%s printed what was said once %d times", c, n)
		}
	}
}

// TestChat is node/chat.js: the page on a phone and on a desk, and the C# chat, in one room.
func TestChat(t *testing.T) {
	t.Parallel()
	needNode(t)
	needCrier(t)
	needTools(t, "chromium")
	exe := needChat(t)
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	site := filepath.Join(scratch, "chat")
	build := exec.Command("go", "build", "-o", site, "./examples/chat")
	build.Dir = filepath.Join("..", "..")
	if err := runTool(build, buildTimeout); err != nil {
		t.Fatal(err)
	}
	addr, page, plain := freeAddr(t), freeAddr(t), freeAddr(t)
	startChannels(t, addr)
	p := startProcess(t, "", crierBin, "--listen", plain, "--drain", "0")
	(&target{process: p}).waitListening(t, plain)
	p = startProcess(t, "", site, "-listen", page)
	(&target{process: p}).waitListening(t, page)
	file := pictureFile(t, "chat.png")
	t.Logf("\n%s", runScript(t, 3*time.Minute, nodeDir, "node", "chat.js", browser, "http://"+page, "ws://"+addr, "ws://"+plain, exe, file))
	checkPicture(t, file, 780, 1300)
}
