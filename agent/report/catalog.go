package report

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// A catalog holds the newer versions that all nodes know which read the same archives, so that a new version in an archive
// changes one file, and no facts, however many nodes have it. Which of them are newer than what a node has installed its
// facts tell.
type catalogFile struct {
	Archives   []schema.Origin      `json:"archives"`        // that the nodes read, sorted
	Candidates []schema.PackageFact `json:"candidates"`      // by name, architecture and version, as texts
	Facts      []string             `json:"facts,omitempty"` // digests of the facts files that it belongs to; of one node's part none
	V          int                  `json:"v"`               // 1
}

// Catalog is what a reporter knows of the nodes that read the same archives.
type Catalog struct {
	Facts []string // digests that their lines name
	Parts []string // digests of their CandidatesFiles, sorted
	// Part gives one of those, each in its turn: all at once may be large. Where it fails, what the branch has of these
	// archives stays.
	Part func(digest string) ([]byte, error)
}

// Catalogs are what nodes have told of the newer versions that they know, by the archives that they read. Of a node
// whose line names no facts nothing counts.
func Catalogs(nodes []Node, told map[string]schema.CatalogRecord, part func(digest string) ([]byte, error)) []Catalog {
	var out []Catalog
	at := map[string]int{} // place in out, by archives
	for _, n := range nodes {
		c := told[n.Line.Node]
		if n.Line.Facts == "" || !isHex(c.Archives, 64) || !isHex(c.Candidates, 64) {
			continue
		}
		i, known := at[c.Archives]
		if !known {
			i = len(out)
			at[c.Archives] = i
			out = append(out, Catalog{Part: part})
		}
		out[i].Facts, out[i].Parts = append(out[i].Facts, n.Line.Facts), append(out[i].Parts, c.Candidates)
	}
	for i := range out {
		slices.Sort(out[i].Parts)
		out[i].Parts = slices.Compact(out[i].Parts)
	}
	return out
}

const (
	// maxCatalog bounds a catalog in bytes, maxCatalogs how many of a branch are read.
	maxCatalog  = 16 << 20
	maxCatalogs = 4096
)

func catalogPath(digest string) string { return "catalog/" + digest + ".json" }

// CandidatesFile is a node's part of a catalog: canonical JSON of the archives that it reads and of the newer versions
// that it knows, without when the fleet saw them. archives is the digest of the former.
func CandidatesFile(f schema.Facts, archives []schema.Origin) (b []byte, archivesDigest string, err error) {
	c := catalogFile{Archives: archives, Candidates: slices.Clone(f.Candidates), V: 1}
	for i := range c.Candidates {
		c.Candidates[i].FirstSeen = time.Time{}
	}
	if b, err = c.encode(); err != nil {
		return nil, "", err
	}
	return b, c.archives(), nil
}

// archives is the digest of the archives.
func (c catalogFile) archives() string {
	b, _ := json.Marshal(c.Archives) // texts cannot fail
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// encode sorts a catalog and writes it as canonical JSON. It is written version by version, since it may be large.
func (c *catalogFile) encode() ([]byte, error) {
	type keyed struct {
		schema.PackageFact
		raw []byte
	}
	all := make([]keyed, len(c.Candidates))
	size := 0
	for i, p := range c.Candidates {
		raw, err := canonical(p)
		if err != nil {
			return nil, fmt.Errorf("write catalog: %w", err)
		}
		all[i] = keyed{p, raw}
	}
	slices.SortFunc(all, func(a, b keyed) int {
		return cmp.Or(byVersion(a.PackageFact, b.PackageFact), bytes.Compare(a.raw, b.raw))
	})
	// Of one version told in two ways, as where lists are of two moments, one stands, whatever order they come in.
	all = slices.CompactFunc(all, func(a, b keyed) bool { return byVersion(a.PackageFact, b.PackageFact) == 0 })
	c.Candidates = c.Candidates[:0:0]
	raws := make([][]byte, len(all))
	for i := range all {
		c.Candidates, raws[i] = append(c.Candidates, all[i].PackageFact), all[i].raw
		size += len(raws[i])
	}
	slices.Sort(c.Facts)
	c.Facts = slices.Compact(c.Facts)
	if size > maxCatalog {
		return nil, fmt.Errorf("write catalog: %d bytes are more than %d", size, maxCatalog)
	}
	archives := make([][]byte, len(c.Archives))
	for i, o := range c.Archives {
		var err error
		if archives[i], err = canonical(o); err != nil {
			return nil, fmt.Errorf("write catalog: %w", err)
		}
	}
	var b bytes.Buffer
	b.WriteString(`{"archives":[`)
	b.Write(bytes.Join(archives, []byte{','}))
	b.WriteString(`],"candidates":[`)
	b.Write(bytes.Join(raws, []byte{','}))
	b.WriteByte(']')
	if len(c.Facts) > 0 {
		b.WriteString(`,"facts":["` + strings.Join(c.Facts, `","`) + `"]`)
	}
	b.WriteString(`,"v":1}`)
	if b.Len() > maxCatalog {
		return nil, fmt.Errorf("write catalog: %d bytes are more than %d", b.Len(), maxCatalog)
	}
	return b.Bytes(), nil
}

func byVersion(a, b schema.PackageFact) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch), strings.Compare(a.Version, b.Version))
}

