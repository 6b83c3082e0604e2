package report_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

// keysOf are the keys of nodes that have one.
func keysOf(nodes []report.Node) map[string]ed25519.PublicKey {
	keys := map[string]ed25519.PublicKey{}
	for _, n := range nodes {
		keys[n.Line.Node] = n.Key
	}
	return keys
}

// sound fails where the branch is not as its nodes signed it, or has not so many lines.
func sound(t *testing.T, b branch, nodes []report.Node, want int) {
	t.Helper()
	lines, bad, err := report.Verify(b.read, b.list, "acme", keysOf(nodes))
	if err != nil || len(bad) > 0 || lines != want {
		t.Errorf("verify: %d lines, want %d; %v, %v", lines, want, bad, err)
	}
}

// What somebody with the right to push did to the branch is put right by the next build, whatever it was.
func TestAHostileBranchIsPutRight(t *testing.T) {
	nodes := fleetOf(t, 5, 2)
	good := branch{}
	build(t, good, nodes)
	shard := func(i int) string { return "nodes/" + report.Shard(nodes[i].Line.Node) + ".jsonl" }
	lineOf := func(i int) string { return string(good[shard(i)]) }
	for name, hurt := range map[string]func(branch){
		"a shard of 9 MiB":       func(b branch) { b[shard(0)] = bytes.Repeat([]byte("x\n"), 9<<19) },
		"a foreign shard":        func(b branch) { b["nodes/00.jsonl"] = make([]byte, 9<<20) },
		"conflicts of 9 MiB":     func(b branch) { b["conflicts.jsonl"] = make([]byte, 9<<20) },
		"a page of 70 MiB":       func(b branch) { b["README.md"] = make([]byte, 70<<20) },
		"a line twice":           func(b branch) { b[shard(0)] = []byte(lineOf(0) + lineOf(0)) },
		"a line in a wrong file": func(b branch) { b["nodes/00.jsonl"] = []byte(lineOf(0)) },
		"a line without its end": func(b branch) { b[shard(0)] = []byte(strings.TrimSuffix(lineOf(0), "\n")) },
		"carriage returns":       func(b branch) { b[shard(0)] = []byte(strings.ReplaceAll(lineOf(0), "\n", "\r\n")) },
		"a raised revision":      func(b branch) { b[shard(0)] = []byte(strings.Replace(lineOf(0), `"rev":2`, `"rev":9`, 1)) },
		"the lines of another fleet": func(b branch) {
			b[shard(0)] = []byte(strings.Replace(lineOf(0), `"fleet":"acme"`, `"fleet":"other"`, 1))
		},
		"a line of a later form that nobody signed": func(b branch) {
			b[shard(0)] = fmt.Appendf(nil, `{"fleet":"acme","node":%q,"rev":9007199254740991,"v":2}`+"\n", nodes[0].Line.Node)
		},
		"a line of a later form that another signed": func(b branch) {
			b[shard(0)] = laterLine(ownKey(2), nodes[0].Line.Node, "acme", "dunlin-report/v2\n")
		},
		"a later form under this one's signature": func(b branch) {
			b[shard(0)] = laterLine(ownKey(1), nodes[0].Line.Node, "acme", schema.ReportPrefix)
		},
		"a later form of another fleet": func(b branch) {
			b[shard(0)] = laterLine(ownKey(1), nodes[0].Line.Node, "other", "dunlin-report/v2\n")
		},
		"an old line":      func(b branch) { old := branch{}; build(t, old, fleetOf(t, 1, 1)); b[shard(0)] = old[shard(0)] },
		"forged conflicts": func(b branch) { b["conflicts.jsonl"] = twins(t, nodes[0], []byte(lineOf(0)), 7) },
		"a page that lies": func(b branch) { b["README.md"] = []byte("all is well <script>") },
		"nothing but pages": func(b branch) {
			maps.DeleteFunc(b, func(p string, _ []byte) bool { return strings.HasPrefix(p, "nodes/") })
		},
		"half of the facts":       func(b branch) { b[factsOf(nodes[0])] = b[factsOf(nodes[0])][:1] },
		"a summary that is none":  func(b branch) { delete(b, "summary.json") },
		"pictures that act":       func(b branch) { b["charts/types.svg"] = []byte("<svg onload=alert(1)>") },
		"a picture that is empty": func(b branch) { b["badges/nodes.svg"] = []byte{} },
	} {
		t.Run(name, func(t *testing.T) {
			b := maps.Clone(good)
			hurt(b)
			build(t, b, nodes)
			if n := build(t, b, nodes); n != 0 {
				t.Errorf("building again changes %d files", n)
			}
			sound(t, b, nodes, 5)
			if !maps.EqualFunc(b, good, bytes.Equal) {
				for p := range b {
					if !bytes.Equal(b[p], good[p]) {
						t.Errorf("%s is not as it was: %.300q", p, b[p])
					}
				}
				t.Errorf("the branch has %d files, want %d", len(b), len(good))
			}
		})
	}
}

func factsOf(n report.Node) string { return "facts/" + n.Line.Facts[:2] + "/" + n.Line.Facts + ".json" }

