// Package safe makes text from outside harmless where it is shown: on a
// terminal, in a log, in Markdown, HTML and SVG, in CSV, in a line of a CI
// runner. It is for whoever writes to such a place; what is compared, signed or
// stored is never changed.
//
// Outside is whatever this program did not write itself: policies, host and
// package names, what other programs say, what peers send. Each function takes
// any bytes, also those that are no UTF-8, and none is undone by another that
// comes after it.
package safe

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// hidden are characters that are printable by their class and show nothing, or that say how another is drawn.
var hidden = []*unicode.RangeTable{unicode.Bidi_Control, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point}

// Shown reports whether r can be shown as it is: a reader sees it, and it does nothing but that. Not so control
// characters of both sets (C0, C1), line separators, what turns the reading direction (Trojan Source,
// CVE-2021-42574), what has no width, what has no meaning in Unicode, and U+FFFD, which stands for what is no UTF-8.
func Shown(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= ' ' && r != 0x7f
	}
	return r != utf8.RuneError && (unicode.IsPrint(r) || unicode.Is(unicode.Zs, r)) && !unicode.In(r, hidden...)
}

func hides(r rune) bool { return !Shown(r) }

// Escape is r as the terminal shows it where it must not have it: `\u{1b}`.
func Escape(r rune) string {
	const digits = "0123456789abcdef"
	var b [8]byte
	at := len(b)
	for {
		at--
		b[at] = digits[r&15]
		if r >>= 4; r == 0 {
			return `\u{` + string(b[at:]) + `}`
		}
	}
}

// Terminal is a text as one line that says nothing to the terminal: line ends and tabs become blanks, and what is not
// Shown becomes a visible escape.
func Terminal(s string) string {
	if !strings.ContainsFunc(s, hides) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case Shown(r):
			b.WriteRune(r)
		default:
			b.WriteString(Escape(r))
		}
	}
	return b.String()
}

// Words is what another program said, as part of a sentence: one line without what is not Shown, which becomes blanks
// where it is a control character and question marks elsewhere, of at most so many bytes.
func Words(s string, most int) string {
	if len(s) > most { // before the rest of it costs anything
		s = s[:most]
		for i := 1; i < utf8.UTFMax && i <= len(s); i++ { // no half of a character at the end
			if c := s[len(s)-i]; utf8.RuneStart(c) {
				if !utf8.FullRuneInString(s[len(s)-i:]) {
					s = s[:len(s)-i]
				}
				break
			}
		}
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f:
			return ' '
		case !Shown(r):
			return '?'
		}
		return r
	}, s)
}

// Line is a text of at most so many characters in which U+FFFD stands for each that is not Shown; "…" says that more
// followed.
func Line(s string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n == most {
			b.WriteString("…")
			break
		}
		n++
		if !Shown(r) {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Clip shortens a text to so many bytes, and says that it has. It judges no characters.
func Clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	const more = "…"
	return strings.ToValidUTF8(s[:most-len(more)], "") + more
}

// JSON writes characters that are not Shown as JSON's own escapes: the value of the text, which must be JSON, stays the
// same, but for bytes that are no UTF-8. Line ends and tabs between values stay as they are. It may return b itself.
func JSON(b []byte) []byte {
	speaks := func(r rune) bool { return r >= 0x7f && r != utf8.RuneError && !Shown(r) }
	if utf8.Valid(b) && !bytes.ContainsFunc(b, speaks) {
		return b
	}
	const digits = "0123456789abcdef"
	out := make([]byte, 0, len(b)+len(b)/8)
	unit := func(u rune) {
		out = append(out, '\\', 'u', digits[u>>12&15], digits[u>>8&15], digits[u>>4&15], digits[u&15])
	}
	for _, r := range string(b) {
		switch {
		case !speaks(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff: // a pair, RFC 8259 7
			unit(0xd800 + (r-0x10000)>>10)
			unit(0xdc00 + (r-0x10000)&0x3ff)
		default:
			unit(r)
		}
	}
	return out
}

// Log is for a handler that writes a record of JSON with each call: what reaches w says nothing to who looks at it on a
// terminal, and stays the same value.
func Log(w io.Writer) io.Writer { return records{w} }

type records struct{ w io.Writer }

func (r records) Write(b []byte) (int, error) {
	if _, err := r.w.Write(JSON(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}
