package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// maxFactsFile bounds a facts file in bytes.
	maxFactsFile = 16 << 20
	// keptFacts is how many facts files are kept, with those of other nodes that are for the reports, and maxFacts how many
	// bytes: a node may have others keep what it likes.
	keptFacts = 512
	maxFacts  = 256 << 20
)

// isDigest reports whether s is SHA-256 in hex, and so a name that may be made a path.
func isDigest(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// storedFacts reads a facts file that is here.
func (a *Agent) storedFacts(digest string) ([]byte, error) {
	if !isDigest(digest) {
		return nil, fmt.Errorf("%q names no facts: %w", digest, fs.ErrNotExist)
	}
	b, err := os.ReadFile(filepath.Join(a.o.Config.State, factsFolder, digest))
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != digest {
		return nil, fmt.Errorf("facts %s are damaged: %w", digest, fs.ErrNotExist)
	}
	return b, nil
}

// storeFacts keeps a facts file, whole or not at all, and drops the oldest of too many. keep is never dropped.
func (a *Agent) storeFacts(b []byte, keep ...string) (string, error) {
	sum := sha256.Sum256(b)
	digest := hex.EncodeToString(sum[:])
	dir := filepath.Join(a.o.Config.State, factsFolder)
	path := filepath.Join(dir, digest)
	if _, err := a.storedFacts(digest); err == nil {
		now := time.Now()
		return digest, os.Chtimes(path, now, now)
	}
	dropFacts(dir, len(b), append(keep, digest)...)
	return digest, writeDurably(path, b)
}

// dropFacts removes the oldest facts files beyond the limits, and what a write left that was cut off, so that there is room
// for one more of so many bytes.
func dropFacts(dir string, room int, keep ...string) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	type file struct {
		name string
		at   time.Time
		size int64
	}
	var all []file
	total := int64(room)
	for _, e := range list {
		info, err := e.Info()
		if err != nil {
			continue
		}
		total += info.Size()
		if !slices.Contains(keep, e.Name()) {
			all = append(all, file{e.Name(), info.ModTime(), info.Size()})
		}
	}
	slices.SortFunc(all, func(a, b file) int { return a.at.Compare(b.at) })
	count := len(list)
	for _, f := range all {
		if count < keptFacts && total <= maxFacts {
			return
		}
		if os.Remove(filepath.Join(dir, f.name)) == nil {
			count--
			total -= f.size
		}
	}
}

// keepFacts writes this host's facts file where its packages have changed since was, and gives its digest. A fleet that
// reports no facts, and a host whose packages cannot be read, have a file that says nothing of packages.
func (a *Agent) keepFacts(was string) (string, error) {
	stamp, err := inventory.Stamp(a.o.Local.Root)
	if err != nil {
		stamp = "none"
	}
	full := a.fleet().Reports.Facts != "none"
	stamp += fmt.Sprint(full)
	a.mu.Lock()
	same := stamp == a.factsStamp && was != ""
	a.mu.Unlock()
	if same {
		return was, nil
	}
	_, line, _ := a.inForce()
	facts, archives, problem, err := a.o.Local.facts(context.Background(), line.Node())
	if err != nil {
		return was, err
	}
	if problem != "" || !full {
		facts = schema.Facts{V: 1, OS: facts.OS, Arch: facts.Arch}
	}
	b, err := report.FactsFile(facts)
	if err != nil {
		return was, err
	}
	a.mu.Lock()
	known := a.catalog
	a.mu.Unlock()
	digest, err := a.storeFacts(b, was, known.Candidates)
	if err != nil {
		return was, err
	}
	catalog, err := a.keepCandidates(facts, archives, digest, known.Candidates, problem == "" && full)
	if err != nil {
		return was, err
	}
	a.mu.Lock()
	a.facts, a.factsStamp, a.catalog = digest, stamp, catalog
	a.mu.Unlock()
	a.publish(schema.RecordCatalog, "", catalog)
	return digest, nil
}

// keepCandidates writes this host's part of the catalog of its archives; of one that tells nothing it is empty.
func (a *Agent) keepCandidates(facts schema.Facts, archives []schema.Origin, keep, was string, tell bool) (schema.CatalogRecord, error) {
	if !tell {
		return schema.CatalogRecord{}, nil
	}
	b, set, err := report.CandidatesFile(facts, archives)
	if err != nil {
		return schema.CatalogRecord{}, err
	}
	digest, err := a.storeFacts(b, keep, was)
	return schema.CatalogRecord{Archives: set, Candidates: digest}, err
}

// catalogsTold are what nodes say of the newer versions that they know, by node.
func (a *Agent) catalogsTold() map[string]schema.CatalogRecord {
	out := map[string]schema.CatalogRecord{}
	for _, r := range a.records.Of(schema.RecordCatalog) {
		if c, ok := decode[schema.CatalogRecord](r); ok && r.Key == "" && isDigest(c.Archives) && isDigest(c.Candidates) {
			out[r.Node] = c
		}
	}
	return out
}

// factsOf takes a facts file from the node that it is of, and keeps it.
func (a *Agent) factsOf(ctx context.Context, id, digest string) ([]byte, error) {
	if b, err := a.storedFacts(digest); err == nil {
		return b, nil
	}
	if !isDigest(digest) {
		return nil, fmt.Errorf("%q names no facts: %w", digest, fs.ErrNotExist)
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	// Who has lost its power a moment ago counts as online, and never answers on a connection that stands.
	late := time.AfterFunc(stalled, cancel)
	defer late.Stop()
	body, err := a.askPeer(ctx, id, "/v1/facts?"+url.Values{"digest": {digest}}.Encode())
	if err != nil {
		return nil, err
	}
	defer body.Close()
	late.Reset(stalled)
	b, err := readWhole(&alive{Reader: body, stop: late}, id, maxFactsFile)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != digest {
		return nil, fmt.Errorf("node %s gives other facts than its line names", id)
	}
	a.mu.Lock()
	own, part := a.facts, a.catalog.Candidates
	a.mu.Unlock()
	_, err = a.storeFacts(b, own, part)
	return b, err
}
