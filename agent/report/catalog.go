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

	raws [][]byte // of the candidates as parseCatalog read them
}

// Catalog is what a reporter knows of the nodes that read the same archives.
type Catalog struct {
	Archives string   // digest of the archives, as the nodes claim: a part that is of others counts for nothing
	Facts    []string // digests that their lines name
	Parts    []string // digests of their CandidatesFiles, sorted, each as often as nodes tell it
	// Part gives one of those, each in its turn: all at once may be large. Where it fails, what the branch has of these
	// archives stays.
	Part func(digest string) ([]byte, error)
}

// Catalogs are what nodes have told of the newer versions that they know, by the archives that they read. Of a node
// whose line names no facts nothing counts.
func Catalogs(nodes []Node, told map[string]schema.CatalogRecord, part func(digest string) ([]byte, error)) []Catalog {
	var out []Catalog
	at := map[string]int{} // place in out, by archives
	counted := map[string]bool{}
	for _, n := range nodes {
		c := told[n.Line.Node]
		if n.Line.Facts == "" || !isHex(c.Archives, 64) || !isHex(c.Candidates, 64) {
			continue
		}
		i, known := at[c.Archives]
		if !known {
			i = len(out)
			at[c.Archives] = i
			out = append(out, Catalog{Archives: c.Archives, Part: part})
		}
		out[i].Facts = append(out[i].Facts, n.Line.Facts)
		if !counted[n.Line.Node] { // two hosts with one key tell it once
			counted[n.Line.Node] = true
			out[i].Parts = append(out[i].Parts, c.Candidates)
		}
	}
	for i := range out {
		slices.Sort(out[i].Parts)
	}
	return out
}

const (
	// maxCatalog bounds a catalog in bytes, maxCandidates the versions in it, maxCatalogs how many of a branch are read.
	maxCatalog    = 16 << 20
	maxCandidates = 50_000
	maxCatalogs   = 4096
	// maxCatalogFacts bounds the facts of a catalog to which those of the branch are added.
	maxCatalogFacts = 50_000
	// maxPart and maxPartCandidates bound what one node adds to a catalog.
	maxPart           = 4 << 20
	maxPartCandidates = 20_000
	// maxAllCatalogs bounds in bytes what one build reads from catalog/, what it holds of that and of nodes' parts, and what
	// it writes there.
	maxAllCatalogs = 64 << 20
	// maxCandidate bounds one version in bytes, maxObjects the archives and advisories of it, and the archives of a catalog.
	maxCandidate = 256 << 10
	maxObjects   = 1000
)

func catalogPath(digest string) string { return "catalog/" + digest + ".json" }

// CandidatesFile is a node's part of a catalog: canonical JSON of the archives that it reads and of the newer versions
// that it knows, without when the fleet saw them. archives is the digest of the former.
func CandidatesFile(f schema.Facts, archives []schema.Origin) (b []byte, archivesDigest string, err error) {
	c := catalogFile{Candidates: slices.Clone(f.Candidates), V: 1}
	// The digest is of the archives as whoever reads the file has them: what is no UTF-8 is another text there.
	if b, err = json.Marshal(archives); err == nil {
		err = json.Unmarshal(b, &c.Archives)
	}
	if err != nil {
		return nil, "", fmt.Errorf("write catalog: %w", err)
	}
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
	if len(c.Archives) == 0 {
		c.Archives = []schema.Origin{} // however there are none
	}
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
	}
	slices.Sort(c.Facts)
	c.Facts = slices.Compact(c.Facts)
	return c.text(raws)
}

