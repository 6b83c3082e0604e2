package ssm

import (
	"errors"
	"fmt"
	"slices"
)

// Baselines takes patch baselines as `aws ssm get-patch-baseline` prints them. The patch groups of all of them become
// groups. name, if given, is used in place of the one baseline's own; isDefault makes it the default of its system.
func Baselines(in []Input, name string, isDefault bool) (Result, error) {
	m := &making{}
	groups := map[string]*made{}
	n := 0
	for _, f := range in {
		values, err := read(f)
		if err != nil {
			return Result{}, fmt.Errorf("read %q: %w", f.Name, err)
		}
		for _, v := range values {
			n++
			if err := m.baseline(v, name, isDefault, groups); err != nil {
				return Result{}, fmt.Errorf("read %q: %w", f.Name, err)
			}
		}
	}
	if n > 1 && (name != "" || isDefault) {
		return Result{}, fmt.Errorf("--name and --default are for one baseline, and there are %d", n)
	}
	return m.result()
}

func (m *making) baseline(v *node, name string, isDefault bool, groups map[string]*made) error {
	switch {
	case v.has("BaselineIdentities"):
		return errors.New("this is a list of baselines; give what aws ssm get-patch-baseline --baseline-id ID prints")
	case !v.has("BaselineId") && !v.has("OperatingSystem") && !v.has("ApprovalRules"):
		return errors.New("not a patch baseline: give what aws ssm get-patch-baseline --baseline-id ID prints")
	}
	called := v.str("Name")
	if name != "" {
		called = name
	}
	short, err := m.name(called)
	if err != nil {
		return err
	}
	out := &node{kind: object}
	o := &made{kind: "baseline", name: short, value: out}
	m.objects = append(m.objects, o)
	out.comments = append(out.comments, comment("From a patch baseline of AWS Systems Manager", v, "BaselineId", "CreatedDate", "ModifiedDate"))
	m.renamed(o, called)

	system := v.str("OperatingSystem")
	if system == "" {
		system = "WINDOWS" // SSM's own default
	}
	out.put("operatingSystem", str(system))
	if d := v.str("Description"); d != "" {
		out.put("description", str(d))
	}
	if isDefault {
		out.put("default", flag(true))
	}
	if f := m.filters(o, out, "GlobalFilters", v.get("GlobalFilters")); f != nil {
		out.put("globalFilters", f)
	}
	rules := v.get("ApprovalRules").items("PatchRules")
	if len(rules) > 0 {
		to := &node{kind: list}
		for i, r := range rules {
			to.kids = append(to.kids, m.rule(o, system, fmt.Sprintf("ApprovalRules.PatchRules[%d]", i), r))
		}
		out.put("approvalRules", to)
	}
	linux := system != "WINDOWS" && system != "MACOS"
	m.take(out, v, "approvedPatches", "ApprovedPatches", true)
	m.take(out, v, "approvedPatchesComplianceLevel", "ApprovedPatchesComplianceLevel", true)
	m.take(out, v, "approvedPatchesEnableNonSecurity", "ApprovedPatchesEnableNonSecurity", linux)
	m.take(out, v, "rejectedPatches", "RejectedPatches", true)
	m.take(out, v, "rejectedPatchesAction", "RejectedPatchesAction", true)
	m.take(out, v, "availableSecurityUpdatesComplianceStatus", "AvailableSecurityUpdatesComplianceStatus", !linux && system != "MACOS")
	if sources := v.items("Sources"); len(sources) > 0 {
		to := &node{kind: list}
		for i, s := range sources {
			n := &node{kind: object}
			n.put("name", s.get("Name").all())
			n.put("products", s.get("Products").all())
			n.put("configuration", s.get("Configuration").all())
			to.kids = append(to.kids, n)
			m.lost(o, n, fmt.Sprintf("Sources[%d]", i), s)
		}
		out.put("sources", to)
	}
	for i, g := range v.items("PatchGroups") {
		if !g.is(text) {
			continue
		}
		if err := m.group(o, g.text, groups); err != nil {
			return fmt.Errorf("PatchGroups[%d]: %w", i, err)
		}
	}
	m.lost(o, nil, "", v)
	return nil
}

