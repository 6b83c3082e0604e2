package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// packagesFile holds the packages of a simulated host and of its archives, a SimulatedArchive.
const packagesFile = "packages.json"

// SimulatedArchive is the package database of a simulated host together with what its archives offer.
type SimulatedArchive struct {
	Arch      string                        `json:"arch"`
	Debian    string                        `json:"debian,omitempty"` // a release, "12": dpkg's and apt's own files are kept too, for who reads those
	Installed map[string]SimulatedInstalled `json:"installed"`
	Versions  map[string][]SimulatedVersion `json:"versions"` // by name, oldest first
}

// SimulatedInstalled is a package on a simulated host.
type SimulatedInstalled struct {
	Version   string `json:"version"`
	State     string `json:"state"` // dpkg's word; "installed" is well
	Held      bool   `json:"held,omitempty"`
	Essential bool   `json:"essential,omitempty"`
}

// SimulatedVersion is one version of a package in a simulated archive.
type SimulatedVersion struct {
	Version   string            `json:"version"`
	Arch      string            `json:"arch,omitempty"`      // empty: the host's
	Depends   map[string]string `json:"depends,omitempty"`   // name to its oldest version that will do; empty for any
	Conflicts []string          `json:"conflicts,omitempty"` // these are removed
	Fails     string            `json:"fails,omitempty"`     // what is said when it cannot be configured
	Security  bool              `json:"security,omitempty"`  // it is in the archive of security updates
	Priority  string            `json:"priority,omitempty"`  // empty: optional
	Section   string            `json:"section,omitempty"`   // empty: misc
	Reboot    bool              `json:"reboot,omitempty"`    // in force only after a reboot
}

// Packages lists what is installed.
func (s Simulated) Packages(ctx context.Context) ([]schema.PackageStatus, error) {
	db, err := s.archive(ctx)
	if err != nil {
		return nil, err
	}
	var out []schema.PackageStatus
	for _, name := range slices.Sorted(maps.Keys(db.Installed)) {
		p := db.Installed[name]
		out = append(out, schema.PackageStatus{
			Name: name, Arch: db.arch(name, p.Version), Version: p.Version, State: p.State, Held: p.Held, Essential: p.Essential,
		})
	}
	return out, nil
}

// Prepare configures what is half-installed, where it can be.
func (s Simulated) Prepare(ctx context.Context, _ bool) (schema.Prepared, error) {
	var prep schema.Prepared
	db, err := s.archive(ctx)
	if err != nil {
		return prep, err
	}
	mended := false
	for name, p := range db.Installed {
		if troubled(p.State) {
			if v, _ := db.find(name, p.Version); v.Fails == "" {
				p.State, mended = schema.PackageInstalled, true
				db.Installed[name] = p
			}
		}
	}
	if mended {
		if err := s.saveArchive(db); err != nil {
			return prep, err
		}
	}
	all, err := s.Packages(ctx)
	for _, p := range all {
		if troubled(p.State) {
			prep.Broken = append(prep.Broken, p)
		}
	}
	return prep, err
}

// Simulate says what tx would do.
func (s Simulated) Simulate(ctx context.Context, tx schema.Transaction) (schema.Simulation, error) {
	db, err := s.archive(ctx)
	if err != nil {
		return schema.Simulation{}, err
	}
	return db.simulate(tx)
}

// Transact does tx.
func (s Simulated) Transact(ctx context.Context, tx schema.Transaction) (schema.TransactionResult, error) {
	res := schema.TransactionResult{ID: "simulated", Started: time.Now().UTC(), Words: map[string]string{}}
	db, err := s.archive(ctx)
	if err != nil {
		return res, err
	}
	sim, err := db.simulate(tx)
	if err != nil {
		return res, err
	}
	var reboot []string
	for _, st := range sim.Steps {
		if st.Action == schema.Remove {
			delete(db.Installed, st.Name)
			continue
		}
		p := db.Installed[st.Name]
		p.Version, p.State = st.New, schema.PackageInstalled
		v, _ := db.find(st.Name, st.New)
		if v.Fails != "" {
			p.State, res.Words[st.Name] = "half-configured", v.Fails
		} else if v.Reboot {
			reboot = append(reboot, st.Name)
		}
		db.Installed[st.Name] = p
	}
	res.Ended = time.Now().UTC()
	if err := errors.Join(s.saveArchive(db), s.askForReboot(reboot)); err != nil {
		return res, err
	}
	have, err := s.Packages(ctx)
	if err != nil {
		return res, err
	}
	return res, s.LastInstalls().Add(lastInstallsOf(tx, have, res))
}

// Settle has nothing to wait for: a simulated transaction ends with its call.
func (s Simulated) Settle(context.Context) error { return nil }

// Record keeps why a package was not installed.
func (s Simulated) Record(_ context.Context, ref schema.PackageRef, reason string) error {
	return s.LastInstalls().Add([]schema.LastInstall{{
		Name: ref.Name, Arch: ref.Arch, Version: ref.Version, At: time.Now().UTC(), Outcome: "failed", Reason: reason,
	}})
}

