package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// Options say where and how to read.
type Options struct {
	Root    string // the host's root folder; "" is "/"
	Workers int    // goroutines that read lists; 0 is 2
}

// Patches is what is installed and what apt knows that is newer.
type Patches struct {
	Arch      string // the host's own architecture
	Packages  []Package
	Installed []schema.PackageFact // working versions, by name and architecture
	Newer     []schema.PackageFact // every newer version that apt knows, oldest first within a package
	Broken    []Package            // on disk and not working: unpacked, half-configured, half-installed
	Archives  []schema.Origin      // that have lists here, sorted, each once
	Warnings  []error              // sources without a list, as *InputError; the rest was read

	choices map[packageKeyed]Choice
}

type packageKeyed struct{ name, arch string }

// Choice is what apt would install for a package.
type Choice struct {
	Version string // "" if apt has no candidate
	Phased  bool   // a newer version that apt-get upgrade keeps back on this host for now: a phased update
}

// Candidate gives apt's own choice for an installed package, as apt-cache
// policy prints it; arch is the installed package's, "all" included. ok is false
// for a package that is not on the host.
func (p *Patches) Candidate(name, arch string) (c Choice, ok bool) {
	c, ok = p.choices[packageKeyed{name, arch}]
	return c, ok
}

// ReadPatches reads dpkg's status and apt's lists. It fails, naming the file and
// with a Hint, if one of them cannot be read or is not whole, if no list has
// been downloaded although sources are configured, and if apt itself would
// refuse its configuration.
func ReadPatches(ctx context.Context, o Options) (*Patches, error) {
	t := newTree(o.Root)
	conf, err := readAptConf(t)
	if err != nil {
		return nil, err
	}
	pkgs, err := readStatus(ctx, t, true, nil)
	if err != nil {
		return nil, err
	}
	native, archs, err := architectures(t, conf, pkgs)
	if err != nil {
		return nil, err
	}
	sources, err := readSources(t, conf, native, archs)
	if err != nil {
		return nil, err
	}
	p := &Patches{Arch: native, Packages: pkgs}
	lists, releases, err := p.locate(t, conf, sources)
	if err != nil {
		return nil, err
	}
	pol, err := readPolicy(t, conf, native, lists, releases)
	if err != nil {
		return nil, err
	}
	pol.machineID, pol.chroot = machineID(t, conf), inChroot(t)
	for i := range pkgs {
		if pkgs[i].Name == "apt" && CompareVersions(pkgs[i].Version, "2.7.11") >= 0 {
			pol.phaseSparesSecurity = true
		}
	}
	workers := o.Workers
	if workers == 0 {
		workers = 2
	}
	entries, err := newScanner(ctx, t, native, pkgs).run(lists, workers)
	if err != nil {
		return nil, err
	}
	p.judge(pol, lists, entries)
	return p, nil
}

// locate finds the Release file and the lists of every source.
func (p *Patches) locate(t tree, conf *aptConf, sources []*source) (lists []*list, releases []*release, err error) {
	for _, s := range sources {
		rel, signed, found, err := readRelease(t, conf, s)
		if err != nil {
			return nil, nil, err
		}
		trusted := signed
		switch {
		case s.trusted != "":
			trusted = aptBool(s.trusted, false)
		case s.uri.scheme == "cdrom" && conf.flag("APT::Authentication::TrustCDROM", false):
			trusted = true
		}
		ls, err := findLists(t, conf, s, &rel, found, trusted)
		if err != nil {
			return nil, nil, err
		}
		if len(ls) == 0 {
			p.Warnings = append(p.Warnings, &InputError{Path: conf.path("Dir::State::lists"), Hint: hintUpdate,
				Err: fmt.Errorf("no list of the source %s", s)})
		}
		for _, l := range ls {
			p.Archives = appendOrigins(p.Archives, l.archive.rel.originOf(l.source, l.archive.component, l.trusted))
		}
		lists = append(lists, ls...)
		releases = append(releases, &rel)
	}
	slices.SortFunc(p.Archives, func(a, b schema.Origin) int {
		trusted := func(o schema.Origin) int {
			if o.Trusted {
				return 0
			}
			return 1
		}
		return cmp.Or(strings.Compare(a.Origin, b.Origin), strings.Compare(a.Label, b.Label), strings.Compare(a.Suite, b.Suite),
			strings.Compare(a.Codename, b.Codename), strings.Compare(a.Component, b.Component), strings.Compare(a.Site, b.Site), trusted(a)-trusted(b))
	})
	if len(lists) == 0 && len(sources) > 0 {
		return nil, nil, p.Warnings[0]
	}
	return lists, releases, nil
}

