package load

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// uses are the structs in which a kind names a document and gives it parameters.
func uses(kind string) ([]string, bool) {
	switch kind {
	case "association":
		return nil, true
	case "window":
		return []string{"tasks", "*"}, true
	case "policy":
		return []string{"checks", "*"}, true
	case "rule":
		return []string{"run"}, true
	}
	return nil, false
}

// arguments holds what an object gives to documents against their parameters.
func (l *loading) arguments(o *object, n *value) {
	steps, ok := uses(o.key.kind)
	if !ok {
		return
	}
	follow(n, o.key.path(), steps, func(p path, n *value) {
		if name := n.str("document"); name != "" {
			l.given(o, p.field("parameters"), name, n.get("parameters"))
		}
	})
}

// typedDocument is a document of the repository or of the shipped library; false if there is none, or one with faults.
func (l *loading) typedDocument(name string) (schema.Document, bool) {
	l.object("document", name)
	d, ok := l.repo.Documents[name]
	if !ok {
		d, ok = l.repo.ShippedDocuments[name]
	}
	return d, ok
}

// given checks the arguments at a path, or none, for a document.
func (l *loading) given(o *object, p path, document string, n *value) {
	d, ok := l.typedDocument(document)
	if !ok || n != nil && n.k != kStruct {
		return
	}
	args := schema.Arguments{}
	odd := map[string]bool{} // not of a form that arguments have: said, or known on the node alone
	for name, v := range n.fields() {
		var a schema.Argument
		if json.Unmarshal(v.json(nil), &a) != nil {
			odd[name] = true
			a = schema.Argument{}
		}
		args[name] = a
	}
	faults := d.CheckArguments(document, args)
	misspelt := func(name string) bool { // there, under another name
		return o.blurred(p[:len(p)-1]) || slices.ContainsFunc(faults, func(f schema.ArgumentFault) bool {
			return f.Unknown && strings.Contains(f.Message, fmt.Sprintf("(did you mean %q?)", name))
		})
	}
	for _, f := range faults {
		q := p.field(f.Parameter)
		switch {
		case f.Missing && misspelt(f.Parameter):
		case f.Missing:
			l.lacks(o, p, f.Parameter, f.Message)
		case f.Unknown:
			l.wrongLabel(o, q, f.Message)
		case odd[f.Parameter]:
		case f.Item >= 0 && n.get(f.Parameter).k == kList:
			l.wrong(o, q.index(f.Item), f.Message)
		default:
			l.wrong(o, q, f.Message)
		}
	}
	if n == nil {
		return
	}
	size := len(n.json(nil)) + l.documentSize(document)
	if size > maxDocument {
		l.wrongLabel(o, p, fmt.Sprintf("%d bytes with the document; both together have at most %d", size, maxDocument))
	}
}

// documentSize is how many bytes a document of the repository has as JSON; 0 for others.
func (l *loading) documentSize(name string) int {
	size, ok := l.sizes[name]
	if of := l.object("document", name); !ok && of != nil && of.accepted() {
		size = len(of.whole().json(nil))
		l.sizes[name] = size
	}
	return size
}

// documentLinks checks what a document reads and runs: stored parameters, and other documents with their parameters.
func (d *directory) documentLinks(o *object, n *value) {
	p := o.key.path()
	follow(n, p, []string{"parameters", "*", "default"}, func(p path, n *value) { d.reads(o, p, n, false) })
	eachCall(n, p, func(c call) {
		for name, v := range c.inputs.fields() {
			d.reads(o, c.path.field(name), v, c.action == "downloadContent")
		}
		name, at := runs(c)
		if name == nil {
			return
		}
		if plain, _, ok := documentName(name.s); !ok {
			return
		} else if !d.has("document", plain) {
			d.l.wrong(o, at, d.missing("document", "document", plain))
		} else if c.action == "runDocument" {
			at, args := c.path.field("documentParameters"), textual(c.inputs.get("documentParameters"))
			d.l.given(o, at, plain, args)
			d.l.passedOn(o, at, n.get("parameters"), plain, args)
		}
	})
}

