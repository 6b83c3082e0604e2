package report_test

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

var security = schema.Origin{Origin: "Debian", Label: "Debian-Security", Codename: "bookworm-security", Component: "main", Site: "security.debian.org", Trusted: true}

func pkg(name, version string) schema.PackageFact {
	return schema.PackageFact{Name: name, Version: version, Arch: "amd64", Origins: []schema.Origin{security}}
}

// hostFacts are facts with packages installed at version 1 and newer versions of some.
func hostFacts(installed []string, newer ...schema.PackageFact) schema.Facts {
	f := schema.Facts{V: 1, OS: schema.OSFacts{ID: "debian", OperatingSystem: schema.Debian, Product: "Debian12"}, Arch: "amd64", Candidates: newer,
		PendingReboot: schema.PendingReboot{Packages: []string{}}, LastInstall: []schema.LastInstall{}}
	for _, name := range installed {
		f.Installed = append(f.Installed, pkg(name, "1"))
	}
	if f.Candidates == nil {
		f.Candidates = []schema.PackageFact{}
	}
	return f
}

// estate is a fleet whose nodes have facts.
type estate struct {
	t     testing.TB
	nodes []report.Node
	parts map[string][]byte
	of    []string // digest of each node's part
	sets  []string // of its archives
}

func newEstate(t testing.TB, all []schema.Facts, archives func(i int) []schema.Origin) *estate {
	e := &estate{t: t, parts: map[string][]byte{}}
	for i, f := range all {
		key := ownKey(byte(i + 1))
		facts, err := report.FactsFile(f)
		if err != nil {
			t.Fatal(err)
		}
		l := lineOf(key, strings.Repeat("1", 40))
		l.Rev, l.Since, l.Facts = 1, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), hex.EncodeToString(sha256Of(string(facts)))
		if l, err = report.SignLine(l, key); err != nil {
			t.Fatal(err)
		}
		part, set, err := report.CandidatesFile(f, archives(i))
		if err != nil {
			t.Fatal(err)
		}
		digest := hex.EncodeToString(sha256Of(string(part)))
		e.parts[digest] = part
		e.of, e.sets = append(e.of, digest), append(e.sets, set)
		e.nodes = append(e.nodes, report.Node{Line: l, Name: fmt.Sprint("n", i), Status: schema.Online, Facts: facts, Key: key.Public().(ed25519.PublicKey)})
	}
	return e
}

// catalogs are what a reporter knows that some of the nodes have told.
func (e *estate) catalogs(which ...int) report.More {
	at := map[string]int{}
	m := report.More{Renew: true}
	for _, i := range which {
		n, ok := at[e.sets[i]]
		if !ok {
			n = len(m.Catalogs)
			at[e.sets[i]] = n
			m.Catalogs = append(m.Catalogs, report.Catalog{Archives: e.sets[i], Part: func(digest string) ([]byte, error) {
				if b, ok := e.parts[digest]; ok {
					return b, nil
				}
				return nil, fs.ErrNotExist
			}})
		}
		c := &m.Catalogs[n]
		c.Facts, c.Parts = append(c.Facts, e.nodes[i].Line.Facts), append(c.Parts, e.of[i])
	}
	return m
}

func (e *estate) rebuilt(b branch, i int) schema.Facts {
	e.t.Helper()
	r, err := report.OpenBranch(b.read, b.list, keysOf(e.nodes), strings.Compare)
	if err != nil {
		e.t.Fatal(err)
	}
	f, err := r.Facts(e.nodes[i].Line, time.Date(2026, 3, 9, 0, 0, 0, 0, time.UTC))
	if err != nil {
		e.t.Fatal(err)
	}
	return f
}

func catalogsOf(b branch) (names []string) {
	for p := range b {
		if strings.HasPrefix(p, "catalog/") {
			names = append(names, p)
		}
	}
	slices.Sort(names)
	return names
}

func same(int) []schema.Origin { return []schema.Origin{security} }

