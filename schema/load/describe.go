package load

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"cuelang.org/go/cue/parser"
)

// Description says what the language has at one place: a kind, a file with a
// fixed form, or a field of one. It comes from the definitions that check and
// from the comments in them, and from nowhere else.
type Description struct {
	// Path as faults have it, with a word in capitals for a name: "window.NAME.tasks.NAME.maxErrors".
	Path string `json:"path"`
	// Definition is the name in package dunlin.dev/schema of what is here, or of each item or entry.
	Definition string `json:"definition,omitempty"`
	Type       string `json:"type"` // in words
	Doc        string `json:"description,omitempty"`
	Required   bool   `json:"required"`
	// Default is the value of an absent field as CUE; empty where there is none.
	Default string `json:"default,omitempty"`
	// Values are all words that it takes.
	Values []string `json:"values,omitempty"`
	// Pattern is a regular expression (RE2) that texts match, where no word of Type says it better.
	Pattern string `json:"pattern,omitempty"`
	// When is the condition under which the field exists: `schemaVersion is "1.2"`.
	When string `json:"when,omitempty"`
	// OneOf are groups of fields of which exactly one is given.
	OneOf [][]string `json:"oneOf,omitempty"`
	// Fields of it, or of each item or entry.
	Fields []Description `json:"fields,omitempty"`
}

// Name is the last part of the path.
func (d Description) Name() string {
	p := splitPath(d.Path)
	if len(p) == 0 {
		return ""
	}
	return p[len(p)-1].name
}

// A Form is a file with a fixed form, by the word that Describe takes for it.
type Form struct{ Name, Definition, File string }

// Forms are the files with a fixed form.
func Forms() []Form {
	return []Form{
		{"roster", "RosterLine", "nodes/<first 2 of id>.jsonl, a line a node"},
		{"facts", "Facts", "what dunlin inventory --facts prints"},
		{"run", "Run", "YYYY/MM/<id>.json on the branch of runs"},
		{"report", "ReportLine", "nodes/<2 hex>.jsonl on the branch of reports"},
		{"agent", "AgentConfig", "/etc/dunlin/agent.cue of a host"},
	}
}

// Kinds are the kinds of objects in the order of the language, fleet first.
func Kinds() ([]string, error) {
	defs, err := definitions()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range defs["#Repo"].fields {
		out = append(out, f.name)
	}
	return out, nil
}

// Place is the file or folder, with a slash at its end, that a kind must be in; empty where it may be in any.
func Place(kind string) string { return authority(kind) }

// described is the embedded schema with its comments.
var described = sync.OnceValues(func() (*describer, error) {
	c, err := compileDefinitions(parser.ParseComments)
	if err != nil {
		return nil, err
	}
	return &describer{defs: c.done, docs: c.docs, say: checker{defs: c.done}}, nil
})

type describer struct {
	defs shapes
	docs map[string]string
	say  checker
}

// Describe says what is at a path: a kind or form, then fields. Names of objects,
// of entries of maps, and positions in lists may be left out or given, so that a
// path from a fault is one as well. Fields are given down to a depth; -1 for all.
// An error names what there is instead.
func Describe(path string, depth int) (Description, error) {
	d, err := described()
	if err != nil {
		return Description{}, err
	}
	segments := splitPath(path)
	if len(segments) == 0 {
		return Description{}, fmt.Errorf("no kind or field %q", path)
	}
	root, name := d.root(segments[0].name)
	if root == nil {
		var words []string
		for _, f := range d.defs["#Repo"].fields {
			words = append(words, f.name)
		}
		for _, f := range Forms() {
			words = append(words, f.Name)
		}
		return Description{}, unknownWord("kind", segments[0].name, "", words)
	}
	f := &shapeField{name: name, s: root, doc: d.docs["#"+defName(root)]}
	at, err := d.find(found{field: f, path: name}, segments[1:])
	if err != nil {
		return Description{}, err
	}
	return d.describe(at, depth), nil
}

// root is what a first word names.
func (d *describer) root(word string) (*shape, string) {
	if f := d.defs["#Repo"].byName[word]; f != nil {
		return f.s, word
	}
	for _, f := range Forms() {
		if f.Name == word {
			return d.defs["#"+f.Definition], word
		}
	}
	return nil, ""
}

