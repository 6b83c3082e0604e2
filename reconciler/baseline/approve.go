package baseline

import (
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// verdict is what a baseline says about one version.
type verdict struct {
	deployment schema.Deployment // empty: not approved
	level      schema.Level
	rule       int       // the rule that decided, -1 for none
	pattern    string    // the entry of an explicit list that decided
	from       time.Time // pending: approved after this instant; zero when nobody can say
	phased     bool      // pending: its publisher does not offer it to all hosts yet
	why        refusal   // not approved: what was in the way
}

// refusal is why a version is not approved, the nearest miss of all rules.
type refusal int

const (
	noRule        refusal = iota // the baseline has no rules
	globalFilter                 // a global filter does not hold
	filter                       // no rule's filters hold
	notSecurity                  // a rule holds but for security
	afterLastDate                // a rule holds but for approveUntilDate, which only moves away
)

// sooner reports whether v, which waits, is approved before w, which waits too. No date is last.
func (v verdict) sooner(w verdict) bool {
	return !v.from.IsZero() && (w.from.IsZero() || v.from.Before(w.from))
}

// verdict judges a version by its own fields. there says that it is the installed one: no delay and no
// phasing concerns it any more.
func (j *judge) verdict(p *schema.PackageFact, security, there bool) verdict {
	if pattern, ok := j.rejected.match(p); ok {
		return verdict{deployment: schema.ExplicitRejected, level: schema.Unspecified, rule: -1, pattern: pattern}
	}
	if security || j.b.ApprovedPatchesEnableNonSecurity {
		if pattern, ok := j.approved.match(p); ok {
			return verdict{deployment: schema.ExplicitApproved, level: j.b.ApprovedPatchesComplianceLevel, rule: -1, pattern: pattern}
		}
	}
	if key := j.failing(j.b.GlobalFilters, p); key != "" {
		return verdict{rule: -1, why: globalFilter}
	}
	best := verdict{rule: -1}
	for i := range j.b.ApprovalRules {
		best = best.or(j.ruleVerdict(i, p, security, there))
	}
	// A phased update is offered to a share of the hosts first, and withdrawn by setting the share to 0.
	// apt keeps it back on the others; installing by name=version would override that, so a rule approves
	// it only once all hosts may have it. As with apt, security updates are not subject to phasing. Who
	// wants it earlier names it in approvedPatches.
	if best.deployment == schema.Approved && !there && !security && p.Phased != nil && *p.Phased < 100 {
		best.deployment, best.phased, best.from = schema.PendingApproval, true, time.Time{}
	}
	return best
}

// or joins the verdicts of two rules, v of the earlier one: approved beats pending beats nothing; of two
// approvals the higher level, of two that wait the sooner; else the earlier rule.
func (v verdict) or(w verdict) verdict {
	rank := func(v verdict) int {
		switch v.deployment {
		case schema.Approved:
			return 2
		case schema.PendingApproval:
			return 1
		}
		return 0
	}
	switch rv, rw := rank(v), rank(w); {
	case rw > rv:
		return w
	case rw < rv:
		return v
	case rv == 2 && w.level.Rank() > v.level.Rank(), rv == 1 && w.sooner(v), rv == 0 && w.why > v.why:
		return w
	}
	return v
}

// ruleVerdict is what rule i alone says: Approved, PendingApproval, or a refusal.
func (j *judge) ruleVerdict(i int, p *schema.PackageFact, security, there bool) verdict {
	r := &j.b.ApprovalRules[i]
	switch {
	case j.failing(r.Filters, p) != "":
		return verdict{rule: -1, why: filter}
	case !security && !r.EnableNonSecurity:
		return verdict{rule: i, why: notSecurity}
	}
	v := verdict{deployment: schema.Approved, level: r.ComplianceLevel, rule: i}
	// apt's archives carry no release dates: with the publisher's dates delays are not evaluated (SSM §7.3).
	if there || j.b.ReleaseDates != schema.DatesFirstSeen {
		return v
	}
	if r.ApproveUntilDate != "" {
		// The whole day is included, in UTC. A malformed date approves nothing.
		day, err := time.Parse(time.DateOnly, r.ApproveUntilDate)
		seen := p.FirstSeen
		if seen.IsZero() {
			seen = j.now // it cannot have been seen by the fleet before now
		}
		switch {
		case err != nil || !seen.Before(day.AddDate(0, 0, 1)):
			return verdict{rule: i, why: afterLastDate}
		case p.FirstSeen.IsZero():
			v.deployment = schema.PendingApproval
		}
		return v
	}
	if r.ApproveAfterDays == nil {
		return v
	}
	if p.FirstSeen.IsZero() {
		v.deployment = schema.PendingApproval
		return v
	}
	if after := p.FirstSeen.Add(time.Duration(*r.ApproveAfterDays) * 24 * time.Hour); !after.Before(j.now) {
		v.deployment, v.from = schema.PendingApproval, after
	}
	return v
}

// failing names the first filter that does not hold for p, in the order of filterKeys; empty when all
// hold. Values are alternatives; `*` matches everything, also an absent property, which matches nothing
// else. A filter that is not apt's holds for nothing.
func (j *judge) failing(filters map[string][]string, p *schema.PackageFact) string {
	if len(filters) == 0 {
		return ""
	}
	held := 0
	for _, key := range filterKeys {
		values, given := filters[key]
		if !given {
			continue
		}
		if !holds(key, values, j.property(key, p)) {
			return key
		}
		held++
	}
	if held < len(filters) {
		return "filters"
	}
	return ""
}

// filterKeys are the filters of DEBIAN, UBUNTU and RASPBIAN (SSM §7.2).
var filterKeys = [...]string{"PRODUCT", "PRIORITY", "SECTION"}

// property is what a filter compares: the node's product, or a field of the version.
func (j *judge) property(key string, p *schema.PackageFact) string {
	switch key {
	case "PRODUCT":
		return j.product
	case "PRIORITY":
		return p.Priority
	case "SECTION":
		return p.Section
	}
	return ""
}

func holds(key string, values []string, property string) bool {
	for _, v := range values {
		if v == "*" || property != "" && (v == property || key == "PRIORITY" && strings.EqualFold(v, property)) {
			return true
		}
	}
	return false
}

// securityClass is the classification of security versions; others have none on apt.
const securityClass = "Security"

func classification(security bool) string {
	if security {
		return securityClass
	}
	return ""
}

// isSecurity reports whether a version comes from a security archive.
func isSecurity(p *schema.PackageFact) bool { return securityOrigin(p) != "" }

// securityOrigin names the trusted origin that makes a version a security one: label Debian-Security, a
// suite or codename that ends in -security, or the site security.debian.org. Empty: there is none.
func securityOrigin(p *schema.PackageFact) string {
	for i := range p.Origins {
		o := &p.Origins[i]
		switch {
		case !o.Trusted:
		case o.Label == "Debian-Security":
			return o.Label
		case strings.HasSuffix(o.Suite, "-security"):
			return o.Suite
		case strings.HasSuffix(o.Codename, "-security"):
			return o.Codename
		case o.Site == "security.debian.org":
			return o.Site
		}
	}
	return ""
}
