package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// look says how to show things on a stream: people get symbols and colours where their terminal has them,
// a status is always a word as well.
type look struct{ terminal, colour, unicode bool }

func lookOf(w io.Writer) look {
	f, ok := w.(*os.File)
	tty := ok && term.IsTerminal(int(f.Fd()))
	dumb := os.Getenv("TERM") == "dumb"
	return look{
		terminal: tty && !dumb,
		colour:   tty && !dumb && os.Getenv("NO_COLOR") == "",
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
)

// symbol is the mark in the terminal's own signs, coloured where it can be.
func (l look) symbol(m mark) string {
	plain := [...]string{"[ok]", "[x]", "[ ]", "[!]", "[*]"}[m]
	if l.unicode {
		plain = [...]string{"✓", "✗", "○", "!", "●"}[m]
	}
	return l.paint(m, plain)
}

// paint gives text the colour of a mark.
func (l look) paint(m mark, text string) string {
	if !l.colour {
		return text
	}
	code := [...]string{"32", "31", "36", "33", "34"}[m]
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// bold makes text stand out.
func (l look) bold(text string) string {
	if !l.colour {
		return text
	}
	return "\x1b[1m" + text + "\x1b[0m"
}

// printable shows what came from outside without letting it speak to the terminal: control characters, bidirectional
// overrides and zero-width characters become visible escapes, line ends become blanks.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xfeff || r == 0xfffd ||
			r == 0x61c || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2060 && r <= 0x206f:
			b.WriteString(`\u{` + strings.ToLower(hex(r)) + `}`)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
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
