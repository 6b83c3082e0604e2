package report

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// maxBad bounds the faults of one Verify: a branch full of rubbish needs no longer list.
const maxBad = 10_000

// ErrNoFile is what a reader wraps where a path of the branch is no regular file, or one of absurd size.
var ErrNoFile = errors.New("not a file of reports")

// Bad is one thing on the branch that is not as its nodes signed it.
type Bad struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"` // from 1; 0 for the file itself
	Node    string `json:"node,omitempty"` // id, where it could be read
	Problem string `json:"problem"`
}

// Names lists a folder of a branch's files as Verify asks for it.
func Names(fsys fs.FS, dir string) ([]string, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		names = append(names, name)
	}
	return names, nil
}

// Verify checks every line of the branch that read and list give: its form, its shard, its order, that it is of the fleet,
// that keys, by node id, has its node, and that node's signature; the same for the lines in conflicts.jsonl; and that the
// facts which lines name have the digest in their name, where they are there. lines counts those of the shards, good and
// bad. A line of a node without a key is bad: the line holds no key, so nobody can tell who wrote it.
//
// list gives the names in a folder, those of folders with a slash at the end. A file or folder that is not there must wrap
// fs.ErrNotExist, one that is no file ErrNoFile. Catalogs must have the digest in their name and their one form, and each
// record of sightings its node's signature. A branch without nodes is such an error. At most 10,000 faults are listed.
func Verify(read func(path string) ([]byte, error), list func(dir string) ([]string, error), fleet string, keys map[string]ed25519.PublicKey) (lines int, bad []Bad, err error) {
	v := verifier{read: read, fleet: fleet, keys: keys, facts: map[string]bool{}}
	names, err := list("nodes")
	if err != nil {
		return 0, nil, fmt.Errorf("not a branch of reports: list %q: %w", "nodes", err)
	}
	for _, name := range names {
		if shard, ok := strings.CutSuffix(name, ".jsonl"); !ok || !isHex(shard, 2) {
			v.bad("nodes/"+name, 0, "", "not a shard: those are nodes/<2 hex digits>.jsonl")
			continue
		}
		if err := v.shard(name); err != nil {
			return v.lines, v.found, err
		}
	}
	if err := v.conflicts(); err != nil {
		return v.lines, v.found, err
	}
	for _, check := range []struct {
		dir string
		of  func(name string) error
	}{{"catalog", v.catalog}, {"firstseen", v.sightings}} {
		names, err := list(check.dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return v.lines, v.found, fmt.Errorf("list %q of the reports: %w", check.dir, err)
		}
		for _, name := range names {
			if err := check.of(name); err != nil {
				return v.lines, v.found, err
			}
		}
	}
	return v.lines, v.found, nil
}

type verifier struct {
	read  func(string) ([]byte, error)
	keys  map[string]ed25519.PublicKey
	lines int
	found []Bad
	fleet string
	facts map[string]bool // digests that were looked at
}

func (v *verifier) bad(file string, line int, node, problem string) {
	if len(v.found) == maxBad {
		v.found = append(v.found, Bad{Problem: "there is more; this is where the list ends"})
	}
	if len(v.found) < maxBad {
		v.found = append(v.found, Bad{File: file, Line: line, Node: node, Problem: problem})
	}
}

// full says that nothing more would be listed.
func (v *verifier) full() bool { return len(v.found) > maxBad }