// found is a field with what leads to it.
type found struct {
	field *shapeField
	path  string
	when  condition
}

// condition is under which words of a field something is there; all of them are a condition no more.
type condition struct {
	field string
	words []string
	all   bool
	not   bool
}

func (c condition) String() string {
	switch {
	case c.field == "" || c.all:
		return ""
	case c.not:
		return c.field + " is not " + strings.Join(c.words, ", ")
	}
	return c.field + " is " + strings.Join(c.words, ", ")
}

// or unites two conditions on the same field.
func (c condition) or(o condition) (condition, bool) {
	if c.field == "" || c.field != o.field || c.not || o.not {
		return c, false
	}
	c.words = slices.Concat(c.words, o.words)
	return c, true
}

// view is one struct that may be at a place, and when it is.
type view struct {
	s    *shape
	when condition
}

// views are the structs that may be at a place: below lists, by alternative, by the field that chooses.
func (d *describer) views(s *shape, when condition) []view {
	switch {
	case s.lookup != nil:
		u := *s
		u.lookup = nil
		var order []*shape
		words := map[*shape][]string{}
		for _, f := range s.lookup.table.fields {
			if words[f.s] == nil {
				order = append(order, f.s)
			}
			words[f.s] = append(words[f.s], f.name)
		}
		var out []view
		for _, t := range order {
			out = append(out, d.views(and(&u, t), condition{field: s.lookup.field, words: words[t]})...)
		}
		return out
	case s.alts != nil:
		var out []view
		for _, a := range s.alts {
			out = append(out, d.views(a, when)...)
		}
		return out
	case s.kinds == kList && s.elem != nil:
		return d.views(s.elem, when)
	case s.kinds&kStruct == 0 || s.kinds == kAll:
		return nil
	}
	out := []view{{s, when}}
	for _, g := range s.guards {
		out = append(out, d.views(g.s, condition{field: g.field, words: []string{strconv.Quote(g.word)}, not: g.not})...)
	}
	return out
}

// fields are what may stand at a place, seen through maps that have nothing but entries. A field that several words of
// another allow in the same form is there once.
func (d *describer) fields(at found) []found {
	var out []found
	add := func(f found) {
		for i, o := range out {
			if o.field.name != f.field.name || o.field.required != f.field.required || o.path != f.path || d.typeOf(o.field.s) != d.typeOf(f.field.s) {
				continue
			}
			if w, ok := o.when.or(f.when); ok {
				out[i].when = w
				return
			}
		}
		out = append(out, f)
	}
	for _, v := range d.views(at.field.s, condition{}) {
		if len(v.s.fields) == 0 && len(v.s.labels) > 0 {
			for _, l := range v.s.labels {
				for _, f := range d.fields(found{field: &shapeField{s: l.val}, path: at.path + "." + placeholder(l.key)}) {
					add(f)
				}
			}
			continue
		}
		for _, f := range v.s.fields {
			add(found{f, at.path + "." + label(f.name), v.when})
		}
		for _, l := range v.s.labels {
			name := placeholder(l.key)
			add(found{&shapeField{name: name, s: l.val, doc: l.doc}, at.path + "." + name, v.when})
		}
	}
	if s := at.field.s; s.lookup != nil {
		for i := range out {
			out[i].when.all = len(out[i].when.words) == len(s.lookup.table.fields)
		}
	}
	return out
}

// entry is what a key leads to, where a place is a map that takes it.
func (d *describer) entry(at found, key string) (found, bool) {
	for _, v := range d.views(at.field.s, condition{}) {
		for _, l := range v.s.labels {
			if key == placeholder(l.key) || l.key.acceptsLabel(key) {
				return found{&shapeField{name: key, s: l.val, doc: l.doc}, at.path + "." + placeholder(l.key), at.when}, true
			}
		}
	}
	return found{}, false
}

