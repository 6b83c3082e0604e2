package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind is a set of types that a value may have.
type kind uint16

const (
	kStruct kind = 1 << iota
	kList
	kString
	kInt
	kFloat
	kBool
	kNull
	kBytes
	kAny      // a value with a fault of its own: every constraint takes it
	kAll kind = 255
)

// word is what an author calls a value of this kind.
func (k kind) word() string {
	switch k {
	case kStruct:
		return "a struct"
	case kList:
		return "a list"
	case kString:
		return "text"
	case kInt, kFloat:
		return "a number"
	case kBool:
		return "true or false"
	case kNull:
		return "null"
	case kBytes:
		return "bytes"
	}
	return "a value"
}

// value is plain data. Fields keep the order in which they were given.
type value struct {
	k    kind
	b    bool
	off  int32  // where it is written: of a field its label, of an item itself, in bytes; 0: not known
	val  int32  // where the value itself is written
	s    string // text, or a number as written
	i    int64  // of kInt
	keys []string
	kids []*value
	// index finds a field by name in large structs; nil in small ones.
	index map[string]int
}

func (n *value) get(name string) *value {
	if n == nil || n.k != kStruct {
		return nil
	}
	if n.index != nil {
		if i, ok := n.index[name]; ok {
			return n.kids[i]
		}
		return nil
	}
	for i := range n.keys {
		if n.keys[i] == name {
			return n.kids[i]
		}
	}
	return nil
}

// step is the part of a value that a step leads to; nil where there is none.
func (n *value) step(s seg) *value {
	switch {
	case s.item < 0:
		return n.get(s.name)
	case n != nil && n.k == kList && s.item < len(n.kids):
		return n.kids[s.item]
	}
	return nil
}

func (n *value) set(name string, v *value) {
	n.keys = append(n.keys, name)
	n.kids = append(n.kids, v)
	if n.index != nil {
		n.index[name] = len(n.keys) - 1
	} else {
		n.reindex()
	}
}

// reindex makes the index of a struct that is large enough to have one.
func (n *value) reindex() {
	if n.index = nil; len(n.keys) <= 16 {
		return
	}
	n.index = make(map[string]int, 2*len(n.keys))
	for i, k := range n.keys {
		n.index[k] = i
	}
}

func (n *value) clone() *value {
	nodes, fields := n.count()
	r := newRoom(nodes, fields)
	return r.clone(n)
}

// count gives how many nodes and how many fields a value has in all.
func (n *value) count() (nodes, fields int) {
	nodes, fields = 1, len(n.keys)
	for _, kid := range n.kids {
		a, b := kid.count()
		nodes, fields = nodes+a, fields+b
	}
	return nodes, fields
}

// room is memory for a value of a known size, in three pieces rather than three for each of its nodes.
type room struct {
	nodes []value
	kids  []*value
	keys  []string
}

func newRoom(nodes, fields int) room {
	return room{make([]value, 0, nodes), make([]*value, 0, nodes-1), make([]string, 0, fields)}
}

func (r *room) node() *value {
	r.nodes = append(r.nodes, value{})
	return &r.nodes[len(r.nodes)-1]
}

// parts makes places for what is in a list or struct; what is appended to them later goes elsewhere.
func (r *room) parts(n *value, items, fields int) {
	kid, key := len(r.kids), len(r.keys)
	r.kids, r.keys = r.kids[:kid+items], r.keys[:key+fields]
	n.kids, n.keys = r.kids[kid:kid+items:kid+items], r.keys[key:key+fields:key+fields]
}

func (r *room) clone(n *value) *value {
	c := r.node()
	*c = *n
	r.parts(c, len(n.kids), len(n.keys))
	copy(c.keys, n.keys)
	for i, kid := range n.kids {
		c.kids[i] = r.clone(kid)
	}
	c.reindex()
	return c
}

// maxDepth bounds the nesting of values that come from outside.
const maxDepth = 64

// parseJSON reads one JSON value with nothing after it. Repeated keys are an error.
func parseJSON(b []byte) (*value, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	v, err := decodeValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more after the value")
	}
	return v, nil
}

