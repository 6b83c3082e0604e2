package load

import (
	"fmt"
	"maps"
	"slices"

	"github.com/dunlin-dev/dunlin/schema"
)

// link is a field that names an object of a kind, or a signer or role of fleet.cue.
type link struct {
	steps []string // as for follow
	kind  string
}

// links are the fields by which objects of a kind name others.
func links(kind string) []link {
	to := func(kind string, steps ...string) link { return link{steps, kind} }
	switch kind {
	case "fleet":
		return []link{to("role", "signers", "*", "roles", "*"), to("activation", "roles", "*", "activations", "*")}
	case "window":
		return []link{to("document", "tasks", "*", "document"), to("sink", "tasks", "*", "notify", "*")}
	case "policy":
		return []link{to("window", "window"), to("document", "checks", "*", "document"), to("parameter", "files", "*", "contentFrom", "parameter")}
	case "association":
		return []link{to("document", "document"), to("window", "window"), to("calendar", "calendars", "*"), to("sink", "notify", "*")}
	case "rule":
		return []link{to("document", "run", "document"), to("sink", "notify", "*")}
	case "grant":
		return []link{to("signer", "who", "*"), to("document", "run", "documents", "*")}
	case "exception":
		return []link{to("policy", "policies", "*")}
	case "sink":
		return []link{to("parameter", "secret")}
	}
	return nil
}

// arguments are the fields in which a kind gives a document its parameters.
func arguments(kind string) []string {
	switch kind {
	case "association":
		return []string{"parameters", "*"}
	case "window":
		return []string{"tasks", "*", "parameters", "*"}
	case "policy":
		return []string{"checks", "*", "parameters", "*"}
	case "rule":
		return []string{"run", "parameters", "*"}
	}
	return nil
}

// rules checks what objects say about each other.
func (l *loading) rules() {
	if l.complete && l.objects[objKey{"fleet", ""}] == nil && !l.elsewhere[objKey{"fleet", ""}] {
		l.faultAt("fleet.cue", 0, 0, "fleet", `required; fleet.cue says at least fleet: name: "..."`)
	}
	names := &directory{l: l, sorted: map[string][]string{}}
	for _, o := range l.list {
		if l.judging = o.key; !l.part.judges(o.key) {
			continue
		}
		n := o.read()
		if n == nil {
			continue
		}
		p := o.key.path()
		for _, x := range links(o.key.kind) {
			follow(n, p, x.steps, func(p path, n *value) { names.check(o, p, n, x.kind) })
		}
		for _, steps := range selections(o.key.kind) {
			follow(n, p, steps, func(p path, n *value) {
				names.targets(o, p, n)
				names.targets(o, append(p, seg{"exclude", -1}), n.get("exclude"))
				l.emptySelection(o, p, n)
			})
		}
		if steps := arguments(o.key.kind); steps != nil {
			follow(n, p, steps, func(p path, n *value) { names.reads(o, p, n, false) })
		}
		l.arguments(o, n)
		switch o.key.kind {
		case "document":
			names.documentLinks(o, n)
		case "grant":
			l.grantParameters(o, n)
		case "group":
			l.groupBaselines(o, n)
		case "parameter":
			l.openReaders(o, n)
		case "policy":
			l.policyTargets(o, n)
		case "window":
			l.tasksFit(o, n)
		}
	}
	l.judging = objKey{}
	l.unread()
	l.defaultBaselines()
	l.circles()
	l.depths()
	l.sameKeys()
	l.recovery()
}

// directory knows what names there are of each kind.
type directory struct {
	l      *loading
	sorted map[string][]string // made for the first fault of a kind
	asked  int                 // words that were compared with mistyped ones
}