// parseCatalog reads a catalog, or a node's part of one. It takes the one form that encode gives, and is as strict with
// packages as whoever reads facts.
func parseCatalog(raw []byte) (catalogFile, error) {
	var c catalogFile
	if len(raw) > maxCatalog {
		return c, fmt.Errorf("%d bytes are more than %d", len(raw), maxCatalog)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return catalogFile{}, errors.New("malformed JSON: " + clip(err.Error()))
	}
	if _, err := d.Token(); err != io.EOF {
		return catalogFile{}, errors.New("malformed JSON: more than one value")
	}
	if c.V != 1 {
		return catalogFile{}, fmt.Errorf("v is %d, this program knows 1", c.V)
	}
	for _, p := range c.Candidates {
		if p.Name == "" || p.Arch == "" || p.Version == "" || p.Held || !p.FirstSeen.IsZero() || p.Phased != nil && (*p.Phased < 0 || *p.Phased > 100) {
			return catalogFile{}, fmt.Errorf("candidate %q is not one of a catalog", clip(p.Title()))
		}
	}
	for _, digest := range c.Facts {
		if !isHex(digest, 64) {
			return catalogFile{}, fmt.Errorf("facts %q is not a SHA-256 in hex", clip(digest))
		}
	}
	again := c
	want, err := again.encode()
	if err != nil || !bytes.Equal(want, raw) {
		return catalogFile{}, errors.New("not in the one form of a catalog: canonical JSON (RFC 8785), sorted, each version once")
	}
	return c, nil
}

// hasDigest reports whether a text has a digest.
func hasDigest(text []byte, digest string) bool {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]) == digest
}

// catalogs writes the catalogs of the standing lines' facts, and removes those that none of them belongs to. names are the
// files in catalog/ of the branch.
func (b *builder) catalogs(names []string, now []Catalog) error {
	standing := map[string]bool{}
	for _, s := range b.lines {
		standing[s.line.Facts] = true
	}
	sets := map[string]*catalogFile{} // by the digest of their archives
	files := map[string][]byte{}
	old := map[string][]catalogFile{}
	for i, name := range names {
		path := "catalog/" + name
		digest, is := strings.CutSuffix(name, ".json")
		if !is || !isHex(digest, 64) || i >= maxCatalogs {
			b.files[path] = nil
			continue
		}
		text, err := readOurs(b.old, path, maxCatalog)
		if err != nil {
			return err
		}
		files[path] = text
		if c, err := parseCatalog(text); err == nil && hasDigest(text, digest) {
			old[c.archives()] = append(old[c.archives()], c)
		}
	}
	covered := map[string]map[string]bool{} // facts that reporters know the candidates of, by archives
	complete := map[string]bool{}
	for _, c := range now {
		set, key, whole := c.union()
		if set == nil {
			continue
		}
		set.Facts = slices.DeleteFunc(slices.Clone(c.Facts), func(d string) bool { return !standing[d] })
		if before := sets[key]; before != nil {
			set.Facts, set.Candidates = append(set.Facts, before.Facts...), append(set.Candidates, before.Candidates...)
		}
		sets[key], complete[key] = set, whole
		if covered[key] == nil {
			covered[key] = map[string]bool{}
		}
		for _, d := range set.Facts {
			covered[key][d] = true
		}
	}
	for key, all := range old {
		for _, c := range all {
			c.Facts = slices.DeleteFunc(c.Facts, func(d string) bool { return !standing[d] })
			unknown := slices.ContainsFunc(c.Facts, func(d string) bool { return !covered[key][d] })
			set := sets[key]
			switch {
			case len(c.Facts) == 0:
			case set == nil:
				sets[key] = &c
				complete[key] = len(all) == 1
			case unknown || !complete[key]:
				// Nodes that are away are in it, so what they know stays.
				set.Facts, set.Candidates = append(set.Facts, c.Facts...), append(set.Candidates, c.Candidates...)
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(sets)) {
		set := sets[key]
		if len(set.Facts) == 0 {
			continue
		}
		text, err := set.encode()
		if err != nil {
			continue // too large; what the branch has of it goes, since it is not of now
		}
		sum := sha256.Sum256(text)
		path := catalogPath(hex.EncodeToString(sum[:]))
		if !bytes.Equal(files[path], text) {
			b.files[path] = text
		}
		delete(files, path)
	}
	for path := range files {
		b.files[path] = nil
	}
	return nil
}

// union merges the parts of a catalog. A part that is malformed, or of other archives than the first, is left out; nil is
// none at all. whole says that all were had.
func (c Catalog) union() (out *catalogFile, key string, whole bool) {
	whole = true
	seen := map[[3]string]bool{}
	for _, digest := range c.Parts {
		raw, err := c.Part(digest)
		if err != nil {
			whole = false
			continue
		}
		p, err := parseCatalog(raw)
		if err != nil || out != nil && p.archives() != key {
			continue // its node's own affair
		}
		if out == nil {
			out, key = &catalogFile{Archives: p.Archives, V: 1}, p.archives()
		}
		for _, one := range p.Candidates {
			if k := [3]string{one.Name, one.Arch, one.Version}; !seen[k] {
				seen[k] = true
				out.Candidates = append(out.Candidates, one)
			}
		}
	}
	return out, key, whole
}
