package main

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// respelled returns a command line with crier's spelling of help and version in place of common spellings of other
// programs.
func respelled(args []string) []string {
	if len(args) == 0 {
		return args
	}
	switch args[0] {
	case "--version", "-version", "-v", "-V":
		if len(args) == 1 || slices.Equal(args[1:], []string{"--json"}) {
			return append([]string{"version"}, args[1:]...)
		}
	case "-help", "-?":
		return append([]string{"--help"}, args[1:]...)
	}
	return args
}

// joinNegative returns a command line with each negative number joined to the flag before it, as --rate=-1. Otherwise
// kong would report -1 as an unknown flag.
func joinNegative(args []string) []string {
	var joined []string
	for _, arg := range args {
		last := len(joined) - 1
		isNumber := len(arg) > 1 && arg[0] == '-' && strings.ContainsRune(".0123456789", rune(arg[1]))
		if isNumber && last >= 0 && wantsValue.MatchString(joined[last]) {
			joined[last] += "=" + arg
			continue
		}
		joined = append(joined, arg)
	}
	return joined
}

// wantsValue matches a long flag without a value.
var wantsValue = regexp.MustCompile(`^--[^=]+$`)

// commandWords has names that other programs have for crier's commands.
var commandWords = map[string]string{
	"start": "serve", "run": "serve", "server": "serve", "up": "serve", "listen": "serve", "daemon": "serve",
	"publish": "pub", "send": "pub", "post": "pub", "emit": "pub", "say": "pub", "broadcast": "pub",
	"subscribe": "sub", "follow": "sub", "tail": "sub", "watch": "sub", "connect": "sub", "client": "sub",
	"jwt": "token", "sign": "token", "key": "token", "keygen": "token", "auth": "token", "login": "token",
	"bench": "load", "benchmark": "load", "stress": "load", "test": "load",
	"settings": "config", "configuration": "config", "env": "config",
	"check": "doctor", "limits": "doctor", "sysctl": "doctor",
	"health": "probe", "healthcheck": "probe", "status": "probe", "ping": "probe", "ready": "probe",
	"ver": "version", "about": "version", "completions": "completion", "usage": "help", "commands": "help",
}

// commandFor returns the command that a word probably stands for, or "".
func commandFor(app *kong.Application, word string) string {
	word = strings.ToLower(word)
	names := commandNames(app)
	if name := commandWords[word]; name != "" {
		return name
	}
	if near := nearest(word, names); distance(word, near) <= min(2, len(word)/2) {
		return near
	}
	return ""
}

var portOnly = regexp.MustCompile(`^:?(\d+)$`)

// argumentFault returns an error with a hint for an argument of crier serve, which takes none.
func argumentFault(ctx *kong.Context, word string) error {
	what := "unexpected argument " + word
	hint := "crier serve --help describes its flags"
	name := commandFor(ctx.Model, word)
	isCommand := len(ctx.Args) > 0 && ctx.Args[0] == word
	_, _, err := net.SplitHostPort(word)
	switch m := portOnly.FindStringSubmatch(word); {
	case m != nil:
		hint = fmt.Sprintf("write --listen :%s for that port; %s", m[1], hint)
	case strings.Contains(word, "://"):
		hint = "crier serves; crier sub --server URL connects to a server, crier load URL loads one"
	case err == nil:
		hint = fmt.Sprintf("write --listen %s for that address; %s", word, hint)
	case slices.Contains([]string{"true", "false", "yes", "no", "on", "off"}, strings.ToLower(word)):
		hint = "a flag that is on or off takes no separate value: write --channels, or --channels=false"
	case isCommand && name != "":
		what = "there is no command " + word
		hint = fmt.Sprintf("did you mean crier %s? crier help lists the commands", name)
	case isCommand:
		what = "there is no command " + word
		hint = "crier help lists the commands; crier serve --help lists the flags"
	}
	return hinted(errors.New(what), "%s", hint)
}

