package baseline

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// Reasons are sentences without a capital or full stop, because more is put before and after them. Text
// from hosts and archives stays as it is here: whoever prints it to a terminal guards the terminal.

// ruleWords is a rule as reasons name it: `rule 1 (PRIORITY Required or Important, security only)`.
// Rules count from 1; a filter that holds
// for everything is left out.
func ruleWords(i int, r schema.ApprovalRule) string {
	var parts []string
	for _, key := range filterKeys {
		if values := r.Filters[key]; len(values) > 0 && !slices.Contains(values, "*") {
			parts = append(parts, key+" "+either(values))
		}
	}
	if r.EnableNonSecurity {
		parts = append(parts, "security or not")
	} else {
		parts = append(parts, "security only")
	}
	return "rule " + strconv.Itoa(i+1) + " (" + strings.Join(parts, ", ") + ")"
}

// either lists alternatives, a few of them.
func either(values []string) string {
	const most = 3
	if len(values) > most {
		return values[0] + " or " + strconv.Itoa(len(values)-1) + " others"
	}
	return strings.Join(values, " or ")
}

// approvedBy says what approves a version.
func (j *judge) approvedBy(v verdict) string {
	if v.rule < 0 {
		return "approved by " + quote(v.pattern) + " in approvedPatches"
	}
	return "approved by " + j.rules[v.rule]
}

// describe says what kind of version it is and where it comes from.
func describe(p *schema.PackageFact, security bool) string {
	if security {
		return "security update from " + securityOrigin(p)
	}
	if len(p.Origins) == 0 {
		return "not a security update, from no archive that is known"
	}
	o := &p.Origins[0]
	from := o.Site
	for _, name := range []string{o.Label, o.Origin} {
		if name != "" {
			from = name
			break
		}
	}
	if suite := o.Suite; suite != "" || o.Codename != "" {
		if suite == "" {
			suite = o.Codename
		}
		from = strings.TrimSpace(from + " " + suite)
	}
	if from == "" {
		from = "an archive without a name"
	}
	if !trusted(p) {
		from += ", which the package manager does not trust"
	}
	return "not a security update, from " + from
}

func trusted(p *schema.PackageFact) bool {
	for i := range p.Origins {
		if p.Origins[i].Trusted {
			return true
		}
	}
	return false
}

// whyNot says why a version is not approved.
func (j *judge) whyNot(p *schema.PackageFact, v verdict) string {
	if v.deployment == schema.ExplicitRejected {
		return "rejected by " + quote(v.pattern) + " in rejectedPatches"
	}
	named := ""
	if !j.b.ApprovedPatchesEnableNonSecurity && !isSecurity(p) { // else the list has been asked already
		if entry, ok := j.approved.match(p); ok {
			named = "; " + quote(entry) + " in approvedPatches takes security updates only (approvedPatchesEnableNonSecurity is false)"
		}
	}
	switch v.why {
	case globalFilter:
		return "not approved: " + j.failure("globalFilters", j.b.GlobalFilters, p) + named
	case filter:
		return "not approved: " + j.failure("rule 1", j.b.ApprovalRules[0].Filters, p) + others(len(j.b.ApprovalRules)) + named
	case notSecurity:
		return "not approved: " + describe(p, false) + ", and " + j.rules[v.rule] + " does not enable others" + named
	case afterLastDate:
		return "not approved: first seen after " + j.b.ApprovalRules[v.rule].ApproveUntilDate + ", the last day of rule " + strconv.Itoa(v.rule+1) + named
	}
	return "not approved: the baseline has no rule and does not name it" + named
}

// failure says which filter does not hold, and what it found.
func (j *judge) failure(whose string, filters map[string][]string, p *schema.PackageFact) string {
	key := j.failing(filters, p)
	got := j.property(key, p)
	if got == "" {
		got = "empty"
	}
	return key + " is " + got + ", and " + whose + " wants " + either(filters[key])
}

func others(rules int) string {
	if rules < 2 {
		return ""
	}
	return "; no other rule matches"
}

// waitWords says what a version waits for.
func (j *judge) waitWords(p *schema.PackageFact, v verdict) string {
	rule := j.rules[v.rule]
	switch {
	case v.phased:
		return "waits: its publisher offers it to " + strconv.Itoa(*p.Phased) + " % of the hosts so far, and " + rule + " takes it at 100 % (approvedPatches takes it at once)"
	case v.from.IsZero():
		return "waits: the fleet has not seen it yet, and " + rule + " counts from its first sighting"
	}
	return "waits until " + stamp(v.from) + ": first seen " + stamp(p.FirstSeen) + ", " + rule + " approves it " +
		strconv.Itoa(*j.b.ApprovalRules[v.rule].ApproveAfterDays) + " days later"
}

// failure says when and how an install failed.
func failure(l schema.LastInstall) string {
	when := ""
	if !l.At.IsZero() {
		when = " at " + stamp(l.At)
	}
	if l.Reason == "" {
		return "the last install" + when + " failed"
	}
	return "the last install" + when + " failed: " + l.Reason
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func quote(s string) string { return strconv.Quote(s) }
