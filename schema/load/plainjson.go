package load

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// readJSON reads one value of RFC 8259, with nothing after it.
func (f *plain) readJSON(p path) {
	r := &jsonReader{f: f}
	r.blanks()
	if r.i == len(f.src) {
		f.wrong(p, textPos{1, 1}, "empty; a document is wanted")
		return
	}
	v, m, ok := r.value(p, 0)
	if ok {
		if r.blanks(); r.i < len(f.src) {
			ok = r.fail(p, r.i, "there is more after the value")
		}
	}
	if ok {
		f.value, f.root = v, m
	}
}

// jsonReader keeps the place that it has reached. After a false nothing more is read.
type jsonReader struct {
	f *plain
	i int
}

func (r *jsonReader) fail(p path, at int, format string, a ...any) bool {
	if !r.f.merge(p) {
		r.f.wrong(p, r.f.pos(at), "not JSON: "+fmt.Sprintf(format, a...))
	}
	return false
}

func (r *jsonReader) blanks() {
	for r.i < len(r.f.src) {
		switch r.f.src[r.i] {
		case ' ', '\t', '\r', '\n':
			r.i++
		default:
			return
		}
	}
}

// here is what stands at the place, as a fault shows it.
func (r *jsonReader) here() string {
	if r.i >= len(r.f.src) {
		return "the end of the file"
	}
	c, _ := utf8.DecodeRune(r.f.src[r.i:])
	switch {
	case c == '/' || c == '#':
		return strconv.Quote(string(c)) + " (JSON has no comments)"
	case c == '\'':
		return `"'" (texts stand between double quotes)`
	}
	return strconv.Quote(string(c))
}

func (r *jsonReader) take(c byte) bool {
	if r.i < len(r.f.src) && r.f.src[r.i] == c {
		r.i++
		return true
	}
	return false
}

func (r *jsonReader) value(p path, depth int) (*value, *mark, bool) {
	m := &mark{spot: r.f.pos(r.i)}
	if depth > maxDepth {
		return nil, nil, r.fail(p, r.i, "nested more than %d deep", maxDepth)
	}
	if r.i >= len(r.f.src) {
		return nil, nil, r.fail(p, r.i, "a value is wanted, not %s", r.here())
	}
	switch c := r.f.src[r.i]; {
	case c == '{':
		n := &value{k: kStruct}
		return n, m, r.object(n, m, p, depth)
	case c == '[':
		n := &value{k: kList}
		return n, m, r.list(n, m, p, depth)
	case c == '"':
		s, ok := r.text(p)
		return &value{k: kString, s: s}, m, ok
	case c == '-' || c >= '0' && c <= '9':
		n, ok := r.number(p)
		return n, m, ok
	}
	for word, n := range map[string]*value{"true": {k: kBool, b: true}, "false": {k: kBool}, "null": {k: kNull}} {
		if end := r.i + len(word); end <= len(r.f.src) && string(r.f.src[r.i:end]) == word {
			r.i = end
			return n, m, true
		}
	}
	return nil, nil, r.fail(p, r.i, "a value is wanted, not %s", r.here())
}

func (r *jsonReader) object(n *value, m *mark, p path, depth int) bool {
	r.i++
	m.keys = []string{}
	for first := true; ; first = false {
		r.blanks()
		if first && r.take('}') {
			return true
		}
		at := r.i
		if r.i >= len(r.f.src) || r.f.src[r.i] != '"' {
			if !first && r.i < len(r.f.src) && r.f.src[r.i] == '}' {
				return r.fail(p, at, "a comma too many before }")
			}
			return r.fail(p, at, "a field's name between double quotes is wanted, not %s", r.here())
		}
		name, ok := r.text(p)
		if !ok {
			return false
		}
		if r.blanks(); !r.take(':') {
			return r.fail(p.field(name), r.i, "a colon is wanted after %q, not %s", name, r.here())
		}
		r.blanks()
		kid, mk, ok := r.value(p.field(name), depth+1)
		if !ok {
			return false
		}
		if n.get(name) != nil {
			_, seen := m.step(seg{name, -1})
			r.f.wrong(p.field(name), r.f.pos(at), fmt.Sprintf("already given in line %d", seen.line))
		} else {
			n.set(name, kid)
			m.put(name, r.f.pos(at), mk)
		}
		r.blanks()
		switch {
		case r.take('}'):
			return true
		case !r.take(','):
			return r.fail(p.field(name), r.i, "a comma or } is wanted, not %s", r.here())
		}
	}
}

