package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// readYAML reads one YAML document: what JSON could say, with anchors, aliases and merge keys. Words such as yes and
// days such as 2026-12-31 are texts.
func (f *plain) readYAML(p path) {
	d := yaml.NewDecoder(bytes.NewReader(f.src))
	top, err := nextYAML(d)
	switch {
	case errors.Is(err, io.EOF), err == nil && (top.Kind != yaml.DocumentNode || len(top.Content) != 1):
		f.wrong(p, textPos{1, 1}, "empty; a document is wanted")
		return
	case err != nil:
		f.yamlError(p, err)
		return
	}
	switch more, err := nextYAML(d); {
	case err == nil:
		f.wrong(p, nodePos(more), "a second YAML document; a file holds one")
		return
	case !errors.Is(err, io.EOF):
		f.yamlError(p, err)
		return
	}
	r := &yamlReader{f: f}
	if v, m, ok := r.value(top.Content[0], p, 0); ok {
		f.value, f.root = v, m
	}
}

// nextYAML reads the next document. A library's panic on what it was given is an error of the file.
func nextYAML(d *yaml.Decoder) (n *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: %v", r)
		}
	}()
	n = &yaml.Node{}
	return n, d.Decode(n)
}

func nodePos(n *yaml.Node) textPos { return textPos{max(n.Line, 1), max(n.Column, 1)} }

// yamlError places what the parser says, which has only a line, or not even that.
func (f *plain) yamlError(p path, err error) {
	if f.merge(p) {
		return
	}
	at, msg, tab := textPos{1, 1}, strings.TrimPrefix(err.Error(), "yaml: "), false
	if m := regexp.MustCompile(`^line (\d+): (.*)$`).FindStringSubmatch(msg); m != nil {
		at.line, _ = strconv.Atoi(m[1])
		at.line = min(max(at.line, 1), len(f.lines))
		msg = m[2]
		rest := f.src[f.lines[at.line-1]:]
		at.column += len(rest) - len(bytes.TrimLeft(rest, " "))
		tab = bytes.HasPrefix(bytes.TrimLeft(rest, " "), []byte("\t"))
	}
	switch {
	case strings.HasSuffix(msg, "',' or ']'"):
		at, msg = f.opened(at, '['), "this [ is not closed, or a comma is missing in its list"
	case strings.HasSuffix(msg, "',' or '}'"):
		at, msg = f.opened(at, '{'), "this { is not closed, or a comma is missing in its struct"
	case strings.HasPrefix(msg, "did not find expected "):
		at.line = f.firstWrong(msg)
		rest := f.src[f.lines[at.line-1]:]
		at.column = 1 + len(rest) - len(bytes.TrimLeft(rest, " "))
		msg = "this line fits nothing above it; check its indentation"
	case strings.Contains(msg, "cannot start any token") && tab, strings.Contains(msg, "found a tab"):
		msg = "a tab; YAML is indented with blanks"
	case strings.Contains(msg, "cannot start any token"):
		msg += " (put quotes around a text that begins with %, @ or `)"
	case strings.Contains(msg, "incompatible YAML"):
		msg += " (take the %YAML line out)"
	case strings.Contains(msg, "mapping values are not allowed"):
		msg += " (put quotes around a text that has a colon in it, and check the indentation)"
	}
	f.wrong(p, at, "not YAML: "+msg)
}

// opened is where a bracket was opened. The parser counts that line from 0, but for the first one.
func (f *plain) opened(at textPos, bracket byte) textPos {
	for _, line := range []int{at.line + 1, at.line} {
		if line > len(f.lines) {
			continue
		}
		rest, _, _ := bytes.Cut(f.src[f.lines[line-1]:], []byte("\n"))
		if i := bytes.IndexByte(rest, bracket); i >= 0 {
			return textPos{line, utf8.RuneCount(rest[:i]) + 1}
		}
	}
	return at
}

// firstWrong is the line up to which YAML has to be read to be refused with a message: the parser itself names where
// that began which the line does not fit.
func (f *plain) firstWrong(msg string) int {
	n, _ := slices.BinarySearchFunc(f.lines, 0, func(at, _ int) int {
		end := bytes.IndexByte(f.src[at:], '\n')
		if end < 0 {
			end = len(f.src) - at
		}
		_, err := nextYAML(yaml.NewDecoder(bytes.NewReader(f.src[:at+end])))
		if err != nil && strings.HasSuffix(err.Error(), msg) {
			return 1
		}
		return -1
	})
	return min(n+1, len(f.lines))
}

// yamlReader counts what it has made, which aliases can multiply. After a false nothing more is read.
type yamlReader struct {
	f      *plain
	values int
	bytes  int
	open   []*yaml.Node // anchors that are being read
}

func (r *yamlReader) fail(n *yaml.Node, p path, format string, a ...any) bool {
	r.f.wrong(p, nodePos(n), fmt.Sprintf(format, a...))
	return false
}