// text is a catalog of versions that are written already, sorted, each once.
func (c *catalogFile) text(raws [][]byte) ([]byte, error) {
	size := 67 * len(c.Facts)
	for _, raw := range raws {
		size += len(raw) + 1
	}
	if size > maxCatalog || len(raws) > maxCandidates {
		return nil, fmt.Errorf("write catalog: %d versions in %d bytes are more than %d in %d", len(raws), size, maxCandidates, maxCatalog)
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

// parseCatalog reads a catalog.
func parseCatalog(raw []byte) (catalogFile, error) { return readParts(raw, maxCatalog, maxCandidates) }

// parsePart reads a node's part of a catalog.
func parsePart(raw []byte) (catalogFile, error) { return readParts(raw, maxPart, maxPartCandidates) }

// readParts takes the one form that encode gives, and is as strict with packages as whoever reads facts. Each version is
// checked before the next one is read: a few bytes of JSON can be many times as much in memory.
func readParts(raw []byte, size, most int) (catalogFile, error) {
	if len(raw) > size {
		return catalogFile{}, fmt.Errorf("%d bytes are more than %d", len(raw), size)
	}
	r := catalogReader{d: json.NewDecoder(bytes.NewReader(raw)), most: most}
	if err := r.read(); err != nil {
		return catalogFile{}, err
	}
	if want, err := r.c.text(r.c.raws); err != nil || !bytes.Equal(want, raw) {
		return catalogFile{}, errNoCatalog
	}
	return r.c, nil
}

var errNoCatalog = errors.New("not in the one form of a catalog: canonical JSON (RFC 8785), sorted, each version once")

// catalogReader reads one catalog.
type catalogReader struct {
	d     *json.Decoder
	c     catalogFile
	most  int // versions
	items int // archives and advisories, of all versions
}

func (r *catalogReader) read() error {
	if t, err := r.d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("malformed JSON: not an object")
	}
	for last := ""; r.d.More(); {
		t, err := r.d.Token()
		field, _ := t.(string)
		switch {
		case err != nil:
		case field <= last:
			return errNoCatalog
		case t == "archives":
			err = r.each(r.archive)
		case t == "candidates":
			err = r.each(r.candidate)
		case t == "facts":
			err = r.each(r.facts)
		case t == "v":
			if err = r.d.Decode(&r.c.V); err == nil && r.c.V != 1 {
				return fmt.Errorf("v is %d, this program knows 1", r.c.V)
			}
		default:
			return errors.New("malformed JSON: a field that this program does not know")
		}
		last = field
		if err != nil {
			return errors.New("malformed catalog: " + clip(err.Error()))
		}
	}
	if _, err := r.d.Token(); err != nil {
		return errors.New("malformed JSON: " + clip(err.Error()))
	}
	if _, err := r.d.Token(); err != io.EOF {
		return errors.New("malformed JSON: more than one value")
	}
	return nil
}

// each reads the elements of an array.
func (r *catalogReader) each(take func(raw json.RawMessage) error) error {
	if t, err := r.d.Token(); err != nil || t != json.Delim('[') {
		return errNoCatalog
	}
	for r.d.More() {
		var raw json.RawMessage
		if err := r.d.Decode(&raw); err != nil {
			return err
		}
		if n := bytes.Count(raw, []byte{'{'}); len(raw) > maxCandidate || n > maxObjects {
			return fmt.Errorf("one element has %d bytes and %d objects, more than %d or %d", len(raw), n, maxCandidate, maxObjects)
		}
		if err := take(raw); err != nil {
			return err
		}
		// A version has one or two archives, and seldom an advisory.
		if r.items > 5*r.most {
			return fmt.Errorf("more than %d archives and advisories", 5*r.most)
		}
	}
	_, err := r.d.Token()
	return err
}

func (r *catalogReader) archive(raw json.RawMessage) error {
	var o schema.Origin
	if err := strictly(raw, &o); err != nil {
		return err
	}
	if len(r.c.Archives) == maxObjects {
		return fmt.Errorf("more than %d archives", maxObjects)
	}
	r.c.Archives = append(r.c.Archives, o)
	return nil
}

func (r *catalogReader) candidate(raw json.RawMessage) error {
	if len(r.c.Candidates) == r.most {
		return fmt.Errorf("more than %d versions", r.most)
	}
	var p schema.PackageFact
	if err := strictly(raw, &p); err != nil {
		return err
	}
	if p.Name == "" || p.Arch == "" || p.Version == "" || p.Held || !p.FirstSeen.IsZero() || p.Phased != nil && (*p.Phased < 0 || *p.Phased > 100) {
		return fmt.Errorf("candidate %q is not one of a catalog", clip(p.Title()))
	}
	if n := len(r.c.Candidates); n > 0 && byVersion(r.c.Candidates[n-1], p) >= 0 {
		return errNoCatalog
	}
	r.items += len(p.Origins) + len(p.Advisories)
	r.c.Candidates, r.c.raws = append(r.c.Candidates, p), append(r.c.raws, raw)
	return nil
}

func (r *catalogReader) facts(raw json.RawMessage) error {
	var digest string
	if err := json.Unmarshal(raw, &digest); err != nil {
		return err
	}
	if !isHex(digest, 64) {
		return fmt.Errorf("facts %q is not a SHA-256 in hex", clip(digest))
	}
	if n := len(r.c.Facts); n > 0 && r.c.Facts[n-1] >= digest {
		return errNoCatalog
	}
	r.c.Facts = append(r.c.Facts, digest)
	return nil
}

// strictly reads an element that is canonical.
func strictly[T any](raw json.RawMessage, to *T) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if want, err := canonical(*to); err != nil || !bytes.Equal(want, raw) {
		return errNoCatalog
	}
	return nil
}

