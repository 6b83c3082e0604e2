package load

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// agreement holds Go types against compiled definitions, in both directions: each has the fields of the other, of the same
// form, required in both or in neither, with the same default, words and bounds. Tags of the Go fields say what a type
// cannot: default, words, except (words of the type that this field has not), bound (of a number), runes (of a text), items
// (of a list), fields (of a map or struct), each (of a list's items, as bound or runes), only (the one definition of several
// of a type that has the field).
type agreement struct {
	defs shapes
	// written is for forms that this program writes: it may write what readers may find missing.
	written bool
	reached map[string]bool
	seen    map[string]bool
	wrong   []string
}

func newAgreement(defs shapes) *agreement {
	return &agreement{defs: defs, reached: map[string]bool{}, seen: map[string]bool{}}
}

func (a *agreement) say(p, format string, args ...any) {
	a.wrong = append(a.wrong, p+": "+fmt.Sprintf(format, args...))
}

// forms are the types that read themselves, and what each takes. JSON takes anything.
func forms() map[reflect.Type]kind {
	return map[reflect.Type]kind{
		reflect.TypeFor[schema.JSON]():       kAll,
		reflect.TypeFor[schema.Texts]():      kString | kList,
		reflect.TypeFor[schema.Argument]():   kString | kList | kStruct,
		reflect.TypeFor[schema.Amount]():     kInt | kString,
		reflect.TypeFor[schema.PortRange]():  kInt | kString,
		reflect.TypeFor[schema.AgentTrust](): kString | kStruct,
		reflect.TypeFor[time.Time]():         kString,
	}
}

// value holds a type, of a field with a tag, against a shape. item is true for the items of a list or map: bounds are then in each.
func (a *agreement) value(p string, s *shape, t reflect.Type, tag reflect.StructTag, item bool) {
	a.reach(s)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s.lookup != nil {
		for _, f := range s.lookup.table.fields {
			a.value(p+"<"+f.name+">", f.s, t, tag, item)
		}
		a.reach(s.lookup.table)
		a.size(p, s, tag, item)
		return
	}
	if takes, ok := forms()[t]; ok {
		a.form(p, s, t, takes)
		a.size(p, s, tag, item)
		return
	}
	if s.alts != nil {
		all := true
		for _, x := range s.alts { // texts of several forms
			a.reach(x)
			all = all && x.kinds == kString
		}
		if !all || t.Kind() != reflect.String {
			a.say(p, "%s reads values of one form, the definition has several", t)
		}
		return
	}
	a.words(p, s, t, tag, item)
	a.size(p, s, tag, item)
	switch {
	case s.kinds == kString && t.Kind() == reflect.String:
		if isTime := t == reflect.TypeFor[schema.Duration](); isTime != (s.def == "#Duration") {
			a.say(p, "%s beside %q", t, s.def)
		}
	case s.kinds == kInt && isInt(t):
		if s.hi != nil && reflect.Zero(t).CanInt() && reflect.Zero(t).OverflowInt(*s.hi) || s.hi != nil && reflect.Zero(t).CanUint() && reflect.Zero(t).OverflowUint(uint64(*s.hi)) {
			a.say(p, "%s cannot hold %d", t, *s.hi)
		}
	case s.kinds == kBool && t.Kind() == reflect.Bool:
	case s.kinds == kList && t.Kind() == reflect.Slice:
		for _, e := range append(slices.Clone(s.tuple), s.elem) {
			if e != nil {
				a.value(p+"[]", e, t.Elem(), tag, true)
			}
		}
	case s.kinds == kStruct && t.Kind() == reflect.Map:
		for _, l := range s.labels {
			a.reach(l.key)
			a.value(p+".*", l.val, t.Elem(), tag, true)
		}
		for _, f := range s.fields {
			a.value(p+"."+f.name, f.s, t.Elem(), tag, true)
		}
	case s.kinds == kStruct && t.Kind() == reflect.Struct:
		a.structure(p, s, t)
	default:
		a.say(p, "%s beside %s", t, s.kinds.word())
	}
}

func isInt(t reflect.Type) bool { return reflect.Zero(t).CanInt() || reflect.Zero(t).CanUint() }

