package load

import (
	"fmt"
	"strings"
	"time"
)

// association checks when a document is applied.
func (l *loading) association(o *object, n *value) {
	p := o.key.path()
	expr := n.str("schedule")
	kind, _, _ := strings.Cut(expr, "(")
	offset := int64(0)
	if d := n.get("offset"); d != nil && d.k == kInt {
		offset = d.i
	}
	atCron := n.flag("applyOnlyAtCronInterval")
	switch {
	case n.get("schedule") == nil && offset != 0:
		l.wrong(o, p.field("offset"), "only with cron(...); there is no schedule")
	case n.get("schedule") == nil && atCron:
		l.wrong(o, p.field("applyOnlyAtCronInterval"), "only with cron(...); there is no schedule")
	case kind == "cron" && offset != 0 && !atCron && n.get("applyOnlyAtCronInterval") != nil:
		l.wrong(o, p.field("offset"), "only with applyOnlyAtCronInterval: true")
	case expr != "" && kind != "cron" && atCron:
		l.wrong(o, p.field("applyOnlyAtCronInterval"), "only with cron(...); schedule is "+expr)
	}
	if l.opts.CheckAssociation == nil || n.get("timezone") == nil {
		return
	}
	for _, f := range l.opts.CheckAssociation(expr, n.str("timezone"), int(offset)) {
		if v := n.get(f.Field); v != nil && v.k != kAny { // else CUE has said what is wrong with it
			l.wrong(o, p.field(f.Field), f.Message)
		}
	}
}

// calendar checks that events are in order and do not overlap.
func (l *loading) calendar(o *object, n *value) {
	p := o.key.path().field("events")
	var last time.Time // the latest end so far
	lastEvent := -1
	for i, e := range n.get("events").items() {
		q := p.index(i)
		start, okStart := l.instant(o, q, e, "start")
		end, okEnd := l.instant(o, q, e, "end")
		switch {
		case okStart && lastEvent >= 0 && start.Before(last):
			before := n.get("events").kids[lastEvent]
			if t, err := time.Parse(time.RFC3339, before.str("start")); err == nil && start.Before(t) {
				l.wrong(o, q.field("start"), fmt.Sprintf("%s is before the start of events[%d], %s; events are in order", e.str("start"), lastEvent, before.str("start")))
			} else {
				l.wrong(o, q.field("start"), fmt.Sprintf("%s is before the end of events[%d], %s", e.str("start"), lastEvent, before.str("end")))
			}
		case okStart && okEnd && !end.After(start):
			l.wrong(o, q.field("end"), fmt.Sprintf("%s is not after start %s", e.str("end"), e.str("start")))
		}
		if okEnd && end.After(last) {
			last, lastEvent = end, i
		}
	}
}
