package load

import (
	"bytes"
	"fmt"
	slash "path"
	"unicode/utf8"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/writing"
)

// plain is a file of plain data, JSON or YAML, and where everything in it stands.
type plain struct {
	name  string
	src   []byte
	lines []int     // where each line begins
	runes bool      // columns count characters, as YAML's do
	value *value    // nil where the file cannot be read at all
	root  *mark     // of value
	found []mistake // what is wrong with it as plain data; each has its place
}

// mark is the place of a value, of its labels and of its parts.
type mark struct {
	spot   textPos
	keys   []string
	labels []textPos // of keys
	kids   []*mark   // of a struct as its keys, of a list in order
}

// textPos is a line and a column in a file, from 1.
type textPos struct{ line, column int }

// What the aliases of a file may make of it.
const (
	maxPlainValues = 50_000
	maxPlainBytes  = 1 << 20 // of texts
)

// readPlain reads JSON, or YAML if the name does not end in .json. p is the path of the whole. It never fails: what is
// wrong is found, and value is nil if nothing could be made of the rest. The time is bounded by the size of src.
func readPlain(name string, src []byte, p path) *plain {
	f := &plain{name: name, src: bytes.TrimPrefix(src, []byte("\ufeff")), root: &mark{spot: textPos{1, 1}}}
	for at := 0; ; {
		f.lines = append(f.lines, at)
		n := bytes.IndexByte(f.src[at:], '\n')
		if n < 0 {
			break
		}
		at += n + 1
	}
	for i := 0; i < len(f.src); {
		r, n := utf8.DecodeRune(f.src[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			f.wrong(p, f.pos(i), "not UTF-8; save the file as UTF-8")
			return f
		case r == 0:
			f.wrong(p, f.pos(i), "a NUL byte; a document is text")
			return f
		case turnsWriting(r):
			f.wrong(p, f.pos(i), fmt.Sprintf("the invisible sign %U turns the direction of writing, so that people read another text than programs; take it out", r))
			return f
		}
		i += n
	}
	if slash.Ext(name) == ".json" {
		f.readJSON(p)
	} else {
		f.runes = true
		f.readYAML(p)
	}
	return f
}

// turnsWriting reports whether a sign hides the order of those around it.
func turnsWriting(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// pos is the place of a byte.
func (f *plain) pos(offset int) textPos {
	lo, hi := 0, len(f.lines)
	for hi-lo > 1 {
		if m := (lo + hi) / 2; f.lines[m] <= offset {
			lo = m
		} else {
			hi = m
		}
	}
	return textPos{lo + 1, offset - f.lines[lo] + 1}
}

// position is a place as faults give it: columns in bytes.
func (f *plain) position(p textPos) schema.Position {
	out := schema.Position{File: f.name, Line: p.line, Column: p.column}
	if f.runes && p.line >= 1 && p.line <= len(f.lines) {
		rest := f.src[f.lines[p.line-1]:]
		at := 0
		for n := 1; n < p.column && at < len(rest); n++ {
			_, size := utf8.DecodeRune(rest[at:])
			at += size
		}
		out.Column = at + 1
	}
	return out
}

// wrong adds what is wrong with the text. Nobody reads on beyond a hundred.
func (f *plain) wrong(p path, at textPos, message string) {
	if len(f.found) >= 100 {
		return
	}
	where := f.position(at)
	f.found = append(f.found, mistake{path: p, where: p, at: &where, message: message})
}

// valuePos is the place of the value that steps lead to, or of the nearest thing around it.
func (f *plain) valuePos(steps path) schema.Position {
	m := f.root
	for _, s := range steps {
		next, _ := m.step(s)
		if next == nil {
			break
		}
		m = next
	}
	return f.position(m.spot)
}

// labelPos is the place of the label that steps lead to, of an item of a list its value, or of the nearest thing around it.
func (f *plain) labelPos(steps path) schema.Position {
	m, at := f.root, f.root.spot
	for _, s := range steps {
		next, label := m.step(s)
		if next == nil {
			break
		}
		m, at = next, label
	}
	return f.position(at)
}

func (m *mark) step(s seg) (*mark, textPos) {
	if s.item >= 0 {
		if s.item < len(m.kids) && m.keys == nil {
			return m.kids[s.item], m.kids[s.item].spot
		}
		return nil, textPos{}
	}
	for i, k := range m.keys {
		if k == s.name {
			return m.kids[i], m.labels[i]
		}
	}
	return nil, textPos{}
}

// put adds a field to a struct and its marks.
func (m *mark) put(key string, label textPos, kid *mark) {
	m.keys, m.labels, m.kids = append(m.keys, key), append(m.labels, label), append(m.kids, kid)
}

// merge tells of a merge that Git has left in the file.
func (f *plain) merge(p path) bool {
	found := writing.MergeMarkers(f.src)
	for _, at := range found {
		f.wrong(p, f.pos(at), writing.Unmerged)
	}
	return len(found) > 0
}
