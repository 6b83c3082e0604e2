package report_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

// seedLine is a signed line of one of the fuzzers' nodes.
func seedLine(t testing.TB, i byte, rev uint64) []byte {
	t.Helper()
	l := lineOf(ownKey(i), strings.Repeat("1", 40))
	l.Rev, l.Since = rev, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	l.Facts = hex.EncodeToString(sha256Of("{}"))
	l.Compliance["Custom:disk_full"] = schema.NonCompliant
	l, err := report.SignLine(l, ownKey(i))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := report.Encode(l)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A line has one form: what is taken is what is written. Only its node's key makes it valid, and no byte of it can change.
func FuzzLine(f *testing.F) {
	good := seedLine(f, 1, 3)
	for _, s := range [][]byte{
		good, seedLine(f, 2, 1<<53-1), {}, []byte("{}"), []byte("null"), []byte(`{"v":2}`), []byte(`[` + strings.Repeat("[", 5000)),
		bytes.Replace(good, []byte(`"rev":3`), []byte(`"rev":3.0`), 1),
		bytes.Replace(good, []byte(`"rev":3`), []byte(`"rev":4`), 1),
		bytes.Replace(good, []byte(`,"v":1`), []byte(`,"v":1,"v":1`), 1),
		bytes.Replace(good, []byte(`T12:00:00Z`), []byte(`T13:00:00+01:00`), 1),
		bytes.Replace(good, []byte(`"counts":{`), []byte(`"counts":{"MissingCount":1,`), 1),
		bytes.Replace(good, []byte(`==`), []byte(`A=`), 1),
		append(slices.Clone(good), '\n'),
		append(slices.Clone(good), good...),
	} {
		f.Add(s)
	}
	keys := []ed25519.PublicKey{ownKey(1).Public().(ed25519.PublicKey), ownKey(2).Public().(ed25519.PublicKey)}
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := report.ParseLine(raw)
		if err == nil {
			again, err := report.Encode(l)
			if err != nil || !bytes.Equal(again, raw) {
				t.Fatalf("taken, and written as %q, %v", again, err)
			}
			if s := report.Shard(l.Node); len(s) != 2 {
				t.Fatalf("node %q has the shard %q", l.Node, s)
			}
		} else if l.Node != "" {
			t.Fatalf("refused, and given: %+v", l)
		}
		for i, key := range keys {
			v, err := report.VerifyLine(raw, key)
			if err != nil {
				continue
			}
			if v.Node != schema.NodeID(key) {
				t.Fatalf("node %q is not that of the key", v.Node)
			}
			// Ed25519 is deterministic: a valid line is the one that its node would sign.
			signed, err := report.SignLine(v, ownKey(byte(i+1)))
			if err != nil || signed.Sig != v.Sig {
				t.Fatalf("valid, and its node signs %q, %v", signed.Sig, err)
			}
			for _, at := range []int{len(raw) / 3, len(raw) / 2, len(raw) - 3} {
				other := slices.Clone(raw)
				other[at] ^= 1
				if _, err := report.VerifyLine(other, key); err == nil {
					t.Fatalf("valid, and still with byte %d changed: %q", at, other)
				}
			}
		}
	})
}

// Whatever a branch holds, a build upon it ends; then the branch is one that Verify takes but for nodes without a key,
// building again says nothing new, and no line has come up that no node signed.
func FuzzBranch(f *testing.F) {
	good, other := string(seedLine(f, 1, 3))+"\n", string(seedLine(f, 2, 5))+"\n"
	twin := `{"lines":[` + strings.TrimSpace(good) + `,` + strings.TrimSpace(good) + `],"node":"x","rev":3,"v":1}` + "\n"
	f.Add([]byte(good), []byte(""), []byte("{}"), uint64(3))
	f.Add([]byte(good+good), []byte(twin), []byte("{}"), uint64(4))
	f.Add([]byte(other+good), []byte(`{"lines":[],"node":"","rev":0,"v":1}`+"\n"), []byte("x"), uint64(2))
	f.Add([]byte(strings.Replace(good, `"rev":3`, `"rev":9007199254740991`, 1)), []byte("\n\n"), []byte(""), uint64(3))
	f.Add([]byte(strings.Replace(good, `"v":1`, `"v":2`, 1)), []byte(twin+twin), []byte("{}\n"), uint64(3))
	f.Add([]byte("\x00\xff\n{"), []byte("["), []byte("null"), uint64(1))
	now := time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, shard, conflicts, facts []byte, rev uint64) {
		keys := map[string]ed25519.PublicKey{}
		var nodes []report.Node
		b := branch{"conflicts.jsonl": conflicts, "facts/44/" + hex.EncodeToString(sha256Of("{}")) + ".json": facts}
		for i := range byte(3) {
			key := ownKey(i + 1)
			pub := key.Public().(ed25519.PublicKey)
			id := schema.NodeID(pub)
			keys[id] = pub
			b["nodes/"+report.Shard(id)+".jsonl"] = shard
			n := report.Node{Line: schema.ReportLine{Node: id}, Name: "node", Status: schema.Online, Key: pub}
			if i < 2 {
				l := lineOf(key, strings.Repeat("2", 40))
				l.Rev, l.Since = rev%(1<<53-1)+1, now
				var err error
				if n.Line, err = report.SignLine(l, key); err != nil {
					t.Fatal(err)
				}
			}
			nodes = append(nodes, n)
		}
		if _, _, err := report.Verify(b.read, b.list, "acme", keys); err != nil {
			t.Fatalf("verify: %v", err)
		}
		files, message, err := report.Build(b.read, "acme", nodes, now)
		if err != nil {
			t.Fatalf("build: %v", err)
		}
		if strings.ContainsAny(message, "\x00\r\x1b") {
			t.Fatalf("message %q", message)
		}
		b.apply(files)
		if again, _, err := report.Build(b.read, "acme", nodes, now); err != nil || len(again) > 0 {
			t.Fatalf("building again changes %d files, %v", len(again), err)
		}
		lines, bad, err := report.Verify(b.read, b.list, "acme", keys)
		if err != nil {
			t.Fatalf("verify what was built: %v", err)
		}
		for _, one := range bad {
			// Lines of later versions and of nodes that this reporter does not know are carried, and facts are not looked at.
			if strings.HasPrefix(one.File, "nodes/") && keys[one.Node] != nil && !strings.Contains(one.Problem, "v is ") {
				t.Errorf("of %d lines built, %s:%d: %s", lines, one.File, one.Line, one.Problem)
			}
		}
		if !json.Valid(b["summary.json"]) {
			t.Errorf("summary.json: %s", b["summary.json"])
		}
	})
}