// architectures gives the host's own architecture and all that apt may install.
func architectures(t tree, conf *aptConf, pkgs []Package) (native string, archs []string, err error) {
	var extra []string
	if b, err := t.read(archPath, maxConfigSize); err == nil {
		extra = strings.Fields(string(b))
	} else if !isNotExist(err) {
		return "", nil, err
	}
	native = conf.find("APT::Architecture")
	for _, name := range [...]string{"dpkg", "apt", "libc6"} {
		for i := range pkgs {
			if native == "" && pkgs[i].Name == name && pkgs[i].Arch != "all" {
				native = pkgs[i].Arch
			}
		}
	}
	if native == "" && len(extra) > 0 {
		native = extra[0]
	}
	if native == "" {
		return "", nil, &InputError{Path: StatusPath, Hint: hintStatus, Err: errors.New("no package tells the host's architecture: neither dpkg nor apt is installed")}
	}
	if archs = conf.vector("APT::Architectures"); len(archs) == 0 {
		archs = extra
	}
	archs = append([]string{native}, archs...)
	seen := map[string]bool{}
	archs = slices.DeleteFunc(archs, func(a string) bool {
		dup := seen[a] || a == ""
		seen[a] = true
		return dup
	})
	return native, archs, nil
}

func machineID(t tree, conf *aptConf) string {
	if id := conf.find("APT::Machine-ID"); id != "" {
		return id
	}
	b, err := t.read("/etc/machine-id", 4096)
	if err != nil {
		return ""
	}
	id, _, _ := strings.Cut(string(b), "\n")
	return id
}

// inChroot reports whether this process sees another root than the first one,
// which is where apt does not hold back phased updates.
func inChroot(t tree) bool {
	if !t.native() {
		return false
	}
	own, err := os.Stat("/")
	if err != nil {
		return false
	}
	first, err := os.Stat("/proc/1/root/.")
	if err != nil {
		return false
	}
	return !os.SameFile(own, first)
}

// judge merges the versions of the lists with the installed ones and applies
// apt's policy.
func (p *Patches) judge(pol *policy, lists []*list, entries []entry) {
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.pkg, b.pkg) })
	p.choices = make(map[packageKeyed]Choice, len(p.Packages))
	p.Installed = make([]schema.PackageFact, 0, len(p.Packages))
	var vs []*version
	for i := range p.Packages {
		pkg := &p.Packages[i]
		n := 0
		for n < len(entries) && entries[n].pkg == int32(i) {
			n++
		}
		vs = mergeVersions(vs[:0], pkg, entries[:n])
		entries = entries[n:]
		p.choices[packageKeyed{pkg.Name, pkg.Arch}] = pol.choose(pkg, vs)
		if pkg.State < TriggersAwaited {
			p.Broken = append(p.Broken, *pkg)
		}
		p.facts(pkg, vs, lists)
	}
	order := func(a, b schema.PackageFact) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.Arch, b.Arch)
	}
	slices.SortStableFunc(p.Installed, order)
	slices.SortStableFunc(p.Newer, func(a, b schema.PackageFact) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return CompareVersions(a.Version, b.Version)
	})
}

