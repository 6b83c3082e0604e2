package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/dunlin-dev/dunlin/schema/safe"
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

// printable shows what came from outside without letting it speak to the terminal: what would becomes visible escapes,
// line ends become blanks.
func printable(s string) string { return safe.Terminal(s) }
