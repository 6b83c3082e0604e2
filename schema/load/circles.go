package load

import (
	"slices"
	"strings"
)

// circles finds groups and resource groups that contain themselves. Each circle is told once, at its first name.
func (l *loading) circles() {
	c := circleFinder{l: l, state: map[objKey]int{}, told: map[string]bool{}}
	for _, o := range l.list {
		if o.key.kind == "group" || o.key.kind == "resourceGroup" {
			l.judging = o.key
			c.visit(o.key)
		}
	}
}

type circleFinder struct {
	l     *loading
	state map[objKey]int // 1 while it is on the stack, 2 once it is done
	stack []objKey
	told  map[string]bool
}

func (c *circleFinder) visit(key objKey) {
	o := c.l.object(key.kind, key.name)
	if o == nil || o.read() == nil || c.state[key] == 2 {
		return
	}
	c.l.judging = key
	c.state[key] = 1
	c.stack = append(c.stack, key)
	eachGroup(o, func(_ path, to objKey) {
		c.l.judging = key
		c.l.look(to)
		if c.state[to] != 1 {
			c.visit(to)
			return
		}
		c.tell(slices.Clone(c.stack[slices.Index(c.stack, to):]))
	})
	c.stack = c.stack[:len(c.stack)-1]
	c.state[key] = 2
}

// eachGroup calls f for every group that an object's targets name.
func eachGroup(o *object, f func(p path, to objKey)) {
	p := o.key.path().field("targets")
	for _, q := range []path{p, p.field("exclude")} {
		n := o.at(q)
		for _, in := range groupings() {
			for i, v := range n.get(in.field).items() {
				if v.k == kString {
					f(q.field(in.field).index(i), objKey{in.kind, v.s})
				}
			}
		}
	}
}

func (c *circleFinder) tell(circle []objKey) {
	least := slices.MinFunc(circle, func(a, b objKey) int { return strings.Compare(a.name+"\x00"+a.kind, b.name+"\x00"+b.kind) })
	at := slices.Index(circle, least)
	circle = slices.Concat(circle[at:], circle[:at], circle[at:at+1])
	mixed := slices.ContainsFunc(circle, func(k objKey) bool { return k.kind != least.kind })
	words := make([]string, len(circle))
	for i, k := range circle {
		words[i] = k.name
		if mixed {
			words[i] = map[string]string{"group": "group ", "resourceGroup": "resource group "}[k.kind] + k.name
		}
	}
	what := "groups in a circle: "
	if least.kind == "resourceGroup" && !mixed {
		what = "resource groups in a circle: "
	}
	m := what + strings.Join(words, ", ")
	if c.told[m] {
		return
	}
	c.told[m] = true
	o := c.l.objects[least]
	first := true
	eachGroup(o, func(p path, to objKey) {
		if first && to == circle[1] {
			first = false
			c.l.wrong(o, p, m)
		}
	})
}
