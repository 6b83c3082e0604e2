package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// JSONSchema gives a kind's object, a file with a fixed form, or with "" all of a
// repository, as a JSON Schema (draft 2020-12) for editors of JSON and YAML. It
// says what the definitions say; what only Go checks it does not know.
func JSONSchema(word string) ([]byte, error) {
	d, err := described()
	if err != nil {
		return nil, err
	}
	root, name, err := d.exported(word)
	if err != nil {
		return nil, err
	}
	g := &jsonSchema{d: d, names: map[*shape]string{}, defs: map[string]any{}}
	for name, s := range d.defs {
		g.names[s] = strings.TrimPrefix(name, "#")
	}
	out := g.body(root)
	out.set("$schema", "https://json-schema.org/draft/2020-12/schema")
	out.set("$id", "https://dunlin.dev/schema/"+name+".schema.json")
	out.set("title", name)
	if doc := d.docs["#"+name]; doc != "" {
		out.set("description", doc)
	}
	if len(g.defs) > 0 {
		out.set("$defs", g.defs)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// exported is the definition that a word means, of one object for a kind.
func (d *describer) exported(word string) (*shape, string, error) {
	if word == "" {
		return d.defs["#Repo"], "Repo", nil
	}
	root, _ := d.root(word)
	if root == nil {
		_, err := Describe(word, 0)
		if err == nil {
			err = fmt.Errorf("%q is a field; name its kind", word)
		}
		return nil, "", err
	}
	if len(root.labels) > 0 && len(root.fields) == 0 {
		root = root.labels[0].val
	}
	return root, strings.TrimPrefix(root.def, "#"), nil
}

// jsonObject is a JSON object under construction; its keys are sorted when it is written.
type jsonObject map[string]any

func (o jsonObject) set(key string, v any) { o[key] = v }

// jsonSchema writes shapes as JSON Schema. Definitions become $defs.
type jsonSchema struct {
	d     *describer
	names map[*shape]string
	defs  map[string]any
}

// of is a shape wherever it is used: a reference, where it is a definition.
func (g *jsonSchema) of(s *shape) jsonObject {
	name, ok := g.names[s]
	if !ok {
		return g.body(s)
	}
	if _, done := g.defs[name]; !done {
		g.defs[name] = nil // it may name itself
		body := g.body(s)
		if doc := g.d.docs["#"+name]; doc != "" {
			body.set("description", doc)
		}
		g.defs[name] = body
	}
	return jsonObject{"$ref": "#/$defs/" + name}
}

func (g *jsonSchema) body(s *shape) jsonObject {
	out := jsonObject{}
	if s.lookup != nil {
		u := *s
		u.lookup = nil
		out = g.body(&u) // the rest is said where the field is that chooses
		return out
	}
	if types := jsonTypes(s.kinds); len(types) == 1 {
		out.set("type", types[0])
	} else if len(types) > 1 {
		out.set("type", types)
	}
	var all []any
	switch {
	case len(s.enum) == 1:
		out.set("const", s.enum[0])
	case s.enum != nil:
		out.set("enum", s.enum)
	case s.bools != nil:
		out.set("enum", s.bools)
	}
	for i, p := range s.patterns {
		c := jsonObject{"pattern": ecma(p.re().String())}
		switch {
		case p.not:
			all = append(all, jsonObject{"not": c})
		case i == 0:
			out.set("pattern", c["pattern"])
		default:
			all = append(all, c)
		}
	}
	setNumber(out, "minLength", s.minRunes, s.minRunes > 0)
	setNumber(out, "maxLength", s.maxRunes, s.maxRunes >= 0)
	setNumber(out, "minItems", s.minItems, s.minItems > 0)
	setNumber(out, "maxItems", s.maxItems, s.maxItems >= 0)
	setNumber(out, "minProperties", s.minField, s.minField > 0)
	setNumber(out, "maxProperties", s.maxField, s.maxField >= 0)
	if s.lo != nil {
		out.set("minimum", *s.lo)
	}
	if s.hi != nil {
		out.set("maximum", *s.hi)
	}
	if s.elem != nil {
		out.set("items", g.of(s.elem))
	} else if s.tuple != nil {
		var items []any
		for _, t := range s.tuple {
			items = append(items, g.of(t))
		}
		out.set("prefixItems", items)
		out.set("items", false)
		out.set("minItems", len(items))
	}
	if s.alts != nil {
		var anyOf []any
		for _, a := range s.alts {
			anyOf = append(anyOf, g.of(a))
		}
		out.set("anyOf", anyOf)
	}
	if s.isStruct() {
		all = append(all, g.structure(out, s)...)
	}
	for _, group := range s.oneOf {
		var one []any
		for _, f := range group {
			one = append(one, jsonObject{"required": []string{f}})
		}
		all = append(all, jsonObject{"oneOf": one})
	}
	if len(all) > 0 {
		out.set("allOf", all)
	}
	return out
}

func setNumber(o jsonObject, key string, n int, given bool) {
	if given {
		o.set(key, n)
	}
}

// structure writes the fields of a struct, and gives the conditions among them.
func (g *jsonSchema) structure(out jsonObject, s *shape) []any {
	props, required := jsonObject{}, []string{}
	for _, f := range s.fields {
		props.set(f.name, g.field(f))
		if f.required {
			required = append(required, f.name)
		}
	}
	var all []any
	for _, gd := range s.guards {
		then, no := jsonObject{}, jsonObject{}
		need := []string{}
		for _, f := range gd.s.fields {
			then.set(f.name, g.field(f))
			no.set(f.name, false)
			if _, ok := props[f.name]; !ok {
				props.set(f.name, true)
			}
			if f.required {
				need = append(need, f.name)
			}
		}
		is := jsonObject{"properties": jsonObject{gd.field: jsonObject{"const": gd.word}}, "required": []string{gd.field}}
		yes := jsonObject{"properties": then}
		if len(need) > 0 {
			yes.set("required", need)
		}
		c := jsonObject{"if": is, "then": yes, "else": jsonObject{"properties": no}}
		if gd.not {
			c["then"], c["else"] = c["else"], c["then"]
		}
		all = append(all, c)
	}
	if len(props) > 0 {
		out.set("properties", props)
	}
	if len(required) > 0 {
		out.set("required", required)
	}
	switch {
	case len(s.labels) > 0:
		l := s.labels[0]
		out.set("additionalProperties", g.of(l.val))
		key := any(g.of(l.key))
		if len(props) > 0 {
			var names []string
			for name := range props {
				names = append(names, name)
			}
			slices.Sort(names)
			key = jsonObject{"anyOf": []any{jsonObject{"enum": names}, key}}
		}
		if l.key.kinds != kString || len(l.key.patterns) > 0 || l.key.enum != nil || l.key.alts != nil {
			out.set("propertyNames", key)
		}
	case !s.open:
		out.set("additionalProperties", false)
	}
	for _, c := range g.choices(s) {
		if chooser := s.byName[c.field]; chooser != nil {
			all = append(all, g.conditions(c)...)
		}
	}
	return all
}

func (g *jsonSchema) field(f *shapeField) jsonObject {
	out := g.of(f.s)
	if f.doc != "" {
		out.set("description", f.doc)
	}
	if f.dflt != nil {
		out.set("default", json.RawMessage(f.dflt.json(nil)))
	}
	return out
}

// chosen is a place below a struct whose form depends on a field, and how to say something about that place from the struct.
type chosen struct {
	field string
	s     *shape
	wrap  func(any) any
}

// choices are the places below s that depend on a field which is not below them in another definition.
func (g *jsonSchema) choices(s *shape) []chosen {
	var out []chosen
	below := func(t *shape, wrap func(any) any) {
		if _, named := g.names[t]; named { // settles its own
			return
		}
		for _, c := range g.choices(t) {
			inner := c.wrap
			c.wrap = func(v any) any { return wrap(inner(v)) }
			if !t.isStruct() || t.byName[c.field] == nil { // else it has settled that itself
				out = append(out, c)
			}
		}
	}
	if s.lookup != nil {
		out = append(out, chosen{s.lookup.field, s, func(v any) any { return v }})
	}
	if s.elem != nil {
		below(s.elem, func(v any) any { return jsonObject{"items": v} })
	}
	for _, f := range s.fields {
		below(f.s, func(v any) any { return jsonObject{"properties": jsonObject{f.name: v}} })
	}
	for _, l := range s.labels {
		below(l.val, func(v any) any { return jsonObject{"additionalProperties": v} })
	}
	return out
}

// conditions say what a place must be for each word of the field that chooses.
func (g *jsonSchema) conditions(c chosen) []any {
	table := c.s.lookup.table
	var order []*shape
	words := map[*shape][]string{}
	for _, f := range table.fields {
		if words[f.s] == nil {
			order = append(order, f.s)
		}
		words[f.s] = append(words[f.s], f.name)
		if trim := c.s.lookup.trim; trim != "" && !strings.Contains(f.name, ":") {
			words[f.s] = append(words[f.s], trim+f.name)
		}
	}
	var all []any
	for _, t := range order {
		all = append(all, jsonObject{
			"if":   jsonObject{"properties": jsonObject{c.field: jsonObject{"enum": words[t]}}, "required": []string{c.field}},
			"then": c.wrap(g.of(t)),
		})
	}
	return all
}

func jsonTypes(k kind) []string {
	if k == kAll {
		return nil
	}
	var out []string
	for _, t := range []struct {
		k    kind
		name string
	}{{kStruct, "object"}, {kList, "array"}, {kString, "string"}, {kInt, "integer"}, {kBool, "boolean"}, {kNull, "null"}} {
		if k&t.k != 0 {
			if t.k == kInt && k&kFloat != 0 {
				t.name = "number"
			}
			out = append(out, t.name)
		}
	}
	return out
}

// ecma writes an RE2 pattern as editors understand it, which do not know flags within a pattern.
func ecma(re string) string {
	return regexp.MustCompile(`\(\?i:([A-Za-z|]*)\)`).ReplaceAllStringFunc(re, func(group string) string {
		var b strings.Builder
		b.WriteString("(?:")
		for _, r := range group[len("(?i:") : len(group)-1] {
			if r == '|' {
				b.WriteRune(r)
				continue
			}
			b.WriteString("[" + strings.ToLower(string(r)) + strings.ToUpper(string(r)) + "]")
		}
		return b.String() + ")"
	})
}