// passedOn tells of parameters that would become a part of a script by way of another document: what is given to a
// parameter that is a whole script there is a script here.
func (l *loading) passedOn(o *object, p path, own *value, document string, args *value) {
	t, ok := l.typedDocument(document)
	if !ok || args == nil || args.k != kStruct {
		return
	}
	scripts := map[string]string{} // how a script has a variable, by the parameter that is the script
	b, err := json.Marshal(t)
	if err != nil {
		return
	}
	there, err := parseJSON(b)
	if err != nil {
		return
	}
	eachCall(there, nil, func(c call) {
		if variable(c.action) == "" {
			return
		}
		lines := c.inputs.get("runCommand")
		for _, line := range slices.Concat(lines.items(), []*value{lines}) {
			if line == nil || line.k != kString {
				continue
			}
			if h, whole := schema.WholePlaceholder(line.s); whole && h.Source == schema.FromParameter {
				scripts[h.Name] = variable(c.action)
			}
		}
	})
	for name, v := range args.fields() {
		variable, is := scripts[name]
		if !is {
			continue
		}
		for _, line := range slices.Concat(v.items(), []*value{v}) {
			if line.k != kString {
				continue
			}
			if _, whole := schema.WholePlaceholder(line.s); whole {
				continue
			}
			for _, h := range schema.Placeholders(line.s) {
				m := own.get(h.Name)
				if h.Source != schema.FromParameter || m == nil {
					continue
				}
				if as := schema.InterpolationType(m.str("interpolationType")); as != schema.InterpolateText {
					l.notPasted(o, p.field(name), line.s[h.Start:h.End], as, fmt.Sprintf(variable, h.Name))
					return
				}
			}
		}
	}
}

// runs is the name of the document that a use of an action runs or downloads, and its place; nil if none.
func runs(c call) (*value, path) {
	var n *value
	var at path
	switch {
	case c.action == "runDocument" && c.inputs.str("documentType") == "SSMDocument":
		n, at = c.inputs.get("documentPath"), c.path.field("documentPath")
	case c.action == "downloadContent" && c.inputs.str("sourceType") == "SSMDocument":
		n, at = c.inputs.get("sourceInfo").get("name"), c.path.field("sourceInfo").field("name")
	}
	if n == nil || n.k != kString {
		return nil, nil
	}
	return n, at
}

// documentName takes a document's name as SSM writes it apart: the name, name:version or an ARN. It is false if that is
// known on the node alone.
func documentName(s string) (name, version string, ok bool) {
	if len(schema.Placeholders(s)) > 0 {
		return "", "", false
	}
	if strings.HasPrefix(s, "arn:") {
		s = s[strings.LastIndexByte(s, '/')+1:]
	}
	name, version, _ = strings.Cut(s, ":")
	return name, version, true
}

// textual is a struct that a text may hold as JSON; nil if it is not known before the run.
func textual(n *value) *value {
	if n == nil || n.k == kStruct {
		return n
	}
	if n.k == kString && len(schema.Placeholders(n.s)) == 0 {
		if v, err := parseJSON([]byte(n.s)); err == nil && v.k == kStruct {
			return v
		}
	}
	return &value{k: kAny}
}

