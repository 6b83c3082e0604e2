package inventory

import (
	"errors"
	"fmt"
	"strings"
)

// policy is apt's choice of versions, apt_preferences(5).
type policy struct {
	native string
	lists  []*list // with their priorities
	status int     // priority of the status file
	pins   []pin   // of packages, in apt's order

	machineID                                string
	chroot                                   bool
	phaseInPolicy, alwaysPhased, neverPhased bool
	phaseSparesSecurity                      bool // see security
}

const (
	prioDefault      = 500
	prioInstalled    = 100
	prioUpgrades     = 100 // ButAutomaticUpgrades
	prioNotAutomatic = 1
	prioDefaultRel   = 990
	prioDowngrade    = 1000 // from here on older versions are taken
)

// readPolicy reads the preferences and gives every list its priority.
func readPolicy(t tree, conf *aptConf, native string, lists []*list, releases []*release) (*policy, error) {
	p := &policy{native: native, lists: lists}
	files, err := t.parts(conf.path("Dir::Etc::preferencesparts"), "", "pref")
	if err != nil {
		return nil, err
	}
	if main := conf.path("Dir::Etc::preferences"); t.exists(main) {
		files = append([]string{main}, files...)
	}
	var general []pin
	if def := conf.find("APT::Default-Release"); def != "" {
		if !defaultReleaseExists(def, releases) {
			return nil, &InputError{Path: conf.path("Dir::Etc::main"), Hint: "correct APT::Default-Release in /etc/apt/apt.conf.d; apt refuses to work with it",
				Err: fmt.Errorf("%w: APT::Default-Release %q is the release of no source", errDefaultRelease, clip([]byte(def)))}
		}
		general = append(general, pin{all: true, match: newMatcher(pinRelease, def), priority: prioDefaultRel})
	}
	for _, f := range files {
		b, err := t.read(f, maxConfigSize)
		if err != nil {
			return nil, err
		}
		pins, err := parsePreferences(f, b)
		if err != nil {
			return nil, err
		}
		for _, q := range pins {
			if q.all {
				general = append(general, q)
			} else {
				p.pins = append(p.pins, q)
			}
		}
	}
	p.status = filePriority(prioInstalled, &archiveInfo{component: "now"}, general)
	for _, l := range lists {
		base := prioDefault
		switch rel := l.archive.rel; {
		case rel.butUpgrades:
			base = prioUpgrades
		case rel.notAutomatic:
			base = prioNotAutomatic
		}
		l.prio = filePriority(base, &l.archive, general)
	}
	p.phaseInPolicy = conf.flag("APT::Get::Phase-Policy", false)
	p.alwaysPhased = conf.flag("APT::Get::Always-Include-Phased-Updates", conf.flag("Update-Manager::Always-Include-Phased-Updates", false))
	p.neverPhased = conf.flag("APT::Get::Never-Include-Phased-Updates", conf.flag("Update-Manager::Never-Include-Phased-Updates", false))
	return p, nil
}

var errDefaultRelease = errors.New("invalid default release")

func defaultReleaseExists(def string, releases []*release) bool {
	e := newExpression(def)
	if len(def) > 2 && def[1] == '=' || e.match("now") {
		return true
	}
	for _, r := range releases {
		if e.matchField(r.suite) || e.matchField(r.codename) || e.matchField(r.version) {
			return true
		}
	}
	return false
}

// filePriority applies the pins of `Package: *`: the first that fits counts,
// but never outranks all.
func filePriority(base int, a *archiveInfo, general []pin) int {
	prio, fixed := base, false
	for i := range general {
		q := &general[i]
		if prio != neverPin && (!fixed || q.priority == neverPin) && q.match.file(a) {
			prio, fixed = q.priority, true
		}
	}
	return prio
}

// choose gives apt's candidate among a package's versions, newest first.
func (p *policy) choose(pkg *Package, vs []*version) Choice {
	best, at := -1, -1
	for i, v := range vs {
		prio := p.priority(pkg, v)
		if prio == 0 || prio <= best {
			continue
		}
		if prio < prioDowngrade && CompareVersions(v.version, pkg.Version) < 0 {
			continue
		}
		best, at = prio, i
	}
	if at < 0 {
		return Choice{}
	}
	c := Choice{Version: vs[at].version}
	c.Phased = !p.phaseInPolicy && !vs[at].current && p.skips(pkg, vs[at]) && !p.security(vs[at:])
	return c
}

// priority of a version: that of the first pin of the package that fits, or the
// highest of the archives that have it.
func (p *policy) priority(pkg *Package, v *version) int {
	ceiling := int(^uint(0) >> 1)
	if p.phaseInPolicy && p.skips(pkg, v) {
		ceiling = 1
	}
	if q := p.pinOf(pkg, v); q != nil && p.anyAllowed(v) {
		return min(q.priority, ceiling)
	}
	prio := -1 << 31
	for _, f := range v.files {
		prio = max(prio, p.lists[f].prio)
	}
	if v.current {
		prio = max(prio, p.status)
	}
	return min(prio, ceiling)
}

// anyAllowed reports whether some archive of the version is not pinned to never.
func (p *policy) anyAllowed(v *version) bool {
	if v.current && p.status != neverPin {
		return true
	}
	for _, f := range v.files {
		if p.lists[f].prio != neverPin {
			return true
		}
	}
	return false
}

var statusArchive = archiveInfo{component: "now"}

func (p *policy) pinOf(pkg *Package, v *version) *pin {
	if len(p.pins) == 0 {
		return nil
	}
	arch := v.arch
	if arch == "all" {
		arch = p.native
	}
	source := v.source
	if source == "" {
		source = pkg.Name
	}
	for i := range p.pins {
		q := &p.pins[i]
		name := pkg.Name
		if q.source {
			name = source
		}
		if q.forArch(arch, p.native) && q.names(name) && p.matches(&q.match, v) {
			return q
		}
	}
	return nil
}

func (p *policy) matches(m *matcher, v *version) bool {
	switch m.kind {
	case pinVersion:
		return m.version.match(v.version)
	case pinSourceVersion:
		return m.version.match(v.sourceVer)
	}
	for _, f := range v.files {
		if m.file(&p.lists[f].archive) {
			return true
		}
	}
	return v.current && m.file(&statusArchive)
}

// skips reports whether phasing leaves this host out of a version.
func (p *policy) skips(pkg *Package, v *version) bool {
	if v.phased == 100 || p.alwaysPhased {
		return false
	}
	if p.neverPhased {
		return true
	}
	if p.machineID == "" || p.chroot {
		return false
	}
	source := v.source
	if source == "" {
		source = pkg.Name
	}
	return phasedOut(source, v.sourceVer, p.machineID, v.phased)
}

// security reports whether the first version, or one between it and the
// installed one, is from a security archive: apt does not phase those. Before
// 2.7.11 it does not look at the first version itself.
func (p *policy) security(vs []*version) bool {
	if !p.phaseSparesSecurity {
		vs = vs[1:]
	}
	for _, v := range vs {
		if v.current {
			return false
		}
		for _, f := range v.files {
			if strings.HasSuffix(p.lists[f].archive.rel.suite, "-security") {
				return true
			}
		}
	}
	return false
}