func (b branch) list(dir string) ([]string, error) {
	var names []string
	for p := range b {
		if name, ok := strings.CutPrefix(p, dir+"/"); ok {
			names = append(names, name)
		}
	}
	if names == nil {
		return nil, fs.ErrNotExist
	}
	slices.Sort(names)
	return names, nil
}

func TestVerifyNamesEachFault(t *testing.T) {
	b := branch{}
	build(t, b, fleetOf(t, 3, 1))
	nodes := fleetOf(t, 3, 1)
	var roster []schema.RosterLine
	keys := map[string]ed25519.PublicKey{}
	for i, n := range nodes {
		keys[n.Line.Node] = n.Key
		roster = append(roster, schema.RosterLine{ID: n.Line.Node, Name: string(rune('a' + i)), State: schema.NodeActive})
	}
	if lines, bad, err := report.Verify(b.read, b.list, "acme", keys); lines != 3 || len(bad) > 0 || err != nil {
		t.Fatalf("%d lines, %v, %v", lines, bad, err)
	}
	if lines, bad, err := report.Verify(b.read, b.list, "other", keys); lines != 3 || len(bad) != 3 || err != nil {
		t.Errorf("another fleet: %d lines, %v, %v", lines, bad, err)
	}
	delete(keys, nodes[0].Line.Node)
	if _, bad, err := report.Verify(b.read, b.list, "acme", keys); len(bad) != 1 || bad[0].Node != nodes[0].Line.Node || !strings.Contains(bad[0].Problem, "no key") || err != nil {
		t.Errorf("a node that left: %v, %v", bad, err)
	}
	if _, _, err := report.Verify(branch{}.read, branch{}.list, "acme", keys); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no branch of reports: %v", err)
	}
	b["nodes/ff.jsonl"] = make([]byte, 9<<20)
	if _, bad, err := report.Verify(b.read, b.list, "acme", keys); len(bad) != 2 || bad[1].File != "nodes/ff.jsonl" || bad[1].Line != 0 || err != nil {
		t.Errorf("a shard that is too large: %v, %v", bad, err)
	}
	roster[1].State = schema.NodeRetired
	known := report.Known(roster, map[string]schema.ReportLine{roster[0].ID: nodes[0].Line}, map[string]schema.NodeStatus{roster[2].ID: schema.Online}, keys)
	if len(known) != 3 || known[0].Line.Node > known[1].Line.Node || known[1].Line.Node > known[2].Line.Node {
		t.Errorf("known: %+v", known)
	}
	for _, n := range known {
		if (n.Status == schema.Retired) != (n.Line.Node == roster[1].ID) {
			t.Errorf("known: %+v", n)
		}
	}
}

func TestFactsAreAskedForOnceAndAgainWhenTheyAreGone(t *testing.T) {
	b := branch{}
	has := func(path, _ string) bool { return b[path] != nil }
	asked := 0
	get := func(report.Node) ([]byte, error) {
		if asked++; asked == 1 {
			return nil, fs.ErrNotExist
		}
		return []byte("{}"), nil
	}
	bare := func() []report.Node {
		nodes := fleetOf(t, 4, 1)
		for i := range nodes {
			nodes[i].Facts = nil
		}
		return nodes
	}
	for _, want := range []int{2, 2} {
		nodes := bare()
		if left := report.AddFacts(nodes, 1<<20, has, get); left != 0 {
			t.Errorf("%d digests left", left)
		}
		build(t, b, nodes)
		if asked != want {
			t.Errorf("asked %d times, want %d: one node did not answer, its neighbour did", asked, want)
		}
	}
	for p := range b {
		if strings.HasPrefix(p, "facts/") {
			delete(b, p)
		}
	}
	if left := report.AddFacts(bare(), 1, has, get); asked != 3 || left != 0 {
		t.Errorf("facts that are gone from the branch are not asked for again (%d), %d left", asked, left)
	}
	if left := report.AddFacts(bare(), 0, has, get); asked != 3 || left != 1 {
		t.Errorf("asked %d times without room, %d left", asked, left)
	}
}