// LastInstalls remembers what became of packages.
func (s Simulated) LastInstalls() LastInstalls {
	return LastInstalls{Path: filepath.Join(s.Dir, "lastinstall.json")}
}

// SetArchive replaces the packages of the host and of its archives.
func (s Simulated) SetArchive(a SimulatedArchive) error {
	if a.Debian != "" {
		if err := s.saveLists(a); err != nil {
			return err
		}
	}
	return s.saveArchive(a)
}

func (s Simulated) archive(ctx context.Context) (SimulatedArchive, error) {
	var db SimulatedArchive
	if err := ctx.Err(); err != nil {
		return db, err
	}
	err := s.loadState(packagesFile, &db)
	if db.Installed == nil {
		db.Installed = map[string]SimulatedInstalled{}
	}
	return db, err
}

// find returns a version of a package and its place in the archive, -1 for none. No version means the newest.
func (a SimulatedArchive) find(name, version string) (SimulatedVersion, int) {
	all := a.Versions[name]
	for i := len(all) - 1; i >= 0; i-- {
		if version == "" || all[i].Version == version {
			return all[i], i
		}
	}
	return SimulatedVersion{}, -1
}

func (a SimulatedArchive) arch(name, version string) string {
	if v, i := a.find(name, version); i >= 0 && v.Arch != "" {
		return v.Arch
	}
	return a.Arch
}

// simulate plans tx on a copy of the database.
func (a SimulatedArchive) simulate(tx schema.Transaction) (schema.Simulation, error) {
	p := simulatedPlan{archive: a, will: maps.Clone(a.Installed), asked: map[string]string{}}
	for _, r := range tx.Install {
		p.asked[r.Name] = r.Version
	}
	for _, r := range tx.Install {
		if err := p.install(r.Name, r.Version, 0); err != nil {
			return schema.Simulation{}, err
		}
	}
	for _, r := range tx.Remove {
		p.remove(r.Name)
	}
	return schema.Simulation{Steps: p.steps}, nil
}

type simulatedPlan struct {
	archive SimulatedArchive
	will    map[string]SimulatedInstalled
	asked   map[string]string
	steps   []schema.SimulatedStep
}

// simulatedDepth bounds chains of dependencies.
const simulatedDepth = 50

func (p *simulatedPlan) install(name, version string, depth int) error {
	no := func(format string, args ...any) error {
		return &schema.SimulationError{Words: fmt.Sprintf(format, args...), Packages: []string{name}}
	}
	v, at := p.archive.find(name, version)
	switch {
	case at < 0 && len(p.archive.Versions[name]) == 0:
		return no("Unable to locate package %s", name)
	case at < 0:
		return no("Version '%s' for '%s' was not found", version, name)
	case depth > simulatedDepth:
		return no("%s: its dependencies have no end", name)
	}
	was, had := p.will[name]
	if had && was.State == schema.PackageInstalled && (version == "" || was.Version == version) {
		return nil
	}
	if had && was.Held {
		return no("Held packages were changed: %s", name)
	}
	now := was
	now.Version, now.State = v.Version, schema.PackageInstalled
	p.will[name] = now
	for _, dep := range slices.Sorted(maps.Keys(v.Depends)) {
		_, least := p.archive.find(dep, v.Depends[dep])
		got, present := p.will[dep]
		if _, place := p.archive.find(dep, got.Version); present && (v.Depends[dep] == "" || place >= least && least >= 0) {
			continue
		}
		want, asked := p.asked[dep]
		if _, place := p.archive.find(dep, want); asked && place < least {
			return no("%s : Depends: %s (>= %s) but %s is to be installed", name, dep, v.Depends[dep], want)
		}
		if err := p.install(dep, want, depth+1); err != nil {
			return no("%s : Depends: %s (%v)", name, dep, err)
		}
	}
	for _, other := range v.Conflicts {
		p.remove(other)
	}
	st := schema.SimulatedStep{Action: schema.Install, Name: name, Arch: p.archive.arch(name, v.Version), New: v.Version}
	if had {
		st.Action, st.Old = schema.Upgrade, was.Version
	}
	p.steps = append(p.steps, st)
	return nil
}

// remove removes a package and what depends on it.
func (p *simulatedPlan) remove(name string) {
	was, had := p.will[name]
	if !had {
		return
	}
	delete(p.will, name)
	for _, other := range slices.Sorted(maps.Keys(p.will)) {
		if v, i := p.archive.find(other, p.will[other].Version); i >= 0 {
			if _, needs := v.Depends[name]; needs {
				p.remove(other)
			}
		}
	}
	p.steps = append(p.steps, schema.SimulatedStep{Action: schema.Remove, Name: name, Arch: p.archive.arch(name, was.Version), Old: was.Version})
}
