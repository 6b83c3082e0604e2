// Package writing says what keeps a file of CUE from being read, in the words of someone who knows what people write by
// habit and what they take over from other tools.
package writing

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/parser"
)

// maxSlips is how many mistakes of writing one file is told of.
const maxSlips = 10

// Explain says what is wrong with a file that the parser refuses with an error: one slip a mistake, and no more than one
// for what begins at the start of a line.
func Explain(name string, text []byte, err error) []Slip {
	if at := notText(text); at >= 0 {
		m := fmt.Sprintf("not UTF-8: byte 0x%02x; save the file as UTF-8", text[at])
		if text[at] == 0 {
			m = "a NUL byte; the file is no text, or is saved as UTF-16: save it as UTF-8"
		}
		return []Slip{{at, m}}
	}
	if m := regexp.MustCompile("(?m)^(---[ \\t]*$|```)").FindIndex(text); m != nil {
		what := "YAML"
		if text[m[0]] == '`' {
			what = "Markdown"
		}
		return []Slip{{m[0], fmt.Sprintf("%s belongs to %s and not into a .cue file", text[m[0]:m[0]+3], what)}}
	}
	var out []Slip
	for _, at := range MergeMarkers(text) {
		out = append(out, Slip{at, Unmerged})
	}
	if out != nil {
		return out
	}
	start := 0 // of the part that is parsed
	for n := 0; n < maxSlips && err != nil; n++ {
		part := text[start:]
		list := errors.Errors(err)
		first := slices.MinFunc(list, func(a, b errors.Error) int { return a.Position().Offset() - b.Position().Offset() })
		at := min(max(first.Position().Offset(), 0), len(part))
		form, args := first.Msg()
		s := writing{text: part, at: at}.explain(form, args)
		if start > 0 && s.At == at && form == "expected %s, found '%s'" && at < len(part) && strings.IndexByte("}])", part[at]) >= 0 {
			return out // it closes what was cut off
		}
		s.At += start
		opened := strings.HasPrefix(form, "string literal not terminated")
		closed := -1 // where a text ends that goes over several lines between single quotes
		if opened {
			closed = closingLine(text, s.At)
		}
		if closed >= 0 {
			s.Message += `; a text of several lines stands between """`
		}
		out = append(out, s)
		next := nextTop(text, max(s.At, start, closed))
		if next < 0 || bytes.Contains(text[start:next], []byte(`"""`)) || bytes.Contains(text[start:next], []byte("'''")) {
			return out // or it would begin within a text
		}
		start = next
		_, err = parser.ParseFile(name, text[start:])
	}
	return out
}

// Unmerged is what is said of a merge that Git has left in a file.
const Unmerged = "a merge that nobody finished: keep one of the two sides, and delete the lines <<<<<<<, ======= and >>>>>>>"

// Slip is a mistake of writing and its place, in bytes from the start.
type Slip struct {
	At      int
	Message string
}

// notText is where text stops to be text, or -1.
func notText(text []byte) int {
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && n == 1 || c == 0 {
			return i
		}
		i += n
	}
	return -1
}

// MergeMarkers finds where conflicts begin that Git has left in a file.
func MergeMarkers(text []byte) []int {
	if !bytes.Contains(text, []byte("<<<<<<< ")) && !bytes.Contains(text, []byte(">>>>>>> ")) {
		return nil
	}
	var out []int
	for _, m := range regexp.MustCompile(`(?m)^<<<<<<< `).FindAllIndex(text, maxSlips) {
		out = append(out, m[0])
	}
	if len(out) == 0 {
		if m := regexp.MustCompile(`(?m)^>>>>>>> `).FindIndex(text); m != nil {
			out = append(out, m[0])
		}
	}
	return out
}

// closingLine is the end of the line, soon after at, that holds the only quote in it, as the end of a text that begins at
// at would; -1 if a quote or a colon comes first.
func closingLine(text []byte, at int) int {
	for range 50 {
		i := bytes.IndexByte(text[at:], '\n')
		if i < 0 {
			return -1
		}
		at += i + 1
		line, _, _ := bytes.Cut(text[at:], []byte("\n"))
		line = bytes.TrimRight(line, " \t\r,}")
		if bytes.Count(line, []byte(`"`)) == 1 && bytes.HasSuffix(line, []byte(`"`)) {
			return at + len(line) - 1
		}
		if bytes.ContainsAny(line, `":`) {
			return -1
		}
	}
	return -1
}