func TestFactsAreRebuiltFromFactsAndCatalogs(t *testing.T) {
	other := security
	other.Codename = "trixie-security"
	all := []schema.Facts{
		hostFacts([]string{"bash", "curl"}, pkg("bash", "2"), pkg("curl", "2"), pkg("curl", "3")),
		hostFacts([]string{"curl", "openssl"}, pkg("curl", "2"), pkg("curl", "3")),
		hostFacts([]string{"dash"}),
		hostFacts([]string{"curl"}, pkg("curl", "9")),
	}
	e := newEstate(t, all, func(i int) []schema.Origin {
		if i == 3 {
			return []schema.Origin{other}
		}
		return same(i)
	})
	b := branch{}
	write(t, b, e.nodes, e.catalogs(0, 1, 2, 3))
	if n := len(catalogsOf(b)); n != 2 {
		t.Errorf("%d catalogs of two sets of archives", n)
	}
	for i, want := range all {
		want.Node, want.At = e.nodes[i].Line.Node, e.nodes[i].Line.Since
		if d := cmp.Diff(want, e.rebuilt(b, i)); d != "" {
			t.Errorf("node %d (-host +branch):\n%s", i, d)
		}
	}
	if lines, bad, err := report.Verify(b.read, b.list, "acme", keysOf(e.nodes)); lines != 4 || len(bad) > 0 || err != nil {
		t.Errorf("Verify: %d, %v, %v", lines, bad, err)
	}
	if files := write(t, b, e.nodes, e.catalogs(3, 2, 1, 0)); len(files) > 0 {
		t.Errorf("the same again writes %d files", len(files))
	}
}

func TestANewVersionChangesOneFile(t *testing.T) {
	e := newEstate(t, []schema.Facts{hostFacts([]string{"bash"}, pkg("bash", "2")), hostFacts([]string{"bash", "curl"}, pkg("bash", "2"))}, same)
	b := branch{}
	write(t, b, e.nodes, e.catalogs(0, 1))
	before := catalogsOf(b)
	after := newEstate(t, []schema.Facts{hostFacts([]string{"bash"}, pkg("bash", "2"), pkg("bash", "3")), hostFacts([]string{"bash", "curl"}, pkg("bash", "2"), pkg("bash", "3"))}, same)
	files := write(t, b, after.nodes, after.catalogs(0, 1))
	if now := catalogsOf(b); len(files) != 2 || len(now) != 1 || len(before) != 1 || now[0] == before[0] {
		t.Errorf("%d files changed, catalogs %v, then %v; want the new one in place of the old", len(files), before, now)
	}
	if f := after.rebuilt(b, 1); len(f.Candidates) != 2 || f.Candidates[1].Version != "3" {
		t.Errorf("rebuilt: %v", f.Candidates)
	}
}

func TestCatalogsOfNodesThatAreAwayStay(t *testing.T) {
	e := newEstate(t, []schema.Facts{hostFacts([]string{"bash"}, pkg("bash", "2")), hostFacts([]string{"curl"}, pkg("curl", "2"))}, same)
	b := branch{}
	write(t, b, e.nodes, e.catalogs(0, 1))
	// A reporter begins anew, and of the second node it has the line only.
	write(t, b, e.nodes, e.catalogs(0))
	if f := e.rebuilt(b, 1); len(f.Candidates) != 1 {
		t.Errorf("of a node that is away: %v", f.Candidates)
	}
	// A part that cannot be had now takes nothing away either.
	part := e.parts[e.of[1]]
	delete(e.parts, e.of[1])
	write(t, b, e.nodes, e.catalogs(0, 1))
	if f := e.rebuilt(b, 1); len(f.Candidates) != 1 {
		t.Errorf("of a part that cannot be had: %v", f.Candidates)
	}
	e.parts[e.of[1]] = part
	write(t, b, e.nodes, report.More{Renew: true})
	if len(catalogsOf(b)) != 1 {
		t.Errorf("catalogs: %v", catalogsOf(b))
	}
	// Nobody needs it any more.
	gone := newEstate(t, []schema.Facts{hostFacts([]string{"dash"}), hostFacts([]string{"dash"})}, same)
	for i := range gone.nodes {
		gone.nodes[i].Line.Rev = 2
		l, err := report.SignLine(gone.nodes[i].Line, ownKey(byte(i+1)))
		if err != nil {
			t.Fatal(err)
		}
		gone.nodes[i].Line = l
	}
	write(t, b, gone.nodes, report.More{Renew: true})
	if len(catalogsOf(b)) > 0 {
		t.Errorf("catalogs that nobody needs: %v", catalogsOf(b))
	}
}