// version is one build of a version of a package, wherever it is found.
type version struct {
	entry           // of the first list; zero list if only installed
	files   []int32 // lists that have it
	current bool    // it is on the host
}

// mergeVersions gives the versions of a package, newest first and in the order
// of the lists, the installed one after equal ones.
func mergeVersions(vs []*version, pkg *Package, entries []entry) []*version {
	for i := range entries {
		e := &entries[i]
		at := len(vs)
		var same *version
		for k, v := range vs {
			c := CompareVersions(e.version, v.version)
			if c == 0 && v.identity.same(e.identity) {
				same = v
				break
			}
			if c > 0 {
				at = k
				break
			}
		}
		if same != nil {
			if !slices.Contains(same.files, e.list) {
				same.files = append(same.files, e.list)
			}
			continue
		}
		vs = slices.Insert(vs, at, &version{entry: *e, files: []int32{e.list}})
	}
	at := len(vs)
	for k, v := range vs {
		c := CompareVersions(pkg.Version, v.version)
		if c == 0 && v.identity.same(pkg.identity) {
			v.current = true
			return vs
		}
		if c > 0 {
			at = k
			break
		}
	}
	return slices.Insert(vs, at, &version{current: true, entry: entry{version: pkg.Version, arch: pkg.Arch, source: pkg.Source,
		sourceVer: pkg.SourceVersion, prio: pkg.Priority, sect: pkg.Section, phased: 100, identity: pkg.identity}})
}

// facts adds what a package has installed and all that is newer.
func (p *Patches) facts(pkg *Package, vs []*version, lists []*list) {
	have := pkg.Working()
	if have == "" {
		return
	}
	in := schema.PackageFact{Name: pkg.Name, Version: have, Arch: pkg.Arch, Source: pkg.Source,
		SourceVersion: pkg.SourceVersion, Held: pkg.Held, Priority: pkg.Priority, Section: pkg.Section}
	if have != pkg.Version {
		in.SourceVersion = have // the status file no longer says; corrected below if a list has it
	}
	found := false
	from := len(p.Newer)
	for _, v := range vs {
		if len(v.files) == 0 {
			continue
		}
		c := CompareVersions(v.version, have)
		if c < 0 {
			break
		}
		f := schema.PackageFact{Name: pkg.Name, Version: v.version, Arch: v.arch, Source: v.source, SourceVersion: v.sourceVer,
			Priority: v.prio, Section: v.sect, Origins: origins(v, lists)}
		if f.Source == "" {
			f.Source = pkg.Name
		}
		if c == 0 {
			// The build on the host decides; for a version no longer on the
			// disk there is only its number to go by.
			if !found && (v.current || have != pkg.Version) {
				found = true
				in.Origins, in.Priority, in.Section, in.SourceVersion = f.Origins, f.Priority, f.Section, f.SourceVersion
			}
			continue
		}
		if v.phased != 100 {
			n := v.phased
			f.Phased = &n
		}
		if last := len(p.Newer) - 1; last >= from && p.Newer[last].Version == f.Version && p.Newer[last].Arch == f.Arch {
			p.Newer[last].Origins = appendOrigins(p.Newer[last].Origins, f.Origins...) // another build of the same version
			continue
		}
		p.Newer = append(p.Newer, f)
	}
	p.Installed = append(p.Installed, in)
}

func origins(v *version, lists []*list) []schema.Origin {
	out := make([]schema.Origin, 0, len(v.files))
	for _, i := range v.files {
		l := lists[i]
		out = appendOrigins(out, l.archive.rel.originOf(l.source, l.archive.component, l.trusted))
	}
	return out
}

func appendOrigins(to []schema.Origin, from ...schema.Origin) []schema.Origin {
	for _, o := range from {
		if !slices.Contains(to, o) {
			to = append(to, o)
		}
	}
	return to
}
