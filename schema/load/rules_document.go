package load

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// document checks what CUE cannot say of a document alone (SSM §3).
func (l *loading) document(o *object, n, given *value) {
	p := o.key.path()
	if o.text == nil {
		if size := len(given.json(nil)); size > maxDocument {
			l.wrongLabel(o, p, tooLarge(size))
		}
	}
	d := &documentRules{l: l, o: o, declared: map[string]schema.DocumentParameter{}, told: map[string]bool{}}
	for name, v := range n.get("parameters").fields() {
		d.names = append(d.names, name)
		d.declared[name] = d.parameter(p.field("parameters").field(name), v)
	}
	version := n.str("schemaVersion")
	steps := n.get("mainSteps").items()
	first := map[string]int{}
	for i, s := range steps {
		q := p.field("mainSteps").index(i)
		if name := s.str("name"); name != "" {
			if at, seen := first[name]; seen {
				l.wrong(o, q.field("name"), fmt.Sprintf("%q is already the name of mainSteps[%d]; each step has its own", name, at))
			} else {
				first[name] = i
			}
		}
		if s.get("precondition") != nil {
			d.precondition(q.field("precondition"), s.get("precondition"), version)
		}
		if f := s.get("inputs").get("finallyStep"); f != nil && i < len(steps)-1 && (f.b || f.k == kString && strings.EqualFold(f.s, "true")) {
			l.wrong(o, q.field("inputs").field("finallyStep"), fmt.Sprintf("only the last step can be the final one; this is step %d of %d", i+1, len(steps)))
		}
	}
	eachCall(n, p, func(c call) { d.call(c) })
	for action, plugin := range n.get("runtimeConfig").fields() {
		d.placeholders(p.field("runtimeConfig").field(action).field("settings"), plugin.get("settings"), "")
	}
}

// call is one use of an action: a step, or one of the properties of a plugin of schema 1.2.
type call struct {
	action string // without aws:
	inputs *value
	path   path // of inputs
}

// eachCall calls f for the uses of actions in a document, whichever its schema.
func eachCall(n *value, p path, f func(call)) {
	short := func(action string) string { return strings.TrimPrefix(action, "aws:") }
	for i, s := range n.get("mainSteps").items() {
		if in := s.get("inputs"); in != nil {
			f(call{short(s.str("action")), in, p.field("mainSteps").index(i).field("inputs")})
		}
	}
	for action, plugin := range n.get("runtimeConfig").fields() {
		q := p.field("runtimeConfig").field(action).field("properties")
		switch in := plugin.get("properties"); {
		case in == nil:
		case in.k == kList:
			for i, x := range in.kids {
				f(call{short(action), x, q.index(i)})
			}
		default:
			f(call{short(action), in, q})
		}
	}
}

// documentRules looks at one document.
type documentRules struct {
	l        *loading
	o        *object
	names    []string // declared parameters, in their order
	declared map[string]schema.DocumentParameter
	told     map[string]bool // parameters whose pasting has been told
}

// parameter checks one declaration and gives it, as far as it can be read.
func (d *documentRules) parameter(p path, n *value) schema.DocumentParameter {
	var out schema.DocumentParameter
	if n.k != kStruct || json.Unmarshal(n.json(nil), &out) != nil {
		return out
	}
	if out.AllowedPattern != "" {
		if _, err := out.Pattern(); err != nil {
			d.l.wrong(d.o, p.field("allowedPattern"), "not a regular expression of RE2, which agents know: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "))
			out.AllowedPattern = ""
		}
	}
	for _, b := range []struct {
		least, most string
		lo, hi      *int
	}{{"minChars", "maxChars", out.MinChars, out.MaxChars}, {"minItems", "maxItems", out.MinItems, out.MaxItems}} {
		if b.lo != nil && b.hi != nil && *b.lo > *b.hi {
			d.l.wrong(d.o, p.field(b.least), fmt.Sprintf("%d is greater than %s %d, so that nothing fits", *b.lo, b.most, *b.hi))
			return out
		}
	}
	if v := n.get("default"); v != nil {
		d.dflt(p.field("default"), v, out)
	}
	return out
}

// dflt checks that a default is of its parameter's type and allowed. One with a placeholder is known on the node alone.
func (d *documentRules) dflt(p path, n *value, m schema.DocumentParameter) {
	say := func(p path, n *value, want string) {
		d.l.wrong(d.o, p, fmt.Sprintf("%s; the default of type %s is %s", kindly(n), m.Type, want))
	}
	one := func(p path, n *value) {
		s := n.s
		if n.k != kString {
			s = string(n.json(nil))
		}
		if len(schema.Placeholders(s)) > 0 {
			return
		}
		if err := m.CheckText(s); err != nil {
			d.l.wrong(d.o, p, err.Error())
		}
	}
	each := func(kind kind, want string) {
		if err := m.CheckCount(len(n.kids)); err != nil {
			d.l.wrong(d.o, p, err.Error())
		}
		for i, k := range n.kids {
			q := p.index(i)
			if n.k == kStruct {
				q = p.field(n.keys[i])
			}
			if k.k != kind {
				say(q, k, want)
			} else {
				one(q, k)
			}
		}
	}
	switch m.Type {
	case schema.TypeString:
		if n.k != kString {
			say(p, n, "text")
			return
		}
		one(p, n)
	case schema.TypeInteger:
		if n.k != kInt && (n.k != kFloat || strings.Trim(n.s, "-0123456789") != "") { // a whole number that is too large for kInt
			say(p, n, "a whole number")
			return
		}
		one(p, n)
	case schema.TypeBoolean:
		if n.k != kBool {
			say(p, n, "true or false")
			return
		}
		one(p, n)
	case schema.TypeStringList:
		if n.k != kList {
			say(p, n, "a list of texts")
			return
		}
		each(kString, "a list of texts")
	case schema.TypeStringMap:
		if n.k != kStruct {
			say(p, n, "a struct of texts")
			return
		}
		each(kString, "a struct of texts")
	case schema.TypeMapList:
		if n.k != kList {
			say(p, n, "a list of structs")
			return
		}
		each(kStruct, "a list of structs")
	}
}