// hasDigest reports whether a text has a digest.
func hasDigest(text []byte, digest string) bool {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]) == digest
}

// catalogs writes the catalogs of the standing lines' facts, and removes those that none of them belongs to. names are the
// files in catalog/ of the branch. One of them at a time is held: of the others only whether they are what they say.
func (b *builder) catalogs(names []string, now []Catalog) error {
	standing := map[string]bool{}
	for _, s := range b.lines {
		standing[s.line.Facts] = true
	}
	room := maxAllCatalogs
	sets := map[string]*union{}             // by the digest of their archives
	covered := map[string]map[string]bool{} // facts that reporters know the candidates of, by archives
	// What most nodes have comes first, so that few of them keep it out in vain.
	now = slices.Clone(now)
	slices.SortStableFunc(now, func(a, b Catalog) int {
		return cmp.Or(cmp.Compare(len(b.Parts), len(a.Parts)), cmp.Compare(a.Archives, b.Archives))
	})
	for _, c := range now {
		set := sets[c.Archives]
		if set == nil {
			set = newUnion(&room)
		}
		if !set.parts(c) {
			continue
		}
		sets[c.Archives] = set
		if covered[c.Archives] == nil {
			covered[c.Archives] = map[string]bool{}
		}
		for _, d := range c.Facts {
			if standing[d] {
				set.c.Facts, covered[c.Archives][d] = append(set.c.Facts, d), true
			}
		}
	}
	ours := map[string]bool{} // paths, and whether the file is what its name says
	unread := maxAllCatalogs
	for i, name := range names {
		path := "catalog/" + name
		digest, is := strings.CutSuffix(name, ".json")
		if ours[path] = false; !is || !isHex(digest, 64) || i >= maxCatalogs || unread <= 0 {
			continue
		}
		text, err := readOurs(b.old, path, maxCatalog)
		if err != nil {
			return err
		}
		if unread -= max(len(text), 1); !hasDigest(text, digest) {
			continue
		}
		c, err := parseCatalog(text)
		if err != nil {
			continue
		}
		ours[path] = true
		key := c.archives()
		c.Facts = slices.DeleteFunc(c.Facts, func(d string) bool { return !standing[d] })
		set := sets[key]
		switch {
		case len(c.Facts) == 0:
		case set == nil:
			if set = newUnion(&room); set.add(c, 0) {
				set.c.Facts, sets[key] = c.Facts, set
			}
		case !set.whole || slices.ContainsFunc(c.Facts, func(d string) bool { return !covered[key][d] }):
			// Nodes that are away are in it, so what they know stays, if there is room.
			if len(set.c.Facts)+len(c.Facts) <= maxCatalogFacts && set.add(c, 0) {
				set.c.Facts = append(set.c.Facts, c.Facts...)
			}
		}
	}
	written, size := map[string]bool{}, 0
	for _, key := range slices.Sorted(maps.Keys(sets)) {
		set := sets[key]
		if len(set.c.Facts) == 0 {
			continue
		}
		text, err := set.text()
		if err != nil || size+len(text) > maxAllCatalogs || len(written) == maxCatalogs {
			continue // too large; what the branch has of it goes, since it is not of now
		}
		size += len(text)
		sum := sha256.Sum256(text)
		path := catalogPath(hex.EncodeToString(sum[:]))
		if written[path] = true; !ours[path] {
			b.files[path] = text
		}
	}
	for path := range ours {
		if !written[path] {
			b.files[path] = nil
		}
	}
	return nil
}