func TestHostileCatalogsGiveWay(t *testing.T) {
	e := newEstate(t, []schema.Facts{hostFacts([]string{"bash"}, pkg("bash", "2"))}, same)
	clean := branch{}
	write(t, clean, e.nodes, e.catalogs(0))
	good := string(clean[catalogsOf(clean)[0]])
	for name, text := range map[string]string{
		"a field more":     strings.Replace(good, `"v":1}`, `"v":1,"w":2}`, 1),
		"a version twice":  strings.Replace(good, `"candidates":[`, `"candidates":[{"arch":"amd64","name":"bash","version":"2"},`, 1),
		"blanks":           strings.Replace(good, `"v":1`, `"v": 1`, 1),
		"a later form":     strings.Replace(good, `"v":1`, `"v":2`, 1),
		"a date":           strings.Replace(good, `{"arch":"amd64","name"`, `{"arch":"amd64","firstSeen":"2020-01-01T00:00:00Z","name"`, 1),
		"no name":          strings.Replace(good, `"name":"bash"`, `"name":""`, 1),
		"facts of no name": strings.Replace(good, `"facts":["`, `"facts":["../`, 1),
		"rubbish":          "\x00",
		"nothing":          "",
		"null":             "null",
	} {
		t.Run(name, func(t *testing.T) {
			b := branch{}
			write(t, b, e.nodes, e.catalogs(0))
			path := "catalog/" + hex.EncodeToString(sha256Of(text)) + ".json"
			b[path] = []byte(text)
			if _, bad, err := report.Verify(b.read, b.list, "acme", keysOf(e.nodes)); err != nil || len(bad) != 1 || bad[0].File != path {
				t.Errorf("Verify: %v, %v", bad, err)
			}
			if f := e.rebuilt(b, 0); len(f.Candidates) != 1 || !f.Candidates[0].FirstSeen.IsZero() {
				t.Errorf("rebuilt: %v", f.Candidates)
			}
			write(t, b, e.nodes, e.catalogs(0))
			if _, there := b[path]; there {
				t.Error("it does not give way")
			}
		})
	}
	b := branch{}
	write(t, b, e.nodes, e.catalogs(0))
	b["catalog/"+strings.Repeat("0", 64)+".json"], b["catalog/x"] = []byte(good), []byte("x")
	if _, bad, err := report.Verify(b.read, b.list, "acme", keysOf(e.nodes)); err != nil || len(bad) != 2 {
		t.Errorf("Verify: %v, %v", bad, err)
	}
	write(t, b, e.nodes, e.catalogs(0))
	if n := len(catalogsOf(b)); n != 1 {
		t.Errorf("%d catalogs are left", n)
	}
	// Parts of nodes that are none are their own affair.
	e.parts[e.of[0]] = []byte(`{"v":1}`)
	write(t, b, e.nodes, e.catalogs(0))
}