// nextTop is the next line after at that begins something of its own, or -1.
func nextTop(text []byte, at int) int {
	for {
		i := bytes.IndexByte(text[at:], '\n')
		if i < 0 {
			return -1
		}
		at += i + 1
		if at < len(text) && (text[at] == '_' || text[at] == '#' || text[at] == '"' || text[at] >= 'a' && text[at] <= 'z' || text[at] >= 'A' && text[at] <= 'Z') {
			return at
		}
	}
}

// writing is a text that the parser refuses at a place.
type writing struct {
	text []byte
	at   int
}

// line is the line of the place, what is before the place in it, and from it on.
func (w writing) line() (before, after string) {
	lo := bytes.LastIndexByte(w.text[:w.at], '\n') + 1
	hi := len(w.text)
	if i := bytes.IndexByte(w.text[w.at:], '\n'); i >= 0 {
		hi = w.at + i
	}
	return string(w.text[lo:w.at]), strings.TrimRight(string(w.text[w.at:hi]), "\r")
}

// lineAbove is the end of the line above that holds something.
func (w writing) lineAbove() (writing, bool) {
	lo := bytes.LastIndexByte(w.text[:w.at], '\n') + 1
	at := len(bytes.TrimRight(w.text[:lo], " \t\r\n"))
	return writing{w.text, at}, at > 0
}

// word is what stands around the place without a blank.
func (w writing) word() (at int, s string) {
	const ends = " \t\r\n,;{}[]()\":=|&'`"
	lo, hi := w.at, w.at
	for lo > 0 && strings.IndexByte(ends, w.text[lo-1]) < 0 {
		lo--
	}
	for hi < len(w.text) && strings.IndexByte(ends, w.text[hi]) < 0 {
		hi++
	}
	return lo, string(w.text[lo:hi])
}

func (w writing) here(form string, a ...any) Slip { return Slip{w.at, fmt.Sprintf(form, a...)} }

// explain says what was probably meant.
func (w writing) explain(form string, args []any) Slip {
	before, after := w.line()
	if s, ok := w.sign(form, args); ok {
		return s
	}
	// The parser may see a mistake only in the line below it.
	if up, ok := w.lineAbove(); ok {
		b, a := up.line()
		if regexp.MustCompile(`^\s*("[^"]*"|[A-Za-z_][\w-]*)\s*(=>|:=|=)\s*[^=~]`).MatchString(b+a) && !strings.HasPrefix(strings.TrimSpace(b+a), "let ") {
			if s, ok := up.habit(b, a); ok {
				return s
			}
		}
	}
	if s, ok := w.habit(before, after); ok {
		return s
	}
	if s, ok := w.unclosed(form); ok {
		return s
	}
	switch {
	case strings.HasPrefix(form, "missing ','"):
		if after == "" {
			return w.here("a comma is missing at the end of this line")
		}
		if strings.HasSuffix(before, `"`) && regexp.MustCompile(`^[\pL\pN]`).MatchString(after) {
			return Slip{w.at - 1, `a " within a text is written \"`}
		}
		return w.here("a comma is missing before %s", quoted(token1(after)))
	case strings.Contains(form, "@experiment"), strings.HasPrefix(form, "use 'else'"), strings.HasPrefix(form, "use 'otherwise'"):
		return w.here(`%s is not known here; write the opposite condition: if !x {...}`, quoted(token1(after)))
	case strings.HasPrefix(form, "identifiers starting with '__'"):
		return w.here("names that begin with __ are CUE's own; a hidden field begins with one _")
	case strings.HasPrefix(form, "expression exceeds maximum nesting depth"):
		return w.here("nested too deep")
	case strings.HasPrefix(form, "square bracket must have exactly one element"):
		return w.here("a pattern in [...] before a colon is one value such as [string]")
	case strings.HasPrefix(form, "invalid import path"):
		return w.here("no import path")
	case strings.HasPrefix(form, "invalid package name"):
		return w.here("no name of a package; every .cue file outside lib/ says package fleet")
	case after == "":
		if w.ends() {
			return w.here("the file ends here too early")
		}
		if strings.HasSuffix(strings.TrimSpace(before), ":") {
			return w.here("a value is missing after the colon")
		}
		return w.here("the line ends here too early: a field is written as name: value")
	}
	if t := token1(after); strings.HasPrefix(form, "expected") && len(args) > 0 {
		switch fmt.Sprint(args[0]) {
		case "operand", "expression":
			return w.here("a value is wanted here, and not %s", quoted(t))
		case "label or ':'":
			return w.here("%s cannot stand here: a field is written as name: value", quoted(t))
		case "')' for string interpolation":
			return w.here(`\( is not closed: a reference within a text is written as \(name)`)
		}
	}
	return w.here("%s cannot stand here", quoted(token1(after)))
}