func (a *agreement) reach(s *shape) {
	if s.def != "" {
		a.reached[s.def] = true
	}
	for _, x := range s.alts {
		a.reach(x)
	}
}

// form holds a type that reads itself against what the definition lets be written.
func (a *agreement) form(p string, s *shape, t reflect.Type, takes kind) {
	if t == reflect.TypeFor[schema.JSON]() {
		a.below(s)
		return
	}
	if got := s.kinds & kAll; got != takes {
		a.say(p, "%s reads %b, the definition has %b", t, takes, got)
	}
	if (t == reflect.TypeFor[time.Time]()) != (s.def == "#Time") {
		a.say(p, "%s beside %q", t, s.def)
	}
	for _, x := range s.alts {
		if x.kinds == kStruct && t == reflect.TypeFor[schema.AgentTrust]() {
			a.structure(p, x, t)
			continue
		}
		a.below(x)
	}
}

// below marks what a value of any form may hold as reached.
func (a *agreement) below(s *shape) {
	if a.seen[fmt.Sprintf("%p", s)] {
		return
	}
	a.seen[fmt.Sprintf("%p", s)] = true
	a.reach(s)
	next := slices.Concat(s.alts, s.tuple)
	for _, l := range s.labels {
		next = append(next, l.key, l.val)
	}
	for _, f := range s.fields {
		next = append(next, f.s)
	}
	if s.elem != nil {
		next = append(next, s.elem)
	}
	for _, x := range next {
		a.below(x)
	}
}

// structure holds the fields of a struct against those of a shape.
func (a *agreement) structure(p string, s *shape, t reflect.Type) {
	if key := fmt.Sprintf("%p %s", s, t); a.seen[key] {
		return
	} else {
		a.seen[key] = true
	}
	fields := map[string]*shapeField{}
	for _, f := range s.fields {
		fields[f.name] = f
	}
	for _, g := range s.guards { // there or not, as another field says: a Go type has them always
		for _, f := range g.s.fields {
			sometimes := *f
			sometimes.required = false
			fields[f.name] = &sometimes
		}
	}
	for _, f := range jsonFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if def := f.Tag.Get("only"); def != "" && def != s.def {
			if fields[name] != nil {
				a.say(p+"."+name, "of %s only, and %s has it", def, s.def)
			}
			continue
		}
		d := fields[name]
		if d == nil {
			a.say(p+"."+name, "in %s, not in the definition", t)
			continue
		}
		delete(fields, name)
		a.field(p+"."+name, d, f, options == "omitempty" || options == "omitzero")
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		a.say(p+"."+name, "in the definition, not in %s", t)
	}
	if len(s.labels) > 0 || s.open {
		a.say(p, "%s has no place for fields of any name", t)
	}
}

func (a *agreement) field(p string, d *shapeField, f reflect.StructField, omitted bool) {
	a.value(p, d.s, f.Type, f.Tag, false)
	want := ""
	if d.dflt != nil {
		if want = d.dflt.s; d.dflt.k != kString {
			want = string(d.dflt.json(nil))
		}
	}
	got, given := f.Tag.Lookup("default")
	if got != want || given != (d.dflt != nil) {
		a.say(p, "default %q, in the definition %q", got, want)
	}
	switch may := !d.required && d.dflt == nil; {
	case a.written && !d.required:
	case may && !omitted:
		a.say(p, "may be absent in the definition, and is always there in Go")
	case !may && omitted:
		a.say(p, "always there in the definition, and may be absent in Go")
	}
}

// jsonFields are the fields of a struct and of what it embeds, less those that JSON does not have.
func jsonFields(t reflect.Type) []reflect.StructField {
	var out []reflect.StructField
	for i := range t.NumField() {
		switch f := t.Field(i); {
		case f.Anonymous:
			out = append(out, jsonFields(f.Type)...)
		case f.Tag.Get("json") != "-":
			out = append(out, f)
		}
	}
	return out
}