func (v *verifier) shard(name string) error {
	file := "nodes/" + name
	text, err := readFile(v.read, file, maxShard)
	if errors.Is(err, errTooLarge) || errors.Is(err, ErrNoFile) {
		v.bad(file, 0, "", err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		v.bad(file, bytes.Count(text, []byte("\n"))+1, "", "the last line has no newline at its end")
	}
	last, number := "", 0
	for raw := range bytes.Lines(text) {
		number++
		v.lines++
		if v.full() {
			continue
		}
		node, digest, problem := v.line(bytes.TrimSuffix(raw, []byte("\n")))
		switch {
		case problem != "":
		case Shard(node)+".jsonl" != name:
			problem = "this node's line belongs in " + shardFile(node)
		case node == last:
			problem = "a second line of this node"
		case node < last:
			problem = "lines are sorted by node: this one belongs further up"
		}
		if problem != "" {
			v.bad(file, number, node, problem)
			continue
		}
		last = node
		if err := v.digest(node, digest); err != nil {
			return err
		}
	}
	return nil
}

// line checks one line by itself. problem is empty where it is good.
func (v *verifier) line(raw []byte) (node, digest, problem string) {
	l, err := parseLine(raw)
	if err != nil {
		if isID(l.Node) {
			node = l.Node
		}
		return node, "", err.Error()
	}
	key, ok := v.keys[l.Node]
	if !ok {
		return l.Node, "", "unknown node: the roster has no such id, so there is no key to check its signature with"
	}
	if err := verify(l, key); err != nil {
		return l.Node, "", err.Error()
	}
	if l.Fleet != v.fleet {
		return l.Node, "", fmt.Sprintf("it is of the fleet %q, this one is %q", l.Fleet, v.fleet)
	}
	return l.Node, l.Facts, ""
}

// digest checks the facts that a good line names, once.
func (v *verifier) digest(node, digest string) error {
	if v.facts[digest] {
		return nil
	}
	v.facts[digest] = true
	text, err := v.read(factsFile(digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a fleet may keep its facts to itself
	}
	if errors.Is(err, ErrNoFile) {
		v.bad(factsFile(digest), 0, node, ErrNoFile.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %q of the reports: %w", factsFile(digest), err)
	}
	if len(text) > maxFacts {
		v.bad(factsFile(digest), 0, node, fmt.Sprintf("%d bytes are more than %d", len(text), maxFacts))
		return nil
	}
	sum := sha256.Sum256(bytes.TrimSuffix(text, []byte("\n")))
	if hex.EncodeToString(sum[:]) != digest {
		v.bad(factsFile(digest), 0, node, "its SHA-256 is not the one in its name")
	}
	return nil
}

// catalog checks a file of catalog/.
func (v *verifier) catalog(name string) error {
	_, problem, err := readCatalog(v.read, name)
	if problem != "" {
		v.bad("catalog/"+name, 0, "", problem)
	}
	return err
}

// sightings checks a file of firstseen/.
func (v *verifier) sightings(name string) error {
	file := "firstseen/" + name
	shard, is := strings.CutSuffix(name, ".jsonl")
	if !is || !isHex(shard, 2) {
		v.bad(file, 0, "", "not a file of sightings: those are firstseen/<2 hex digits>.jsonl")
		return nil
	}
	text, err := readFile(v.read, file, maxShard)
	if errors.Is(err, errTooLarge) || errors.Is(err, ErrNoFile) {
		v.bad(file, 0, "", err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	var last seenKey
	number := 0
	for raw := range bytes.Lines(text) {
		if number++; v.full() {
			continue
		}
		r, err := ParseSeen(bytes.TrimSuffix(raw, []byte("\n")))
		key, known := v.keys[r.Node]
		k := seenKey{r.Node, r.Key}
		problem := ""
		switch {
		case err != nil:
			problem = err.Error()
		case !known:
			problem = "unknown node: the roster has no such id, so there is no key to check its signature with"
		case r.Verify(key) != nil:
			problem = schema.ErrBadSignature.Error()
		case Shard(r.Node) != shard:
			problem = "this node's sightings belong in " + seenFile(Shard(r.Node))
		case number > 1 && last != (seenKey{}) && bySeenKey(last, k) >= 0:
			problem = "sightings are sorted by node and key, once each: this one belongs further up"
		}
		if problem != "" {
			v.bad(file, number, r.Node, problem)
			continue
		}
		last = k
	}
	return nil
}

func (v *verifier) conflicts() error {
	text, err := readFile(v.read, "conflicts.jsonl", maxShard)
	if errors.Is(err, errTooLarge) || errors.Is(err, ErrNoFile) {
		v.bad("conflicts.jsonl", 0, "", err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	number := 0
	for raw := range bytes.Lines(text) {
		number++
		c, err := parseConflict(bytes.TrimSuffix(raw, []byte("\n")))
		if err != nil {
			v.bad("conflicts.jsonl", number, "", err.Error())
			continue
		}
		for _, one := range c.Lines {
			if node, _, problem := v.line(one); problem != "" {
				v.bad("conflicts.jsonl", number, node, problem)
				break
			}
		}
	}
	return nil
}
