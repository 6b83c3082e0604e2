package baseline

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
	"pgregory.net/rapid"
)

var (
	genName    = rapid.SampledFrom([]string{"apt", "bash", "curl", "dpkg"})
	genArch    = rapid.SampledFrom([]string{"amd64", "all", "i386"})
	genVersion = rapid.SampledFrom([]string{"1", "2", "3", "4", "5"})
	genOrigin  = rapid.SampledFrom([][]schema.Origin{nil, {debian}, {security}, {acme, security}, {{Label: "Debian-Security"}}})
	genLevel   = rapid.SampledFrom([]schema.Level{schema.Critical, schema.High, schema.Low, schema.Unspecified})
	genPattern = rapid.SampledFrom([]string{"apt", "bash-2", "curl.amd64", "dpkg*", "amd64:3", "[ab]*", "4", "*.i386"})
	genDays    = rapid.IntRange(0, 3)
	genSeen    = rapid.Custom(func(t *rapid.T) time.Time {
		if n := rapid.IntRange(0, 6).Draw(t, "seen"); n > 0 {
			return now.Add(-time.Duration(n-1) * 24 * time.Hour)
		}
		return time.Time{}
	})
	genPackage = rapid.Custom(func(t *rapid.T) schema.PackageFact {
		return schema.PackageFact{
			Name: genName.Draw(t, "name"), Arch: genArch.Draw(t, "arch"), Version: genVersion.Draw(t, "version"), Origins: genOrigin.Draw(t, "origins"),
			Priority: rapid.SampledFrom([]string{"", "required", "optional"}).Draw(t, "priority"), Section: rapid.SampledFrom([]string{"", "libs"}).Draw(t, "section"),
		}
	})
	genFacts = rapid.Custom(func(t *rapid.T) schema.Facts {
		f := schema.Facts{V: 1, Arch: "amd64", OS: schema.OSFacts{Product: "Debian12"}}
		f.Installed = rapid.SliceOfNDistinct(genPackage, 0, 6, func(p schema.PackageFact) string { return p.ID() }).Draw(t, "installed")
		for i := range f.Installed {
			f.Installed[i].Held = rapid.Bool().Draw(t, "held")
		}
		f.Candidates = rapid.SliceOfNDistinct(genPackage, 0, 12, func(p schema.PackageFact) string { return p.Title() }).Draw(t, "candidates")
		for i := range f.Candidates {
			f.Candidates[i].FirstSeen = genSeen.Draw(t, "firstSeen")
			if rapid.Bool().Draw(t, "phased?") {
				n := rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "phased")
				f.Candidates[i].Phased = &n
			}
		}
		f.LastInstall = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) schema.LastInstall {
			return schema.LastInstall{Name: genName.Draw(t, "name"), Arch: genArch.Draw(t, "arch"), Version: genVersion.Draw(t, "version"),
				At: genSeen.Draw(t, "at"), Outcome: rapid.SampledFrom([]string{"installed", "failed"}).Draw(t, "outcome")}
		}), 0, 6).Draw(t, "lastInstall")
		f.PendingReboot = schema.PendingReboot{Is: rapid.Bool().Draw(t, "reboot"), Packages: rapid.SliceOfN(genName, 0, 2).Draw(t, "packages")}
		return f
	})
	genFilters = rapid.Custom(func(t *rapid.T) map[string][]string {
		out := map[string][]string{}
		for key, values := range map[string][]string{"PRIORITY": {"*", "Required", "Optional"}, "SECTION": {"*", "libs"}, "PRODUCT": {"*", "Debian12", "Debian11"}} {
			if rapid.Bool().Draw(t, key) {
				out[key] = rapid.SliceOfN(rapid.SampledFrom(values), 1, 2).Draw(t, key+" values")
			}
		}
		return out
	})
	genBaseline = rapid.Custom(func(t *rapid.T) schema.Baseline {
		b := schema.Baseline{
			ApprovedPatches: rapid.SliceOfN(genPattern, 0, 3).Draw(t, "approved"), ApprovedPatchesComplianceLevel: genLevel.Draw(t, "level"),
			ApprovedPatchesEnableNonSecurity: rapid.Bool().Draw(t, "nonSecurity"), RejectedPatches: rapid.SliceOfN(genPattern, 0, 2).Draw(t, "rejected"),
			RejectedPatchesAction: rapid.SampledFrom([]schema.RejectedAction{schema.AllowAsDependency, schema.BlockRejected}).Draw(t, "action"),
			ReleaseDates:          rapid.SampledFrom([]schema.ReleaseDates{schema.DatesOfPublisher, schema.DatesFirstSeen}).Draw(t, "releaseDates"),
		}
		if rapid.Bool().Draw(t, "global?") {
			b.GlobalFilters = genFilters.Draw(t, "global")
		}
		for range rapid.IntRange(0, 3).Draw(t, "rules") {
			r := schema.ApprovalRule{Filters: genFilters.Draw(t, "filters"), ComplianceLevel: genLevel.Draw(t, "ruleLevel"), EnableNonSecurity: rapid.Bool().Draw(t, "enable")}
			if days := genDays.Draw(t, "days"); rapid.Bool().Draw(t, "after") {
				r.ApproveAfterDays = &days
			} else {
				r.ApproveUntilDate = now.AddDate(0, 0, -days).Format(time.DateOnly)
			}
			b.ApprovalRules = append(b.ApprovalRules, r)
		}
		return b
	})
)

