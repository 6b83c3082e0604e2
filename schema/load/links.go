package load

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// rules checks what objects say about each other.
func (l *loading) rules() {
	if l.complete && l.objects[objKey{"fleet", ""}] == nil {
		l.faultAt("fleet.cue", 0, 0, "fleet", `required; fleet.cue says at least fleet: name: "..."`)
	}
	for _, o := range l.list {
		if o.value == nil {
			continue
		}
		p := o.key.path()
		switch o.key.kind {
		case "group":
			l.groupBaselines(o)
			l.targetRefs(o, p.field("targets"))
		case "resourceGroup", "association", "exception", "guardrail":
			l.targetRefs(o, p.field("targets"))
		case "window":
			l.targetRefs(o, p.field("targets"))
			if tasks := o.value.get("tasks"); tasks != nil {
				for _, name := range tasks.keys {
					l.targetRefs(o, p.field("tasks").field(name).field("targets"))
				}
			}
		case "policy":
			l.targetRefs(o, p.field("targets"))
			l.ref(o, p.field("window"), "window", "window")
		}
	}
	l.defaultBaselines()
	l.circles()
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

// ref checks that the text at a path names an object of a kind.
func (l *loading) ref(o *object, p path, kind, word string) {
	n := o.at(p)
	if n == nil || n.k != kString || l.objects[objKey{kind, n.s}] != nil || !l.complete {
		return
	}
	l.wrong(o, p, missing("no "+word, n.s, l.named(kind)))
}

func (l *loading) targetRefs(o *object, p path) {
	n := o.at(p)
	if n == nil || n.k != kStruct {
		return
	}
	for _, q := range []path{p, p.field("exclude")} {
		for field, kind := range map[string]string{"groups": "group", "resourceGroups": "resourceGroup"} {
			word := map[string]string{"group": "group", "resourceGroup": "resource group"}[kind]
			if list := o.at(q.field(field)); list != nil {
				for i := range list.kids {
					l.ref(o, q.field(field).index(i), kind, word)
				}
			}
		}
	}
}

// groupBaselines checks that a group's baselines exist, and judge an operating system each.
func (l *loading) groupBaselines(o *object) {
	list := o.value.get("baselines")
	if list == nil {
		return
	}
	first := map[schema.OperatingSystem]string{}
	for i, n := range list.kids {
		p := o.key.path().field("baselines").index(i)
		var system schema.OperatingSystem
		if b := l.objects[objKey{"baseline", n.s}]; b != nil {
			if b.value != nil && b.value.get("operatingSystem") != nil {
				system = schema.OperatingSystem(b.value.get("operatingSystem").s)
			}
		} else if b, ok := l.repo.Shipped[n.s]; ok {
			system = b.OperatingSystem
		} else if s, ok := l.notJudged[n.s]; ok {
			l.wrong(o, p, fmt.Sprintf("%q is for %s, which this version does not judge", n.s, s))
			continue
		} else if l.complete {
			l.wrong(o, p, missing("no baseline", n.s, append(l.named("baseline"), slices.Sorted(maps.Keys(l.repo.Shipped))...)))
			continue
		}
		if other := first[system]; other != "" && system != "" {
			l.wrong(o, p, fmt.Sprintf("%q and %q are both for %s; a group has one baseline per operating system", n.s, other, system))
		}
		first[system] = n.s
	}
}

// defaultBaselines refuses a second default of an operating system, at the later place.
func (l *loading) defaultBaselines() {
	var defaults []*object
	for _, o := range l.list {
		if d := o.value; o.key.kind == "baseline" && d != nil && d.get("default") != nil && d.get("default").b {
			defaults = append(defaults, o)
		}
	}
	pos := func(o *object) schema.Position { return l.valuePos(o, o.key.path().field("default")) }
	slices.SortStableFunc(defaults, func(a, b *object) int {
		x, y := pos(a), pos(b)
		return cmp.Or(cmp.Compare(x.File, y.File), cmp.Compare(x.Line, y.Line), cmp.Compare(x.Column, y.Column))
	})
	first := map[string]*object{}
	for _, o := range defaults {
		system := o.value.get("operatingSystem").s
		if f := first[system]; f != nil {
			p := o.key.path().field("default")
			l.wrong(o, p, fmt.Sprintf("%s has the default baseline %s already (%s)", system, f.key.name, place(pos(f), pos(o).File)))
			continue
		}
		first[system] = o
	}
}

// circles finds resource groups that contain themselves, each circle once, at its first name.
func (l *loading) circles() {
	told := map[string]bool{}
	for _, start := range l.named("resourceGroup") {
		if told[start] {
			continue
		}
		var stack []string
		done := map[string]bool{}
		var visit func(name string) bool
		visit = func(name string) bool {
			if len(stack) > 0 && name == start {
				stack = append(stack, name)
				return true
			}
			o := l.objects[objKey{"resourceGroup", name}]
			if done[name] || o == nil || o.value == nil {
				return false
			}
			done[name] = true
			stack = append(stack, name)
			p := o.key.path().field("targets")
			for _, q := range []path{p, p.field("exclude")} {
				q = q.field("resourceGroups")
				if list := o.at(q); list != nil {
					for i, n := range list.kids {
						if visit(n.s) {
							if name == start {
								l.wrong(o, q.index(i), "resource groups in a circle: "+strings.Join(stack, ", "))
							}
							return true
						}
					}
				}
			}
			stack = stack[:len(stack)-1]
			return false
		}
		if visit(start) {
			for _, name := range stack {
				told[name] = true
			}
		}
	}
}