// find follows the rest of a path.
func (d *describer) find(at found, rest []segment) (found, error) {
	if len(rest) == 0 {
		return at, nil
	}
	fields := d.fields(at)
	name := rest[0].name
	var words []string
	var hit *found
	for _, f := range fields {
		words = append(words, f.field.name)
		if f.field.name != name || rest[0].quoted {
			continue
		}
		if hit == nil {
			hit = &f
		} else if w, ok := hit.when.or(f.when); ok { // the same field in several forms: the first
			hit.when = w
		}
	}
	if hit != nil {
		return d.find(*hit, rest[1:])
	}
	none := unknownWord("field", name, at.path, words)
	if next, ok := d.entry(at, name); ok && (len(rest) > 1 || rest[0].quoted || len(words) == 0 || next.path == at.path+"."+name) {
		to, err := d.find(next, rest[1:])
		if err != nil && near(name, words) != "" {
			return found{}, none // more likely a mistyped field than a name
		}
		return to, err
	}
	return found{}, none
}

func unknownWord(what, got, in string, words []string) error {
	m := fmt.Sprintf("no %s %q", what, got)
	if in != "" {
		m += " in " + in
	}
	if g := cmp.Or(singular(got, words), near(got, words)); g != "" {
		m += fmt.Sprintf(" (did you mean %q?)", g)
	}
	slices.Sort(words)
	if words = slices.Compact(words); len(words) > 0 {
		m += "; there are " + strings.Join(words, ", ")
	} else {
		m += "; it has no fields"
	}
	return fmt.Errorf("%s", m)
}

func (d *describer) describe(at found, depth int) Description {
	s := at.field.s
	out := Description{
		Path: at.path, Definition: defName(s), Type: d.typeOf(s), Doc: at.field.doc, Required: at.field.required,
		When: at.when.String(), Values: d.values(s), Pattern: onePattern(s),
	}
	if at.field.dflt != nil {
		out.Default = cueText(at.field.dflt)
	}
	for _, v := range d.views(s, condition{}) {
		for _, l := range v.s.labels {
			if len(v.s.fields) == 0 {
				for _, w := range d.views(l.val, condition{}) {
					out.OneOf = append(out.OneOf, w.s.oneOf...)
				}
			}
		}
		out.OneOf = append(out.OneOf, v.s.oneOf...)
	}
	if out.Doc == "" && out.Definition != "" && phrase("#"+out.Definition) == "" {
		out.Doc = strings.TrimPrefix(d.docs["#"+out.Definition], out.Definition+": ")
	}
	if depth == 0 {
		return out
	}
	for _, f := range d.fields(at) {
		out.Fields = append(out.Fields, d.describe(f, depth-1))
	}
	return out
}

// defName is the exported definition that a shape is, or that its items or entries are.
func defName(s *shape) string {
	for range 4 {
		if name := strings.TrimPrefix(s.def, "#"); s.def != "" && name[0] >= 'A' && name[0] <= 'Z' {
			return name
		}
		switch {
		case s.elem != nil:
			s = s.elem
		case len(s.fields) == 0 && len(s.labels) == 1:
			s = s.labels[0].val
		default:
			return ""
		}
	}
	return ""
}

// values are the words of a choice, of a list of them too.
func (d *describer) values(s *shape) []string {
	switch {
	case s.def == "#Action":
		return d.say.words(s)
	case s.elem != nil && s.kinds == kList:
		return d.values(s.elem)
	case s.alts != nil:
		var out []string
		for _, a := range s.alts {
			out = append(out, d.values(a)...)
		}
		return out
	}
	return slices.Clone(s.enum)
}

// onePattern is the pattern of a text that has one and no phrase.
func onePattern(s *shape) string {
	if s.elem != nil && s.kinds == kList {
		s = s.elem
	}
	if s.kinds == kString && phrase(s.def) == "" && len(s.patterns) == 1 && !s.patterns[0].not {
		return s.patterns[0].re().String()
	}
	return ""
}

// typeOf is the type in words.
func (d *describer) typeOf(s *shape) string {
	if s.kinds&(kStruct|kList) == 0 && s.lookup == nil {
		if p := phrase(s.def); p != "" {
			return p
		}
	}
	return d.brief(s)
}

