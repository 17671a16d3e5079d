package doccode

import "strings"

// Command is a simple command of a shell: a program and its arguments.
type Command struct {
	Line       int // The number of its line in the script, from 0 on.
	Words      []string
	Subshell   bool // It is in parentheses, so it does not change the shell.
	Background bool // An & follows.
}

// Commands returns the commands of a script. It knows the syntax of scripts in documents: words, quotes, comments,
// redirections, lists, pipes and parentheses. Assignments before a command are left out.
func Commands(script string) []Command {
	var s shell
	script = strings.ReplaceAll(script, "\\\n", "\x00") // The line continues, but lines are still counted.
	for line := range strings.Lines(script) {
		s.lex(strings.TrimRight(line, "\n"))
		s.line += 1 + strings.Count(line, "\x00")
	}
	return s.commands
}

// shell is the state of parsing a script.
type shell struct {
	line     int
	commands []Command
	words    []string
	word     strings.Builder
	inWord   bool // A word may be empty: ''.
	redirect bool // The next word is the name of a file.
	depth    int  // Of open parentheses.
}

// lex parses a line.
func (s *shell) lex(line string) {
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			s.word.WriteByte(c)
		case c == '\'' || c == '"':
			quote, s.inWord = c, true
		case c == ' ' || c == '\x00':
			s.endWord()
		case c == '#' && !s.inWord:
			s.endCommand()
			return
		case c == '&' && !strings.HasPrefix(line[i+1:], "&") && !endsWithAny(line[:i], "&>"):
			s.background()
		case strings.IndexByte("&|;", c) >= 0:
			s.endCommand()
		case c == '(' || c == ')':
			s.endCommand()
			s.depth += map[byte]int{'(': 1, ')': -1}[c]
		case c == '<' || c == '>':
			s.endWord()
			s.redirect = true
		default:
			s.word.WriteByte(c)
			s.inWord = true
		}
	}
	s.endCommand()
}

// endsWithAny reports whether s ends with one of chars.
func endsWithAny(s, chars string) bool { return s != "" && strings.IndexByte(chars, s[len(s)-1]) >= 0 }

func (s *shell) endWord() {
	word := s.word.String()
	s.word.Reset()
	name, _, assigned := strings.Cut(word, "=")
	switch {
	case !s.inWord:
		return
	case s.redirect:
		s.redirect = false
	case len(s.words) == 0 && assigned && !strings.ContainsAny(name, "-./"):
	default:
		s.words = append(s.words, word)
	}
	s.inWord = false
}

func (s *shell) endCommand() {
	s.endWord()
	s.redirect = false
	if len(s.words) > 0 {
		s.commands = append(s.commands, Command{Line: s.line, Words: s.words, Subshell: s.depth > 0})
	}
	s.words = nil
}

// background ends a command that runs in the background.
func (s *shell) background() {
	n := len(s.commands)
	if s.endCommand(); len(s.commands) > n {
		s.commands[n].Background = true
	}
}
