// Package baseline answers which patches a host lacks: it holds the host's facts
// against a patch baseline.
//
// Every version is judged for itself, by its own fields. A rejection beats
// everything, an approval by name beats rules and global filters, and of the
// rules that approve, the one with the highest compliance level is reported, the
// first one of those. The highest approved version is the one to install; a newer
// one that is not approved does not stand in its way.
//
// The rules are those of AWS SSM Patch Manager (API 2014-11-06) for DEBIAN,
// UBUNTU and RASPBIAN. The package reads no clock, keeps no state and orders
// versions by a function that its caller passes.
package baseline

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// Judge reports what b says about the host of f at the instant now. compare orders two versions as the
// host's package manager does: negative when a is older than b. Patches are sorted by id; the packages
// in them share memory with f, which is not changed.
//
// Each installed package is listed once: at the highest approved version newer than it (Missing or
// Failed), else at its installed version. Versions of packages that are not installed are left out:
// patching adds no packages (SSM §7.5), and apt counts none as NotApplicable.
func Judge(b schema.Baseline, f schema.Facts, now time.Time, compare func(a, b string) int) schema.Judgement {
	j := newJudge(b, f, now, compare)
	installed := j.installed(f)
	j.attachCandidates(f, installed)

	unsorted := make([]schema.Patch, len(installed))
	order := make([]int, len(installed)) // patches are large: their places are sorted, and each is moved once
	for i := range installed {
		unsorted[i], order[i] = j.patch(&installed[i]), i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(strings.Compare(unsorted[a].ID, unsorted[b].ID), strings.Compare(unsorted[a].Title, unsorted[b].Title))
	})
	out := schema.Judgement{Patches: make([]schema.Patch, len(order))}
	for i, from := range order {
		out.Patches[i] = unsorted[from]
	}
	out.Counts, out.Compliance = count(out.Patches)
	return out
}

// ToInstall gives the patches that an install should bring: approved, not there, not held. The patch's
// Package names the version.
func ToInstall(j schema.Judgement) []schema.Patch {
	var out []schema.Patch
	for _, p := range j.Patches {
		if (p.State == schema.Missing || p.State == schema.PatchFailed) && !p.Package.Held {
			out = append(out, p)
		}
	}
	return out
}

// judge is a baseline made ready for many packages of one host.
type judge struct {
	b        schema.Baseline
	product  string
	now      time.Time
	compare  func(a, b string) int
	approved names
	rejected names
	rules    []string // each rule in words, for reasons
	reboot   map[string]bool
	last     map[string]schema.LastInstall // by title
}

func newJudge(b schema.Baseline, f schema.Facts, now time.Time, compare func(a, b string) int) *judge {
	j := &judge{
		b: b, product: f.OS.Product, now: now, compare: compare,
		approved: compileNames(b.ApprovedPatches), rejected: compileNames(b.RejectedPatches),
		rules: make([]string, len(b.ApprovalRules)),
	}
	for i, r := range b.ApprovalRules {
		j.rules[i] = ruleWords(i, r)
	}
	if f.PendingReboot.Is {
		j.reboot = make(map[string]bool, len(f.PendingReboot.Packages))
		for _, name := range f.PendingReboot.Packages {
			j.reboot[name] = true
		}
	}
	j.last = make(map[string]schema.LastInstall, len(f.LastInstall))
	for _, l := range f.LastInstall {
		title := l.Name + "." + l.Arch + ":" + l.Version
		// The newest counts; of two at one instant the failure, whatever their order in the list.
		if old, twice := j.last[title]; !twice || l.At.After(old.At) || l.At.Equal(old.At) && l.Outcome == failed {
			j.last[title] = l
		}
	}
	return j
}

// The outcomes of schema.LastInstall.
const (
	installedByUs = "installed"
	failed        = "failed"
)

// subject is an installed package with the newer versions of it.
type subject struct {
	*schema.PackageFact
	newer []*schema.PackageFact
}

// key identifies a package across its versions. To apt a package of architecture "all" and one of the
// host's own are versions of one package.
func key(name, arch, native string) string {
	if arch == "all" && native != "" {
		arch = native
	}
	return name + "." + arch
}

// installed lists the host's packages. dpkg holds one version of each; where facts have more, the
// highest stands.
func (j *judge) installed(f schema.Facts) []subject {
	out := make([]subject, 0, len(f.Installed))
	at := make(map[string]int, len(f.Installed))
	for i := range f.Installed {
		p := &f.Installed[i]
		id := p.ID()
		n, twice := at[id]
		switch {
		case !twice:
			at[id] = len(out)
			out = append(out, subject{PackageFact: p})
		case j.compare(out[n].Version, p.Version) < 0:
			out[n].PackageFact = p
		}
	}
	return out
}

// attachCandidates gives each installed package the versions newer than it, highest first. What is not
// newer, or of a package that is not installed, is dropped.
func (j *judge) attachCandidates(f schema.Facts, installed []subject) {
	if len(f.Candidates) == 0 {
		return
	}
	at := make(map[string]int, len(installed))
	for i, p := range installed {
		at[key(p.Name, p.Arch, f.Arch)] = i
	}
	for i, p := range installed { // its own architecture outranks "all" where facts have both
		at[p.ID()] = i
	}
	for i := range f.Candidates {
		c := &f.Candidates[i]
		n, found := at[c.ID()]
		if !found {
			n, found = at[key(c.Name, c.Arch, f.Arch)]
		}
		if found && j.compare(c.Version, installed[n].Version) > 0 {
			installed[n].newer = append(installed[n].newer, c)
		}
	}
	for _, p := range installed {
		slices.SortStableFunc(p.newer, func(a, b *schema.PackageFact) int {
			// Equal versions of two architectures: by name, so that the order of the facts does not matter.
			return cmp.Or(j.compare(b.Version, a.Version), strings.Compare(a.Arch, b.Arch))
		})
	}
}

