package report_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

func ownKey(i byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{i}, ed25519.SeedSize))
}

func lineOf(key ed25519.PrivateKey, commit string) schema.ReportLine {
	return schema.ReportLine{V: 1, Fleet: "acme", Node: schema.NodeID(key.Public().(ed25519.PublicKey)), Commit: commit,
		Compliance: map[string]schema.Compliance{"Patch": schema.Compliant}, Counts: map[string]int{"MissingCount": 0}, Facts: strings.Repeat("ab", 32)}
}

func TestRevisionsRiseOnlyWithChangesAndSurviveAStart(t *testing.T) {
	dir, key := t.TempDir(), ownKey(1)
	now := time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	r, err := report.OpenRevisions(dir)
	if err != nil {
		t.Fatal(err)
	}
	one, err := r.Next(lineOf(key, strings.Repeat("1", 40)), key, now)
	if err != nil || one.Rev != 1 || !one.Since.Equal(now.Truncate(time.Second)) {
		t.Fatalf("%+v, %v", one, err)
	}
	again, err := r.Next(lineOf(key, strings.Repeat("1", 40)), key, now.Add(time.Hour))
	if err != nil || again.Sig != one.Sig || again.Rev != 1 {
		t.Fatalf("the same line: %+v, %v", again, err)
	}
	if r, err = report.OpenRevisions(dir); err != nil {
		t.Fatal(err)
	}
	if again, err = r.Next(lineOf(key, strings.Repeat("1", 40)), key, now.Add(time.Hour)); err != nil || again.Sig != one.Sig {
		t.Fatalf("after a start: %+v, %v", again, err)
	}
	two, err := r.Next(lineOf(key, strings.Repeat("2", 40)), key, now.Add(time.Hour))
	if err != nil || two.Rev != 2 {
		t.Fatalf("%+v, %v", two, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "report-line.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := report.OpenRevisions(dir); err == nil || !strings.Contains(err.Error(), "rev") {
		t.Fatalf("a damaged file: %v", err)
	}
}

// branch is a reports branch in memory.
type branch map[string][]byte

func (b branch) read(path string) ([]byte, error) {
	if f, ok := b[path]; ok {
		return f, nil
	}
	return nil, os.ErrNotExist
}

func (b branch) apply(files map[string][]byte) {
	for p, f := range files {
		if f == nil {
			delete(b, p)
		} else {
			b[p] = f
		}
	}
}

func sha256Of(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

// fleetOf gives nodes with signed lines.
func fleetOf(t *testing.T, n int, rev uint64) []report.Node {
	var out []report.Node
	for i := range n {
		key := ownKey(byte(i + 1))
		l := lineOf(key, strings.Repeat("1", 40))
		l.Rev, l.Since = rev, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		l.Facts = hex.EncodeToString(sha256Of("{}"))
		l, err := report.SignLine(l, key)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, report.Node{Line: l, Name: "<script>alert(1)</script> | [x](http://x)", Status: schema.Online, Facts: []byte("{}"), Key: key.Public().(ed25519.PublicKey)})
	}
	return out
}

func build(t *testing.T, b branch, nodes []report.Node) int {
	t.Helper()
	files, _, err := report.Build(b.read, "acme", nodes, time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	b.apply(files)
	return len(files)
}

func lineFiles(b branch) string {
	var s strings.Builder
	for i := range 256 {
		s.Write(b["nodes/"+string("0123456789abcdef"[i/16])+string("0123456789abcdef"[i%16])+".jsonl"])
	}
	return s.String()
}

func TestReportersMergeInAnyOrder(t *testing.T) {
	old, newer := fleetOf(t, 12, 3), fleetOf(t, 12, 4)
	one, two := branch{}, branch{}
	build(t, one, old[:8])
	build(t, one, newer[4:])
	build(t, two, newer[4:])
	build(t, two, old[:8])
	if a, b := lineFiles(one), lineFiles(two); a != b || strings.Count(a, "\n") != 12 {
		t.Fatalf("lines differ, or there are not 12:\n%s\n%s", a, b)
	}
	all := append(append([]report.Node{}, old[:4]...), newer[4:]...)
	build(t, one, all)
	if n := build(t, one, all); n != 0 {
		t.Fatalf("building again wrote %d files", n)
	}
}

// One host that says something new costs the file of its shard, beside the pages.
func TestOneChangedLineWritesOneShard(t *testing.T) {
	nodes, newer := fleetOf(t, 12, 3), fleetOf(t, 12, 4)
	b := branch{}
	build(t, b, nodes)
	for _, i := range []int{0, 5, 11} {
		nodes[i] = newer[i]
		files, _, err := report.Build(b.read, "acme", nodes, time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC))
		if err != nil {
			t.Fatal(err)
		}
		var wrote []string
		for _, path := range slices.Sorted(maps.Keys(files)) {
			if strings.Contains(path, "/") && !strings.HasPrefix(path, "charts/") && !strings.HasPrefix(path, "badges/") {
				wrote = append(wrote, path)
			}
		}
		if want := []string{"nodes/" + report.Shard(nodes[i].Line.Node) + ".jsonl"}; !slices.Equal(wrote, want) {
			t.Errorf("for the line of node %d, %q are written, want %q", i, wrote, want)
		}
		b.apply(files)
	}
}

func TestPagesEscapeWhatComesFromHosts(t *testing.T) {
	b := branch{}
	build(t, b, fleetOf(t, 3, 1))
	for path, f := range b {
		if strings.HasSuffix(path, ".md") || strings.HasSuffix(path, ".svg") {
			if bytes.Contains(f, []byte("<script")) || bytes.Contains(f, []byte("](http://x)")) {
				t.Errorf("%s holds what a host said as it is:\n%s", path, f)
			}
		}
	}
	for _, path := range []string{"README.md", "summary.json", "charts/compliance.svg", "charts/types.svg", "badges/compliance.svg"} {
		if len(b[path]) == 0 {
			t.Errorf("no %s", path)
		}
	}
}

func TestForgedLinesAreNotWritten(t *testing.T) {
	b := branch{}
	nodes := fleetOf(t, 2, 1)
	nodes[1].Line.Rev = 9
	build(t, b, nodes)
	if n := strings.Count(lineFiles(b), "\n"); n != 1 {
		t.Fatalf("%d lines, want the sound one alone", n)
	}
	if !bytes.Contains(b["README.md"], []byte("signature")) && !bytes.Contains(b["README.md"], []byte("signed")) && !bytes.Contains(b["README.md"], []byte("malformed")) {
		t.Logf("%s", b["README.md"])
		t.Error("the page does not tell of the forged line")
	}
}

func TestALostCounterGoesOnFromTheBranch(t *testing.T) {
	key, now := ownKey(1), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	pub := key.Public().(ed25519.PublicKey)
	signed := func(key ed25519.PrivateKey, commit string, rev uint64) schema.ReportLine {
		l := lineOf(key, strings.Repeat(commit, 40))
		l.Rev, l.Since = rev, now
		l, err := report.SignLine(l, key)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	next := func(r *report.Revisions, commit string) uint64 {
		t.Helper()
		l, err := r.Next(lineOf(key, strings.Repeat(commit, 40)), key, now)
		if err != nil {
			t.Fatal(err)
		}
		return l.Rev
	}
	for _, tt := range []struct {
		name   string
		said   []string // commits before the branch is seen
		branch schema.ReportLine
		rose   bool
		then   uint64 // revision of commit 3
	}{
		{"a higher line", []string{"2"}, signed(key, "1", 7), true, 8},
		{"a higher line that says the same", []string{"2"}, signed(key, "3", 7), true, 7},
		{"an equal revision with other words", []string{"2"}, signed(key, "1", 1), true, 2},
		{"this very line", []string{"2"}, signed(key, "2", 1), false, 2},
		{"a lower line", []string{"1", "2", "1"}, signed(key, "1", 2), false, 4},
		{"before anything was said", nil, signed(key, "1", 7), true, 8},
		{"no line", []string{"2"}, schema.ReportLine{}, false, 2},
		{"nothing at all", nil, schema.ReportLine{}, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			r, err := report.OpenRevisions(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range tt.said {
				next(r, c)
			}
			if len(tt.said) > 0 { // a start in between forgets nothing
				if r, err = report.OpenRevisions(dir); err != nil {
					t.Fatal(err)
				}
			}
			if !r.Lost() {
				t.Fatal("the counter began anew and does not know it")
			}
			if rose, err := r.AtLeast(tt.branch, pub); err != nil || rose != tt.rose {
				t.Fatalf("AtLeast = %v, %v, want %v", rose, err, tt.rose)
			}
			if rev := next(r, "3"); rev != tt.then {
				t.Errorf("the next line has revision %d, want %d", rev, tt.then)
			}
			if r, err = report.OpenRevisions(dir); err != nil || r.Lost() {
				t.Fatalf("open again: lost %v, %v", err == nil && r.Lost(), err)
			}
			if rose, err := r.AtLeast(signed(key, "1", 99), pub); !rose || err != nil {
				t.Errorf("a counter from a backup does not go on from the branch: %v, %v", rose, err)
			}
			if rev := next(r, "4"); rev != 100 {
				t.Errorf("then the next line has revision %d, want 100", rev)
			}
			if rose, err := r.AtLeast(signed(key, "1", 200), pub); rose || err != nil {
				t.Errorf("a second time it chases another host's counter: %v, %v", rose, err)
			}
		})
	}
	r, err := report.OpenRevisions(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	forged := signed(key, "1", 7)
	forged.Rev = 1 << 50
	for _, l := range []schema.ReportLine{forged, signed(ownKey(2), "1", 7)} {
		if rose, err := r.AtLeast(l, pub); rose || !errors.Is(err, schema.ErrBadSignature) || !r.Lost() {
			t.Errorf("AtLeast of a line that is not its own = %v, %v", rose, err)
		}
	}
}
