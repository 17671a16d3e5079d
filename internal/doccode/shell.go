package doccode

import "strings"

// Command is a simple command of a shell: a program and its arguments.
type Command struct {
	Line       int // Of the script, from 0: where its line begins.
	Words      []string
	Apart      bool // In parentheses: of the shell itself it alters nothing.
	Background bool // An & is behind it.
}

// Commands are those of a script, as far as scripts in documents go: words, quotes, comments,
// redirections, lists, pipes and parentheses. Assignments before a command are left out.
func Commands(script string) []Command {
	var s shell
	script = strings.ReplaceAll(script, "\\\n", "\x00") // It goes on, and lines are counted all the same.
	for line := range strings.Lines(script) {
		s.lex(strings.TrimRight(line, "\n"))
		s.line += 1 + strings.Count(line, "\x00")
	}
	return s.commands
}

// shell is reading a script.
type shell struct {
	line     int
	commands []Command
	words    []string
	word     strings.Builder
	inWord   bool // It may be empty: ''.
	redirect bool // The next word is a file's name.
	depth    int  // Of parentheses.
}

// lex reads a line.
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
		case c == '&' && !strings.HasPrefix(line[i+1:], "&") && !strings.HasSuffix(line[:i], "&") && !strings.HasSuffix(line[:i], ">"):
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
		s.commands = append(s.commands, Command{Line: s.line, Words: s.words, Apart: s.depth > 0})
	}
	s.words = nil
}

// background ends a command that is not waited for.
func (s *shell) background() {
	n := len(s.commands)
	if s.endCommand(); len(s.commands) > n {
		s.commands[n].Background = true
	}
}