// sign explains what has no meaning by itself, and texts.
func (w writing) sign(form string, args []any) (Slip, bool) {
	before, after := w.line()
	c, _ := utf8.DecodeRune(w.text[w.at:])
	ok := func(form string, a ...any) (Slip, bool) { return w.here(form, a...), true }
	switch {
	case strings.HasPrefix(form, "illegal byte order mark"):
		return ok("a byte order mark (U+FEFF), which cannot be seen; delete it")
	case strings.HasPrefix(form, "illegal character %#U in escape"), strings.HasPrefix(form, "escape sequence"), strings.Contains(form, "escape"):
		at := w.at
		if at > 0 && w.text[at] != '\\' && w.text[at-1] == '\\' {
			at--
		}
		_, e := writing{w.text, at}.line()
		return Slip{at, fmt.Sprintf(`%s is no escape; a backslash in a text is written twice: \\`, quoted(firstRunes(e, 2)))}, true
	case strings.HasPrefix(form, "string literal not terminated"):
		q := firstRunes(after, 1)
		if strings.HasPrefix(after, strings.Repeat(q, 3)) {
			return ok("a text of several lines that is not closed: write %s on a line of its own", strings.Repeat(q, 3))
		}
		if c == '\'' {
			return ok("a text that is not closed; texts stand between double quotes")
		}
		return ok(`a text that is not closed: the second " is missing in this line`)
	case strings.HasPrefix(form, "non-matching whitespace"):
		return ok("a line of this text begins further left than the quotes that close it; indent it like them")
	case strings.HasPrefix(form, "expected newline after multiline quote"):
		return ok(`after """ the text begins on the next line`)
	case strings.HasPrefix(form, "comment not terminated"), strings.HasPrefix(after, "/*"), strings.HasPrefix(after, "*/"):
		return ok("a comment begins with // and goes to the end of its line")
	case strings.HasPrefix(form, "illegal") && strings.HasSuffix(form, "number"), strings.HasPrefix(form, "illegal '_'"), strings.HasPrefix(form, "illegal exponent"):
		at, word := w.word()
		if regexp.MustCompile(`^0[0-7]{3}$`).MatchString(word) {
			return Slip{at, fmt.Sprintf("%s begins with 0, as no number does; a file's mode is text: %q", word, word)}, true
		}
		return Slip{at, fmt.Sprintf("%s is no number; write it as text: %q", quoted(word), Clip(word, 40))}, true
	case strings.HasPrefix(form, "illegal token '..'"):
		return ok(`".." cannot stand here`)
	}
	if !strings.HasPrefix(form, "illegal character") {
		return Slip{}, false
	}
	switch {
	case strings.ContainsRune("“”„‟«»‘’‚‹›", c):
		return ok(`%c is a quote of print; texts stand between straight double quotes: "..."`, c)
	case c == '`':
		return ok("` begins no text; texts stand between double quotes, and those of several lines between \"\"\"")
	case c == ';':
		return ok(semicolon)
	case c == '%' && regexp.MustCompile(`[0-9]$`).MatchString(before):
		at, word := w.word()
		return Slip{at, fmt.Sprintf("a percentage is text: %q", Clip(word, 40))}, true
	case unicode.IsSpace(c):
		return ok("a blank that is none (%U); write an ordinary one", c)
	case !unicode.IsPrint(c):
		return ok("a character that cannot be seen (%U); delete it", c)
	case c == '\\':
		return ok("a backslash stands only within a text, and is written twice there")
	case c == '~' || c == '^' || c == '#':
		return Slip{}, false
	}
	return ok("%s has no meaning here; texts stand between double quotes", quoted(string(c)))
}

const semicolon = "; ends nothing here: a line needs no sign at its end, and fields in one line are parted by commas"

