package report

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// Known are the nodes of a roster as Build takes them, by id, with the line, the status and the key that the reporter has
// of each. A node without a line counts all the same; what a retired one said last stays on the branch.
func Known(roster []schema.RosterLine, lines map[string]schema.ReportLine, status map[string]schema.NodeStatus, keys map[string]ed25519.PublicKey) []Node {
	out := make([]Node, 0, len(roster))
	for _, r := range roster {
		n := Node{Line: lines[r.ID], Name: r.Name, Status: status[r.ID], Key: keys[r.ID]}
		if r.State == schema.NodeRetired {
			n.Status = schema.Retired
		}
		if n.Line.Rev == 0 {
			n.Line = schema.ReportLine{Node: r.ID}
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b Node) int { return strings.Compare(a.Line.Node, b.Line.Node) })
	return out
}

// AddFacts asks get for the facts that lines name and the branch has not, each digest until one node's are had, and no
// more once these have room bytes: they are all in memory at once. has says whether the branch has the file of a digest,
// in these words. left counts the digests that are left for another time.
func AddFacts(nodes []Node, room int, has func(path, digest string) bool, get func(Node) ([]byte, error)) (left int) {
	missing := map[string]bool{}
	done := map[string]bool{}
	for i, n := range nodes {
		digest := n.Line.Facts
		if !isHex(digest, 64) || done[digest] {
			continue
		}
		if !missing[digest] && has(factsFile(digest), digest) {
			done[digest] = true
			continue
		}
		missing[digest] = true
		if room <= 0 {
			continue
		}
		if b, err := get(n); err == nil {
			nodes[i].Facts, done[digest] = b, true
			room -= len(b)
		}
	}
	for digest := range missing {
		if !done[digest] {
			left++
		}
	}
	return left
}

// Standing is the line that the branch has of a node, with Rev 0 where it has none. Its signature is not checked.
func Standing(old func(path string) ([]byte, error), node string) (schema.ReportLine, error) {
	if !isID(node) {
		return schema.ReportLine{}, nil
	}
	text, err := readOurs(old, shardFile(node), maxShard)
	if err != nil {
		return schema.ReportLine{}, err
	}
	for raw := range bytes.Lines(text) {
		if l, err := parseLine(bytes.TrimSuffix(raw, []byte("\n"))); err == nil && l.Node == node {
			return l, nil
		}
	}
	return schema.ReportLine{}, nil
}
