package ssm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// node is plain data, read or to be written. Fields keep their order.
type node struct {
	kind     kind
	text     string // of a text; a number as written; true or false
	keys     []string
	kids     []*node
	used     bool     // something was made of it
	comments []string // of what is written: lines above it
	block    bool     // to be written over several lines
}

type kind byte

const (
	object kind = iota
	list
	text
	number
	boolean
	null
)

const (
	maxDepth = 64
	maxNodes = 50_000
)

func str(s string) *node       { return &node{kind: text, text: s} }
func flag(b bool) *node        { return &node{kind: boolean, text: strconv.FormatBool(b)} }
func num(s string) *node       { return &node{kind: number, text: s} }
func (n *node) is(k kind) bool { return n != nil && n.kind == k }

// get is a field, which counts as used from now on; nil where there is none.
func (n *node) get(key string) *node {
	if n == nil || n.kind != object {
		return nil
	}
	for i, k := range n.keys {
		if k == key {
			n.kids[i].used = true
			return n.kids[i]
		}
	}
	return nil
}

// has tells of a field without using it.
func (n *node) has(key string) bool {
	if n == nil || n.kind != object {
		return false
	}
	for _, k := range n.keys {
		if k == key {
			return true
		}
	}
	return false
}

// str is the text of a field; empty where there is none, or another kind of value, which then stays unused.
func (n *node) str(key string) string {
	if v := n.peek(key); !v.is(text) {
		return ""
	}
	return n.get(key).text
}

func (n *node) peek(key string) *node {
	if n == nil || n.kind != object {
		return nil
	}
	for i, k := range n.keys {
		if k == key {
			return n.kids[i]
		}
	}
	return nil
}

// items are those of a field that is a list.
func (n *node) items(key string) []*node {
	if v := n.peek(key); !v.is(list) {
		return nil
	}
	v := n.get(key)
	for _, k := range v.kids {
		k.used = true
	}
	return v.kids
}

// put adds a field; a nil value adds nothing.
func (n *node) put(key string, v *node) {
	if v != nil {
		n.keys, n.kids = append(n.keys, key), append(n.kids, v)
	}
}

// move puts a field of another object here as it is.
func (n *node) move(from *node, key string) { n.put(key, from.get(key).all()) }

// all marks a value as used with everything in it.
func (n *node) all() *node {
	if n != nil {
		n.used = true
		for _, k := range n.kids {
			k.all()
		}
	}
	return n
}

// empty reports a value that says nothing.
func (n *node) empty() bool {
	return n == nil || n.kind == null || (n.kind == text && n.text == "") || (n.kind == object || n.kind == list) && len(n.kids) == 0
}

// unused calls f for what nothing was made of; what says nothing is not told of.
func (n *node) unused(path string, f func(path string, n *node)) {
	if n == nil || n.kind != object && n.kind != list {
		return
	}
	for i, k := range n.kids {
		at := path + "[" + strconv.Itoa(i) + "]"
		if n.kind == object {
			if at = n.keys[i]; path != "" {
				at = path + "." + at
			}
		}
		switch {
		case k.empty():
		case !k.used:
			f(at, k)
		default:
			k.unused(at, f)
		}
	}
}

// brief is a value as a comment shows it.
func (n *node) brief() string {
	s := string(n.json(nil))
	if len(s) <= 80 {
		return s
	}
	end := 77
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "..."
}

// json appends the value as JSON.
func (n *node) json(b []byte) []byte {
	switch n.kind {
	case object, list:
		open, shut := byte('{'), byte('}')
		if n.kind == list {
			open, shut = '[', ']'
		}
		b = append(b, open)
		for i, k := range n.kids {
			if i > 0 {
				b = append(b, ',')
			}
			if n.kind == object {
				b = append(quote(b, n.keys[i]), ':')
			}
			b = k.json(b)
		}
		return append(b, shut)
	case text:
		return quote(b, n.text)
	case null:
		return append(b, "null"...)
	}
	return append(b, n.text...)
}

func quote(b []byte, s string) []byte {
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a text always encodes
	return append(b, bytes.TrimSuffix(w.Bytes(), []byte("\n"))...)
}

// read gives the values of an input: JSON, one or more, or one document in YAML.
func read(in Input) ([]*node, error) {
	src := bytes.TrimPrefix(in.Text, []byte("\ufeff"))
	switch {
	case len(src) > MaxInput:
		return nil, fmt.Errorf("%d bytes; what AWS prints has less than %d", len(src), MaxInput)
	case !utf8.Valid(src) || bytes.IndexByte(src, 0) >= 0:
		return nil, errors.New("not text in UTF-8")
	case len(bytes.TrimSpace(src)) == 0:
		return nil, errors.New("empty")
	}
	if c := bytes.TrimSpace(src)[0]; c != '{' && c != '[' {
		n, err := readYAML(src)
		return []*node{n}, err
	}
	values, err := readJSON(src)
	if err != nil {
		if n, yamlErr := readYAML(src); yamlErr == nil && n.kind == object { // YAML in braces
			return []*node{n}, nil
		}
	}
	return values, err
}

