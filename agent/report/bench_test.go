package report_test

import (
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

var benchTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// benchNode is a node with a signed line, one of fifty with the same facts.
func benchNode(b *testing.B, i int, rev uint64, patch schema.Compliance) report.Node {
	seed := make([]byte, ed25519.SeedSize)
	binary.BigEndian.PutUint64(seed, uint64(i)+1)
	key := ed25519.NewKeyFromSeed(seed)
	l := lineOf(key, strings.Repeat("1", 40))
	l.Compliance["Patch"] = patch
	l.Rev, l.Since, l.Facts = rev, benchTime, hex.EncodeToString(sha256Of(fmt.Sprint(i/50)))
	l, err := report.SignLine(l, key)
	if err != nil {
		b.Fatal(err)
	}
	return report.Node{Line: l, Name: fmt.Sprintf("node-%05d", i), Status: schema.Online, Key: key.Public().(ed25519.PublicKey)}
}

// benchBranch is a branch with a line of each of n nodes.
func benchBranch(b *testing.B, n int) (branch, []report.Node) {
	nodes := make([]report.Node, n)
	for i := range nodes {
		nodes[i] = benchNode(b, i, 1, schema.Compliant)
	}
	old := branch{}
	files, _, err := report.Build(old.read, "acme", nodes, benchTime)
	if err != nil {
		b.Fatal(err)
	}
	old.apply(files)
	return old, nodes
}

// BenchmarkBuild is a reporter's work for one line that changed, upon a branch that has all others.
func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			old, nodes := benchBranch(b, n)
			nodes[n/2] = benchNode(b, n/2, 2, schema.NonCompliant)
			b.ReportAllocs()
			var files map[string][]byte
			for b.Loop() {
				var err error
				if files, _, err = report.Build(old.read, "acme", nodes, benchTime); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(files)), "files")
		})
	}
}

// BenchmarkVerify is what report verify does once the branch is read.
func BenchmarkVerify(b *testing.B) {
	const n = 1000
	old, nodes := benchBranch(b, n)
	keys := map[string]ed25519.PublicKey{}
	for _, one := range nodes {
		keys[one.Line.Node] = one.Key
	}
	for b.Loop() {
		if lines, bad, err := report.Verify(old.read, old.list, "acme", keys); lines != n || len(bad) > 0 || err != nil {
			b.Fatal(lines, bad, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/line")
}
