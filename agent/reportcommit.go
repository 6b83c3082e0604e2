package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

// ReportsCommit is a commit of the reports branch to be made.
type ReportsCommit struct {
	Store *gitrepo.Store
	Head  string // what the branch is at; "" where there is none
	// Before is an earlier commit of the branch, "" for none, whose lines are merged in too: of a branch that somebody
	// took away.
	Before string
	Fleet  string
	Nodes  []report.Node
	// Facts gives those of a node that the branch lacks; Room is how many bytes of them the commit carries about.
	Facts func(report.Node) ([]byte, error)
	Room  int
	// Known are objects that were seen to be the facts of a digest, and is added to; nil looks at all of them.
	Known map[string]string
	// Seen are records of sightings, Catalogs what is known of newer versions. Without Renew the catalogs of the branch stay
	// as they are.
	Seen     []schema.Record
	Renew    bool
	Catalogs []report.Catalog
	Now      time.Time
}

// Make makes the commit, with what Nodes say merged in; where that says nothing new it gives Head. changed counts the
// files that differ, left the facts that are not on the branch yet. No reference is moved and nothing is pushed.
func (c ReportsCommit) Make() (commit string, changed, left int, err error) {
	files, message, left, err := c.build()
	if err != nil || len(files) == 0 {
		return c.Head, 0, left, err
	}
	commit, err = c.commit(files, message)
	if err == nil && commit == c.Head {
		return c.Head, 0, left, nil
	}
	return commit, len(files), left, err
}

func (c ReportsCommit) build() (files map[string][]byte, message string, left int, err error) {
	now, err := branchReader(c.Store, c.Head)
	if err != nil {
		return nil, "", 0, err
	}
	var before func(string) ([]byte, error)
	if c.Before != "" {
		b, err := branchReader(c.Store, c.Before)
		if err != nil {
			return nil, "", 0, err
		}
		before = b.read
	}
	left = report.AddFacts(c.Nodes, c.Room, func(path, digest string) bool { return now.holds(path, digest, c.Known) }, c.Facts)
	more := report.More{Seen: c.Seen, Renew: c.Renew, Catalogs: c.Catalogs, Names: now.catalogs()}
	files, message, err = report.Write(now.read, before, c.Fleet, c.Nodes, more, c.Now)
	if err == nil {
		if now.clear(files); message == "" {
			message = "reports: remove what is not of this branch\n"
		}
	}
	return files, message, left, err
}

func (c ReportsCommit) commit(files map[string][]byte, message string) (string, error) {
	return c.Store.Commit(gitrepo.Change{Parent: c.Head, Files: files, Message: message,
		Author: "dunlin", Email: "dunlin@" + c.Fleet + ".invalid", When: c.Now})
}

// reportsTree reads a commit of the reports branch, on which others may have put anything.
type reportsTree struct{ tree fs.FS }

// branchReader reads a commit; "" is the branch that there is not.
func branchReader(store *gitrepo.Store, commit string) (reportsTree, error) {
	if commit == "" {
		return reportsTree{}, nil
	}
	t, err := store.Tree(commit)
	return reportsTree{t.FS}, err
}

// maxReported bounds what is read of a file of the branch, in bytes: it has none of ours that is larger.
const maxReported = 16 << 20

// read reads a file. What has its name and is not one, or is far too large, reads as a byte that no file of ours has, so
// that it gives way.
func (r reportsTree) read(path string) ([]byte, error) {
	if r.tree == nil {
		return nil, fs.ErrNotExist
	}
	info, err := fs.Lstat(r.tree, path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxReported {
		return []byte{0}, nil
	}
	return fs.ReadFile(r.tree, path)
}

// catalogs are the names in the folder of catalogs.
func (r reportsTree) catalogs() []string {
	if r.tree == nil {
		return nil
	}
	entries, err := fs.ReadDir(r.tree, "catalog")
	if err != nil {
		return nil // none, or nothing that can be listed: it gives way to a folder
	}
	var names []string
	for _, e := range entries {
		if fs.ValidPath("catalog/" + e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// clear deletes from the folders of shards what is none: nobody else writes there.
func (r reportsTree) clear(files map[string][]byte) {
	if r.tree == nil {
		return
	}
	for _, dir := range []string{"nodes", "firstseen"} {
		entries, err := fs.ReadDir(r.tree, dir)
		if err != nil {
			continue // none, or nothing that can be listed: it gives way to a folder
		}
		for _, e := range entries {
			path := dir + "/" + e.Name()
			if _, ours := files[path]; !ours && (!isShard(e.Name()) || !e.Type().IsRegular()) && fs.ValidPath(path) {
				files[path] = nil
			}
		}
	}
}

func isShard(name string) bool {
	hex, ok := strings.CutSuffix(name, ".jsonl")
	return ok && len(hex) == 2 && strings.Trim(hex, "0123456789abcdef") == ""
}

// holds reports whether a file is the one of that digest. known has the objects that were seen to be.
func (r reportsTree) holds(path, digest string, known map[string]string) bool {
	if r.tree == nil {
		return false
	}
	info, err := fs.Lstat(r.tree, path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxReported {
		return false
	}
	object, named := info.Sys().(string)
	if named && known[digest] == object {
		return true
	}
	b, err := fs.ReadFile(r.tree, path)
	if err != nil {
		return false
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != digest {
		return false
	}
	if named && known != nil {
		known[digest] = object
	}
	return true
}
