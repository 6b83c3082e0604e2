package report

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/reconciler/firstseen"
	"github.com/dunlin-dev/dunlin/schema"
)

// Branch puts the facts of nodes together again from a branch of reports: what is installed from their facts file, the
// newer versions from the catalog of their archives, and when the fleet saw those from its sightings. Nothing on the branch
// is believed: whatever is malformed, or not what its name says, is an error or counts for nothing.
type Branch struct {
	read     func(path string) ([]byte, error)
	catalogs []catalogFile
	of       map[string][]int // places of catalogs, by the facts that they belong to
	told     []firstseen.Told
	active   map[string]bool
	compare  func(a, b string) int
}

// ErrNoFacts is wrapped where the branch has no facts of a node.
var ErrNoFacts = errors.New("the branch has no facts of this node")

// OpenBranch reads the catalogs and sightings of a branch. read and list are as Verify takes them; keys are those of the
// active nodes of the roster, whose sightings alone count. compare orders versions as the hosts' package manager does.
func OpenBranch(read func(path string) ([]byte, error), list func(dir string) ([]string, error), keys map[string]ed25519.PublicKey, compare func(a, b string) int) (*Branch, error) {
	b := &Branch{read: read, of: map[string][]int{}, active: make(map[string]bool, len(keys)), compare: compare}
	for node := range keys {
		b.active[node] = true
	}
	names, err := list("catalog")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list %q of the reports: %w", "catalog", err)
	}
	room := 3 * maxAllCatalogs // a version is up to three times as much in memory as in a file
	for _, name := range names[:min(len(names), maxCatalogs)] {
		if room <= 0 {
			break // no reporter writes so much
		}
		c, _, err := readCatalog(func(path string) ([]byte, error) {
			text, err := read(path)
			room -= len(text)
			return text, err
		}, name)
		if err != nil {
			return nil, err
		}
		c.raws = nil
		for _, p := range c.Candidates {
			room -= overhead * (2 + len(p.Origins) + len(p.Advisories))
		}
		for _, digest := range c.Facts {
			b.of[digest] = append(b.of[digest], len(b.catalogs))
		}
		b.catalogs = append(b.catalogs, c)
	}
	seen, err := Seen(read, keys)
	if err != nil {
		return nil, err
	}
	for _, r := range seen {
		if t, ok := Told(r); ok {
			b.told = append(b.told, t)
		}
	}
	return b, nil
}

// Told is what a record of sightings says; ok is false for one that says nothing sound.
func Told(r schema.Record) (t firstseen.Told, ok bool) {
	v, err := decodeSeen(r.Body)
	return firstseen.Told{Node: r.Node, SeenRecord: v}, err == nil && r.Kind == schema.RecordSeen
}

// readCatalog reads a file of catalog/. problem says what is wrong with it, where it could be read.
func readCatalog(read func(string) ([]byte, error), name string) (c catalogFile, problem string, err error) {
	digest, is := strings.CutSuffix(name, ".json")
	if !is || !isHex(digest, 64) {
		return c, "not a catalog: those are catalog/<SHA-256>.json", nil
	}
	text, err := readFile(read, catalogPath(digest), maxCatalog)
	switch {
	case errors.Is(err, errTooLarge), errors.Is(err, ErrNoFile):
		return c, err.Error(), nil
	case err != nil:
		return c, "", err
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	if !hasDigest(text, digest) {
		return c, "its SHA-256 is not the one in its name", nil
	}
	if c, err = parseCatalog(text); err != nil {
		return catalogFile{}, err.Error(), nil
	}
	return c, "", nil
}

// Facts are those of the node of a line, as of now: its own counters (pendingReboot, lastInstall) are not on the branch.
// The line is believed: VerifyLine comes first. It wraps ErrNoFacts where the branch has none, as of a fleet that keeps
// them to itself.
func (b *Branch) Facts(line schema.ReportLine, now time.Time) (schema.Facts, error) {
	if !isHex(line.Facts, 64) {
		return schema.Facts{}, fmt.Errorf("facts of node %q: %w", clip(line.Node), ErrNoFacts)
	}
	path := factsFile(line.Facts)
	text, err := b.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return schema.Facts{}, fmt.Errorf("facts of node %q: %w: %q is not there", clip(line.Node), ErrNoFacts, path)
	}
	if err != nil {
		return schema.Facts{}, fmt.Errorf("read %q of the reports: %w", path, err)
	}
	if text = bytes.TrimSuffix(text, []byte("\n")); len(text) > maxFacts || !hasDigest(text, line.Facts) {
		return schema.Facts{}, fmt.Errorf("read %q of the reports: its SHA-256 is not the one in its name", path)
	}
	f, faults := schema.ParseFacts(text)
	if len(faults) > 0 {
		return schema.Facts{}, fmt.Errorf("read %q of the reports: line %d: %s: %s", path, faults[0].Line, clip(faults[0].Path), clip(faults[0].Message))
	}
	f.Node, f.At = line.Node, line.Since
	f.PendingReboot, f.LastInstall = schema.PendingReboot{Packages: []string{}}, []schema.LastInstall{}
	if f.Candidates == nil { // facts of earlier versions have their own
		f.Candidates = b.candidates(f, line.Facts)
	}
	who := firstseen.Who{Self: line.Node, Active: func(n string) bool { return b.active[n] }, Alone: len(b.active) == 1 && b.active[line.Node], Now: now}
	Date(f.Candidates, who, b.told)
	return f, nil
}

// Date dates newer versions by what nodes told.
func Date(candidates []schema.PackageFact, who firstseen.Who, told []firstseen.Told) {
	want := firstseen.Wanted{}
	for _, p := range candidates {
		want.Add(p)
	}
	book := firstseen.Open(who, want, told)
	for i := range candidates {
		candidates[i].FirstSeen = book.Date(candidates[i])
	}
}

// candidates are the versions of a catalog that are newer than what is installed, as the host itself lists them.
func (b *Branch) candidates(f schema.Facts, digest string) []schema.PackageFact {
	var all []schema.PackageFact
	for _, i := range b.of[digest] {
		all = append(all, b.catalogs[i].Candidates...)
	}
	return Newer(f, all, b.compare)
}

// Newer gives, of versions that nodes with the same archives know, those that are newer than what is installed: oldest
// first within a package. To apt a package of architecture "all" and one of the host's own are versions of one package.
func Newer(f schema.Facts, all []schema.PackageFact, compare func(a, b string) int) []schema.PackageFact {
	type named struct{ name, arch string }
	key := func(name, arch string) named {
		if arch == "all" {
			arch = f.Arch
		}
		return named{name, arch}
	}
	have := make(map[named]string, len(f.Installed))
	for _, p := range f.Installed {
		if k := key(p.Name, p.Arch); have[k] == "" || compare(p.Version, have[k]) > 0 {
			have[k] = p.Version
		}
	}
	out := []schema.PackageFact{}
	for _, p := range all {
		if installed, ok := have[key(p.Name, p.Arch)]; ok && compare(p.Version, installed) > 0 {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b schema.PackageFact) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		if c := compare(a.Version, b.Version); c != 0 {
			return c
		}
		return byVersion(a, b)
	})
	return slices.CompactFunc(out, func(a, b schema.PackageFact) bool { return byVersion(a, b) == 0 })
}

// Candidates are the newer versions in a node's own part of a catalog.
func Candidates(part []byte) ([]schema.PackageFact, error) {
	c, err := parseCatalog(part)
	return c.Candidates, err
}
