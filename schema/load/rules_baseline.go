package load

import (
	"cmp"
	"fmt"
	slash "path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// family is how the packages of an operating system are named in approved and rejected patches (SSM §7.4).
type family int

const (
	otherNames family = iota
	aptNames
	rpmNames
	zypperNames
	windowsNames
	macNames
)

func familyOf(system string) family {
	switch system {
	case "":
		return otherNames
	case "DEBIAN", "UBUNTU", "RASPBIAN":
		return aptNames
	case "SUSE":
		return zypperNames
	case "WINDOWS":
		return windowsNames
	case "MACOS":
		return macNames
	}
	return rpmNames
}

func (l *loading) baseline(o *object, n, given *value) {
	p := o.key.path()
	system := n.str("operatingSystem")
	names := familyOf(system)
	if names == otherNames {
		return // a fault of its own
	}
	linux := names != windowsNames && names != macNames
	only := func(p path, in *value, field, want string, holds bool) {
		if !holds && in.get(field) != nil {
			l.wrong(o, p.field(field), "only for "+want+"; operatingSystem is "+system)
		}
	}
	only(p, given, "approvedPatchesEnableNonSecurity", "Linux", linux)
	only(p, given, "sources", "Linux", linux)
	only(p, given, "availableSecurityUpdatesComplianceStatus", "Windows", names == windowsNames)
	for i, r := range given.get("approvalRules").items() {
		rp := p.field("approvalRules").index(i)
		only(rp, r, "enableNonSecurity", "Linux", linux)
		l.approvalDate(o, rp, r, names == aptNames && n.str("releaseDates") == "publisher", system)
	}
	approved := l.patchNames(o, p.field("approvedPatches"), n, names, nil)
	l.patchNames(o, p.field("rejectedPatches"), n, names, approved)
	first := map[string]int{}
	for i, s := range n.get("sources").items() {
		name := s.str("name")
		if j, twice := first[name]; twice && name != "" {
			l.wrong(o, p.field("sources").index(i).field("name"), fmt.Sprintf("already the name of sources[%d]", j))
			continue
		}
		first[name] = i
	}
}

// approvalDate checks when a rule approves. undated says that the dates of its patches are not known.
func (l *loading) approvalDate(o *object, p path, r *value, undated bool, system string) {
	delay := ""
	if until := r.str("approveUntilDate"); until != "" {
		delay = "approveUntilDate"
		if _, err := time.Parse(time.DateOnly, until); err != nil {
			l.wrong(o, p.field(delay), fmt.Sprintf("%q is not in the calendar", until))
		}
	} else if days := r.get("approveAfterDays"); days != nil && days.k == kInt && days.i > 0 {
		delay = "approveAfterDays"
	}
	if undated && delay != "" {
		l.doubtAt(l.labelPos(o, p.field(delay)), p.field(delay), "not evaluated on "+system+": apt archives have no release dates, and releaseDates is \"publisher\"")
	}
}

// patchNames checks a list of patches and gives the place of each name. approved is that of the other list, nil for itself.
func (l *loading) patchNames(o *object, p path, n *value, names family, approved map[string]int) map[string]int {
	list := n.get(p[len(p)-1].name).items()
	at := make(map[string]int, len(list))
	for i, v := range list {
		if v.k != kString {
			continue
		}
		at[v.s] = i
		switch m := patchNameFault(v.s, names, approved != nil); {
		case m != "":
			l.wrong(o, p.index(i), m)
		case approved != nil:
			if j, both := approved[v.s]; both {
				l.doubt(o, p.index(i), fmt.Sprintf("also in approvedPatches[%d]; a rejection outranks every approval", j))
			}
		}
	}
	return at
}

// patchForms are the ids that a patch may be named by, besides the names of packages.
var patchForms = sync.OnceValue(func() map[string]*regexp.Regexp {
	return map[string]*regexp.Regexp{
		"a CVE":         regexp.MustCompile(`^(?i:CVE)-[0-9]{4}-[0-9]+$`),
		"an advisory":   regexp.MustCompile(`^((RH|CE|EL|RL|AL|OL)[SBE]A|ALAS[A-Z0-9.]*|RHSA|SUSE-SU|SUSE-RU|openSUSE-SU|FEDORA|FEDORA-EPEL|USN|DSA|DLA)-[0-9]{4}[-:0-9]*$|^(USN|DSA|DLA)-[0-9]+(-[0-9]+)?$`),
		"a bug":         regexp.MustCompile(`^[0-9]+$`),
		"a KB":          regexp.MustCompile(`^KB[0-9]+$`),
		"a bulletin":    regexp.MustCompile(`^MS[0-9]{2}-[0-9]{3}$`),
		"loosely a KB":  regexp.MustCompile(`^(?i:KB)?[ _-]?([0-9]{5,8})$`),
		"a file of apt": regexp.MustCompile(`^([^_]+)_([^_]+)_([a-z0-9]+)\.deb$`),
	}
})

// patchNameFault says what is wrong with the name of a patch (SSM §7.4); empty where nothing is.
func patchNameFault(name string, names family, rejected bool) string {
	is := func(form string) bool { return patchForms()[form].MatchString(name) }
	id := ""
	for _, form := range []string{"a CVE", "an advisory", "a KB", "a bulletin"} {
		if is(form) {
			id = form
		}
	}
	switch names {
	case windowsNames:
		if is("a KB") || is("a bulletin") {
			return ""
		}
		m := fmt.Sprintf(`%q is not a KB or a bulletin such as "KB2032276" or "MS10-048"`, name)
		if kb := patchForms()["loosely a KB"].FindStringSubmatch(name); kb != nil {
			m += fmt.Sprintf(" (did you mean %q?)", "KB"+kb[1])
		}
		return m
	case macNames:
		if id != "" || strings.ContainsAny(name, "*?[") {
			return fmt.Sprintf(`%q is not a full name such as "XProtectPlistConfigData"`, name)
		}
		return ""
	case aptNames:
		if id != "" {
			return fmt.Sprintf(`%q is %s; with apt a patch is named by its package, such as "openssl"`, name, id)
		}
		if deb := patchForms()["a file of apt"].FindStringSubmatch(name); deb != nil {
			return fmt.Sprintf("%q is the name of a file; write %q, or %q for this version alone", name, deb[1], deb[1]+"-"+deb[2])
		}
		if pkg, version, ok := strings.Cut(name, "="); ok {
			return fmt.Sprintf("%q: write %q", name, pkg+"-"+version)
		}
	case zypperNames:
		if id != "" && id != "an advisory" {
			return fmt.Sprintf(`%q is %s; on SUSE a patch is named as zypper does, such as "SUSE-SLE-Module-Basesystem-15-SP6-2026-123", or by its package`, name, id)
		}
	case rpmNames:
		if rejected && (id == "a CVE" || id == "an advisory" || is("a bug")) {
			return fmt.Sprintf(`%q is %s; only packages can be rejected, such as "openssl" or "openssl-3.0.7-*.x86_64"`, name, cmp.Or(id, "the number of a bug"))
		}
		if id == "a KB" || id == "a bulletin" {
			return fmt.Sprintf(`%q is %s of Windows; a package, a CVE, an advisory such as "RHSA-2026:0864" or the number of a bug is wanted`, name, id)
		}
	}
	if (names == rpmNames || names == zypperNames) && strings.Count(name, "*") > 1 {
		return fmt.Sprintf("%q has %d *; one is allowed", name, strings.Count(name, "*"))
	}
	return globFault(name)
}

// globFault says what is wrong with a glob; empty where nothing is.
func globFault(glob string) string {
	if _, err := slash.Match(glob, ""); err != nil {
		return fmt.Sprintf("%q is not a glob: a [ has no ]", glob)
	}
	return ""
}

// defaultBaselines refuses a second default of an operating system, at the later place.
func (l *loading) defaultBaselines() {
	type placed struct {
		o  *object
		at schema.Position
	}
	bySystem := map[string][]placed{}
	for _, o := range l.list {
		if o.key.kind != "baseline" {
			continue
		}
		if n := o.read(); n.flag("default") {
			if s := n.str("operatingSystem"); s != "" {
				bySystem[s] = append(bySystem[s], placed{o, l.valuePos(o, o.key.path().field("default"))})
			}
		}
	}
	for system, defaults := range bySystem {
		slices.SortStableFunc(defaults, func(a, b placed) int {
			return cmp.Or(cmp.Compare(a.at.File, b.at.File), cmp.Compare(a.at.Line, b.at.Line), cmp.Compare(a.at.Column, b.at.Column))
		})
		for _, d := range defaults[1:] {
			l.wrong(d.o, d.o.key.path().field("default"), fmt.Sprintf("%s has the default baseline %s already (%s)", system, defaults[0].o.key.name, place(defaults[0].at, d.at.File)))
		}
	}
}
