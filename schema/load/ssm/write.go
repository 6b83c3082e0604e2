package ssm

import (
	"strings"
	"unicode"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/literal"
)

// width is where lists that fit a line end.
const width = 100

// write gives an object as a formatted file of package fleet.
func write(o *made) (string, error) {
	w := &writer{}
	w.b.WriteString("package fleet\n\n")
	comments := o.value.comments
	o.value.comments = nil
	w.comments(comments, 0)
	w.b.WriteString(o.kind + ": " + literal.String.Quote(o.name) + ": ")
	w.value(o.value, 0)
	w.b.WriteString("\n")
	b, err := format.Source([]byte(w.b.String()))
	return string(b), err
}

type writer struct{ b strings.Builder }

func (w *writer) tabs(depth int) { w.b.WriteString(strings.Repeat("\t", depth)) }

func (w *writer) comments(lines []string, depth int) {
	for _, c := range lines {
		for line := range strings.SplitSeq(c, "\n") {
			w.tabs(depth)
			w.b.WriteString(strings.TrimRight("// "+oneLine(line), " ") + "\n")
		}
	}
}

// oneLine keeps a comment from ending early.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return ' '
		}
		return r
	}, s)
}

func label(s string) string {
	if ast.StringLabelNeedsQuoting(s) {
		return literal.String.Quote(s)
	}
	return s
}

func (w *writer) value(n *node, depth int) {
	switch n.kind {
	case object:
		w.object(n, depth)
	case list:
		w.list(n, depth)
	case text:
		w.b.WriteString(quoted(n.text, depth))
	case null:
		w.b.WriteString("null")
	default:
		w.b.WriteString(n.text)
	}
}

// quoted is a text over several lines where it has several.
func quoted(s string, depth int) string {
	if strings.Count(s, "\n") > 0 && !strings.ContainsAny(s, "\r\u0085\u2028\u2029") {
		return literal.String.WithTabIndent(depth + 1).WithOptionalTabIndent(depth + 1).Quote(s)
	}
	return inLine(s)
}

// inLine is a text on one line: as it is between #" and "# where that saves escapes.
func inLine(s string) string {
	plain := !strings.HasPrefix(s, `"`) && !strings.Contains(s, `"#`) && !strings.Contains(s, `\#`) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
	if plain && strings.ContainsAny(s, `"\`) {
		return `#"` + s + `"#`
	}
	return literal.String.Quote(s)
}

// inside reports whether a value's comments stand inside of it, and not above.
func inside(n *node) bool { return n.kind == object && len(n.kids) > 0 }

func (w *writer) object(n *node, depth int) {
	if len(n.kids) == 0 { // what is said of it stands above
		w.b.WriteString("{}")
		return
	}
	if len(n.kids) == 1 && depth > 0 && len(n.comments) == 0 && (len(n.kids[0].comments) == 0 || inside(n.kids[0])) && !n.block { // targets: tags: role: "web"
		w.b.WriteString(label(n.keys[0]) + ": ")
		w.value(n.kids[0], depth)
		return
	}
	w.b.WriteString("{\n")
	w.comments(n.comments, depth+1)
	for i, k := range n.kids {
		if !inside(k) {
			w.comments(k.comments, depth+1)
		}
		w.tabs(depth + 1)
		w.b.WriteString(label(n.keys[i]) + ": ")
		w.value(k, depth+1)
		w.b.WriteString("\n")
	}
	w.tabs(depth)
	w.b.WriteString("}")
}

func (w *writer) list(n *node, depth int) {
	if line, ok := short(n); ok {
		w.b.WriteString(line)
		return
	}
	w.b.WriteString("[\n")
	for _, k := range n.kids {
		if !inside(k) {
			w.comments(k.comments, depth+1)
		}
		w.tabs(depth + 1)
		if k.kind == object {
			k.block = true
		}
		w.value(k, depth+1)
		w.b.WriteString(",\n")
	}
	w.tabs(depth)
	w.b.WriteString("]")
}

// short is a list of plain values that fits a line.
func short(n *node) (string, bool) {
	var parts []string
	size := 2
	for _, k := range n.kids {
		if k.kind == object || k.kind == list || len(k.comments) > 0 || strings.Contains(k.text, "\n") {
			return "", false
		}
		w := &writer{}
		if k.kind == text {
			w.b.WriteString(inLine(k.text))
		} else {
			w.value(k, 0)
		}
		if size += w.b.Len() + 2; size > width {
			return "", false
		}
		parts = append(parts, w.b.String())
	}
	return "[" + strings.Join(parts, ", ") + "]", true
}
