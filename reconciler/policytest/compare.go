package policytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// comparison tells where a judgement is not as wanted.
type comparison struct {
	t    *test
	base int // of the wanted JSON in the text
	// quiet counts and does not tell.
	quiet bool
	bad   int
}

func (c *comparison) fault(offset int, path, message string) {
	c.bad++
	if !c.quiet {
		c.t.fault(c.base+offset, path, message)
	}
}

// object holds what is wanted of an object against it. why is what explains the object, as its own field `reason` does.
func (c *comparison) object(want value, got map[string]any, path string) {
	why, _ := got["reason"].(string)
	for _, f := range want.fields {
		p := path + "." + f.name
		g, ok := got[f.name]
		if !ok {
			names := slices.Sorted(maps.Keys(got))
			text := "no such field of a judgement"
			if near := schema.Nearest(f.name, names); near != "" {
				text += fmt.Sprintf(" (did you mean %q?)", near)
			}
			c.fault(f.offset, p, text+"; there are "+strings.Join(names, ", "))
			continue
		}
		c.value(f.value, g, p, why)
	}
}

func (c *comparison) value(want value, got any, path, why string) {
	switch want.kind {
	case '{':
		if g, ok := got.(map[string]any); ok {
			c.object(want, g, path)
			return
		}
		c.fault(want.offset, path, "an object is wanted; it is "+shown(got))
	case '[':
		if g, ok := got.([]any); ok {
			c.patches(want, g, path)
			return
		}
		c.fault(want.offset, path, "a list is wanted; it is "+shown(got))
	default:
		if !same(want.scalar, got) {
			text := shown(want.scalar) + " is wanted; it is " + shown(got)
			if why != "" {
				text += " (" + why + ")"
			}
			c.fault(want.offset, path, text)
		}
	}
}

func same(want, got any) bool {
	if n, ok := want.(json.Number); ok {
		f, isNumber := got.(float64)
		w, err := n.Float64()
		return err == nil && isNumber && w == f
	}
	return want == got
}

// patches finds for each patch that is wanted the one that it is about.
func (c *comparison) patches(want value, got []any, path string) {
	if len(want.items) == 0 && len(got) > 0 {
		c.fault(want.offset, path, fmt.Sprintf("none are wanted; there are %d", len(got)))
	}
	for i, w := range want.items {
		id := w.get("id")
		if id == nil {
			if !slices.ContainsFunc(got, func(g any) bool { return c.as(w, g) }) {
				c.fault(w.offset, fmt.Sprintf("%s[%d]", path, i), "no patch is as wanted here; give its id to see how it differs")
			}
			continue
		}
		var ids []string
		var found any
		for _, g := range got {
			name, _ := g.(map[string]any)["id"].(string)
			if ids = append(ids, name); same(id.value.scalar, name) {
				found = g
			}
		}
		if found == nil {
			name, _ := id.value.scalar.(string)
			text := "no patch " + shown(id.value.scalar)
			if near := schema.Nearest(name, ids); near != "" {
				text += fmt.Sprintf(" (did you mean %q?)", near)
			} else {
				text += "; the facts have no such package that the baseline judges"
			}
			c.fault(id.value.offset, path, text)
			continue
		}
		c.object(w, found.(map[string]any), fmt.Sprintf("%s[%s]", path, id.value.scalar))
	}
}

// as reports whether a patch is as wanted.
func (c *comparison) as(want value, got any) bool {
	q := comparison{t: c.t, quiet: true}
	q.value(want, got, "", "")
	return q.bad == 0
}