// brief is the type in as few words as do.
func (d *describer) brief(s *shape) string {
	switch {
	case s.lookup != nil:
		return "what " + s.lookup.field + " asks for"
	case s.def == "#Token":
		return `"{{ parameter }}"`
	case s.def == "#Action":
		return "an action"
	case s.kinds&(kStruct|kList) == 0 && phrase(s.def) != "":
		return firstWords(phrase(s.def))
	case s.alts != nil:
		var out []string
		for _, a := range s.alts {
			if w := d.brief(a); !slices.Contains(out, w) {
				out = append(out, w)
			}
		}
		return strings.Join(out, " or ")
	case s.kinds == kAll:
		return "any value"
	case s.kinds == kInt && s.lo == nil && s.hi == nil:
		return "a whole number"
	case s.kinds == kList && s.elem == nil && s.tuple != nil:
		return fmt.Sprintf("list of %d: %s", len(s.tuple), d.brief(s.tuple[0]))
	case s.kinds == kList && s.elem != nil:
		return "list of " + strings.TrimPrefix(strings.TrimPrefix(d.brief(s.elem), "a "), "an ") + limits(s.minItems, s.maxItems, "")
	case s.kinds == kList:
		return "list of any values"
	case s.kinds == kStruct && len(s.fields) == 0 && len(s.labels) > 0:
		return "map of " + strings.ToLower(placeholder(s.labels[0].key)) + " to " + d.brief(s.labels[0].val) + limits(s.minField, s.maxField, "")
	case s.kinds == kStruct:
		if name := defName(s); name != "" {
			return name
		}
		return "struct"
	case s.kinds == kString && len(s.enum) == 0:
		return "text" + limits(s.minRunes, s.maxRunes, "characters")
	}
	return d.say.want(s)
}

// firstWords cuts a phrase to its subject: `a name: letters, digits` to "a name".
func firstWords(phrase string) string {
	for _, cut := range []string{" such as", ": ", ", "} {
		phrase, _, _ = strings.Cut(phrase, cut)
	}
	return phrase
}

func limits(lo, hi int, unit string) string {
	text := ""
	switch {
	case lo > 0 && hi >= 0:
		text = fmt.Sprintf("%d to %d", lo, hi)
	case hi >= 0:
		text = fmt.Sprintf("at most %d", hi)
	case lo > 0:
		text = fmt.Sprintf("at least %d", lo)
	default:
		return ""
	}
	if unit != "" {
		text += " " + unit
	}
	return " (" + text + ")"
}

// placeholder stands for the keys of a map in paths.
func placeholder(key *shape) string {
	switch key.def {
	case "#TagKey":
		return "KEY"
	case "#FilePath", "#ParameterName":
		return "PATH"
	case "#VersionNumber":
		return "NUMBER"
	case "#Action":
		return "ACTION"
	}
	return "NAME"
}

// segment is one step of a path.
type segment struct {
	name   string
	quoted bool
}

// splitPath reads a path as faults print it; positions in lists are left out.
func splitPath(path string) []segment {
	var out []segment
	for path != "" {
		switch path[0] {
		case '.':
			path = path[1:]
			continue
		case '[':
			if _, rest, ok := strings.Cut(path, "]"); ok {
				path = rest
				continue
			}
		case '"':
			if q, err := strconv.QuotedPrefix(path); err == nil {
				name, _ := strconv.Unquote(q)
				out, path = append(out, segment{name, true}), path[len(q):]
				continue
			}
		}
		n := strings.IndexAny(path[1:], ".[") + 1
		if n == 0 {
			n = len(path)
		}
		out, path = append(out, segment{name: path[:n]}), path[n:]
	}
	return out
}

// label quotes a field's name where CUE needs it.
func label(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return r != '_' && r != '-' && (r < '0' || r > 'z' || r > '9' && r < 'A') }) {
		return strconv.Quote(name)
	}
	return name
}

// cueText writes plain data as CUE on one line.
func cueText(v *value) string {
	switch v.k {
	case kString:
		return strconv.Quote(v.s)
	case kList:
		var out []string
		for _, x := range v.kids {
			out = append(out, cueText(x))
		}
		return "[" + strings.Join(out, ", ") + "]"
	case kStruct:
		var out []string
		for i, k := range v.keys {
			out = append(out, label(k)+": "+cueText(v.kids[i]))
		}
		return "{" + strings.Join(out, ", ") + "}"
	case kNull:
		return "null"
	}
	return show(v)
}
