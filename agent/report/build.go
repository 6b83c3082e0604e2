package report

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// maxFacts bounds a facts file in bytes.
const maxFacts = 16 << 20

// Node is what a reporter knows of one node. A node may come more than once, with lines of two hosts that have its key; the
// first says all else of it.
type Node struct {
	// Line is the node's newest signed line. With Rev 0 there is none, and only Node, its id, counts.
	Line   schema.ReportLine
	Name   string // of the roster
	Status schema.NodeStatus
	// Facts are the bytes whose SHA-256 the line names; nil where the reporter has them not, or knows them on the branch.
	// Each digest that is given is looked up on the branch once a Build.
	Facts []byte
	// Key is the node's signing key. With it no line is written that the node has not signed, and one of the branch that
	// was forged, whatever its revision, gives way. Nil: lines are taken as they are.
	Key ed25519.PublicKey
}

// Build merges a reporter's lines into the branch that old reads. It returns the files that differ from the branch (a nil
// value deletes) and the commit's message; where nothing differs the map is empty. now only tells nodes whose clock is
// ahead: what is written depends on lines, names and statuses, so building again says nothing new.
//
// A file that is not there must wrap fs.ErrNotExist; any other error of old ends the build. A line that is malformed, of
// another fleet or badly signed is left out, and the page says so beside its node. What is on the branch and is not ours,
// because it is malformed, forged or too large, gives way.
func Build(old func(path string) ([]byte, error), fleet string, nodes []Node, now time.Time) (files map[string][]byte, message string, err error) {
	return Restore(old, nil, fleet, nodes, now)
}

// Restore is Build upon a branch that somebody took away or rewrote: what before reads, an earlier state of it, is merged
// in too, as far as it is of one of nodes and signed by it. before may be nil.
func Restore(old, before func(path string) ([]byte, error), fleet string, nodes []Node, now time.Time) (files map[string][]byte, message string, err error) {
	return Write(old, before, fleet, nodes, More{}, now)
}

// More is what a reporter knows beside lines and facts.
type More struct {
	Seen []schema.Record // what nodes have told of what they saw in archives
	// Catalogs are of the nodes by the archives that they read, and Names the files in catalog/ of the branch. Without
	// Renew what is there stays as it is.
	Renew    bool
	Catalogs []Catalog
	Names    []string
}

// Write is Restore with all that a reporter knows.
func Write(old, before func(path string) ([]byte, error), fleet string, nodes []Node, more More, now time.Time) (files map[string][]byte, message string, err error) {
	if !isName(fleet) {
		return nil, "", fmt.Errorf("build reports: fleet %q is not a name", clip(fleet))
	}
	b := builder{
		old: old, before: before, files: map[string][]byte{}, refused: map[string]string{},
		merger: merger{
			fleet: fleet, keys: map[string]ed25519.PublicKey{}, lines: make(map[string]stored, len(nodes)),
			own: make(map[string]stored, len(nodes)), found: make(map[string]bool, len(nodes)),
			conflicts: map[conflictKey][][]byte{}, let: map[string]bool{},
		},
	}
	b.take(nodes)
	changed, err := b.merge(nodes)
	if err != nil {
		return nil, "", err
	}
	if err := b.facts(nodes); err != nil {
		return nil, "", err
	}
	if err := b.seen(nodes, more.Seen); err != nil {
		return nil, "", err
	}
	if more.Renew {
		if err := b.catalogs(more.Names, more.Catalogs); err != nil {
			return nil, "", err
		}
	}
	v := b.view(nodes, now)
	pages := map[string][]byte{
		"README.md":    v.readme(),
		"summary.json": v.summary(),
	}
	maps.Copy(pages, v.charts())
	maps.Copy(pages, v.badges())
	for _, path := range slices.Sorted(maps.Keys(pages)) {
		if err := b.write(path, pages[path], maxShard); err != nil {
			return nil, "", err
		}
	}
	if len(b.files) == 0 {
		return b.files, "", nil
	}
	return b.files, v.message(changed, b.dropped), nil
}

// builder is one Build.
type builder struct {
	merger
	old     func(string) ([]byte, error)
	before  func(string) ([]byte, error) // nil: there is none
	files   map[string][]byte
	refused map[string]string // by node, why its own line was not taken
}