// reads checks the stored parameters that a value, or what is in it, takes: they exist and are not secret, but for the
// secrets of a download.
func (d *directory) reads(o *object, p path, n *value, download bool) {
	switch n.k {
	case kList, kStruct:
		follow(n, p, []string{"*"}, func(p path, n *value) { d.reads(o, p, n, download) })
	case kString:
		for _, h := range schema.Placeholders(n.s) {
			secret := h.Source == schema.FromSecret
			if !secret && h.Source != schema.FromStore {
				continue
			}
			name := "/" + strings.TrimPrefix(h.Name, "/") // x and /x are one
			of := d.l.object("parameter", name)
			kind := ""
			if of != nil {
				kind = of.read().str("type")
			}
			switch {
			case secret && !download:
				d.l.wrong(o, p, "ssm-secure is for the secrets of aws:downloadContent only")
			case !d.has("parameter", name):
				d.l.wrong(o, p, d.missing("parameter", "parameter", name))
			case secret && kind != "SecureString" && kind != "":
				d.l.wrong(o, p, fmt.Sprintf("parameter %q is a %s; read it with {{ssm:%s}}", name, kind, name))
			case !secret && kind == "SecureString":
				d.l.wrong(o, p, fmt.Sprintf("parameter %q is a SecureString, which a document may not show", name))
			case kind == "StringList" && (h.Start > 0 || h.End < len(n.s)):
				d.l.wrong(o, p, fmt.Sprintf("parameter %q is a StringList, which cannot be a part of a text", name))
			default:
				d.l.selector(o, p, name, h.Selector)
			}
		}
	}
}

// maxRunDepth is how many documents deep a document may run others (SSM §3.9).
const maxRunDepth = 3

// depths refuses documents that run each other in a circle, each circle once at its first name, or more than maxRunDepth deep.
func (l *loading) depths() {
	type edge struct {
		at path
		to string
	}
	edges := map[string][]edge{}
	ran := map[string]bool{} // by another one
	for _, o := range l.list {
		if o.key.kind != "document" {
			continue
		}
		l.judging = o.key
		n := o.read()
		if n == nil {
			continue
		}
		eachCall(n, o.key.path(), func(c call) {
			if c.action != "runDocument" {
				return
			}
			if n, at := runs(c); n != nil {
				if to, _, ok := documentName(n.s); ok && l.object("document", to) != nil {
					edges[o.key.name] = append(edges[o.key.name], edge{slices.Clone(at), to})
					ran[to] = true
				}
			}
		})
	}
	l.judging = objKey{}
	circular := map[string]bool{}
	var stack []string
	state := map[string]int{} // 1 while it is on the stack, 2 once it is done
	deep := map[string][]string{}
	var visit func(name string) []string // the longest chain from it
	visit = func(name string) []string {
		if state[name] == 2 {
			return deep[name]
		}
		state[name] = 1
		stack = append(stack, name)
		var longest []string
		for _, e := range edges[name] {
			if state[e.to] == 1 {
				circle := slices.Clone(stack[slices.Index(stack, e.to):])
				for _, x := range circle {
					circular[x] = true
				}
				least := slices.Index(circle, slices.Min(circle))
				circle = slices.Concat(circle[least:], circle[:least], circle[least:least+1])
				i := slices.IndexFunc(edges[circle[0]], func(e edge) bool { return e.to == circle[1] })
				l.wrong(l.objects[objKey{"document", circle[0]}], edges[circle[0]][i].at, "documents in a circle: "+strings.Join(circle, ", "))
				continue
			}
			if chain := visit(e.to); len(chain) >= len(longest) {
				longest = chain
			}
		}
		stack = stack[:len(stack)-1]
		state[name] = 2
		deep[name] = append([]string{name}, longest[:min(len(longest), maxRunDepth+1)]...)
		return deep[name]
	}
	for _, o := range l.list {
		if o.key.kind != "document" {
			continue
		}
		chain := visit(o.key.name)
		if len(chain) <= maxRunDepth+1 || ran[o.key.name] || slices.ContainsFunc(chain, func(s string) bool { return circular[s] }) {
			continue
		}
		i := slices.IndexFunc(edges[chain[0]], func(e edge) bool { return e.to == chain[1] })
		l.wrong(o, edges[chain[0]][i].at, fmt.Sprintf("more than %d documents deep: %s", maxRunDepth, strings.Join(chain, " runs ")))
	}
}