// words holds a closed vocabulary of Go against that of a shape.
func (a *agreement) words(p string, s *shape, t reflect.Type, tag reflect.StructTag, item bool) {
	var got []string
	if w, ok := reflect.Zero(t).Interface().(interface{ Words() []string }); ok {
		got = w.Words()
	}
	if t.Kind() != reflect.Slice && t.Kind() != reflect.Map {
		got = append(got, strings.Fields(tag.Get("words"))...)
		for _, w := range strings.Fields(tag.Get("except")) {
			if !slices.Contains(got, w) {
				a.say(p, "%s is not a word that %s has", w, t)
			}
			got = slices.DeleteFunc(got, func(x string) bool { return x == w })
		}
	}
	want := slices.Clone(s.enum)
	for _, b := range s.bools {
		want = append(want, strconv.FormatBool(b))
	}
	slices.Sort(got)
	slices.Sort(want)
	if t.Kind() == reflect.String || t.Kind() == reflect.Bool {
		// A table of filters has a list of words for each system, and Go any texts.
		if !slices.Equal(got, want) && !strings.Contains(p, "<") {
			a.say(p, "words %q, in the definition %q", got, want)
		}
	} else if len(got) > 0 {
		a.say(p, "words of %s", t)
	}
}

// size holds bounds against tags.
func (a *agreement) size(p string, s *shape, tag reflect.StructTag, item bool) {
	want := map[string]string{"runes": span(s.minRunes, s.maxRunes), "items": span(s.minItems, s.maxItems), "fields": span(s.minField, s.maxField), "bound": ""}
	if n := len(s.tuple); n > 0 && s.elem == nil {
		want["items"] = span(n, n)
	}
	if s.lo != nil || s.hi != nil {
		lo, hi := "", ""
		if s.lo != nil {
			lo = strconv.FormatInt(*s.lo, 10)
		}
		if s.hi != nil {
			hi = strconv.FormatInt(*s.hi, 10)
		}
		want["bound"] = lo + ".." + hi
	}
	if b, ok := wholes()[s.def]; ok { // a bound of the type, wherever it stands
		if b != want["fields"] {
			a.say(p, "fields of %s %q, in the definition %q", s.def, b, want["fields"])
		}
		return
	}
	if strings.Contains(p, "<") { // in a table by another field: the tags are of what all have in common
		return
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		w, got := want[name], tag.Get(name)
		if item {
			if w == "" || name == "items" || name == "fields" {
				continue
			}
			got = tag.Get("each")
		}
		if got != w {
			a.say(p, "%s %q, in the definition %q", name, got, w)
		}
	}
	if each := tag.Get("each"); !item && each != "" && s.kinds&(kList|kStruct) == 0 {
		a.say(p, "each %q of what has no items", each)
	}
	if each := tag.Get("each"); item && each != "" && want["runes"] == "" && want["bound"] == "" {
		a.say(p, "each %q, in the definition none", each)
	}
}

// wholes are the bounds of structs that stand in many places, which their Go types tell in words.
func wholes() map[string]string { return map[string]string{"#Targets": "1.."} }

// span is a bound as tags write it; most below 0 is none.
func span(least, most int) string {
	switch {
	case least == 0 && most < 0:
		return ""
	case least == 0:
		return ".." + strconv.Itoa(most)
	case most < 0:
		return strconv.Itoa(least) + ".."
	}
	return strconv.Itoa(least) + ".." + strconv.Itoa(most)
}

// goForms are the files with a fixed form.
func goForms() map[string]reflect.Type {
	return map[string]reflect.Type{
		"#RosterLine": reflect.TypeFor[schema.RosterLine](), "#Facts": reflect.TypeFor[schema.Facts](), "#Run": reflect.TypeFor[schema.Run](),
		"#ReportLine": reflect.TypeFor[schema.ReportLine](), "#AgentConfig": reflect.TypeFor[schema.AgentConfig](),
	}
}