func (r *yamlReader) value(n *yaml.Node, p path, depth int) (*value, *mark, bool) {
	m := &mark{spot: nodePos(n)}
	r.values++
	r.bytes += len(n.Value)
	switch {
	case depth > maxDepth:
		return nil, nil, r.fail(n, p, "not YAML: nested more than %d deep", maxDepth)
	case r.values > maxPlainValues || r.bytes > maxPlainBytes:
		return nil, nil, r.fail(n, p, "its aliases make too much of it: more than %d values or %d bytes", maxPlainValues, maxPlainBytes)
	}
	switch n.Kind {
	case yaml.AliasNode:
		if n.Alias == nil || slices.Contains(r.open, n.Alias) {
			return nil, nil, r.fail(n, p, "the alias %q stands in what it means", "*"+n.Value)
		}
		return r.value(n.Alias, p, depth+1)
	case yaml.MappingNode, yaml.SequenceNode:
		if n.Anchor != "" {
			r.open = append(r.open, n)
			defer func() { r.open = r.open[:len(r.open)-1] }()
		}
		want, v := "!!seq", &value{k: kList}
		if n.Kind == yaml.MappingNode {
			want, v = "!!map", &value{k: kStruct}
			m.keys = []string{}
		}
		if n.ShortTag() != want {
			return nil, nil, r.fail(n, p, "the tag %s is not known here", n.ShortTag())
		}
		if n.Kind == yaml.MappingNode {
			return v, m, r.mapping(n, v, m, p, depth)
		}
		for i, x := range n.Content {
			kid, mk, ok := r.value(x, p.index(i), depth+1)
			if !ok {
				return nil, nil, false
			}
			v.kids, m.kids = append(v.kids, kid), append(m.kids, mk)
		}
		return v, m, true
	case yaml.ScalarNode:
		v, why := yamlScalar(n)
		if why != "" {
			return nil, nil, r.fail(n, p, "%s", why)
		}
		return v, m, true
	}
	return nil, nil, r.fail(n, p, "not YAML: a value is wanted")
}

// mapping reads the fields of a struct, then what it merges: its own fields win, then the earlier of the merged ones.
func (r *yamlReader) mapping(n *yaml.Node, v *value, m *mark, p path, depth int) bool {
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, x := n.Content[i], n.Content[i+1]
		for k.Kind == yaml.AliasNode && k.Alias != nil && k.Alias.Kind == yaml.ScalarNode {
			k = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: k.Alias.Value, Line: k.Line, Column: k.Column}
		}
		if k.Kind != yaml.ScalarNode || k.ShortTag() == "!!null" || k.ShortTag() == "!!binary" {
			if k.Kind == yaml.MappingNode && k.Style&yaml.FlowStyle != 0 { // {{ name }} without quotes
				return r.fail(k, p, `a field's name is text; a placeholder stands between quotes: "{{ name }}"`)
			}
			return r.fail(k, p, "a field's name is text")
		}
		if k.ShortTag() == "!!merge" {
			merged = append(merged, x)
			continue
		}
		r.bytes += len(k.Value)
		q := p.field(k.Value)
		kid, mk, ok := r.value(x, q, depth+1)
		if !ok {
			return false
		}
		if v.get(k.Value) != nil {
			_, seen := m.step(seg{k.Value, -1})
			r.f.wrong(q, nodePos(k), fmt.Sprintf("already given in line %d", seen.line))
			continue
		}
		v.set(k.Value, kid)
		m.put(k.Value, nodePos(k), mk)
	}
	for _, x := range merged {
		if !r.merge(x, v, m, p, depth+1) {
			return false
		}
	}
	return true
}

func (r *yamlReader) merge(n *yaml.Node, v *value, m *mark, p path, depth int) bool {
	from := n
	for from.Kind == yaml.AliasNode && from.Alias != nil {
		from = from.Alias
	}
	if from.Kind == yaml.SequenceNode && from == n { // a list of structs to merge
		for _, x := range n.Content {
			if !r.merge(x, v, m, p, depth+1) {
				return false
			}
		}
		return true
	}
	if from.Kind != yaml.MappingNode {
		return r.fail(n, p, "<< merges structs, written as <<: *anchor or <<: [*a, *b]")
	}
	w, wm, ok := r.value(n, p, depth)
	if !ok {
		return false
	}
	for i, k := range w.keys {
		if v.get(k) == nil {
			v.set(k, w.kids[i])
			m.put(k, wm.labels[i], wm.kids[i])
		}
	}
	return true
}

// yamlScalar gives a scalar, or says why it cannot be read.
func yamlScalar(n *yaml.Node) (*value, string) {
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp", "!!merge", "":
		return &value{k: kString, s: n.Value}, ""
	case "!!null":
		return &value{k: kNull}, ""
	case "!!bool":
		switch strings.ToLower(n.Value) {
		case "true":
			return &value{k: kBool, b: true}, ""
		case "false":
			return &value{k: kBool}, ""
		}
		return nil, fmt.Sprintf("%q is not true or false", n.Value)
	case "!!int":
		digits := strings.TrimLeft(n.Value, "+-")
		if strings.Contains(digits, "_") || len(digits) > 1 && digits[0] == '0' && digits[1] != 'x' && digits[1] != 'o' {
			return nil, fmt.Sprintf("%q is another number to other programs; write it in plain digits, or as text between quotes", n.Value)
		}
		if i, err := strconv.ParseInt(n.Value, 0, 64); err == nil {
			return &value{k: kInt, i: i, s: strconv.FormatInt(i, 10)}, ""
		}
		return plainFloat(n.Value)
	case "!!float":
		return plainFloat(n.Value)
	default:
		return nil, fmt.Sprintf("the tag %s is not known here", tag)
	}
}

// plainFloat is a number as JSON writes it.
func plainFloat(s string) (*value, string) {
	x, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(x, 0) || math.IsNaN(x) || strings.ContainsAny(s, "_xXpP") {
		return nil, fmt.Sprintf("%q is not a number that JSON has; write it as text between quotes", s)
	}
	if json.Valid([]byte(s)) {
		return &value{k: kFloat, s: s}, "" // as written: 2.0 stays 2.0
	}
	return &value{k: kFloat, s: strconv.FormatFloat(x, 'g', -1, 64)}, ""
}
