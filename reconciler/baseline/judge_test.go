package baseline

import (
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

var (
	now   = time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	week  = 7
	today = 0

	debian      = schema.Origin{Origin: "Debian", Label: "Debian", Suite: "oldstable", Codename: "bookworm", Trusted: true}
	security    = schema.Origin{Origin: "Debian", Label: "Debian-Security", Suite: "oldstable-security", Codename: "bookworm-security", Trusted: true}
	acme        = schema.Origin{Origin: "acme", Label: "acme", Suite: "stable", Trusted: true}
	securityAll = schema.Baseline{
		OperatingSystem: schema.Debian,
		ApprovalRules:   []schema.ApprovalRule{{Filters: map[string][]string{"PRODUCT": {"*"}}, ApproveAfterDays: &today, ComplianceLevel: schema.Unspecified}},

		ApprovedPatchesComplianceLevel: schema.Unspecified, RejectedPatchesAction: schema.AllowAsDependency, ReleaseDates: "publisher",
	}
)

// byText orders versions as texts, which is enough for versions of one length.
func byText(a, b string) int { return strings.Compare(a, b) }

// pkg is version v of package tb-lib.
func pkg(v string, origins ...schema.Origin) schema.PackageFact {
	return schema.PackageFact{Name: "tb-lib", Arch: "amd64", Version: v, Priority: "optional", Section: "libs", Origins: origins}
}

func host(installed schema.PackageFact, candidates ...schema.PackageFact) schema.Facts {
	return schema.Facts{
		V: 1, Arch: "amd64", OS: schema.OSFacts{OperatingSystem: schema.Debian, Product: "Debian12"},
		Installed: []schema.PackageFact{installed}, Candidates: candidates,
	}
}

// edit gives a changed copy.
func edit[T any](v T, changes ...func(*T)) T {
	for _, c := range changes {
		c(&v)
	}
	return v
}

type change = func(*schema.Baseline)

func rules(r ...schema.ApprovalRule) change {
	return func(b *schema.Baseline) { b.ApprovalRules = r }
}

func anything(level schema.Level, filters map[string][]string) schema.ApprovalRule {
	return schema.ApprovalRule{Filters: filters, ApproveAfterDays: &today, ComplianceLevel: level, EnableNonSecurity: true}
}

func firstSeen(b *schema.Baseline) { b.ReleaseDates = "firstSeen" }
func afterWeek(b *schema.Baseline) {
	b.ApprovalRules = []schema.ApprovalRule{{ApproveAfterDays: &week, ComplianceLevel: schema.High}}
}
func until(day string) change {
	return rules(schema.ApprovalRule{ApproveUntilDate: day})
}
func seen(at time.Time) func(*schema.PackageFact) {
	return func(p *schema.PackageFact) { p.FirstSeen = at }
}
func phased(n int) func(*schema.PackageFact) {
	return func(p *schema.PackageFact) { p.Phased = &n }
}
func priority(s string) func(*schema.PackageFact) {
	return func(p *schema.PackageFact) { p.Priority = s }
}
func approve(names ...string) change { return func(b *schema.Baseline) { b.ApprovedPatches = names } }
func reject(names ...string) change  { return func(b *schema.Baseline) { b.RejectedPatches = names } }
func block(b *schema.Baseline)       { b.RejectedPatchesAction = schema.BlockRejected }
func noRules(b *schema.Baseline)     { b.ApprovalRules = nil }
func nonSecurity(b *schema.Baseline) { b.ApprovedPatchesEnableNonSecurity = true }
func globally(key string, v ...string) change {
	return func(b *schema.Baseline) { b.GlobalFilters = map[string][]string{key: v} }
}

// The rules of LANGUAGE, "Baselines", one by one, on a host with one package.
func TestJudge(t *testing.T) {
	last := func(version, outcome string) []schema.LastInstall {
		return []schema.LastInstall{{Name: "tb-lib", Arch: "amd64", Version: version, At: now.Add(-time.Hour), Outcome: outcome, Reason: "E: no"}}
	}
	newSec, newOther := pkg("1.1-1", security), pkg("1.2-1", debian)
	old := host(pkg("1.0-1", debian), newSec)
	other := host(pkg("1.0-1", debian), newOther)
	sevenDays := now.Add(-7 * 24 * time.Hour)
	for _, tt := range []struct {
		name  string
		b     schema.Baseline
		f     schema.Facts
		state schema.PatchState
		dep   schema.Deployment
		title string // version
		level schema.Level
		says  string // of the reason
	}{
		// What is a security version.
		{"label Debian-Security", securityAll, old, schema.Missing, schema.Approved, "1.1-1", schema.Unspecified, "approved by rule 1 (security only): security update from Debian-Security; installed is 1.0-1"},
		{"suite that ends in -security", securityAll, host(pkg("1.0-1"), pkg("1.1-1", schema.Origin{Label: "Ubuntu", Suite: "jammy-security", Trusted: true})), schema.Missing, schema.Approved, "1.1-1", "", "security update from jammy-security"},
		{"codename that ends in -security", securityAll, host(pkg("1.0-1"), pkg("1.1-1", schema.Origin{Codename: "trixie-security", Trusted: true})), schema.Missing, schema.Approved, "1.1-1", "", ""},
		{"site security.debian.org", securityAll, host(pkg("1.0-1"), pkg("1.1-1", schema.Origin{Site: "security.debian.org", Trusted: true})), schema.Missing, schema.Approved, "1.1-1", "", ""},
		{"a suite with -security inside is not", securityAll, host(pkg("1.0-1"), pkg("1.1-1", schema.Origin{Suite: "jammy-security-proposed", Trusted: true})), schema.InstalledOther, "", "1.0-1", "", "1.1-1 is newer and not approved: not a security update"},
		{"a site that only ends so is not", securityAll, host(pkg("1.0-1"), pkg("1.1-1", schema.Origin{Site: "evil-security.debian.org", Trusted: true})), schema.InstalledOther, "", "1.0-1", "", ""},
		{"an origin that is not trusted is not", securityAll, host(pkg("1.0-1"), pkg("1.1-1", edit(security, func(o *schema.Origin) { o.Trusted = false }))), schema.InstalledOther, "", "1.0-1", "", "does not trust"},
		{"one trusted security origin of several will do", securityAll, host(pkg("1.0-1"), pkg("1.1-1", debian, acme, security)), schema.Missing, schema.Approved, "1.1-1", "", ""},

		// Each version for itself.
		{"a newer one that is not security does not hide a security one", securityAll, host(pkg("1.0-1", debian), newSec, newOther), schema.Missing, schema.Approved, "1.1-1", "", ""},
		{"of two approved the highest", edit(securityAll, rules(anything(schema.Low, nil))), host(pkg("1.0-1"), newOther, newSec), schema.Missing, schema.Approved, "1.2-1", schema.Low, "from Debian oldstable"},
		{"a rejected higher one does not hide an approved lower one", edit(securityAll, reject("tb-lib-1.2-1"), rules(anything(schema.Low, nil))), host(pkg("1.0-1"), newSec, newOther), schema.Missing, schema.Approved, "1.1-1", "", ""},
		{"a candidate that is not newer is none", securityAll, host(pkg("1.1-1", debian), pkg("1.1-1", security), pkg("1.0-1", security)), schema.InstalledOther, "", "1.1-1", "", ""},
		{"an update from all to the host's architecture is one package", securityAll, host(edit(pkg("1.0-1"), func(p *schema.PackageFact) { p.Arch = "all" }), newSec), schema.Missing, schema.Approved, "1.1-1", "", ""},
		{"an update of another architecture is not", securityAll, host(pkg("1.0-1", debian), edit(newSec, func(p *schema.PackageFact) { p.Arch = "i386" })), schema.InstalledOther, "", "1.0-1", "", ""},

		// No approved newer version.
		{"installed and approved by its own fields", securityAll, host(pkg("1.1-1", security)), schema.Installed, "", "1.1-1", "", "approved by rule 1"},
		{"installed and not approved", securityAll, host(pkg("1.0-1", debian)), schema.InstalledOther, "", "1.0-1", "", "not approved: not a security update, from Debian oldstable"},
		{"no rule and no name", edit(securityAll, noRules), old, schema.InstalledOther, "", "1.0-1", "", "1.1-1 is newer and not approved: the baseline has no rule and does not name it"},
		{"held: missing, and says so", securityAll, host(edit(pkg("1.0-1"), func(p *schema.PackageFact) { p.Held = true }), newSec), schema.Missing, schema.Approved, "1.1-1", "", "held"},
		{"held without an update is as any other", securityAll, host(edit(pkg("1.1-1", security), func(p *schema.PackageFact) { p.Held = true })), schema.Installed, "", "1.1-1", "", ""},

		// Dates: only when first seen is asked for; the boundary first.
		{"first seen exactly the days ago still waits", edit(securityAll, afterWeek, firstSeen), host(pkg("1.0-1", debian), edit(newSec, seen(sevenDays))), schema.InstalledOther, schema.PendingApproval, "1.0-1", schema.Unspecified, "1.1-1 waits until 2026-11-23T14:00:00Z"},
		{"a nanosecond longer ago is approved", edit(securityAll, afterWeek, firstSeen), host(pkg("1.0-1"), edit(newSec, seen(sevenDays.Add(-1)))), schema.Missing, schema.Approved, "1.1-1", schema.High, ""},
		{"never seen waits", edit(securityAll, afterWeek, firstSeen), old, schema.InstalledOther, schema.PendingApproval, "1.0-1", "", "the fleet has not seen it yet"},
		{"what is installed and approved by its own fields may wait for a newer one", edit(securityAll, afterWeek, firstSeen), host(pkg("1.0-1", security), edit(newSec, seen(now))), schema.Installed, schema.PendingApproval, "1.0-1", schema.High, "1.1-1 waits until 2026-11-30T14:00:00Z"},
		{"with the publisher's dates delays are not evaluated", edit(securityAll, afterWeek), host(pkg("1.0-1"), edit(newSec, seen(now))), schema.Missing, schema.Approved, "1.1-1", schema.High, ""},
		{"an explicit approval has no delay", edit(securityAll, afterWeek, firstSeen, approve("tb-lib")), old, schema.Missing, schema.ExplicitApproved, "1.1-1", "", `approved by "tb-lib" in approvedPatches`},
		{"the last nanosecond of the last day is included", edit(securityAll, until("2026-11-16"), firstSeen), host(pkg("1.0-1"), edit(newSec, seen(time.Date(2026, 11, 16, 23, 59, 59, 999999999, time.UTC)))), schema.Missing, schema.Approved, "1.1-1", "", ""},
		{"midnight after it is not, and nothing is waited for", edit(securityAll, until("2026-11-16"), firstSeen), host(pkg("1.0-1", debian), edit(newSec, seen(time.Date(2026, 11, 17, 0, 0, 0, 0, time.UTC)))), schema.InstalledOther, "", "1.0-1", "", "first seen after 2026-11-16"},
		{"a last day with the publisher's dates is not evaluated", edit(securityAll, until("2020-01-01")), old, schema.Missing, schema.Approved, "1.1-1", "", ""},

		// Filters.
		{"priority in another case holds", edit(securityAll, rules(anything(schema.Low, map[string][]string{"PRIORITY": {"Required", "Optional"}}))), other, schema.Missing, schema.Approved, "1.2-1", schema.Low, "rule 1 (PRIORITY Required or Optional, security or not)"},
		{"another priority does not", edit(securityAll, rules(anything(schema.Low, map[string][]string{"PRIORITY": {"Required"}}))), other, schema.InstalledOther, "", "1.0-1", "", "PRIORITY is optional, and rule 1 wants Required"},
		{"an empty priority matches no word", edit(securityAll, rules(anything(schema.Low, map[string][]string{"PRIORITY": {"Optional", ""}}))), host(edit(pkg("1.0-1"), priority("")), edit(newOther, priority(""))), schema.InstalledOther, "", "1.0-1", "", ""},
		{"an empty priority matches *", edit(securityAll, rules(anything(schema.Low, map[string][]string{"PRIORITY": {"*"}}))), host(pkg("1.0-1"), edit(newOther, priority(""))), schema.Missing, schema.Approved, "1.2-1", "", ""},
		{"the node's product holds", edit(securityAll, rules(anything(schema.Low, map[string][]string{"PRODUCT": {"Debian11", "Debian12"}}))), other, schema.Missing, schema.Approved, "1.2-1", "", ""},
		{"another product does not", edit(securityAll, rules(anything(schema.Low, map[string][]string{"PRODUCT": {"Debian11"}}))), other, schema.InstalledOther, "", "1.0-1", "", ""},
		{"the section holds", edit(securityAll, rules(anything(schema.Low, map[string][]string{"SECTION": {"libs"}}))), other, schema.Missing, schema.Approved, "1.2-1", "", ""},
		{"all filters of a rule must hold", edit(securityAll, rules(anything(schema.Low, map[string][]string{"SECTION": {"libs"}, "PRIORITY": {"Required"}}))), other, schema.InstalledOther, "", "1.0-1", "", ""},
		{"many values are not all shown", edit(securityAll, rules(anything(schema.Low, map[string][]string{"SECTION": {"a", "b", "c", "libs"}}))), other, schema.Missing, schema.Approved, "1.2-1", "", "rule 1 (SECTION a or 3 others, security or not)"},
		{"a filter of another family holds for nothing", edit(securityAll, rules(anything(schema.Low, map[string][]string{"SEVERITY": {"*"}}))), other, schema.InstalledOther, "", "1.0-1", "", ""},
		{"a global filter comes before the rules", edit(securityAll, globally("PRIORITY", "Required")), old, schema.InstalledOther, "", "1.0-1", "", "globalFilters wants Required"},
		{"an explicit approval beats a global filter", edit(securityAll, globally("PRIORITY", "Required"), approve("tb-lib")), old, schema.Missing, schema.ExplicitApproved, "1.1-1", "", ""},

		// Several rules.
		{"of several rules the highest level, by the first that has it", edit(securityAll, rules(anything(schema.Low, nil), anything(schema.Critical, map[string][]string{"SECTION": {"libs"}}), anything(schema.Critical, nil))), other, schema.Missing, schema.Approved, "1.2-1", schema.Critical, "approved by rule 2 (SECTION libs"},
		{"a rule that approves beats a higher one that waits", edit(securityAll, firstSeen, rules(schema.ApprovalRule{ApproveAfterDays: &week, ComplianceLevel: schema.Critical}, schema.ApprovalRule{ApproveAfterDays: &today, ComplianceLevel: schema.Low})), host(pkg("1.0-1"), edit(newSec, seen(now.Add(-time.Hour)))), schema.Missing, schema.Approved, "1.1-1", schema.Low, "rule 2"},

		// Names.
		{"an explicit approval needs a security version", edit(securityAll, approve("tb-lib")), other, schema.InstalledOther, "", "1.0-1", "", `"tb-lib" in approvedPatches takes security updates only`},
		{"or approvedPatchesEnableNonSecurity", edit(securityAll, approve("tb-lib"), nonSecurity, func(b *schema.Baseline) { b.ApprovedPatchesComplianceLevel = schema.High }), other, schema.Missing, schema.ExplicitApproved, "1.2-1", schema.High, ""},
		{"an explicit approval beats a rule", edit(securityAll, approve("tb-lib"), rules(anything(schema.Critical, nil))), old, schema.Missing, schema.ExplicitApproved, "1.1-1", schema.Unspecified, ""},
		{"a rejection beats an explicit approval", edit(securityAll, approve("tb-lib"), reject("tb-lib")), old, schema.InstalledOther, "", "1.0-1", "", `rejected by "tb-lib" in rejectedPatches`},
		{"a rejected package that is there is other", edit(securityAll, reject("TB-*")), host(pkg("1.1-1", security)), schema.InstalledOther, "", "1.1-1", "", `rejected by "TB-*"`},
		{"with BLOCK it is InstalledRejected", edit(securityAll, reject("tb-lib"), block), host(pkg("1.1-1", security)), schema.InstalledRejected, schema.ExplicitRejected, "1.1-1", "", "BLOCK"},
		{"a rejected version gives way to an approved newer one", edit(securityAll, reject("tb-lib-1.0-1"), block), old, schema.Missing, schema.Approved, "1.1-1", "", ""},
		{"a rejected candidate leaves the installed version as it is", edit(securityAll, reject("tb-lib-1.1-1"), block), host(pkg("1.0-1", security), newSec), schema.Installed, "", "1.0-1", "", "1.1-1 is newer and rejected by"},

		// Phased updates.
		{"a phased update waits", edit(securityAll, rules(anything(schema.Low, nil))), host(pkg("1.0-1"), edit(newOther, phased(99))), schema.Installed, schema.PendingApproval, "1.0-1", schema.Low, "1.2-1 waits: its publisher offers it to 99 % of the hosts so far"},
		{"at 100 % it is as any other", edit(securityAll, rules(anything(schema.Low, nil))), host(pkg("1.0-1"), edit(newOther, phased(100))), schema.Missing, schema.Approved, "1.2-1", "", ""},
		{"a phased update does not hide a lower one", edit(securityAll, rules(anything(schema.Low, nil))), host(pkg("1.0-1"), newSec, edit(newOther, phased(10))), schema.Missing, schema.Approved, "1.1-1", "", ""},
		{"a security update is not phased", securityAll, host(pkg("1.0-1"), edit(newSec, phased(10))), schema.Missing, schema.Approved, "1.1-1", "", ""},
		{"who names it takes it at once", edit(securityAll, approve("tb-lib"), nonSecurity), host(pkg("1.0-1"), edit(newOther, phased(0))), schema.Missing, schema.ExplicitApproved, "1.2-1", "", ""},

		// Failures and reboots.
		{"a failed install of that version", securityAll, edit(old, func(f *schema.Facts) { f.LastInstall = last("1.1-1", "failed") }), schema.PatchFailed, schema.Approved, "1.1-1", "", "the last install at 2026-11-23T13:00:00Z failed: E: no; approved by rule 1"},
		{"a failed install of another version is past", securityAll, edit(old, func(f *schema.Facts) { f.LastInstall = last("1.0-9", "failed") }), schema.Missing, schema.Approved, "1.1-1", "", ""},
		{"a failed install of what is there by now is past", securityAll, edit(host(pkg("1.1-1", security)), func(f *schema.Facts) { f.LastInstall = last("1.1-1", "failed") }), schema.Installed, "", "1.1-1", "", ""},
		{"installed by us and asking for a reboot", securityAll, edit(host(pkg("1.1-1", security)), func(f *schema.Facts) {
			f.LastInstall, f.PendingReboot = last("1.1-1", "installed"), schema.PendingReboot{Is: true, Packages: []string{"tb-lib"}}
		}), schema.InstalledPendingReboot, "", "1.1-1", "", "asks for a reboot"},
		{"installed by others and asking for a reboot", securityAll, edit(host(pkg("1.1-1", security)), func(f *schema.Facts) {
			f.PendingReboot = schema.PendingReboot{Is: true, Packages: []string{"tb-lib"}}
		}), schema.Installed, "", "1.1-1", "", ""},
		{"installed by us, and another asks for a reboot", securityAll, edit(host(pkg("1.1-1", security)), func(f *schema.Facts) {
			f.LastInstall, f.PendingReboot = last("1.1-1", "installed"), schema.PendingReboot{Is: true, Packages: []string{"linux"}}
		}), schema.Installed, "", "1.1-1", "", ""},
		{"named, but the host asks for no reboot", securityAll, edit(host(pkg("1.1-1", security)), func(f *schema.Facts) {
			f.LastInstall, f.PendingReboot = last("1.1-1", "installed"), schema.PendingReboot{Packages: []string{"tb-lib"}}
		}), schema.Installed, "", "1.1-1", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := Judge(tt.b, tt.f, now, byText)
			if len(j.Patches) != 1 {
				t.Fatalf("Judge gives %d patches, want 1: %+v", len(j.Patches), j.Patches)
			}
			p := j.Patches[0]
			if p.State != tt.state || p.Deployment != tt.dep || p.Package.Version != tt.title || !strings.HasSuffix(p.Title, ":"+tt.title) ||
				tt.level != "" && p.ComplianceLevel != tt.level || !strings.Contains(p.Reason, tt.says) {
				t.Errorf("Judge = %s %q %s level %s, reason %q\nwant    %s %q %s level %q, reason with %q",
					p.State, p.Deployment, p.Title, p.ComplianceLevel, p.Reason, tt.state, tt.dep, tt.title, tt.level, tt.says)
			}
			installs := (p.State == schema.Missing || p.State == schema.PatchFailed) && p.Reason != "held"
			if got := ToInstall(j); (len(got) == 1) != installs {
				t.Errorf("ToInstall = %+v of a patch in state %s, reason %q", got, p.State, p.Reason)
			}
		})
	}
}