// twins is a conflict of the line with one that nobody signed.
func twins(t *testing.T, n report.Node, line []byte, rev int) []byte {
	t.Helper()
	one := strings.TrimSpace(strings.Replace(string(line), `"rev":2`, fmt.Sprintf(`"rev":%d`, rev), 1))
	two := strings.Replace(one, "2026-03-01T12", "2026-03-02T12", 1)
	return fmt.Appendf(nil, `{"lines":[%s,%s],"node":%q,"rev":%d,"v":1}`+"\n", one, two, n.Line.Node, rev)
}

// A branch that somebody removed or put back has all of it again: lines, conflicts and facts, also of nodes that the
// reporter has not heard of since it started. Of nodes that the roster does not have nothing comes back.
func TestWhatWasTakenFromTheBranchIsRestored(t *testing.T) {
	nodes := fleetOf(t, 6, 2)
	clone := nodes[1].Line
	clone.Commit = strings.Repeat("e", 40)
	clone, err := report.SignLine(clone, ownKey(2))
	if err != nil {
		t.Fatal(err)
	}
	before := branch{}
	build(t, before, nodes)
	build(t, before, append([]report.Node{{Line: clone, Name: "clone", Status: schema.Online, Key: nodes[1].Key}}, nodes...))
	if len(before["conflicts.jsonl"]) == 0 {
		t.Fatal("no conflict")
	}
	older := branch{}
	build(t, older, fleetOf(t, 4, 1))
	for name, old := range map[string]branch{"removed": {}, "put back": older, "as it was": before} {
		t.Run(name, func(t *testing.T) {
			// The reporter holds the lines of two nodes, and the roster has five of the six.
			held := slices.Clone(nodes[:5])
			for i := range held {
				held[i].Facts = nil
				if i > 1 {
					held[i].Line = schema.ReportLine{Node: held[i].Line.Node}
				}
			}
			b := maps.Clone(old)
			files, _, err := report.Restore(b.read, before.read, "acme", held, pageTime)
			if err != nil {
				t.Fatal(err)
			}
			b.apply(files)
			want := 5
			if name == "as it was" {
				want = 6
			}
			sound(t, b, nodes, want)
			if !bytes.Equal(b["conflicts.jsonl"], before["conflicts.jsonl"]) {
				t.Errorf("conflicts: %s", b["conflicts.jsonl"])
			}
			if len(b[factsOf(nodes[0])]) == 0 {
				t.Error("the facts are not back")
			}
			again, _, err := report.Restore(b.read, before.read, "acme", held, pageTime)
			if err != nil || len(again) > 0 {
				t.Errorf("restoring again changes %d files, %v", len(again), err)
			}
		})
	}
	// What was forged meanwhile does not come back.
	forged := maps.Clone(before)
	for p, f := range forged {
		forged[p] = bytes.ReplaceAll(f, []byte(`"rev":2`), []byte(`"rev":3`))
	}
	b := branch{}
	held := nodes[:1]
	files, _, err := report.Restore(b.read, forged.read, "acme", held, pageTime)
	if err != nil {
		t.Fatal(err)
	}
	b.apply(files)
	sound(t, b, nodes, 1)
}

// Hosts that sign under one revision again and again do not make a file that nobody reads any more.
func TestConflictsAreBounded(t *testing.T) {
	nodes := fleetOf(t, 40, 1)
	wide := func(i int, rev uint64, commit string) report.Node {
		n := nodes[i]
		n.Line.Rev, n.Line.Commit = rev, strings.Repeat(commit, 40)
		n.Line.Compliance = map[string]schema.Compliance{}
		for j := range 64 {
			n.Line.Compliance[fmt.Sprintf("Custom:%0128d", j)] = schema.Compliant
		}
		var err error
		if n.Line, err = report.SignLine(n.Line, ownKey(byte(i+1))); err != nil {
			t.Fatal(err)
		}
		return n
	}
	var text []byte
	full := 0
	for i := 0; len(text) < 8<<20; i++ {
		for rev := uint64(1); rev <= 20; rev++ {
			var raws [][]byte
			for twin := range 4 {
				raw, err := report.Encode(wide(i, rev, fmt.Sprint(twin)).Line)
				if err != nil {
					t.Fatal(err)
				}
				raws = append(raws, raw)
			}
			slices.SortFunc(raws, bytes.Compare)
			one := fmt.Appendf(nil, `{"lines":[%s],"node":%q,"rev":%d,"v":1}`+"\n", bytes.Join(raws, []byte(",")), nodes[i].Line.Node, rev)
			if rev == 1 {
				full = i
			}
			if len(text)+len(one) > 8<<20 {
				i = len(nodes)
				break
			}
			text = append(text, one...)
		}
		if i == len(nodes) {
			break
		}
	}
	b := branch{"conflicts.jsonl": text}
	build(t, b, nodes)
	kept := len(b["conflicts.jsonl"])
	if n := bytes.Count(b["conflicts.jsonl"], []byte(`"node":"`+nodes[0].Line.Node+`","rev"`)); kept == 0 || n == 0 {
		t.Fatalf("of %d bytes of conflicts %d are kept, %d of the first node", len(text), kept, n)
	}
	// Each of the others is cloned as well.
	for round := uint64(1); round < 6; round++ {
		var all []report.Node
		for i := full + 1; i < len(nodes); i++ {
			all = append(all, wide(i, round, "a"), wide(i, round, "b"))
		}
		build(t, b, all)
		if n := len(b["conflicts.jsonl"]); n == 0 || n > 8<<20 {
			t.Fatalf("round %d: conflicts.jsonl has %d bytes", round, n)
		}
	}
	if n := bytes.Count(b["conflicts.jsonl"], []byte("\n")); n < len(nodes) {
		t.Errorf("%d conflicts are kept of %d nodes", n, len(nodes))
	}
}