// take reads what the reporter has, before the branch is looked at.
func (b *builder) take(nodes []Node) {
	for _, n := range nodes {
		if len(n.Key) == ed25519.PublicKeySize && schema.NodeID(n.Key) == n.Line.Node {
			b.keys[n.Line.Node] = n.Key
		}
		if n.Line.Rev == 0 {
			continue
		}
		raw, err := Encode(n.Line)
		switch {
		case err != nil:
			b.refused[n.Line.Node] = "its line is malformed"
		case n.Line.Fleet != b.fleet:
			b.refused[n.Line.Node] = "its line is of another fleet"
		case n.Key != nil && schema.NodeID(n.Key) != n.Line.Node:
			b.refused[n.Line.Node] = "its line is not of its key"
		default:
			b.own[string(raw)] = stored{raw: raw, line: n.Line}
		}
	}
}

// merge merges all shards and the conflicts, and says how many lines are new.
func (b *builder) merge(nodes []Node) (changed int, err error) {
	var old [256]was
	for i := range old {
		shard := hex.EncodeToString([]byte{byte(i)})
		text, err := readOurs(b.old, "nodes/"+shard+".jsonl", maxShard)
		if err != nil {
			return 0, err
		}
		old[i] = wasText(text)
		b.shard(shard, text)
	}
	conflicts, err := readOurs(b.old, "conflicts.jsonl", maxShard)
	if err != nil {
		return 0, err
	}
	b.readConflicts(conflicts)
	if err := b.restore(nodes); err != nil {
		return 0, err
	}
	maps.DeleteFunc(b.conflicts, func(_ conflictKey, lines [][]byte) bool { return len(lines) < 2 })
	said := map[conflictKey][]byte{}
	for raw, s := range b.own {
		// What is on the branch: its signature was checked before it came there, and verify checks it again.
		if !b.found[raw] {
			if !b.signed(s) {
				b.refused[s.line.Node] = "its line is not signed by it"
				continue
			}
			b.merger.take(s)
		}
		k := conflictKey{s.line.Node, s.line.Rev}
		if other := said[k]; other != nil {
			b.conflict(k.node, k.rev, other, s.raw)
		}
		said[k] = s.raw
	}
	var shards [256][]string
	for node, s := range b.lines {
		if !s.old {
			changed++
		}
		i, _ := hex.DecodeString(Shard(node))
		shards[i[0]] = append(shards[i[0]], node)
	}
	for i := range shards {
		b.putWas("nodes/"+hex.EncodeToString([]byte{byte(i)})+".jsonl", old[i], b.shardText(shards[i]))
	}
	b.put("conflicts.jsonl", conflicts, b.writeConflicts())
	return changed, nil
}

// restore merges the lines and conflicts of what the branch was before.
func (b *builder) restore(nodes []Node) error {
	if b.before == nil {
		return nil
	}
	known := map[string]bool{}
	for _, n := range nodes {
		known[n.Line.Node] = true
	}
	ours := func(l schema.ReportLine) bool {
		return known[l.Node] && l.Fleet == b.fleet && b.signed(stored{line: l})
	}
	for i := range 256 {
		text, err := readOurs(b.before, "nodes/"+hex.EncodeToString([]byte{byte(i)})+".jsonl", maxShard)
		if err != nil {
			return err
		}
		var others share
		for raw := range bytes.Lines(text) {
			if others.spent() {
				break
			}
			s, err := read(bytes.TrimSuffix(raw, []byte("\n")))
			if err != nil || s.newer || !ours(s.line) {
				others.rubbish += len(raw)
				continue
			}
			if b.room(s, &others) {
				s.raw = bytes.Clone(s.raw)
				b.merger.take(s)
			}
		}
	}
	text, err := readOurs(b.before, "conflicts.jsonl", maxShard)
	if err != nil {
		return err
	}
	for raw := range bytes.Lines(text) {
		c, err := parseConflict(bytes.TrimSuffix(raw, []byte("\n")))
		if err != nil {
			continue
		}
		for _, one := range c.Lines {
			if l, err := parseLine(one); err == nil && ours(l) {
				b.conflict(c.Node, c.Rev, one)
			}
		}
	}
	return nil
}

