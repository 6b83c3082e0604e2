package load

import (
	"strings"
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
	if w.End != nil {
		l.noteValue(o, p.field("end"))
	} else if strings.HasPrefix(w.Schedule, "at(") {
		l.noteValue(o, p.field("schedule"))
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