// habit explains what other languages write.
func (w writing) habit(before, after string) (Slip, bool) {
	lo := w.at - len(before)
	whole := before + after
	if len(whole) > 2000 {
		return Slip{}, false // nobody wrote that by habit
	}
	at := func(i int, form string, a ...any) (Slip, bool) { return Slip{lo + i, fmt.Sprintf(form, a...)}, true }
	find := func(p string) []int { return regexp.MustCompile(p).FindStringSubmatchIndex(whole) }
	trimmed := strings.TrimLeft(whole, " \t")
	indent := len(whole) - len(trimmed)
	switch {
	case strings.HasPrefix(after, ";"):
		return at(len(before), semicolon)
	case strings.HasPrefix(trimmed, "$ "):
		return at(indent, "$ has no meaning here; was it copied with the command beside it?")
	case strings.HasSuffix(before, "$") && strings.HasPrefix(after, "{"):
		return at(len(before)-1, `$ begins no reference: write its name alone, and within a text \(name)`)
	case regexp.MustCompile(`^#+( |$)`).MatchString(trimmed):
		return at(indent, "a comment begins with //")
	case regexp.MustCompile(`:\s*[|>][+-]?\s*$`).MatchString(whole):
		return at(strings.LastIndexAny(whole, "|>"), `a text of several lines begins with """ and ends with """ on a line of its own`)
	case strings.HasPrefix(trimmed, "- "):
		return at(indent, "a list is written as [a, b, c]")
	case regexp.MustCompile(`^import\s+[A-Za-z_]`).MatchString(trimmed) && !strings.Contains(trimmed, `"`):
		return at(indent, "what is imported stands in quotes: import %q", strings.TrimSpace(trimmed[len("import"):]))
	case regexp.MustCompile(`^import[ \t("]`).MatchString(trimmed):
		return at(indent, "imports stand below package fleet, before all else")
	case regexp.MustCompile(`^package\s+"`).MatchString(trimmed):
		return at(indent, "the package clause has no quotes: package fleet")
	case regexp.MustCompile(`^package\s+\w+`).MatchString(trimmed):
		return at(indent, "a second package clause; a file has one, on top")
	case regexp.MustCompile(`^let\s+\w+\s*:`).MatchString(trimmed):
		return at(indent, "let is written with =: let name = value")
	}
	if m := find(`^\s*("[^"]*"|[A-Za-z_][\w.-]*)\s*(=>|:=|=)(\s*[^=~]|\s*$)`); m != nil && w.at >= lo+m[2] {
		return at(m[4], "a field is written with a colon: %s: ...", Clip(whole[m[2]:m[3]], 40))
	}
	if m := find(`^\s*([A-Za-z_]\w*)((\s+("[^"]*"|[A-Za-z_]\w*))+)\s*\{`); m != nil && !slices.Contains([]string{"for", "if", "let"}, whole[m[2]:m[3]]) {
		return at(m[4]+len(whole[m[4]:m[5]])-len(strings.TrimLeft(whole[m[4]:m[5]], " \t")), "a colon is missing after %s", Clip(whole[m[2]:m[3]], 40))
	}
	if m := find(`:\s*(-?\d[^\s,{}\[\]()"]*[A-Za-z./:][^\s,{}\[\]()":]*)`); m != nil && w.at >= lo+m[2] && w.at <= lo+m[3] && !strings.HasSuffix(whole[m[2]:m[3]], ":") && !strings.HasPrefix(strings.TrimLeft(whole[m[3]:], " "), ":") {
		return at(m[2], "%s is no number; write it as text: %q", quoted(whole[m[2]:m[3]]), Clip(whole[m[2]:m[3]], 40))
	}
	if m := find(`(?:^|[\s{,:])([A-Za-z0-9_/~.][\w./\\~@-]*[./~@-][\w./\\~@-]*|\d[\w./-]*):(\s|$)`); m != nil && w.at >= lo+m[2] && w.at <= lo+m[3]+1 {
		word := whole[m[2]:m[3]]
		return at(m[2], "a name with other signs than letters, digits and _, or with a digit first, stands in quotes: %q", Clip(word, 60))
	}
	if m := find(`:\s*(?:div|mod|quo|rem|\d+ (?:div|mod|quo|rem))\b`); m != nil {
		return at(m[0]+1, "whole numbers are divided by functions: div(a, b) and mod(a, b)")
	}
	if m := find(`:\s*(cron|rate|at)\(`); m != nil && w.at >= lo+m[2] {
		return at(m[2], "a schedule is text: %q", Clip(strings.TrimRight(whole[m[2]:], " \t},"), 60))
	}
	if m := find(`:\s*([A-Za-z][\w'-]*(?:\s+[\w'-]+)+)\s*[,}]?\s*$`); m != nil && w.at >= lo+m[2] {
		return at(m[2], "texts stand between double quotes: %q", Clip(whole[m[2]:m[3]], 60))
	}
	return Slip{}, false
}