// kindly is a value with its kind: `"7" is text`.
func kindly(n *value) string {
	if n.k&(kStruct|kList|kNull) != 0 {
		return n.k.word()
	}
	return show(n) + " is " + n.k.word()
}

func (d *documentRules) precondition(p path, n *value, version string) {
	if version == string(schema.Schema20) {
		d.l.wrongLabel(d.o, p, `needs schemaVersion "2.2"; an agent fails such a step of a document of 2.0`)
		return
	}
	q := p.field("StringEquals")
	args := n.get("StringEquals").items()
	if len(args) != 2 || args[0].k != kString || args[1].k != kString {
		return // the definitions say so
	}
	declared := func(name string) bool { _, ok := d.declared[name]; return ok }
	for i, a := range args {
		for _, h := range schema.Placeholders(a.s) {
			if h.Source == schema.FromParameter && !declared(h.Name) {
				d.undeclared(q.index(i), h.Name)
				return
			}
		}
	}
	if _, err := (schema.Precondition{StringEquals: []string{args[0].s, args[1].s}}).Condition(declared); err != nil {
		d.l.wrong(d.o, q, err.Error())
	}
}

func (d *documentRules) undeclared(p path, name string) {
	m := missing("no parameter", name, d.names)
	if len(d.names) == 0 {
		m += "; the document declares none"
	}
	d.l.wrong(d.o, p, m)
}

// call checks what inputs say of parameters.
func (d *documentRules) call(c call) {
	for name, v := range c.inputs.fields() {
		script := ""
		if name == "runCommand" {
			script = variable(c.action)
		}
		d.placeholders(c.path.field(name), v, script)
	}
}

// variable is how a script of an action has the variable of a parameter; empty for actions without one.
func variable(action string) string {
	switch action {
	case "runShellScript":
		return `"$SSM_%s"`
	case "runPowerShellScript", "psModule":
		return "$env:SSM_%s"
	}
	return ""
}

// placeholders checks the parameters that a value takes, at any depth. script is how a script has the variable of a
// parameter; empty outside scripts.
func (d *documentRules) placeholders(p path, n *value, script string) {
	switch {
	case n == nil:
	case n.k == kList:
		for i, k := range n.kids {
			d.placeholders(p.index(i), k, script)
		}
	case n.k == kStruct:
		for i, name := range n.keys {
			d.placeholders(p.field(name), n.kids[i], script)
		}
	case n.k == kString:
		_, whole := schema.WholePlaceholder(n.s)
		for _, h := range schema.Placeholders(n.s) {
			switch h.Source {
			case schema.FromParameter:
				m, ok := d.declared[h.Name]
				if !ok {
					d.undeclared(p, h.Name)
					return
				}
				if script != "" && !whole {
					d.pasted(p, h.Name, m, fmt.Sprintf(script, h.Name))
				}
			case schema.FromElsewhere:
				d.l.doubt(d.o, p, "stays as it is: "+n.s[h.Start:h.End]+" means something in runbooks only")
			}
		}
	}
}

// pasted tells, once a document, of a parameter whose value becomes a part of a script's text, or would if it were
// pasted as SSM does.
func (d *documentRules) pasted(p path, name string, m schema.DocumentParameter, variable string) {
	if d.told[name] {
		return
	}
	d.told[name] = true
	token := "{{ " + name + " }}"
	if m.InterpolationType == schema.InterpolateText {
		d.l.doubt(d.o, p, token+" is pasted into the script: whoever gives "+name+" can run any command; write "+variable)
		return
	}
	d.l.notPasted(d.o, p, token, m.InterpolationType, variable)
}

// notPasted tells of a token that a script reads a variable in place of. A document as SSM has it, in JSON or YAML, loads
// unchanged; who writes one in CUE is to say which of the two is meant.
func (l *loading) notPasted(o *object, p path, token string, as schema.InterpolationType, variable string) {
	m := token + " is not pasted, since the value could be any command: the script reads a variable in its place; write " + variable +
		`, or say interpolationType: "TEXT" of the parameter to paste it all the same`
	if o.text == nil && as == "" {
		l.wrong(o, p, m)
		return
	}
	l.doubt(o, p, m)
}
