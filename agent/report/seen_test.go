package report_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

const archive = "Debian/Debian-Security/bookworm-security/main"

// sighting is a signed record: the node with that key looked first at 06:00 and saw versions at 08:00.
func sighting(t testing.TB, key ed25519.PrivateKey, place string, boot, seq uint64, versions ...string) schema.Record {
	t.Helper()
	first := time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC)
	body, err := json.Marshal(schema.SeenRecord{Archives: map[string]schema.SeenArchive{archive: {First: first, Seen: map[string][]string{"2026-03-01T08:00:00Z": versions}}}})
	if err != nil {
		t.Fatal(err)
	}
	r := schema.Record{Node: schema.NodeID(key.Public().(ed25519.PublicKey)), Kind: schema.RecordSeen, Key: place, Boot: boot, Seq: seq, Body: body}
	r.Sig = ed25519.Sign(key, r.Message())
	return r
}

func write(t testing.TB, b branch, nodes []report.Node, more report.More) map[string][]byte {
	t.Helper()
	for p := range b {
		if name, ok := strings.CutPrefix(p, "catalog/"); ok {
			more.Names = append(more.Names, name)
		}
	}
	files, _, err := report.Write(b.read, nil, "acme", nodes, more, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	b.apply(files)
	return files
}

func TestSightingsGoToTheBranchAsTheirNodesSignedThem(t *testing.T) {
	b, nodes := branch{}, fleetOf(t, 3, 1)
	one, two := sighting(t, ownKey(1), "0", 1, 5, "curl 8", "openssl 3"), sighting(t, ownKey(2), "0", 1, 4, "openssl 3")
	write(t, b, nodes, report.More{Seen: []schema.Record{two, one}})
	got, err := report.Seen(b.read, keysOf(nodes))
	if err != nil || len(got) != 2 {
		t.Fatalf("Seen = %v, %v", got, err)
	}
	line := strings.TrimSuffix(string(b["firstseen/"+report.Shard(one.Node)+".jsonl"]), "\n")
	if !strings.HasPrefix(line, `{"body":{"archives":{"`+archive+`":{"first":"2026-03-01T06:00:00Z","seen":{"2026-03-01T08:00:00Z":["curl 8","openssl 3"]}}}},"boot":1,"key":"0","node":"`+one.Node) {
		t.Errorf("line: %s", line)
	}
	if r, err := report.ParseSeen([]byte(line)); err != nil || r.Verify(nodes[0].Key) != nil || !bytes.Equal(r.Sig, one.Sig) {
		t.Errorf("ParseSeen = %v, %v", r, err)
	}
	if files := write(t, b, nodes, report.More{Seen: []schema.Record{one, two}}); len(files) > 0 {
		t.Errorf("the same again writes %d files", len(files))
	}
	if files := write(t, b, nodes, report.More{}); len(files) > 0 {
		t.Errorf("a reporter that knows none writes %d files", len(files))
	}
	newer := sighting(t, ownKey(1), "0", 1, 6, "bash 5", "curl 8", "openssl 3")
	files := write(t, b, nodes, report.More{Seen: []schema.Record{newer}})
	if len(files) != 1 || !strings.Contains(string(b["firstseen/"+report.Shard(one.Node)+".jsonl"]), "bash 5") {
		t.Errorf("a newer record changes %d files", len(files))
	}
	if write(t, b, nodes, report.More{Seen: []schema.Record{one}}); !strings.Contains(string(b["firstseen/"+report.Shard(one.Node)+".jsonl"]), "bash 5") {
		t.Error("an older record stands")
	}
	nodes[0].Status = schema.Retired
	write(t, b, nodes, report.More{Seen: []schema.Record{newer}})
	if got, err := report.Seen(b.read, keysOf(nodes)); err != nil || len(got) != 1 || got[0].Node != two.Node {
		t.Errorf("of a retired node: %v, %v", got, err)
	}
}

func TestForgedSightingsCountForNothing(t *testing.T) {
	nodes := fleetOf(t, 2, 1)
	good := sighting(t, ownKey(1), "0", 1, 1, "openssl 3")
	line, err := report.EncodeSeen(good)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := report.EncodeSeen(sighting(t, ownKey(9), "0", 1, 1, "openssl 3"))
	if err != nil {
		t.Fatal(err)
	}
	forged := func(from, to string) string { return strings.Replace(string(line), from, to, 1) }
	for name, text := range map[string]string{
		"an earlier instant":       forged("T08:00", "T07:00"),
		"another version":          forged("openssl 3", "openssl 4"),
		"a higher boot":            forged(`"boot":1`, `"boot":2`),
		"another key":              forged(`"key":"0"`, `"key":"1"`),
		"a field more":             forged(`,"v":1`, `,"v":1,"w":1`),
		"blanks":                   forged(`,"v":1`, `, "v":1`),
		"a later form":             forged(`"v":1`, `"v":2`),
		"no signature":             forged(string(line[strings.Index(string(line), `,"sig"`):]), `,"v":1}`),
		"a node not of the roster": string(stranger),
		"rubbish":                  "\x00{[",
		"too long":                 strings.Repeat("x", 20<<10),
	} {
		t.Run(name, func(t *testing.T) {
			path := "firstseen/" + report.Shard(good.Node) + ".jsonl"
			b := branch{}
			build(t, b, nodes)
			b[path] = []byte(text + "\n")
			if got, err := report.Seen(b.read, keysOf(nodes)); err != nil || len(got) > 0 {
				t.Errorf("Seen = %v, %v", got, err)
			}
			if _, bad, err := report.Verify(b.read, b.list, "acme", keysOf(nodes)); err != nil || len(bad) != 1 || bad[0].File != path || bad[0].Line != 1 {
				t.Errorf("Verify: %v, %v", bad, err)
			}
			write(t, b, nodes, report.More{Seen: []schema.Record{good}})
			if string(b[path]) != string(line)+"\n" {
				t.Errorf("it does not give way: %q", b[path])
			}
		})
	}
	bad := good
	bad.Sig = slices.Clone(bad.Sig)
	bad.Sig[3] ^= 1
	b := branch{}
	if write(t, b, nodes, report.More{Seen: []schema.Record{bad, sighting(t, ownKey(9), "0", 1, 1), {Kind: schema.RecordState, Node: good.Node}}}); len(b["firstseen/"+report.Shard(good.Node)+".jsonl"]) > 0 {
		t.Error("a record that its node has not signed was written")
	}
	for _, r := range []schema.Record{
		{}, sighting(t, ownKey(1), "100", 1, 1), sighting(t, ownKey(1), "00", 1, 1), sighting(t, ownKey(1), "x", 1, 1), sighting(t, ownKey(1), "0", 0, 1),
		sighting(t, ownKey(1), "0", 1, 1, "openssl\x1b[31m"), sighting(t, ownKey(1), "0", 1, 1, "b 1", "a 1"),
	} {
		if _, err := report.EncodeSeen(r); err == nil {
			t.Errorf("written: %v", r)
		}
	}
}

// Whatever order reporters and branches come in, the same stands.
func TestMergingSightingsIsCommutative(t *testing.T) {
	nodes := fleetOf(t, 3, 1)
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		var all []schema.Record
		for range 1 + r.IntN(12) {
			place := string(rune('0' + r.IntN(3)))
			all = append(all, sighting(t, ownKey(byte(1+r.IntN(3))), place, uint64(1+r.IntN(2)), uint64(1+r.IntN(3)), string(rune('a'+r.IntN(9)))+" 1"))
		}
		half := r.IntN(len(all) + 1)
		x, y := branch{}, branch{}
		write(t, x, nodes, report.More{Seen: all[:half]})
		write(t, x, nodes, report.More{Seen: all[half:]})
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		write(t, y, nodes, report.More{Seen: all})
		for p := range x {
			if strings.HasPrefix(p, "firstseen/") && string(x[p]) != string(y[p]) {
				t.Fatalf("seed %d: %s depends on the order:\n%s%s", seed, p, x[p], y[p])
			}
		}
		if len(x) != len(y) {
			t.Fatalf("seed %d: %d files, %d", seed, len(x), len(y))
		}
	}
}