// take copies a field under its name here. A value that stands for its absence is let be: an empty list, and false where
// the field is not for this system.
func (m *making) take(out, from *node, to, name string, fits bool) {
	v := from.peek(name)
	if v.empty() || !fits && v.is(boolean) && v.text == "false" {
		from.get(name).all()
		return
	}
	out.put(to, from.get(name).all())
}

func (m *making) rule(o *made, system, path string, r *node) *node {
	to := &node{kind: object}
	f := m.filters(o, to, path+".PatchFilterGroup", r.get("PatchFilterGroup"))
	if f == nil {
		f = &node{kind: object}
	}
	to.put("filters", f)
	// Of the two dates AWS prints the one that is not given as 0 or as an empty text.
	until, days := r.peek("ApproveUntilDate"), r.peek("ApproveAfterDays")
	switch {
	case !until.empty():
		to.put("approveUntilDate", r.get("ApproveUntilDate").all())
		if textOf(days) == "0" {
			r.get("ApproveAfterDays")
		}
	case days != nil:
		to.put("approveAfterDays", r.get("ApproveAfterDays").all())
	}
	m.take(to, r, "complianceLevel", "ComplianceLevel", true)
	m.take(to, r, "enableNonSecurity", "EnableNonSecurity", system != "WINDOWS" && system != "MACOS")
	m.lost(o, to, path, r)
	return to
}

// filters makes a struct of a list of filters; nil where there are none. Two filters of one key must both hold, which has
// no counterpart unless they are alike.
func (m *making) filters(o *made, at *node, path string, group *node) *node {
	list_ := group.items("PatchFilters")
	if len(list_) == 0 {
		return nil
	}
	out := &node{kind: object}
	for i, f := range list_ {
		key, values := f.str("Key"), f.get("Values").all()
		here := fmt.Sprintf("%s.PatchFilters[%d]", path, i)
		switch old := out.peek(key); {
		case key == "" || values == nil:
			m.note(o, at, here, "not a filter with Key and Values: %s", f.all().brief())
		case old == nil:
			out.put(key, values)
		case string(old.json(nil)) != string(values.json(nil)):
			both := &node{kind: list}
			every := func(v *node) bool { return v.text == "*" }
			if slices.ContainsFunc(old.kids, every) {
				both.kids = values.kids
			}
			for _, k := range old.kids {
				if slices.ContainsFunc(values.kids, func(v *node) bool { return v.text == k.text || every(v) }) && !every(k) {
					both.kids = append(both.kids, k)
				}
			}
			*old = *both
			m.note(o, at, here, "a second filter of %s: only what both allow is kept", key)
		}
		m.lost(o, at, here, f)
	}
	return out
}

// group adds a baseline to a patch group.
func (m *making) group(o *made, called string, groups map[string]*made) error {
	short := trim(clean(called), 63)
	if short == "" {
		return fmt.Errorf("%q cannot be the name of a group", called)
	}
	g := groups[short]
	if g != nil && g.was != called {
		return fmt.Errorf("%q and %q would both be the group %s", g.was, called, short)
	}
	if g == nil {
		g = &made{was: called, kind: "group", name: short, value: &node{kind: object, comments: []string{"From a patch group of AWS Systems Manager"}}}
		groups[short] = g
		m.objects = append(m.objects, g)
		if called != short {
			g.value.put("targets", &node{kind: object, keys: []string{"tags"}, kids: []*node{{kind: object, keys: []string{"PatchGroup"}, kids: []*node{str(called)}}}})
			m.renamed(g, called)
		} else {
			g.value.comments = append(g.value.comments, "Its nodes are those with the tag PatchGroup: "+called)
		}
		g.value.put("baselines", &node{kind: list})
	}
	list_ := g.value.peek("baselines")
	list_.kids = append(list_.kids, str(o.name))
	return nil
}