func (r *jsonReader) list(n *value, m *mark, p path, depth int) bool {
	r.i++
	for first := true; ; first = false {
		r.blanks()
		if first && r.take(']') {
			return true
		}
		if !first && r.i < len(r.f.src) && r.f.src[r.i] == ']' {
			return r.fail(p, r.i, "a comma too many before ]")
		}
		kid, mk, ok := r.value(p.index(len(n.kids)), depth+1)
		if !ok {
			return false
		}
		n.kids, m.kids = append(n.kids, kid), append(m.kids, mk)
		r.blanks()
		switch {
		case r.take(']'):
			return true
		case !r.take(','):
			return r.fail(p, r.i, "a comma or ] is wanted, not %s", r.here())
		}
	}
}

func (r *jsonReader) number(p path) (*value, bool) {
	start, src := r.i, r.f.src
	digits := func() bool {
		at := r.i
		for r.i < len(src) && src[r.i] >= '0' && src[r.i] <= '9' {
			r.i++
		}
		return r.i > at
	}
	r.take('-')
	ok := r.take('0') || digits()
	if ok && r.take('.') {
		ok = digits()
	}
	if ok && (r.take('e') || r.take('E')) {
		_ = r.take('+') || r.take('-')
		ok = digits()
	}
	if ok && r.i < len(src) && src[r.i] >= '0' && src[r.i] <= '9' {
		ok = false // 007
	}
	if !ok {
		return nil, r.fail(p, start, "%s is not a number", strconv.Quote(string(src[start:min(r.i+1, len(src))])))
	}
	return number(string(src[start:r.i])), true
}

// text reads a text between quotes.
func (r *jsonReader) text(p path) (string, bool) {
	src, start := r.f.src, r.i
	r.i++
	var b []byte
	for from := r.i; r.i < len(src); {
		switch c := src[r.i]; {
		case c == '"':
			b = append(b, src[from:r.i]...)
			r.i++
			return string(b), true
		case c == '\n' || c == '\r':
			return "", r.fail(p, start, "the text has no end in its line; write a new line as \\n")
		case c < ' ':
			return "", r.fail(p, r.i, "the control sign %U in a text; write it as \\u%04x", rune(c), c)
		case c == '\\':
			b = append(b, src[from:r.i]...)
			s, ok := r.escape(p)
			if !ok {
				return "", false
			}
			b = append(b, s...)
			from = r.i
		default:
			r.i++
		}
	}
	return "", r.fail(p, start, "the text has no end")
}

func (r *jsonReader) escape(p path) (string, bool) {
	src, start := r.f.src, r.i
	r.i += 2
	if r.i > len(src) {
		return "", r.fail(p, start, "the text has no end")
	}
	switch c := src[start+1]; c {
	case '"', '\\', '/':
		return string(c), true
	case 'b':
		return "\b", true
	case 'f':
		return "\f", true
	case 'n':
		return "\n", true
	case 'r':
		return "\r", true
	case 't':
		return "\t", true
	case 'u':
		a, ok := r.hex()
		if ok && utf16.IsSurrogate(a) {
			var b rune
			if ok = r.take('\\') && r.take('u'); ok {
				b, ok = r.hex()
				a = utf16.DecodeRune(a, b)
				ok = ok && a != utf8.RuneError
			}
		}
		if ok && a != 0 {
			return string(a), true
		}
	}
	return "", r.fail(p, start, "%s stands for no character; a backslash is written twice: \\\\", strings.ToValidUTF8(string(src[start:min(r.i, len(src))]), "?"))
}

func (r *jsonReader) hex() (rune, bool) {
	if r.i+4 > len(r.f.src) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(r.f.src[r.i:r.i+4]), 16, 32)
	r.i += 4
	return rune(n), err == nil
}
