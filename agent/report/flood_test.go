package report_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

// live is how many bytes of the heap are in use.
func live() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A branch whose files are as many and as large as they may be costs a build little memory, and no node its line.
func TestAHugeBranchCostsLittleMemory(t *testing.T) {
	nodes := fleetOf(t, 40, 1)
	clean := branch{}
	var seen []schema.Record
	for i := range nodes {
		seen = append(seen, sighting(t, ownKey(byte(i+1)), "0", 1, 1, "openssl 3"))
	}
	write(t, clean, nodes, report.More{Seen: seen})
	catalog := bytes.Repeat([]byte{'x'}, 16<<20)
	var names []string
	for i := range 4096 {
		names = append(names, fmt.Sprintf("%064x.json", i))
	}
	// The reporter knows the keys, and has no line of any node itself.
	var known []report.Node
	for _, n := range nodes {
		known = append(known, report.Node{Line: schema.ReportLine{Node: n.Line.Node}, Name: n.Name, Status: n.Status, Key: n.Key})
	}
	before, most, reads, ofCatalog := live(), uint64(0), 0, 0
	read := func(path string) ([]byte, error) {
		if reads++; reads%32 == 0 {
			most = max(most, live())
		}
		dir, _, _ := strings.Cut(path, "/")
		switch dir {
		case "nodes", "firstseen":
			if clean[path] == nil && !strings.HasSuffix(path, "0.jsonl") {
				return nil, fs.ErrNotExist
			}
			text := make([]byte, 8<<20)
			copy(text[copy(text, clean[path]):], "x\n")
			return text, nil
		case "catalog":
			ofCatalog++
			return bytes.Clone(catalog), nil
		}
		return clean.read(path)
	}
	files, _, err := report.Write(read, nil, "acme", known, report.More{Renew: true, Names: names}, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if most = max(most, live()); most > before+64<<20 {
		t.Errorf("a build holds %d MiB", (most-before)>>20)
	}
	if ofCatalog > 5 {
		t.Errorf("%d files of 16 MiB were read", ofCatalog)
	}
	for _, name := range names {
		if text, ok := files["catalog/"+name]; !ok || text != nil {
			t.Fatalf("%s does not give way", name)
		}
	}
	for path, text := range clean {
		if (strings.HasPrefix(path, "nodes/") || strings.HasPrefix(path, "firstseen/")) && !bytes.Equal(files[path], text) {
			t.Errorf("%s: %.200q, want %.200q", path, files[path], text)
		}
	}
}

// Lines of nodes that nobody knows take no room of nodes.
func TestStrangersLinesAreBounded(t *testing.T) {
	nodes := fleetOf(t, 2, 1)
	b := branch{}
	build(t, b, nodes)
	path := "nodes/" + report.Shard(nodes[0].Line.Node) + ".jsonl"
	own := string(b[path])
	var text strings.Builder
	l := nodes[0].Line
	for i := 0; text.Len() < 7<<20; i++ {
		digits := []byte("aaaaaaaa")
		for at, n := 0, i; n > 0; at, n = at+1, n/26 {
			digits[at] += byte(n % 26)
		}
		l.Node = nodes[0].Line.Node[:2] + strings.Repeat("a", 16) + string(digits)
		raw, err := report.Encode(l)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(raw, '\n'))
	}
	b[path] = []byte(text.String() + own)
	for i := range nodes {
		nodes[i].Line = schema.ReportLine{Node: nodes[i].Line.Node}
	}
	build(t, b, nodes)
	if n := len(b[path]); n > 160<<10 || !strings.Contains(string(b[path]), own) {
		t.Errorf("the shard has %d bytes; the node's own line is there: %v", n, strings.Contains(string(b[path]), own))
	}
	if n := build(t, b, nodes); n != 0 {
		t.Errorf("building again changes %d files", n)
	}
}

// large is a part of many MiB in few versions.
func large(t testing.TB, name string, size int) (part []byte, archives string) {
	t.Helper()
	var all []schema.PackageFact
	for i := 0; size > 0; i++ {
		p := pkg(fmt.Sprint(name, i), "2")
		p.Section = strings.Repeat("x", min(size, 200<<10))
		size -= len(p.Section) + 300
		all = append(all, p)
	}
	part, archives, err := report.CandidatesFile(hostFacts(nil, all...), same(0))
	if err != nil {
		t.Fatal(err)
	}
	return part, archives
}