// patch is the verdict on one package.
func (j *judge) patch(p *subject) schema.Patch {
	var waits *schema.PackageFact // the newer version that is approved first, of those that only wait
	var waiting verdict
	for _, c := range p.newer {
		security := isSecurity(c)
		switch v := j.verdict(c, security, false); v.deployment {
		case schema.Approved, schema.ExplicitApproved:
			return j.missing(p, c, v, security)
		case schema.PendingApproval:
			if waits == nil || v.sooner(waiting) {
				waits, waiting = c, v
			}
		}
	}
	return j.present(p, waits, waiting)
}

// missing is the verdict on a package of which the approved version c is not there.
func (j *judge) missing(p *subject, c *schema.PackageFact, v verdict, security bool) schema.Patch {
	out := schema.Patch{
		ID: c.ID(), Title: c.Title(), State: schema.Missing, Deployment: v.deployment,
		Classification: classification(security), Severity: c.Priority, ComplianceLevel: v.level,
		Rule: v.rule, Package: *c,
	}
	out.Package.Held = p.Held
	last, tried := j.last[out.Title]
	why := j.approvedBy(v) + ": " + describe(c, security) + "; installed is " + p.Version
	switch {
	case p.Held:
		out.Reason = "held"
	case tried && last.Outcome == failed:
		out.State = schema.PatchFailed
		out.Reason = failure(last) + "; " + why
	default:
		out.Reason = why
	}
	return out
}

// present is the verdict on a package that has no approved newer version. waits is a newer one that
// only waits, or nil.
func (j *judge) present(p *subject, waits *schema.PackageFact, waiting verdict) schema.Patch {
	security := isSecurity(p.PackageFact)
	v := j.verdict(p.PackageFact, security, true)
	out := schema.Patch{
		ID: p.ID(), Title: p.Title(), Classification: classification(security), Severity: p.Priority,
		ComplianceLevel: schema.Unspecified, Rule: v.rule, Package: *p.PackageFact,
	}
	if waits != nil {
		out.Deployment = schema.PendingApproval
	}
	isApproved := v.deployment == schema.Approved || v.deployment == schema.ExplicitApproved
	if isApproved {
		out.ComplianceLevel = v.level
	}
	switch {
	case v.deployment == schema.ExplicitRejected && j.b.RejectedPatchesAction == schema.BlockRejected:
		out.State, out.Deployment = schema.InstalledRejected, schema.ExplicitRejected
		out.Reason = "rejected by " + quote(v.pattern) + " in rejectedPatches, and rejectedPatchesAction is BLOCK"
		return out
	case j.pendingReboot(p.PackageFact):
		out.State = schema.InstalledPendingReboot
		out.Reason = "installed by Dunlin at " + stamp(j.last[out.Title].At) + " and asks for a reboot that has not happened"
	case isApproved:
		out.State = schema.Installed
		out.Reason = j.approvedBy(v) + ": " + describe(p.PackageFact, security)
	default:
		out.State = schema.InstalledOther
		out.Reason = j.whyNot(p.PackageFact, v)
	}
	switch {
	case waits != nil:
		out.Reason += "; " + waits.Version + " " + j.waitWords(waits, waiting)
	case len(p.newer) > 0:
		c := p.newer[0]
		out.Reason += "; " + c.Version + " is newer and " + j.whyNot(c, j.verdict(c, isSecurity(c), false))
	}
	return out
}

// pendingReboot reports whether Dunlin installed the very version that is there and the host names the
// package among those that ask for a reboot. What others installed is never pending (SSM §7.8), and a
// package that Dunlin installed but that asks for nothing is in force already.
func (j *judge) pendingReboot(p *schema.PackageFact) bool {
	return j.reboot[p.Name] && j.last[p.Title()].Outcome == installedByUs
}

// count makes SSM's counters (§7.10) and the verdict on the node. A patch can be both critical and
// security; it is other only if it is neither.
func count(patches []schema.Patch) (schema.Counts, schema.Compliance) {
	var c schema.Counts
	verdict := schema.Compliant
	for i := range patches {
		p := &patches[i]
		bad := false
		switch p.State {
		case schema.Installed:
			c.InstalledCount++
		case schema.InstalledOther:
			c.InstalledOtherCount++
		case schema.InstalledPendingReboot:
			c.InstalledPendingRebootCount++
			bad = true
		case schema.InstalledRejected:
			c.InstalledRejectedCount++
			bad = true
		case schema.Missing:
			c.MissingCount++
			bad = true
		case schema.PatchFailed:
			c.FailedCount++
			bad = true
		}
		if !bad {
			continue
		}
		verdict = schema.NonCompliant
		critical, security := p.ComplianceLevel == schema.Critical, p.Classification == securityClass
		if critical {
			c.CriticalNonCompliantCount++
		}
		if security {
			c.SecurityNonCompliantCount++
		}
		if !critical && !security {
			c.OtherNonCompliantCount++
		}
	}
	return c, verdict
}