// The Go types and the definitions in schema/*.cue are the same language.
func TestGoAndDefinitionsAgree(t *testing.T) {
	defs, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	a := newAgreement(defs)
	repo := defs["#Repo"]
	a.reach(repo)
	a.reach(defs["#Note"]) // embedded, as in Go
	kinds := map[string]*shapeField{}
	for _, f := range repo.fields {
		kinds[f.name] = f
	}
	notKinds := []string{"shipped", "shippedDocuments", "roster", "blobs", "positions", "idle", "objects"} // what a repository is found to have
	for _, f := range jsonFields(reflect.TypeFor[schema.Repo]()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if slices.Contains(notKinds, name) {
			continue
		}
		d := kinds[name]
		delete(kinds, name)
		switch {
		case d == nil:
			a.say(name, "no such kind in the definitions")
		case name == "fleet":
			a.value(name, d.s, f.Type, "", false)
		default:
			a.reach(d.s.labels[0].key)
			a.value(name, d.s.labels[0].val, f.Type.Elem(), "", false)
		}
	}
	for name := range kinds {
		a.say(name, "no such kind in schema.Repo")
	}
	for name, typ := range goForms() {
		a.written = name == "#Facts"
		a.value(name, defs[name], typ, "", false)
	}
	for name, s := range defs {
		if s.kinds == kStruct && !a.reached[name] && strings.ToUpper(name[1:2]) == name[1:2] {
			a.say(name, "no Go type stands beside it")
		}
	}
	for _, w := range a.wrong {
		t.Error(w)
	}
}

// What the types cannot say: the actions of steps, the counts of a report, and the kinds that the loader reads.
func TestGoListsAgree(t *testing.T) {
	defs, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(slices.Values(schema.Actions())), slices.Sorted(slices.Values(names(defs["#inputs"]))); !slices.Equal(got, want) {
		t.Errorf("Actions() = %q, in #inputs %q", got, want)
	}
	for _, name := range schema.Actions() {
		for _, w := range []string{name, "aws:" + name} {
			if want := w != "aws:dunlin:patch"; defs["#Action"].acceptsLabel(w) != want {
				t.Errorf("#Action takes %q: %v", w, !want)
			}
		}
	}
	counts := []string{"AvailableSecurityUpdateCount"}
	for _, f := range jsonFields(reflect.TypeFor[schema.Counts]()) {
		counts = append(counts, f.Tag.Get("json"))
	}
	if want := names(defs["#ReportLine"].byName["counts"].s); !slices.Equal(slices.Sorted(slices.Values(counts)), slices.Sorted(slices.Values(want))) {
		t.Errorf("counts of a judgement %q, of a report %q", counts, want)
	}
	var read []string
	for _, k := range (&loading{}).kindTable() {
		read = append(read, k.name)
	}
	if want := names(defs["#Repo"]); !slices.Equal(read, want) {
		t.Errorf("the loader reads %q, #Repo has %q", read, want)
	}
}