// has reports whether there is such a name, or whether that cannot be told. Objects that are wrong are there.
func (d *directory) has(kind, name string) bool {
	l := d.l
	switch kind {
	case "role", "signer":
		f := l.objects[objKey{"fleet", ""}]
		if f == nil || f.read() == nil || f.blurred(at("fleet")) {
			return true
		}
		return f.read().get(kind+"s").get(name) != nil
	case "document":
		if _, ok := l.repo.ShippedDocuments[name]; ok {
			return true
		}
	}
	key := objKey{kind, name}
	l.look(objKey{exists + kind, name})
	return l.objects[key] != nil || l.elsewhere[key] || !l.complete || l.unsure[kind]
}

// all are the names of a kind, sorted.
func (d *directory) all(kind string) []string {
	if names, ok := d.sorted[kind]; ok {
		return names
	}
	var names []string
	switch kind {
	case "role", "signer":
		for name := range d.l.forFleet().get(kind + "s").fields() {
			names = append(names, name)
		}
	case "document":
		names = append(d.l.named(kind), slices.Sorted(maps.Keys(d.l.repo.ShippedDocuments))...)
	case "baseline":
		names = append(d.l.named(kind), slices.Sorted(maps.Keys(d.l.repo.Shipped))...)
	default:
		names = d.l.named(kind)
	}
	slices.Sort(names)
	d.sorted[kind] = names
	return names
}

// maxAsked bounds the words that mistyped names are compared with in one repository: some 0.2 s.
const maxAsked = 1_000_000

// missing says that there is no such name, and which was meant.
func (d *directory) missing(word, kind, name string) string {
	names := d.all(kind)
	if d.asked += len(names); d.asked > maxAsked {
		names = nil
	}
	m := missing("no "+word, name, names)
	if kind == "role" && (name == "root" || name == "policy") {
		m += "; roles replaces the default ones: write root and policy out beside yours"
	}
	return m
}

// check checks that a text names an object of a kind.
func (d *directory) check(o *object, p path, n *value, kind string) {
	if n.k == kString && !d.has(kind, n.s) {
		d.l.wrong(o, p, d.missing(kind, kind, n.s))
	}
}

// targets checks the groups that a selection names.
func (d *directory) targets(o *object, p path, n *value) {
	for _, in := range groupings() {
		for i, v := range n.get(in.field).items() {
			if v.k == kString && !d.has(in.kind, v.s) {
				d.l.wrong(o, p.field(in.field).index(i), d.missing(in.word, in.kind, v.s))
			}
		}
	}
}

// named are the names of a kind, whether right or wrong.
func (l *loading) named(kind string) []string {
	var out []string
	for k := range l.objects {
		if k.kind == kind {
			out = append(out, k.name)
		}
	}
	slices.Sort(out)
	return out
}

// groupBaselines checks that a group's baselines exist, and judge an operating system each.
func (l *loading) groupBaselines(o *object, n *value) {
	first := map[schema.OperatingSystem]string{}
	for i, n := range n.get("baselines").items() {
		p := o.key.path().field("baselines").index(i)
		if n.k != kString {
			continue
		}
		var system schema.OperatingSystem
		if b := l.object("baseline", n.s); b != nil {
			system = schema.OperatingSystem(b.read().str("operatingSystem"))
		} else if b, ok := l.repo.Shipped[n.s]; ok {
			system = b.OperatingSystem
		} else if s, ok := l.notJudged[n.s]; ok {
			l.wrong(o, p, fmt.Sprintf("%q is for %s, which this version does not judge", n.s, s))
			continue
		} else if l.complete && !l.unsure["baseline"] {
			l.wrong(o, p, missing("no baseline", n.s, append(l.named("baseline"), slices.Sorted(maps.Keys(l.repo.Shipped))...)))
			continue
		}
		switch other := first[system]; {
		case other == n.s:
			l.wrong(o, p, fmt.Sprintf("%q is given already", n.s))
		case other != "" && system != "":
			l.wrong(o, p, fmt.Sprintf("%q and %q are both for %s; a group has one baseline per operating system", n.s, other, system))
		}
		first[system] = n.s
	}
}