func TestHeldReasonIsOneWord(t *testing.T) {
	j := Judge(securityAll, host(edit(pkg("1.0-1"), func(p *schema.PackageFact) { p.Held = true }), pkg("1.1-1", security)), now, byText)
	if j.Patches[0].Reason != "held" {
		t.Errorf("reason = %q, want held", j.Patches[0].Reason)
	}
}

// What is not installed is never listed: patching adds no packages.
func TestCandidateOfNothingIsLeftOut(t *testing.T) {
	f := host(pkg("1.0-1", debian), edit(pkg("2.0-1", security), func(p *schema.PackageFact) { p.Name = "new" }))
	j := Judge(securityAll, f, now, byText)
	if len(j.Patches) != 1 || j.Counts.NotApplicableCount != 0 {
		t.Errorf("Judge = %+v, want tb-lib alone", j)
	}
}

// A patch raises Critical and Security both; Other only when neither (SSM §7.10).
func TestCounts(t *testing.T) {
	named := func(name, version string, o schema.Origin) schema.PackageFact {
		p := pkg(version, o)
		p.Name = name
		return p
	}
	f := schema.Facts{Arch: "amd64", Installed: []schema.PackageFact{
		named("both", "1", debian), named("critical", "1", debian), named("security", "1", debian), named("neither", "1", debian), named("fine", "2", security), named("other", "1", acme),
	}, Candidates: []schema.PackageFact{
		named("both", "2", security), named("critical", "2", debian), named("security", "2", security), named("neither", "2", debian),
	}}
	section := func(p *schema.PackageFact) { p.Section = "critical" }
	for _, i := range []int{0, 1} {
		section(&f.Candidates[i])
	}
	b := edit(securityAll, rules(anything(schema.Critical, map[string][]string{"SECTION": {"critical"}}), anything(schema.Low, map[string][]string{"SECTION": {"libs"}})), reject("other"))
	j := Judge(b, f, now, byText)
	want := schema.Counts{InstalledCount: 1, InstalledOtherCount: 1, MissingCount: 4, CriticalNonCompliantCount: 2, SecurityNonCompliantCount: 2, OtherNonCompliantCount: 1}
	if j.Counts != want || j.Compliance != schema.NonCompliant {
		t.Errorf("counts = %+v, %s, want %+v, NON_COMPLIANT", j.Counts, j.Compliance, want)
	}
	if empty := Judge(b, schema.Facts{}, now, byText); empty.Compliance != schema.Compliant || empty.Patches == nil {
		t.Errorf("a host without packages is %+v, want COMPLIANT with an empty list", empty)
	}
}
