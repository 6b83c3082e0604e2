package load

import (
	"fmt"
	"slices"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

func (l *loading) window(o *object, n *value) {
	p := o.key.path()
	w := schema.Window{Schedule: n.str("schedule"), Timezone: n.str("timezone"), Duration: schema.Duration(n.str("duration")), Cutoff: schema.Duration(n.str("cutoff"))}
	if d := n.get("offset"); d != nil && d.k == kInt {
		w.Offset = int(d.i)
	}
	sound := true
	for field, to := range map[string]**time.Time{"start": &w.Start, "end": &w.End} {
		if t, ok := l.instant(o, p, n, field); ok {
			*to = &t
		} else if n.get(field) != nil {
			sound = false
		}
	}
	for name, t := range n.get("tasks").fields() {
		l.task(o, p.field("tasks").field(name), t, w)
	}
	if l.opts.CheckWindow == nil || !sound {
		return
	}
	for _, f := range l.opts.CheckWindow(w) {
		field := f.Field
		if field == "" {
			field = "schedule"
		}
		if v := n.get(field); v != nil && v.k != kAny { // else CUE has said what is wrong with it
			l.wrong(o, p.field(field), f.Message)
		}
	}
}

func (l *loading) task(o *object, p path, n *value, w schema.Window) {
	if n.str("document") != schema.RunPatchBaseline {
		return
	}
	allowed := map[string][]string{"Operation": {"Scan", "Install"}, "RebootOption": {"RebootIfNeeded", "NoReboot"}}
	args := n.get("parameters")
	p = p.field("parameters")
	if args.get("Operation") == nil {
		l.lacks(o, p, "Operation", "required; one of Scan, Install")
	}
	for name, v := range args.fields() {
		words, ok := allowed[name]
		if !ok {
			m := "no such parameter of " + schema.RunPatchBaseline
			if g := near(name, []string{"Operation", "RebootOption"}); g != "" {
				m += fmt.Sprintf(" (did you mean %q?)", g)
			}
			l.wrongLabel(o, p.field(name), m+"; allowed: Operation, RebootOption")
			continue
		}
		if v.k == kList && len(v.kids) == 1 {
			v = v.kids[0]
		}
		if v.k != kString || !slices.Contains(words, v.s) {
			c := &checker{}
			l.wrong(o, p.field(name), c.say(&shape{kinds: kString, enum: words, maxRunes: -1, maxItems: -1, maxField: -1}, v))
		}
	}
}