// was is the SHA-256 of what a file of the branch was: all that need be kept of it, for it to be compared.
type was [sha256.Size]byte

func wasText(text []byte) was { return sha256.Sum256(text) }

// putWas is put for a file whose old text is gone.
func (b *builder) putWas(path string, old was, now []byte) {
	if wasText(now) != old {
		b.files[path] = now
		if len(now) == 0 {
			b.files[path] = nil
		}
	}
}

// put notes a file where it differs; an empty one is no file.
func (b *builder) put(path string, old, now []byte) {
	switch {
	case bytes.Equal(old, now):
	case len(now) == 0:
		b.files[path] = nil
	default:
		b.files[path] = now
	}
}

// write puts a file that is read only now.
func (b *builder) write(path string, now []byte, limit int) error {
	old, err := readOurs(b.old, path, limit)
	if err != nil {
		return err
	}
	b.put(path, old, now)
	return nil
}

// facts adds the facts that standing lines name, and removes those that none names any more.
func (b *builder) facts(nodes []Node) error {
	done := map[string]bool{}
	for _, n := range nodes {
		digest := n.Line.Facts
		s, ok := b.lines[n.Line.Node]
		if len(n.Facts) == 0 || !ok || s.line.Facts != digest || done[digest] {
			continue
		}
		if !isFacts(n.Facts, digest) {
			b.refused[n.Line.Node] = "its facts are not those that its line names"
			continue
		}
		done[digest] = true
		if err := b.write(factsFile(digest), n.Facts, maxFacts); err != nil {
			return err
		}
	}
	if err := b.restoreFacts(done); err != nil {
		return err
	}
	delete(b.let, "")
	if len(b.let) == 0 {
		return nil
	}
	for _, s := range b.lines {
		delete(b.let, s.line.Facts)
	}
	for _, digest := range slices.Sorted(maps.Keys(b.let)) {
		if err := b.write(factsFile(digest), nil, maxFacts); err != nil {
			return err
		}
	}
	return nil
}

// restoreFacts adds the facts of lines that stood before, where the branch has them not.
func (b *builder) restoreFacts(done map[string]bool) error {
	if b.before == nil {
		return nil
	}
	for _, node := range slices.Sorted(maps.Keys(b.lines)) {
		s := b.lines[node]
		if digest := s.line.Facts; !s.old && digest != "" && !done[digest] {
			done[digest] = true
			there, err := readOurs(b.old, factsFile(digest), maxFacts)
			if err != nil {
				return err
			}
			if isFacts(there, digest) {
				continue
			}
			text, err := readOurs(b.before, factsFile(digest), maxFacts)
			if err != nil {
				return err
			}
			if isFacts(text, digest) {
				b.put(factsFile(digest), there, text)
			}
		}
	}
	return nil
}

// isFacts reports whether a text is the facts file of that name. A newline at its end is none of it.
func isFacts(text []byte, digest string) bool {
	if bytes.HasSuffix(text, []byte("\n")) {
		return false
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]) == digest && len(text) <= maxFacts && json.Valid(text)
}

// message is the commit's: a headline, and trailers that make `git log` a time series.
func (v *view) message(changed, dropped int) string {
	var m strings.Builder
	fmt.Fprintf(&m, "reports: %s of %s COMPLIANT", number(v.verdicts[schema.Compliant]), plural(v.total, "node", "nodes"))
	fmt.Fprintf(&m, "\n\n%s changed.", plural(changed, "line", "lines"))
	if dropped > 0 {
		fmt.Fprintf(&m, "\n%s removed that no node of the fleet had signed in that form.", plural(dropped, "line", "lines"))
	}
	m.WriteString("\n\n")
	if len(v.commits) > 0 {
		fmt.Fprintf(&m, "Dunlin-Policy: %s\n", v.commits[0].commit)
	}
	fmt.Fprintf(&m, "Dunlin-Nodes: %d\nDunlin-Compliant: %d\n", v.total, v.verdicts[schema.Compliant])
	return m.String()
}
