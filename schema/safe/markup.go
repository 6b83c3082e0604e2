package safe

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Markdown is a text as Markdown shows it letter for letter, in a cell of a table too, without a link, a picture, a
// heading, a mention or anything else made of it: whatever could be syntax (of CommonMark, of a table, of HTML, of what a
// forge links by itself) is written as a character reference, which by CommonMark 6.2 never is. U+FFFD stands for what is
// not Shown.
func Markdown(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case !Shown(r):
			b.WriteRune(utf8.RuneError)
		case r < utf8.RuneSelf && !alphanumeric(r) && r != ' ' && r != '-':
			b.WriteString("&#" + strconv.Itoa(int(r)) + ";")
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}

// HTML is a text for HTML, SVG and other XML, between tags or within a quoted attribute. U+FFFD stands for what is not
// Shown, which XML could not hold in part. An address or a script needs more than this: nothing from outside becomes one.
func HTML(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '"':
			b.WriteString("&quot;")
		case r == '\'':
			b.WriteString("&#39;")
		case Shown(r):
			b.WriteRune(r)
		default:
			b.WriteRune(utf8.RuneError)
		}
	}
	return b.String()
}

// CSV is a text for one cell of a table, before the writer's own quotes (RFC 4180): as of Terminal, and with an
// apostrophe before what a spreadsheet would take for a formula, which is what begins with = + - @, also in their wide
// forms. Numbers of ours need it not and are not given to it.
func CSV(s string) string {
	s = Terminal(s)
	switch r, _ := utf8.DecodeRuneInString(strings.TrimLeftFunc(s, unicode.IsSpace)); r {
	case '=', '+', '-', '@', '＝', '＋', '－', '＠':
		return "'" + s
	}
	return s
}

// Runner is a text as one line of the log of a CI run, in which nothing is a command to the runner: no "::" or "##[" of
// GitHub's or Azure's begins one.
func Runner(s string) string {
	s = strings.ReplaceAll(Terminal(s), "##[", "## [")
	if strings.HasPrefix(strings.TrimLeft(s, " "), "::") {
		return "\\" + s
	}
	return s
}

// Shell is a text as one word of a POSIX shell, for commands that people copy.
func Shell(s string) string {
	s = Terminal(s)
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !alphanumeric(r) && !strings.ContainsRune("%+,-./:=@_", r)
	}) && s[0] != '=' && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