// versions gives the title that would be installed of each package, and those that are held.
func wanted(j schema.Judgement) map[string]bool {
	out := map[string]bool{}
	for _, p := range j.Patches {
		if p.State == schema.Missing || p.State == schema.PatchFailed {
			out[p.Title] = true
		}
	}
	return out
}

func TestJudgeLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, b := genFacts.Draw(t, "facts"), genBaseline.Draw(t, "baseline")
		j := Judge(b, f, now, byText)

		c := j.Counts
		if sum := c.InstalledCount + c.InstalledOtherCount + c.InstalledPendingRebootCount + c.InstalledRejectedCount + c.MissingCount + c.FailedCount; sum != len(j.Patches) {
			t.Fatalf("counts add up to %d, the list has %d", sum, len(j.Patches))
		}
		if len(j.Patches) != len(f.Installed) {
			t.Fatalf("%d packages installed, %d listed", len(f.Installed), len(j.Patches))
		}
		badOnes := c.InstalledPendingRebootCount + c.InstalledRejectedCount + c.MissingCount + c.FailedCount
		if (badOnes > 0) != (j.Compliance == schema.NonCompliant) {
			t.Fatalf("%d bad patches and %s", badOnes, j.Compliance)
		}
		if !slices.IsSortedFunc(j.Patches, func(a, b schema.Patch) int { return strings.Compare(a.ID, b.ID) }) {
			t.Fatal("patches are not sorted by id")
		}
		for _, p := range j.Patches {
			if p.Reason == "" || p.ComplianceLevel == "" {
				t.Fatalf("a patch without reason or level: %+v", p)
			}
			if _, rejected := Rejected(b, p.Package); rejected && (p.State == schema.Missing || p.State == schema.PatchFailed || p.State == schema.Installed) {
				t.Fatalf("rejected, and %s", p.State)
			}
		}
		for _, p := range ToInstall(j) {
			i := slices.IndexFunc(f.Installed, func(x schema.PackageFact) bool {
				return x.Name == p.Package.Name && (x.Arch == p.Package.Arch || x.Arch == "all" || p.Package.Arch == "all")
			})
			if i < 0 || f.Installed[i].Held && f.Installed[i].Arch == p.Package.Arch {
				t.Fatalf("would install %s, which is held or new", p.Title)
			}
		}

		// The order of the facts does not matter.
		shuffled := f
		shuffled.Installed, shuffled.Candidates, shuffled.LastInstall = slices.Clone(f.Installed), slices.Clone(f.Candidates), slices.Clone(f.LastInstall)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		r.Shuffle(len(f.Installed), func(i, j int) {
			shuffled.Installed[i], shuffled.Installed[j] = shuffled.Installed[j], shuffled.Installed[i]
		})
		r.Shuffle(len(f.Candidates), func(i, j int) {
			shuffled.Candidates[i], shuffled.Candidates[j] = shuffled.Candidates[j], shuffled.Candidates[i]
		})
		r.Shuffle(len(f.LastInstall), func(i, j int) {
			shuffled.LastInstall[i], shuffled.LastInstall[j] = shuffled.LastInstall[j], shuffled.LastInstall[i]
		})
		if again := Judge(b, shuffled, now, byText); !reflect.DeepEqual(again, j) {
			t.Fatalf("another order of the facts gives another judgement:\n%+v\n%+v", j, again)
		}

		// Rejecting one more never brings a package up that was left alone, or to a higher version.
		pattern := genPattern.Draw(t, "pattern")
		stricter := b
		stricter.RejectedPatches = append(slices.Clone(b.RejectedPatches), pattern)
		before := map[string]string{}
		for _, p := range j.Patches {
			if wanted(j)[p.Title] {
				before[p.Package.Name] = max(before[p.Package.Name], p.Package.Version)
			}
		}
		js := Judge(stricter, f, now, byText)
		for _, p := range js.Patches {
			if wanted(js)[p.Title] && p.Package.Version > before[p.Package.Name] {
				t.Fatalf("rejecting %q brings %s", pattern, p.Title)
			}
		}

		// Approving one more never takes one away, nor to a lower version.
		looser := b
		looser.ApprovedPatches = append(slices.Clone(b.ApprovedPatches), pattern)
		after := map[string]string{}
		jl := Judge(looser, f, now, byText)
		for _, p := range jl.Patches {
			if wanted(jl)[p.Title] {
				after[p.Package.Name] = max(after[p.Package.Name], p.Package.Version)
			}
		}
		for name, version := range before {
			if after[name] < version {
				t.Fatalf("approving %q takes %s %s away", pattern, name, version)
			}
		}

		// Time only approves, where no last day is set.
		if !slices.ContainsFunc(b.ApprovalRules, func(r schema.ApprovalRule) bool { return r.ApproveUntilDate != "" }) {
			later := Judge(b, f, now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "hours"))*time.Hour), byText)
			if later.Counts.MissingCount+later.Counts.FailedCount < c.MissingCount+c.FailedCount {
				t.Fatal("time takes an approval away")
			}
		}
	})
}