// union merges what is told of the same archives.
type union struct {
	c        catalogFile // but for its candidates
	versions map[version][]form
	size     int  // of all forms
	whole    bool // all parts were had
	room     *int // bytes, that all unions share
}

type version struct{ name, arch, version string }

// form is one way in which a version is told, and how many nodes do.
type form struct {
	raw   []byte
	nodes int
}

// overhead is about what a form costs in memory beside its bytes.
const overhead = 128

func newUnion(room *int) *union {
	return &union{versions: map[version][]form{}, room: room}
}

// parts merges the parts that nodes have, smallest first: where not all of them fit it is the largest that are left out. One
// that is malformed, or of other archives than its nodes claim, is its nodes' own affair. false is none at all.
func (u *union) parts(c Catalog) bool {
	type part struct {
		digest      string
		nodes, size int
	}
	u.whole = true
	told := map[string]int{}
	for _, digest := range c.Parts {
		told[digest]++
	}
	var all []part
	for digest, nodes := range told {
		raw, err := c.Part(digest)
		if err != nil {
			u.whole = false
		} else if len(raw) <= maxPart {
			all = append(all, part{digest, nodes, len(raw)})
		}
	}
	slices.SortFunc(all, func(a, b part) int {
		return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(a.digest, b.digest))
	})
	any := false
	for _, one := range all {
		raw, err := c.Part(one.digest)
		if err != nil {
			u.whole = false
			continue
		}
		if p, err := parsePart(raw); err == nil && p.archives() == c.Archives && u.add(p, one.nodes) {
			any = true
		}
	}
	return any
}

// add merges one more catalog that so many nodes tell, all of it or, where there is no room, nothing.
func (u *union) add(c catalogFile, nodes int) bool {
	size, versions, cost := 0, 0, 0
	known := func(i int) (k version, forms []form, at int) {
		p := c.Candidates[i]
		k = version{p.Name, p.Arch, p.Version}
		forms = u.versions[k]
		return k, forms, slices.IndexFunc(forms, func(f form) bool { return bytes.Equal(f.raw, c.raws[i]) })
	}
	for i, raw := range c.raws {
		_, forms, at := known(i)
		if len(forms) == 0 {
			versions++
		}
		if at < 0 {
			size, cost = size+len(raw)+1, cost+len(raw)+overhead
		}
	}
	// A quarter is for the archives and the digests of facts.
	if u.size+size > maxCatalog*3/4 || len(u.versions)+versions > maxCandidates || cost > *u.room {
		return false
	}
	for i, raw := range c.raws {
		k, forms, at := known(i)
		if at < 0 {
			u.versions[k] = append(forms, form{raw, nodes})
		} else {
			forms[at].nodes += nodes
		}
	}
	u.size, *u.room = u.size+size, *u.room-cost
	u.c.Archives, u.c.V = c.Archives, 1
	return true
}

// text is the catalog. Of one version told in two ways stands the one that most nodes tell, then the one with the lesser
// bytes, whatever order they come in.
func (u *union) text() ([]byte, error) {
	keys := slices.SortedFunc(maps.Keys(u.versions), func(a, b version) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.arch, b.arch), strings.Compare(a.version, b.version))
	})
	raws := make([][]byte, len(keys))
	for i, k := range keys {
		raws[i] = slices.MinFunc(u.versions[k], func(a, b form) int {
			return cmp.Or(cmp.Compare(b.nodes, a.nodes), bytes.Compare(a.raw, b.raw))
		}).raw
	}
	slices.Sort(u.c.Facts)
	u.c.Facts = slices.Compact(u.c.Facts)
	return u.c.text(raws)
}