// compiled compiles definitions from text.
func compiled(t *testing.T, text string) shapes {
	t.Helper()
	defs, err := compileText(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return defs
}

type colour string

func (colour) Words() []string { return []string{"red", "green"} }

// Each way of differing is found: the test of agreement would be worth nothing if it let one through.
func TestDisagreementIsFound(t *testing.T) {
	const text = `
#Duration: =~"^[0-9]+h$"
#Time: =~"^[0-9]{4}"
#Part: {n!: int}
#A: {
	name!: string
	note?: =~"x"
	size?: int & >=1 & <=6 @default(3)
	colour?: "red" | "green" @default("red")
	list?: [...int & <=9]
	long?: #Duration
	parts?: [string]: #Part
	inner?: #Part
	data?: string | int
	if name == "red" {extra!: string}
}
`
	type part struct {
		N int `json:"n"`
	}
	type inner = part
	for _, tt := range []struct {
		name string
		a    any
		want string
	}{
		{"equal", struct {
			Name   string          `json:"name"`
			Note   string          `json:"note,omitempty"`
			Size   int             `json:"size" default:"3" bound:"1..6"`
			Colour colour          `json:"colour" default:"red"`
			List   []int           `json:"list,omitempty" each:"..9"`
			Long   schema.Duration `json:"long,omitempty"`
			Parts  map[string]part `json:"parts,omitempty"`
			Inner  *inner          `json:"inner,omitempty"`
			Data   schema.Amount   `json:"data,omitempty"`
			Extra  string          `json:"extra,omitempty"`
		}{}, ""},
		{"a field too many and one too few", struct {
			Name string `json:"name"`
			Nmae string `json:"nmae"`
		}{}, "A.nmae: in struct"},
		{"a missing field", struct {
			Name string `json:"name"`
		}{}, "A.note: in the definition, not in"},
		{"a field of a guard that is missing", struct{}{}, "A.extra: in the definition, not in"},
		{"another JSON name", struct {
			Name string `json:"Name"`
		}{}, "A.Name: in struct"},
		{"a required field that Go may leave out", struct {
			Name string `json:"name,omitempty"`
		}{}, "A.name: always there in the definition"},
		{"an optional field that Go always has", struct {
			Note string `json:"note"`
		}{}, "A.note: may be absent in the definition"},
		{"a field with a default that Go may leave out", struct {
			Size int `json:"size,omitempty" default:"3" bound:"1..6"`
		}{}, "A.size: always there in the definition"},
		{"another default", struct {
			Size int `json:"size" default:"4" bound:"1..6"`
		}{}, `A.size: default "4", in the definition "3"`},
		{"no default", struct {
			Size int `json:"size" bound:"1..6"`
		}{}, `A.size: default "", in the definition "3"`},
		{"a default that the definition has not", struct {
			Name string `json:"name" default:""`
		}{}, `A.name: default "", in the definition ""`},
		{"another bound", struct {
			Size int `json:"size" default:"3" bound:"1..7"`
		}{}, `A.size: bound "1..7", in the definition "1..6"`},
		{"no bound", struct {
			Size int `json:"size" default:"3"`
		}{}, `A.size: bound "", in the definition "1..6"`},
		{"a bound that the definition has not", struct {
			Name string `json:"name" runes:"1.."`
		}{}, `A.name: runes "1..", in the definition ""`},
		{"a bound of items that the definition has not", struct {
			List []int `json:"list,omitempty" each:"..9" items:"1.."`
		}{}, `A.list: items "1..", in the definition ""`},
		{"another bound of a list's items", struct {
			List []int `json:"list,omitempty" each:"..8"`
		}{}, `A.list[]: bound "..8", in the definition "..9"`},
		{"texts where there are words", struct {
			Colour string `json:"colour" default:"red"`
		}{}, `A.colour: words [], in the definition ["green" "red"]`},
		{"fewer words", struct {
			Colour string `json:"colour" default:"red" words:"red"`
		}{}, `A.colour: words ["red"], in the definition ["green" "red"]`},
		{"more words", struct {
			Colour colour `json:"colour" default:"red" words:"blue"`
		}{}, `A.colour: words ["blue" "green" "red"]`},
		{"words where there are texts", struct {
			Name colour `json:"name"`
		}{}, `A.name: words ["green" "red"], in the definition []`},
		{"another type", struct {
			Size string `json:"size" default:"3" bound:"1..6"`
		}{}, "A.size: string beside a number"},
		{"a type that cannot hold it", struct {
			List []int8 `json:"name"`
		}{}, "A.name: []int8 beside text"},
		{"a text that is a duration", struct {
			Long string `json:"long,omitempty"`
		}{}, `A.long: string beside "#Duration"`},
		{"a duration that is a text", struct {
			Name schema.Duration `json:"name"`
		}{}, `A.name: schema.Duration beside ""`},
		{"an instant that is a text", struct {
			Name time.Time `json:"name"`
		}{}, `A.name: time.Time beside ""`},
		{"one form where there are two", struct {
			Data int `json:"data,omitempty"`
		}{}, "A.data: int reads values of one form"},
		{"two other forms", struct {
			Data schema.Texts `json:"data,omitempty"`
		}{}, "A.data: schema.Texts reads"},
		{"a difference in what a map holds", struct {
			Parts map[string]struct {
				N string `json:"n"`
			} `json:"parts,omitempty"`
		}{}, "A.parts.*.n: string beside a number"},
		{"a difference in an inner struct", struct {
			Inner struct {
				M int `json:"m"`
			} `json:"inner,omitzero"`
		}{}, "A.inner.n: in the definition, not in"},
		{"a field that only another definition should have", struct {
			Name string `json:"name" only:"#B"`
		}{}, "A.name: of #B only, and #A has it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defs := compiled(t, text)
			a := newAgreement(defs)
			a.value("A", defs["#A"], reflect.TypeOf(tt.a), "", false)
			if tt.want == "" && len(a.wrong) > 0 || tt.want != "" && !slices.ContainsFunc(a.wrong, func(w string) bool { return strings.HasPrefix(w, tt.want) }) {
				t.Errorf("found:\n%s\nwant %q", strings.Join(a.wrong, "\n"), tt.want)
			}
		})
	}
}