// spelling is a set of flags of other programs, with a hint about crier's own flag.
type spelling struct {
	words string // Names of the flags, without dashes.
	value string // Placeholder for the value if the user has not typed one, or "" if hint has no %s.
	hint  string // Has %s where the value belongs.
}

const noTLS = "crier has no TLS of its own: put a proxy in front of it, as in examples/Caddyfile and " +
	"examples/nginx.conf"

var serveSpellings = []spelling{
	{"port p listen-port ws-port http-port", "PORT", "write --listen :%s"},
	{"host hostname bind address addr ip interface bind-address listen-address l a b H",
		"HOST", "write --listen %s:18000"},
	{"verbose debug d v vv trace", "", "write --log-level debug"},
	{"quiet silent q s", "", "write --log-level error"},
	{"json log-json", "", "write --log-format json"},
	{"log log-file logfile output o access-log", "FILE", "the log goes to standard error: crier 2>%s"},
	{"tls ssl https wss secure cert key certfile keyfile tls-cert tls-key ssl-cert ssl-key " +
		"certificate ca letsencrypt acme",
		"", noTLS},
	{"workers threads procs processes cpus concurrency instances j w t", "N",
		"one process uses all processors; GOMAXPROCS=%s in the environment limits it"},
	{"daemon daemonize background detach D pidfile pid-file",
		"", "crier stays in the foreground: README has a systemd unit and a container"},
	{"config-file conf cfg c f", "FILE", "write --config %s"},
	{"env-file env e", "", "each flag is CRIER_ and its name in the environment: CRIER_LISTEN for --listen"},
	{"token secret jwt jwt-secret api-key apikey password user public-key",
		"", "--auth FILE is for clients, --admin-token-file FILE for back ends"},
	{"cors cors-origin origins allow-origin allowed-origins allowed-origin", "ORIGIN", "write --origin %s"},
	{"max-connections max-clients max-sockets connections clients limit conns n", "N", "write --max-conns %s"},
	{"max-payload max-message-size max-size max-payload-length message-size", "SIZE", "write --max-message %s"},
	{"heartbeat keepalive keep-alive ping ping-period", "DURATION", "write --ping-interval %s"},
	{"timeout idle-timeout", "DURATION", "write --ping-timeout %s, or --handshake-timeout or --drain"},
	{"metrics prometheus stats api http health status admin-port metrics-port",
		"", "write --admin 127.0.0.1:18001, which has /metrics and publishes"},
	{"redis nats peers join nodes", "URL", "write --cluster nats://HOST:4222: crier clusters over NATS"},
	{"compression deflate gzip permessage-deflate per-message-deflate", "", "write --compress"},
	{"channel room rooms topic topics namespace prefix",
		"", "write --channels: the path of a connection names its channel"},
	{"history backlog buffer buffer-size", "SIZE", "write --retain %s"},
	{"welcome banner hello greet", "TEXT", "write --greeting %s"},
	{"endpoint route url-path", "/PATH", "write --path %s"},
	{"proxy trust-proxy behind-proxy trusted-proxy", "CIDR", "write --trusted-proxies %s"},
	{"version V", "", "crier version prints the version"},
}

var pubSpellings = []spelling{
	{"server url u host admin addr address",
		"HOST", "write --admin-url http://%s: messages are published through the server's --admin"},
	{"port p", "PORT", "write --admin-url http://127.0.0.1:%s"},
	{"channel c room topic t", "CHANNEL", "write the channel alone: crier pub %s"},
	{"message m data d text body payload",
		"TEXT", "messages are lines of a file or of standard input: echo %s | crier pub CHANNEL"},
	{"file f input", "FILE", "write the file behind the channel: crier pub CHANNEL %s"},
	{"token auth key", "", "write --token-file FILE, with the token of the server's --admin-token-file"},
	{"version v V", "", "crier version prints the version"},
}

