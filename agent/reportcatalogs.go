package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

// catalogs is what a reporter knows of the newer versions in the fleet's archives.
type catalogs struct {
	all     []report.Catalog
	key     string // names what they are made of, and what the branch has
	changed bool   // it is not what was written last
	partial bool   // not all parts could be had
}

// catalogs gathers what nodes say of the newer versions that they know, by the archives that they read. Parts are fetched
// where they are not here; what cannot be had now is for another time.
func (r *reporter) catalogs(ctx context.Context, head string, nodes []report.Node) (catalogs, error) {
	a := r.a
	tree, err := branchReader(r.store, head)
	if err != nil {
		return catalogs{}, err
	}
	told := a.catalogsTold()
	var out catalogs
	holders := map[string][]string{} // nodes that are here and have a part, by its digest
	what := slices.Sorted(slices.Values(tree.catalogs()))
	for _, n := range nodes {
		c := told[n.Line.Node]
		if n.Line.Facts != "" {
			what = append(what, n.Line.Facts+" "+c.Archives+" "+c.Candidates)
		}
		if n.Status == schema.Online && len(holders[c.Candidates]) < 3 {
			holders[c.Candidates] = append(holders[c.Candidates], n.Line.Node)
		}
	}
	sum := sha256.Sum256([]byte(strings.Join(slices.Compact(what), "\n")))
	if out.key = hex.EncodeToString(sum[:]); out.key == r.cataloged {
		return out, nil
	}
	out.changed = true
	missing := map[string]bool{}
	out.all = report.Catalogs(nodes, told, func(digest string) ([]byte, error) {
		if missing[digest] {
			return nil, os.ErrNotExist
		}
		return a.storedFacts(digest)
	})
	for _, set := range out.all {
		for _, digest := range slices.Compact(slices.Clone(set.Parts)) {
			if !missing[digest] && !r.havePart(ctx, digest, holders[digest]) {
				missing[digest], out.partial = true, true
			}
		}
	}
	return out, nil
}

// havePart sees to it that a node's part of a catalog is here.
func (r *reporter) havePart(ctx context.Context, digest string, holders []string) bool {
	if _, err := r.a.storedFacts(digest); err == nil {
		return true
	}
	for _, node := range holders {
		if node == r.a.keys.ID() || ctx.Err() != nil {
			continue
		}
		if _, err := r.factsFrom(ctx, node, node, digest); err == nil {
			return true
		}
	}
	return false
}

func anyCatalog(files map[string][]byte) bool {
	for path := range files {
		if strings.HasPrefix(path, "catalog/") {
			return true
		}
	}
	return false
}

// readSeen takes in what the branch has of sightings that no node has told this one: of nodes that are lost, or that lost
// their memory. Each is signed by its node, so that it goes on from here as if that had told it.
func (r *reporter) readSeen(head string) error {
	a := r.a
	if p, _, ok := a.inForce(); !ok || head == "" || !datesFirstSeen(p.Repo) {
		return nil
	}
	tree, err := branchReader(r.store, head)
	if err != nil {
		return err
	}
	a.mu.Lock()
	keys := a.keysOf
	a.mu.Unlock()
	all, err := report.Seen(tree.read, keys)
	if err != nil {
		return fmt.Errorf("read sightings of the branch: %w", err)
	}
	standing := map[string]schema.Record{}
	for _, one := range a.records.Of(schema.RecordSeen) {
		standing[one.Node+" "+one.Key] = one
	}
	for _, one := range all {
		has, is := standing[one.Node+" "+one.Key]
		switch {
		case is && !one.Newer(has):
			// What this node told under that key before it began anew it must know, whichever is newer.
			if one.Node == a.keys.ID() && string(has.Body) != string(one.Body) {
				a.past(one)
			}
		case one.Node == a.keys.ID():
			a.past(one)
		default:
			// Too many at a time are taken when the branch is read again.
			_, _ = a.records.Put(one)
		}
	}
	return nil
}