func readJSON(src []byte) ([]*node, error) {
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	r := &reader{}
	var out []*node
	for {
		n, err := r.json(d, 0)
		if err == io.EOF && len(out) > 0 {
			return out, nil
		}
		if err != nil {
			at := min(int(d.InputOffset()), len(src))
			return nil, fmt.Errorf("not JSON, near line %d: %w", bytes.Count(src[:at], []byte("\n"))+1, err)
		}
		out = append(out, n)
	}
}

type reader struct{ nodes int }

func (r *reader) count(depth int) error {
	if r.nodes++; r.nodes > maxNodes || depth > maxDepth {
		return fmt.Errorf("more than %d values, or nested more than %d deep", maxNodes, maxDepth)
	}
	return nil
}

func (r *reader) json(d *json.Decoder, depth int) (*node, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	if err := r.count(depth); err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case string:
		return str(t), nil
	case json.Number:
		return num(t.String()), nil
	case bool:
		return flag(t), nil
	case nil:
		return &node{kind: null}, nil
	}
	n := &node{kind: list}
	if t == json.Delim('{') {
		n.kind = object
	}
	for d.More() {
		var key string
		if n.kind == object {
			t, err := d.Token()
			if err != nil {
				return nil, err
			}
			if key, _ = t.(string); n.has(key) {
				return nil, fmt.Errorf("%q is given twice", key)
			}
		}
		k, err := r.json(d, depth+1)
		if err != nil {
			return nil, err
		}
		n.kids = append(n.kids, k)
		if n.kind == object {
			n.keys = append(n.keys, key)
		}
	}
	_, err = d.Token()
	return n, err
}

func readYAML(src []byte) (n *node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("not YAML: %v", p)
		}
	}()
	d := yaml.NewDecoder(bytes.NewReader(src))
	var top, more yaml.Node
	if err := d.Decode(&top); err != nil {
		return nil, fmt.Errorf("not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := d.Decode(&more); err != io.EOF {
		return nil, errors.New("not YAML: a second document")
	}
	if len(top.Content) != 1 {
		return nil, errors.New("empty")
	}
	return (&reader{}).yaml(top.Content[0], 0)
}

func (r *reader) yaml(y *yaml.Node, depth int) (*node, error) {
	if err := r.count(depth); err != nil {
		return nil, err
	}
	wrong := func(what string) (*node, error) { return nil, fmt.Errorf("not YAML: line %d: %s", y.Line, what) }
	switch y.Kind {
	case yaml.AliasNode:
		return r.yaml(y.Alias, depth+1)
	case yaml.SequenceNode:
		n := &node{kind: list}
		for _, x := range y.Content {
			k, err := r.yaml(x, depth+1)
			if err != nil {
				return nil, err
			}
			n.kids = append(n.kids, k)
		}
		return n, nil
	case yaml.MappingNode:
		n := &node{kind: object}
		var merged []*yaml.Node
		for i := 0; i+1 < len(y.Content); i += 2 {
			k, x := y.Content[i], y.Content[i+1]
			switch {
			case k.Kind != yaml.ScalarNode:
				return wrong("a field's name is text")
			case k.ShortTag() == "!!merge" && x.Kind == yaml.SequenceNode:
				merged = append(merged, x.Content...)
				continue
			case k.ShortTag() == "!!merge":
				merged = append(merged, x)
				continue
			case n.has(k.Value):
				return wrong(strconv.Quote(k.Value) + " is given twice")
			}
			v, err := r.yaml(x, depth+1)
			if err != nil {
				return nil, err
			}
			n.put(k.Value, v)
		}
		for _, x := range merged {
			v, err := r.yaml(x, depth+1)
			if err != nil {
				return nil, err
			}
			for i, k := range v.keys {
				if !n.has(k) {
					n.put(k, v.kids[i])
				}
			}
		}
		return n, nil
	}
	switch y.ShortTag() {
	case "!!null":
		return &node{kind: null}, nil
	case "!!bool":
		return flag(strings.EqualFold(y.Value, "true")), nil
	case "!!int", "!!float":
		if json.Valid([]byte(y.Value)) {
			return num(y.Value), nil
		}
		return wrong(strconv.Quote(y.Value) + " is not a number that JSON has; write it as text between quotes")
	case "!!str", "!!timestamp":
		return str(y.Value), nil
	}
	return wrong("the tag " + y.ShortTag() + " is not known here")
}
