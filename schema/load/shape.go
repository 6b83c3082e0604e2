package load

import (
	"regexp"
	"slices"
)

// shape is a definition in compiled form: what a value must be. It has the
// names, lists and bounds that faults quote, and the defaults. CUE decides
// whether a value is right. A shape says what is wrong with it, and may say
// that plain data is right: see direct.
type shape struct {
	kinds    kind
	def      string // the definition's name, for phrases
	enum     []string
	bools    []bool
	patterns []pattern
	minRunes int
	maxRunes int // -1: none
	lo, hi   *int64
	elem     *shape
	tuple    []*shape
	minItems int
	maxItems int // -1: none
	fields   []*shapeField
	byName   map[string]*shapeField
	labels   []labelShape
	open     bool
	minField int
	maxField int // -1: none
	guards   []guard
	oneOf    [][]string
	lookup   *lookup
	alts     []*shape // one must accept
	when     string   // the field and its value that chose this shape

	// For direct, set once everything is compiled.
	doubt    string   // why this is not known to be exactly what CUE makes of it; accepts nothing
	required int      // fields that must be given
	tabled   bool     // a table to look things up in, not a struct that people write
	guarded  []*shape // what it is for each set of guards that hold, by bits
}

type pattern struct {
	re     func() *regexp.Regexp
	quick  func() func(string) bool
	not    bool
	source string
}

func (p pattern) matches(s string) bool { return p.quick()(s) }

type shapeField struct {
	name     string
	required bool
	table    bool // an entry of a table such as #filters
	s        *shape
	dflt     *value // the value of an absent field
	doc      string // the comment above it, where comments are kept
}

type labelShape struct {
	key, val *shape
	doc      string // the comment above it, where comments are kept
}

// guard adds a shape where a field has a word, or has it not.
type guard struct {
	field, word string
	not         bool
	s           *shape
}

// lookup is a shape chosen by a field's value, less a prefix, from a table.
type lookup struct {
	field, trim string
	table       *shape
	chosen      map[string]*shape // by word, with all that is said beside the lookup
}

func newShape() *shape { return &shape{kinds: kAll, maxRunes: -1, maxItems: -1, maxField: -1} }

func (s *shape) put(f *shapeField) {
	s.fields = append(s.fields, f)
	s.byName[f.name] = f
}

// accepts reports whether a text matches all that s says about texts.
func (s *shape) acceptsLabel(name string) bool {
	c := checker{quiet: true}
	c.check(s, &value{k: kString, s: name}, nil)
	return !c.bad
}

// and is CUE's &: both hold. Struct fields are those of either, which is right
// where one side allows all that the other names; what is not surely right is in doubt.
func and(a, b *shape) *shape {
	s := unite(a, b)
	if a.isStruct() && b.isStruct() && !a.allows(b) && !b.allows(a) {
		s.doubt = "& of two structs that each have fields of their own"
	}
	return s
}

// allows reports whether a struct names, or leaves open, all that another may have.
func (s *shape) allows(o *shape) bool {
	if len(o.guards) > 0 || len(o.labels) > 0 || o.open && !s.open {
		return s.open
	}
	return s.open || !slices.ContainsFunc(o.fields, func(f *shapeField) bool { return s.byName[f.name] == nil })
}

// unite is what an embedding does: both hold, and struct fields are those of either.
func unite(a, b *shape) *shape {
	s := newShape()
	s.kinds = a.kinds & b.kinds
	if s.def = a.def; s.def == "" {
		s.def = b.def
	}
	if s.doubt = a.doubt; s.doubt == "" {
		s.doubt = b.doubt
	}
	if s.enum = a.enum; b.enum != nil {
		s.enum = b.enum
		if a.enum != nil {
			s.enum = slices.DeleteFunc(slices.Clone(a.enum), func(w string) bool { return !slices.Contains(b.enum, w) })
		}
	}
	if s.bools = slices.Concat(a.bools, b.bools); a.bools != nil && b.bools != nil {
		s.doubt = "& of true and false"
	}
	s.patterns = slices.Concat(a.patterns, b.patterns)
	s.minRunes, s.maxRunes = max(a.minRunes, b.minRunes), lesser(a.maxRunes, b.maxRunes)
	s.minItems, s.maxItems = max(a.minItems, b.minItems), lesser(a.maxItems, b.maxItems)
	s.minField, s.maxField = max(a.minField, b.minField), lesser(a.maxField, b.maxField)
	s.lo, s.hi = a.lo, a.hi
	if b.lo != nil && (s.lo == nil || *b.lo > *s.lo) {
		s.lo = b.lo
	}
	if b.hi != nil && (s.hi == nil || *b.hi < *s.hi) {
		s.hi = b.hi
	}
	switch s.elem = a.elem; {
	case a.elem != nil && b.elem != nil:
		s.elem = and(a.elem, b.elem)
	case b.elem != nil:
		s.elem = b.elem
	}
	if s.tuple = a.tuple; b.tuple != nil {
		s.tuple = b.tuple
	}
	if a.tuple != nil && (b.tuple != nil || b.elem != nil) || b.tuple != nil && a.elem != nil {
		s.doubt = "& of two lists"
	}
	if a.kinds == kStruct || b.kinds == kStruct {
		s.byName = map[string]*shapeField{}
		for _, f := range slices.Concat(a.fields, b.fields) {
			if o := s.byName[f.name]; o != nil {
				o.s = and(o.s, f.s)
				o.required, o.table = o.required || f.required, o.table || f.table
				if o.dflt != nil && f.dflt != nil {
					s.doubt = "two defaults of " + f.name
				}
				if o.dflt == nil {
					o.dflt = f.dflt
				}
				continue
			}
			g := *f
			s.put(&g)
		}
		s.labels = slices.Concat(a.labels, b.labels)
		s.open = (!a.isStruct() || a.open) && (!b.isStruct() || b.open)
	}
	s.guards = slices.Concat(a.guards, b.guards)
	s.oneOf = slices.Concat(a.oneOf, b.oneOf)
	if s.lookup = a.lookup; b.lookup != nil {
		s.lookup = b.lookup
	}
	if a.lookup != nil && b.lookup != nil {
		s.doubt = "& of two lookups"
	}
	if s.alts = a.alts; b.alts != nil {
		s.alts = b.alts
	}
	if a.alts != nil && !b.plainBounds() || b.alts != nil && !a.plainBounds() {
		s.doubt = "& of a choice and more than bounds of text or numbers"
	}
	return s
}

// plainBounds reports whether all that s says is about texts, numbers and true or false.
func (s *shape) plainBounds() bool {
	return s.alts == nil && s.lookup == nil && s.elem == nil && s.tuple == nil && len(s.guards)+len(s.oneOf)+len(s.fields)+len(s.labels) == 0 &&
		s.minItems == 0 && s.maxItems < 0 && s.minField == 0 && s.maxField < 0
}

// isStruct tells a struct with declarations from a mere bound on structs.
func (s *shape) isStruct() bool {
	return s.kinds == kStruct && (len(s.fields)+len(s.labels)+len(s.guards) > 0 || !s.open)
}

func lesser(a, b int) int {
	switch {
	case a < 0:
		return b
	case b < 0:
		return a
	}
	return min(a, b)
}