var subSpellings = []spelling{
	{"url u host addr address connect", "HOST:PORT", "write --server ws://%s"},
	{"port p", "PORT", "write --server ws://127.0.0.1:%s"},
	{"channel c room topic t", "CHANNEL", "write the channel alone: crier sub %s"},
	{"history tail lines l", "N", "write --last %s"},
	{"n limit messages", "N", "write --count %s"},
	{"follow f", "", "crier sub follows without a flag"},
	{"auth jwt bearer key", "", "write --token-file FILE; crier token makes a token"},
	{"version v V", "", "crier version prints the version"},
}

var otherSpellings = []spelling{{"version v V", "", "crier version prints the version"}}

func spellingsOf(command string) []spelling {
	switch command {
	case "serve", "config":
		return serveSpellings
	case "pub":
		return pubSpellings
	case "sub":
		return subSpellings
	}
	return otherSpellings
}

var unknownFlag = regexp.MustCompile(`^unknown flag (-\S+)`)

// foreignUsage returns an error with a hint if a command line has a flag of another program, or a flag with a single
// dash. Otherwise it returns nil. text is kong's error.
func (c *cli) foreignUsage(ctx *kong.Context, text string) error {
	m := unknownFlag.FindStringSubmatch(text)
	if m == nil || ctx == nil {
		return nil
	}
	cmd := ctx.Model.DefaultCmd
	if ctx.Selected() != nil {
		cmd = ctx.Selected()
	}
	word, value := typed(ctx.Args, strings.TrimSuffix(m[1], ","))
	name := strings.TrimLeft(word, "-")
	short := !strings.HasPrefix(word, "--")
	if m := attached.FindStringSubmatch(word); m != nil {
		name, value = m[1], m[2]
	}
	fault := func(format string, args ...any) error {
		help := fmt.Sprintf("crier %s --help describes its flags", cmd.Name)
		return hinted(errors.New("unknown flag "+word), "%s", fmt.Sprintf(format, args...)+help)
	}
	var names []string
	for _, f := range cmd.Flags {
		names = append(names, f.Name)
	}
	if short && slices.Contains(names, name) {
		return fault("write --%s, with two dashes; ", name)
	}
	for _, s := range spellingsOf(cmd.Name) {
		if slices.Contains(strings.Fields(s.words), name) {
			return fault("%s; ", s.filled(value))
		}
	}
	if near := nearest(name, names); short && len(name) > 2 && distance(name, near) <= 2 {
		return fault("did you mean --%s? ", near)
	}
	if short { // A guess of kong from one letter does not help.
		return fault("")
	}
	return nil
}

// attached matches a flag of one letter with its value, such as -p8080.
var attached = regexp.MustCompile(`^-([a-zA-Z])(\d.*)$`)

// filled returns the hint with the value that the user typed, or with a placeholder.
func (s spelling) filled(value string) string {
	if s.value == "" {
		return s.hint
	}
	if value == "" || strings.HasPrefix(value, "-") {
		value = s.value
	}
	if _, _, err := net.SplitHostPort(value); err == nil && strings.HasSuffix(s.hint, "%s:18000") {
		return fmt.Sprintf(strings.TrimSuffix(s.hint, ":18000"), value)
	}
	if i := strings.Index(value, "://"); i > 0 && strings.Contains(s.hint, "://%s") {
		value = value[i+len("://"):]
	}
	return fmt.Sprintf(s.hint, value)
}

// typed returns the argument in which kong found an unknown flag, without its value, and the value. For -listen, kong
// names only -l.
func typed(args []string, flag string) (word, value string) {
	for i, arg := range args {
		name, value, assigned := strings.Cut(arg, "=")
		short := !strings.HasPrefix(flag, "--") && strings.HasPrefix(arg, flag)
		switch {
		case name != flag && !short:
		case assigned:
			return name, value
		case i+1 < len(args):
			return name, args[i+1]
		default:
			return name, ""
		}
	}
	return flag, ""
}
