package main

import (
	"bytes"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// look says how to show things on a stream: people get symbols and colours where their terminal has them,
// a status is always a word as well.
type look struct{ terminal, colour, unicode bool }

func lookOf(w io.Writer) look {
	f, ok := w.(*os.File)
	tty := ok && term.IsTerminal(int(f.Fd()))
	dumb := os.Getenv("TERM") == "dumb"
	force := os.Getenv("CLICOLOR_FORCE")
	forced := force != "" && force != "0"
	return look{
		terminal: tty && !dumb,
		colour:   (tty && !dumb || forced) && os.Getenv("NO_COLOR") == "",
		unicode:  !dumb && utf8Locale(),
	}
}

// utf8Locale follows locale(7): LC_ALL, else LC_CTYPE, else LANG. Without any of them the output most often
// goes to a log, which is UTF-8 today.
func utf8Locale() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return true
}

// mark is a status at a glance.
type mark int

const (
	good mark = iota
	bad
	waits
	attention
	busy
	unknown
	gone
)

// symbol is the mark in the terminal's own signs, coloured where it can be.
func (l look) symbol(m mark) string { return l.paint(m, l.bare(m)) }

// bare is the symbol without colour.
func (l look) bare(m mark) string {
	if l.unicode {
		return [...]string{"✓", "✗", "○", "!", "●", "?", "–"}[m]
	}
	return [...]string{"[ok]", "[x]", "[ ]", "[!]", "[*]", "[?]", "[-]"}[m]
}

// paint gives text the colour of a mark.
func (l look) paint(m mark, text string) string {
	return l.escape([...]string{"32", "31", "36", "33", "34", "33", "2"}[m], text)
}

func (l look) escape(code, text string) string {
	if !l.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// dim makes text stand back.
func (l look) dim(text string) string { return l.escape("2", text) }

// bold makes text stand out.
func (l look) bold(text string) string { return l.escape("1", text) }

// speaks reports whether a terminal would not show r but do something: control characters, bidirectional overrides,
// zero-width characters, and what is no character.
func speaks(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xfeff || r == 0xfffd ||
		r == 0x61c || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f
}

// printable shows what came from outside without letting it speak to the terminal: what would becomes visible escapes,
// line ends become blanks.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case speaks(r):
			b.WriteString(`\u{` + strings.ToLower(hex(r)) + `}`)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// harmlessJSON writes characters that would speak to the terminal as JSON's own escapes: the value stays the same.
func harmlessJSON(b []byte) []byte {
	if !bytes.ContainsFunc(b, func(r rune) bool { return r >= 0x7f && speaks(r) }) {
		return b
	}
	out := make([]byte, 0, len(b)+len(b)/8)
	for _, r := range string(b) {
		if r >= 0x7f && speaks(r) {
			out = append(out, `\u`...)
			h := strings.ToLower(hex(r))
			out = append(out, "0000"[len(h):]...)
			out = append(out, h...)
			continue
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

func hex(r rune) string {
	const digits = "0123456789ABCDEF"
	out := ""
	for {
		out = string(digits[r&15]) + out
		if r >>= 4; r == 0 {
			return out
		}
	}
}
