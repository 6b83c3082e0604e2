package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxText bounds a text from outside on a page, in characters.
const maxText = 64

// clean makes a text harmless to look at: one line, bounded, and nothing in it that a reader does not see or that turns
// the reading direction (Trojan Source, CVE-2021-42574): such characters become U+FFFD.
func clean(s string) string {
	var b strings.Builder
	n := 0
	for i, r := range s {
		if n == maxText {
			b.WriteString("…")
			break
		}
		n++
		_, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size <= 1 || !unicode.IsPrint(r) || unicode.In(r, unicode.Bidi_Control, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point) {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}

// markdown is an outside text as Markdown shows it letter for letter, in a cell of a table too: whatever could be syntax
// (of CommonMark, of a table, of HTML, of a link that a forge makes by itself) is written as a character reference, which
// by CommonMark 6.2 never is.
func markdown(s string) string {
	var b strings.Builder
	for _, r := range clean(s) {
		switch {
		case r < utf8.RuneSelf && !isAlnum(byte(r)) && r != ' ' && r != '-':
			fmt.Fprintf(&b, "&#%d;", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

var xmlEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&#39;")

// xml is an outside text for SVG, as text or within an attribute.
func xml(s string) string { return escape(clean(s)) }

// escape is a text for SVG that is made of clean ones and may be long.
func escape(s string) string { return xmlEscaper.Replace(s) }