// bracket is one that opens.
type bracket struct {
	at, indent int
	line       int // where it begins
	close      byte
}

// unclosed finds the bracket that does not end, or ends nothing. Where one does
// not end, an indentation tells which; the end of the file alone does not.
func (w writing) unclosed(form string) (Slip, bool) {
	var stack []bracket
	suspect := -1
	missing := func(b bracket) (Slip, bool) {
		return Slip{b.at, fmt.Sprintf("%c is not closed: a %c is missing", w.text[b.at], b.close)}, true
	}
	for i := 0; i <= w.at && i < len(w.text); i++ {
		switch c := w.text[i]; c {
		case '"', '\'':
			i = skipText(w.text, i)
		case '/':
			if bytes.HasPrefix(w.text[i:], []byte("//")) {
				n := bytes.IndexByte(w.text[i:], '\n')
				if n < 0 {
					n = len(w.text) - i
				}
				i += n - 1
			}
		case '{', '[', '(':
			lo := bytes.LastIndexByte(w.text[:i], '\n') + 1
			stack = append(stack, bracket{i, len(w.text[lo:]) - len(bytes.TrimLeft(w.text[lo:], " \t")), lo, map[byte]byte{'{': '}', '[': ']', '(': ')'}[c]})
		case '}', ']', ')':
			lo := bytes.LastIndexByte(w.text[:i], '\n') + 1
			for len(stack) > 1 { // a closing bracket further left than the line of what it would close
				top := stack[len(stack)-1]
				if top.line == lo || len(bytes.TrimLeft(w.text[lo:i], " \t")) > 0 || i-lo >= top.indent || top.close != c {
					break
				}
				if suspect < 0 {
					suspect = len(stack) - 1
					if s, ok := missing(top); ok && w.ends() {
						return s, true
					}
				}
				stack = stack[:len(stack)-1]
			}
			if len(stack) == 0 {
				return Slip{i, fmt.Sprintf("%c closes nothing: it is one too many, or what it should close was closed before", c)}, true
			}
			top := stack[len(stack)-1]
			if top.close != c {
				return Slip{i, fmt.Sprintf("%c closes nothing: the %c of %s wants a %c first", c, w.text[top.at], w.place(top.at), top.close)}, true
			}
			stack = stack[:len(stack)-1]
		}
	}
	if len(stack) == 0 {
		return Slip{}, false
	}
	top := stack[len(stack)-1]
	if w.ends() || top.close == ']' && form == "missing ',' in %s" && w.text[w.at] == ':' {
		return missing(top)
	}
	return Slip{}, false
}

// ends reports whether the place is the end of the file.
func (w writing) ends() bool { return w.at >= len(bytes.TrimRight(w.text, " \t\r\n")) }

// skipText gives the last byte of a text that begins at i, or of its line.
func skipText(text []byte, i int) int {
	quote := text[i : i+1]
	if triple := bytes.Repeat(quote, 3); bytes.HasPrefix(text[i:], triple) {
		if n := bytes.Index(text[i+3:], triple); n >= 0 {
			return i + 3 + n + 2
		}
		return len(text)
	}
	for i++; i < len(text) && text[i] != '\n' && text[i] != quote[0]; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i
}

func (w writing) place(at int) string {
	return fmt.Sprintf("%d:%d", 1+bytes.Count(w.text[:at], []byte("\n")), at-bytes.LastIndexByte(w.text[:at], '\n'))
}

// token1 is the first word or sign of a line's rest.
func token1(s string) string {
	if m := regexp.MustCompile(`^("[^"]*"?|[\p{L}_#][\p{L}\p{N}_#-]*|[0-9][\w.]*|<=|>=|=~|!~|==|!=|&&|\|\||\.\.\.)`).FindString(s); m != "" {
		return m
	}
	return firstRunes(s, 1)
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// quoted is a piece of the author's text as messages show it: short, and with nothing that a terminal obeys.
func quoted(s string) string {
	s = Clip(s, 40)
	if strings.Contains(s, `"`) && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return s
	}
	q := fmt.Sprintf("%q", s)
	if strings.Contains(s, `\`) && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
		q = `"` + s + `"`
	}
	return q
}

// Clip shortens a text to so many characters; what was cut shows.
func Clip(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i] + "…"
		}
		n--
	}
	return s
}