func TestVerifyEndsOnAHostileBranch(t *testing.T) {
	nodes := fleetOf(t, 3, 1)
	good := branch{}
	build(t, good, nodes)
	sound(t, good, nodes, 3)
	for name, tt := range map[string]struct {
		hurt func(branch)
		want string
	}{
		"rubbish in a shard":      {func(b branch) { b["nodes/00.jsonl"] = bytes.Repeat([]byte("{}\n"), 100_000) }, "there is more"},
		"deep JSON":               {func(b branch) { b["nodes/00.jsonl"] = bytes.Repeat([]byte("["), 8000) }, "malformed"},
		"a name in capitals":      {func(b branch) { b["nodes/AB.jsonl"] = []byte("x") }, "not a shard"},
		"a file that is no shard": {func(b branch) { b["nodes/x\x1b[31m\n"] = []byte("x") }, "not a shard"},
		"facts of another name":   {func(b branch) { b[factsOf(nodes[0])] = []byte(`{"a":1}`) }, "SHA-256"},
		"facts of 17 MiB":         {func(b branch) { b[factsOf(nodes[0])] = make([]byte, 17<<20) }, "more than"},
		"conflicts of one line": {func(b branch) {
			b["conflicts.jsonl"] = fmt.Appendf(nil, `{"lines":[],"node":%q,"rev":1,"v":1}`, nodes[0].Line.Node)
		}, "conflict"},
		"null":          {func(b branch) { b["nodes/00.jsonl"] = []byte("null\n") }, "v is 0"},
		"an empty line": {func(b branch) { b["nodes/00.jsonl"] = []byte("\n") }, "malformed"},
		"a byte order mark": {func(b branch) {
			p := "nodes/" + report.Shard(nodes[0].Line.Node) + ".jsonl"
			b[p] = append([]byte("\xef\xbb\xbf"), b[p]...)
		}, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			b := maps.Clone(good)
			tt.hurt(b)
			_, bad, err := report.Verify(b.read, b.list, "acme", keysOf(nodes))
			if err != nil || len(bad) == 0 || len(bad) > 10_001 {
				t.Fatalf("%d faults, %v", len(bad), err)
			}
			if !slices.ContainsFunc(bad, func(f report.Bad) bool { return strings.Contains(f.Problem, tt.want) }) {
				t.Errorf("no fault says %q: %.500v", tt.want, bad)
			}
			for _, f := range bad {
				if len(f.Problem) > 400 {
					t.Errorf("a fault of %d characters", len(f.Problem))
				}
			}
		})
	}
	fails := errors.New("disk")
	if _, _, err := report.Verify(func(string) ([]byte, error) { return nil, fails }, good.list, "acme", keysOf(nodes)); !errors.Is(err, fails) {
		t.Errorf("a branch that cannot be read: %v", err)
	}
	if _, _, err := report.Build(func(string) ([]byte, error) { return nil, fails }, "acme", nodes, pageTime); !errors.Is(err, fails) {
		t.Errorf("a branch that cannot be read: %v", err)
	}
}

// laterLine is a line of a form that this build does not know.
func laterLine(key ed25519.PrivateKey, node, fleet, prefix string) []byte {
	head, tail := fmt.Sprintf(`{"fleet":%q,"news":[1],"node":%q,"rev":77`, fleet, node), `,"v":2}`
	sig := base64.StdEncoding.EncodeToString(ed25519.Sign(key, []byte(prefix+head+tail)))
	return []byte(head + `,"sig":"` + sig + `"` + tail + "\n")
}

// What a node of a later version signed is carried by reporters that cannot read it.
func TestALineOfALaterFormIsCarriedIfItsNodeSignedIt(t *testing.T) {
	nodes := fleetOf(t, 2, 2)
	b := branch{}
	build(t, b, nodes)
	for i := range nodes {
		key := ownKey(byte(i) + 1)
		if schema.NodeID(key.Public().(ed25519.PublicKey)) != nodes[i].Line.Node {
			t.Fatalf("node %d has another key", i)
		}
	}
	shard := "nodes/" + report.Shard(nodes[0].Line.Node) + ".jsonl"
	later := laterLine(ownKey(1), nodes[0].Line.Node, "acme", "dunlin-report/v2\n")
	b[shard] = later
	build(t, b, nodes)
	if !bytes.Equal(b[shard], later) {
		t.Errorf("the shard has %s, want %s", b[shard], later)
	}
}
