package load

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
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
	if l.opts.CheckWindow == nil {
		return
	}
	for _, f := range l.opts.CheckWindow(w) {
		field := f.Field
		if field == "" {
			field = "schedule"
		}
		if !sound && field == "schedule" && strings.HasPrefix(w.Schedule, "rate(") {
			continue // what a rate counts from has a fault
		}
		if v := n.get(field); v != nil && v.k != kAny { // else CUE has said what is wrong with it
			l.wrong(o, p.field(field), f.Message)
		}
	}
}

// tasksFit warns of tasks whose steps may take longer than their window is open. Only what documents say of it counts:
// a step without timeoutSeconds is not expected to use all that it may.
func (l *loading) tasksFit(o *object, n *value) {
	open, err := schema.ParseDuration(n.str("duration"))
	if err != nil {
		return
	}
	p := o.key.path().field("tasks")
	for name, t := range n.get("tasks").fields() {
		d, ok := l.typedDocument(t.str("document"))
		if !ok {
			continue
		}
		_, own := l.repo.Documents[t.str("document")]
		if may := longest(d, own, t.get("parameters")); may > open {
			l.doubt(o, p.field(name).field("document"), fmt.Sprintf("its steps may take %s in all (timeoutSeconds), and the window is open for %s", hours(may), n.str("duration")))
		}
	}
}

// longest is how long the steps of a document with timeoutSeconds may take one after the other. Of steps for one platform
// alone those of one platform count, and of a document that is not the repository's own only what the caller gives.
func longest(d schema.Document, own bool, args *value) time.Duration {
	var all time.Duration
	only := map[string]time.Duration{}
	for _, s := range d.MainSteps {
		var in struct {
			TimeoutSeconds any `json:"timeoutSeconds"`
		}
		if json.Unmarshal([]byte(s.Inputs), &in) != nil || in.TimeoutSeconds == nil {
			continue
		}
		text, counts := fmt.Sprint(in.TimeoutSeconds), own
		if name, ok := strings.CutPrefix(text, "{{"); ok {
			name = strings.TrimSpace(strings.TrimSuffix(name, "}}"))
			if text = args.str(name); text == "" {
				text = strings.Trim(string(d.Parameters[name].Default), `"`)
			} else {
				counts = true
			}
		}
		if !counts {
			continue
		}
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || seconds < 0 || seconds > 1e6 {
			continue
		}
		took := time.Duration(seconds * float64(time.Second))
		if c := s.Precondition; c != nil && slices.Contains(c.StringEquals, "platformType") {
			platform := strings.ToLower(strings.Join(c.StringEquals, ""))
			only[platform] += took
			continue
		}
		all += took
	}
	var most time.Duration
	for _, took := range only {
		most = max(most, took)
	}
	return all + most
}

// hours is a length of time without the parts that are zero.
func hours(d time.Duration) string {
	s := strings.TrimSuffix(d.Round(time.Second).String(), "0s")
	if t, ok := strings.CutSuffix(s, "h0m"); ok {
		return t + "h"
	}
	return s
}