func TestFactsThatAreNotWhatTheirNameSaysAreNotRebuilt(t *testing.T) {
	e := newEstate(t, []schema.Facts{hostFacts([]string{"bash"}, pkg("bash", "2"))}, same)
	b := branch{}
	write(t, b, e.nodes, e.catalogs(0))
	line := e.nodes[0].Line
	path := "facts/" + line.Facts[:2] + "/" + line.Facts + ".json"
	open := func() (schema.Facts, error) {
		r, err := report.OpenBranch(b.read, b.list, keysOf(e.nodes), strings.Compare)
		if err != nil {
			t.Fatal(err)
		}
		return r.Facts(line, time.Now())
	}
	text := b[path]
	b[path] = []byte(strings.Replace(string(text), "bash", "dash", 1))
	if f, err := open(); err == nil || len(f.Installed) > 0 {
		t.Errorf("of another digest: %v, %v", f, err)
	}
	delete(b, path)
	if _, err := open(); !errors.Is(err, report.ErrNoFacts) {
		t.Errorf("without facts: %v", err)
	}
	strange := []byte(`{"installed":[{"name":"a"}],"v":1,"x":"\u001b"}`)
	line.Facts = hex.EncodeToString(sha256Of(string(strange)))
	b["facts/"+line.Facts[:2]+"/"+line.Facts+".json"] = strange
	if _, err := open(); err == nil || strings.ContainsRune(err.Error(), 0x1b) {
		t.Errorf("malformed: %v", err)
	}
	line.Facts = "../../etc/passwd"
	if _, err := open(); !errors.Is(err, report.ErrNoFacts) {
		t.Errorf("no digest: %v", err)
	}
	// Facts of an earlier version had newer versions inside.
	before, err := json.Marshal(hostFacts([]string{"bash"}, pkg("bash", "7")))
	if err != nil {
		t.Fatal(err)
	}
	line.Facts = hex.EncodeToString(sha256Of(string(before)))
	b["facts/"+line.Facts[:2]+"/"+line.Facts+".json"] = before
	if f, err := open(); err != nil || len(f.Candidates) != 1 || f.Candidates[0].Version != "7" {
		t.Errorf("of an earlier version: %v, %v", f.Candidates, err)
	}
}

// Whatever a branch holds, it is read or refused; a build upon it ends with one that Verify takes, and building again says
// nothing new.
func FuzzCatalog(f *testing.F) {
	e := newEstate(f, []schema.Facts{hostFacts([]string{"bash"}, pkg("bash", "2")), hostFacts([]string{"curl"}, pkg("curl", "2"))}, same)
	clean := branch{}
	write(f, clean, e.nodes, e.catalogs(0, 1))
	catalog := clean[catalogsOf(clean)[0]]
	seen, err := report.EncodeSeen(sighting(f, ownKey(1), "0", 1, 1, "bash 2"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(catalog), e.parts[e.of[0]], append(seen, '\n'), []byte(clean["facts/"+e.nodes[0].Line.Facts[:2]+"/"+e.nodes[0].Line.Facts+".json"]))
	f.Add([]byte(`{"archives":[],"candidates":[],"v":1}`), []byte("{}"), []byte("{}\n"), []byte("null"))
	f.Add([]byte("\x00"), []byte("["), append(append(seen, '\n'), seen...), []byte(`{"v":1,"candidates":null}`))
	f.Fuzz(func(t *testing.T, catalog, part, seen, facts []byte) {
		e := newEstate(t, []schema.Facts{hostFacts([]string{"bash"}, pkg("bash", "2")), hostFacts([]string{"curl"}, pkg("curl", "2"))}, same)
		digest := hex.EncodeToString(sha256Of(string(facts)))
		if json.Valid(facts) && len(facts) > 0 {
			e.nodes[1].Facts, e.nodes[1].Line.Facts = facts, digest
			l, err := report.SignLine(e.nodes[1].Line, ownKey(2))
			if err != nil {
				t.Fatal(err)
			}
			e.nodes[1].Line = l
		}
		e.parts[e.of[1]] = part
		b := branch{"firstseen/" + report.Shard(e.nodes[0].Line.Node) + ".jsonl": seen,
			"catalog/" + hex.EncodeToString(sha256Of(string(catalog))) + ".json": catalog}
		write(t, b, e.nodes, e.catalogs(0, 1))
		if files := write(t, b, e.nodes, e.catalogs(0, 1)); len(files) > 0 {
			t.Fatalf("building again changes %d files", len(files))
		}
		if _, bad, err := report.Verify(b.read, b.list, "acme", keysOf(e.nodes)); err != nil || len(bad) > 0 {
			t.Fatalf("verify: %v, %v", bad, err)
		}
		r, err := report.OpenBranch(b.read, b.list, keysOf(e.nodes), strings.Compare)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range e.nodes {
			got, err := r.Facts(n.Line, time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC))
			if err != nil && len(got.Installed) > 0 {
				t.Fatalf("refused, and given: %v", got)
			}
			for _, c := range got.Candidates {
				if c.Name == "" || c.FirstSeen.After(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)) {
					t.Fatalf("rebuilt: %+v", c)
				}
			}
		}
	})
}