// A node that somebody has taken over can tell what it likes: the catalog that others share stays, with all that they know.
func TestATakenOverNodeDoesNotReplaceTheCatalog(t *testing.T) {
	const others = 4
	estateOf := func(n int) *estate {
		all := []schema.Facts{}
		for i := range others + n {
			f := hostFacts([]string{"bash", fmt.Sprint("own", i)})
			if i < others {
				f.Candidates = []schema.PackageFact{pkg("bash", "2"), pkg(fmt.Sprint("own", i), "2")}
			}
			all = append(all, f)
		}
		return newEstate(t, all, same)
	}
	parts := func(e *estate, all ...[]byte) []int {
		which := []int{0, 1, 2, 3}
		for i, part := range all {
			digest := hex.EncodeToString(sha256Of(string(part)))
			e.parts[digest], e.of[others+i] = part, digest
			which = append(which, others+i)
		}
		return which
	}
	of := func(f schema.Facts, archives []schema.Origin) []byte {
		part, _, err := report.CandidatesFile(f, archives)
		if err != nil {
			t.Fatal(err)
		}
		return part
	}
	// first is a part of other archives that sorts before all others.
	first := func() []byte {
		e := estateOf(0)
		least := slices.Min(e.of)
		for i := 0; ; i++ {
			other := security
			other.Label = fmt.Sprint("other", i)
			if part := of(hostFacts(nil, pkg("evil", "9")), []schema.Origin{other}); hex.EncodeToString(sha256Of(string(part))) < least {
				return part
			}
		}
	}
	many := func(name string, n int) []byte {
		f := hostFacts(nil)
		for i := range n {
			f.Candidates = append(f.Candidates, schema.PackageFact{Name: fmt.Sprintf("evil%s%05d", name, i), Arch: "a", Version: "1"})
		}
		return of(f, same(0))
	}
	lie := pkg("bash", "2")
	lie.Priority = ""
	lie.Advisories = []schema.Advisory{{ID: "A-0"}} // its bytes are the lesser
	tooLarge, _ := large(t, "evil", 5<<20)
	var full [][]byte
	for i := range 5 {
		part, _ := large(t, fmt.Sprint("evil", i, "-"), 3<<20+i)
		full = append(full, part)
	}
	for name, one := range map[string]struct {
		parts [][]byte
		evil  bool // the catalog has of them what fits
	}{
		"other archives than it claims": {[][]byte{first()}, false},
		"rubbish":                       {[][]byte{[]byte(`{"v":1}`)}, false},
		"a part of 5 MiB":               {[][]byte{tooLarge}, false},
		"20,001 versions":               {[][]byte{many("", 20_001)}, false},
		"15 MiB of five nodes":          {full, true},
		"50,000 versions":               {[][]byte{many("a", 20_000), many("b", 20_000), many("c", 10_000)}, true},
		"a version that others know":    {[][]byte{of(hostFacts(nil, lie), same(0))}, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := estateOf(len(one.parts))
			b := branch{}
			write(t, b, e.nodes, e.catalogs(parts(e, one.parts...)...))
			got := catalogsOf(b)
			if len(got) != 1 || len(b[got[0]]) > 16<<20 {
				t.Fatalf("catalogs: %v", got)
			}
			if evil := bytes.Contains(b[got[0]], []byte(`"evil`)); evil != one.evil {
				t.Errorf("the catalog has what nobody else knows: %v", evil)
			}
			if f := e.rebuilt(b, 0); len(f.Candidates) != 2 || len(f.Candidates[0].Advisories) > 0 {
				t.Errorf("of node 0: %+v", f.Candidates)
			}
			for i := range others {
				if !bytes.Contains(b[got[0]], fmt.Appendf(nil, `"own%d"`, i)) {
					t.Errorf("what node %d knows is not there", i)
				}
			}
			which := parts(e, one.parts...)
			slices.Reverse(which)
			if files := write(t, b, e.nodes, e.catalogs(which...)); len(files) > 0 {
				t.Errorf("in another order %d files differ: %v", len(files), slices.Sorted(maps.Keys(files)))
			}
			if _, bad, err := report.Verify(b.read, b.list, "acme", keysOf(e.nodes)); err != nil || len(bad) > 0 {
				t.Errorf("Verify: %v, %v", bad, err)
			}
		})
	}
}

// What is told by archives is of the nodes that tell it, each once.
func TestCatalogsCountNodes(t *testing.T) {
	nodes := fleetOf(t, 3, 1)
	set, x, y := strings.Repeat("a", 64), strings.Repeat("1", 64), strings.Repeat("2", 64)
	told := map[string]schema.CatalogRecord{}
	for i, n := range nodes {
		told[n.Line.Node] = schema.CatalogRecord{Archives: set, Candidates: []string{y, x, y}[i]}
	}
	all := report.Catalogs(append(nodes, nodes[1], nodes[1]), told, func(string) ([]byte, error) { return nil, fs.ErrNotExist })
	if len(all) != 1 || all[0].Archives != set || !slices.Equal(all[0].Parts, []string{x, y, y}) {
		t.Errorf("catalogs: %+v", all)
	}
}

// A few bytes of JSON can be many in memory: what is no part of a catalog is refused before it is all read.
func TestPartsOfManyTinyThingsAreRefusedEarly(t *testing.T) {
	fill := func(head, one, tail string) []byte {
		n := (4<<20 - len(head) - len(tail)) / (len(one) + 1)
		return []byte(head + strings.Repeat(one+",", n) + one + tail)
	}
	candidates := `{"archives":[{"trusted":true}],"candidates":[`
	for name, part := range map[string][]byte{
		"objects":      fill(candidates, `{}`, `],"v":1}`),
		"null":         fill(candidates, `null`, `],"v":1}`),
		"one version":  fill(candidates, `{"arch":"a","name":"b","version":"1"}`, `],"v":1}`),
		"archives":     fill(`{"archives":[`, `{"trusted":false}`, `],"candidates":[],"v":1}`),
		"no archives":  fill(`{"archives":[`, `{}`, `],"candidates":[],"v":1}`),
		"its archives": fill(candidates+`{"arch":"a","name":"b","origins":[`, `{"trusted":false}`, `],"version":"1"}],"v":1}`),
		"advisories":   fill(candidates+`{"advisories":[`, `{}`, `],"arch":"a","name":"b","version":"1"}],"v":1}`),
		"facts":        fill(candidates+`],"facts":[`, `""`, `],"v":1}`),
		"fields":       fill(`{`, `"v":1`, `}`),
		"other fields": fill(`{`, `"x":1`, `}`),
		"nesting":      []byte(strings.Repeat("[", 4<<20)),
		"no end":       []byte(candidates),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := report.Candidates(part)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Error("taken")
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
				t.Errorf("%d MiB for %d bytes: %v", used>>20, len(part), err)
			}
		})
	}
	if _, err := report.Candidates(slices.Concat([]byte(candidates), []byte(`],"v":1}`))); err != nil {
		t.Errorf("a part without versions: %v", err)
	}
}