func decodeValue(d *json.Decoder, depth int) (*value, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case string:
		return &value{k: kString, s: t}, nil
	case bool:
		return &value{k: kBool, b: t}, nil
	case nil:
		return &value{k: kNull}, nil
	case json.Number:
		return number(t.String()), nil
	case json.Delim:
		n := &value{k: kList}
		if t == '{' {
			n.k = kStruct
		}
		for d.More() {
			var name string
			if n.k == kStruct {
				t, err := d.Token()
				if err != nil {
					return nil, err
				}
				name, _ = t.(string)
				if n.get(name) != nil {
					return nil, fmt.Errorf("%q is given twice", name)
				}
			}
			v, err := decodeValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			if n.k == kStruct {
				n.set(name, v)
			} else {
				n.kids = append(n.kids, v)
			}
		}
		_, err := d.Token()
		return n, err
	}
	return nil, fmt.Errorf("unknown token %v", t)
}

func number(s string) *value {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return &value{k: kInt, i: i, s: s}
	}
	return &value{k: kFloat, s: s}
}

// json appends the value with sorted keys and no blanks.
func (n *value) json(b []byte) []byte {
	switch n.k {
	case kString:
		return appendJSONString(b, n.s)
	case kInt:
		return strconv.AppendInt(b, n.i, 10)
	case kFloat:
		return append(b, n.s...)
	case kBool:
		return strconv.AppendBool(b, n.b)
	case kList:
		b = append(b, '[')
		for i, k := range n.kids {
			if i > 0 {
				b = append(b, ',')
			}
			b = k.json(b)
		}
		return append(b, ']')
	case kStruct:
		order := make([]int, len(n.keys))
		for i := range order {
			order[i] = i
		}
		sort.Slice(order, func(a, c int) bool { return lessUTF16(n.keys[order[a]], n.keys[order[c]]) })
		b = append(b, '{')
		for i, j := range order {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendJSONString(b, n.keys[j]), ':')
			b = n.kids[j].json(b)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

// lessUTF16 orders keys as RFC 8785 does, by UTF-16 code units.
func lessUTF16(a, b string) bool {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] != b[i] {
			if a[i] < utf8.RuneSelf || b[i] < utf8.RuneSelf {
				return a[i] < b[i]
			}
			return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b))) < 0
		}
	}
	return len(a) < len(b)
}

// appendJSONString writes a text as RFC 8785 does: nothing is escaped that need not be.
func appendJSONString(b []byte, s string) []byte {
	if writtenAsIs(s) {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string cannot fail
	out := bytes.TrimSuffix(w.Bytes(), []byte("\n"))
	if strings.ContainsAny(s, "\u2028\u2029") && !strings.Contains(s, `\`) {
		out = bytes.ReplaceAll(out, []byte(`\u2028`), []byte("\u2028"))
		out = bytes.ReplaceAll(out, []byte(`\u2029`), []byte("\u2029"))
	}
	return append(b, out...)
}

// writtenAsIs reports whether a text stands in JSON as it is.
func writtenAsIs(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// seg is one step of a path: a field, or an item of a list.
type seg struct {
	name string
	item int // of a list; -1 for a field
}

type path []seg

// at makes a path of fields.
func at(names ...string) path {
	p := make(path, len(names))
	for i, n := range names {
		p[i] = seg{n, -1}
	}
	return p
}

// field and index are p with one step more; p itself stays as it is.
func (p path) field(name string) path { return append(slices.Clip(p), seg{name, -1}) }
func (p path) index(i int) path       { return append(slices.Clip(p), seg{"", i}) }

// String is the path as faults write it: labels other than letters, digits, _ and - are quoted.
func (p path) String() string {
	var b strings.Builder
	for _, s := range p {
		b.WriteString(s.after())
	}
	return strings.TrimPrefix(b.String(), ".")
}

// after is a step as it stands in a path, after others.
func (s seg) after() string {
	switch {
	case s.item >= 0:
		return "[" + strconv.Itoa(s.item) + "]"
	case plainLabel(s.name):
		return "." + s.name
	}
	return "." + strconv.Quote(s.name)
}

func plainLabel(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}