// BenchmarkJudge/default is a Debian server with the shipped rule, names the same with lists of names.
func BenchmarkJudge(b *testing.B) {
	f := schema.Facts{V: 1, Arch: "amd64", OS: schema.OSFacts{Product: "Debian12"}}
	for i := range 1000 {
		f.Installed = append(f.Installed, schema.PackageFact{Name: "package-" + strconv.Itoa(i), Arch: "amd64", Version: "1.2.3-1+deb12u1", Priority: "optional", Section: "libs", Origins: []schema.Origin{debian}})
	}
	for i := range 200 {
		o := debian
		if i%2 == 0 {
			o = security
		}
		f.Candidates = append(f.Candidates, schema.PackageFact{Name: "package-" + strconv.Itoa(i*5), Arch: "amd64", Version: "1.2.3-1+deb12u2", Priority: "optional", Section: "libs", Origins: []schema.Origin{o}})
	}
	names := edit(securityAll, func(b *schema.Baseline) {
		for i := range 50 {
			b.ApprovedPatches = append(b.ApprovedPatches, fmt.Sprintf("package-%d", i*7))
			b.RejectedPatches = append(b.RejectedPatches, fmt.Sprintf("package-%d*.i386", i*3))
		}
	})
	for _, bb := range []struct {
		name     string
		baseline schema.Baseline
	}{{"default", securityAll}, {"names", names}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if j := Judge(bb.baseline, f, now, byText); j.Counts.MissingCount == 0 {
					b.Fatal("nothing is missing")
				}
			}
		})
	}
}
