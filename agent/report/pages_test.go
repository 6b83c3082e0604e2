package report_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"

	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

var pageTime = time.Date(2026, 3, 9, 6, 30, 0, 0, time.UTC)

// hostile is what a node could be called if nothing else forbade it.
const hostile = "<img src=x onerror=alert(1)>|](http://evil) `x` **b** @root #12 \u202egnp.exe\n# h\x1b[31m\x00"

// sample is one node of a page.
type sample struct {
	name             string
	status           schema.NodeStatus
	patch, policy    schema.Compliance // "": no line yet
	missing, failed  int
	reboot, rejected int
	critical, avail  int
	custom           map[string]schema.Compliance
	commit           string
}

func (s sample) node(t testing.TB, i int) report.Node {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	binary.BigEndian.PutUint64(seed, uint64(i)+1)
	key := ed25519.NewKeyFromSeed(seed)
	pub := key.Public().(ed25519.PublicKey)
	n := report.Node{Name: s.name, Status: s.status, Key: pub, Line: schema.ReportLine{Node: schema.NodeID(pub)}}
	if s.patch == "" {
		return n
	}
	n.Facts = fmt.Appendf(nil, `{"set":%d}`, i/3)
	l := schema.ReportLine{
		Fleet: "acme", Node: n.Line.Node, Rev: uint64(i%7 + 1), Since: pageTime.Add(-time.Duration(i*i%4000*37) * time.Minute),
		Commit: strings.Repeat("3f9c2b7d51", 4), Facts: hex.EncodeToString(sha256Of(string(n.Facts))),
		Compliance: map[string]schema.Compliance{"Patch": s.patch, "Policy": s.policy, "Association": schema.Compliant},
		Counts: map[string]int{"InstalledCount": 412, "MissingCount": s.missing, "FailedCount": s.failed, "InstalledPendingRebootCount": s.reboot,
			"InstalledRejectedCount": s.rejected, "CriticalNonCompliantCount": s.critical, "AvailableSecurityUpdateCount": s.avail},
	}
	if s.commit != "" {
		l.Commit = strings.Repeat(s.commit, 4)
	}
	maps.Copy(l.Compliance, s.custom)
	var err error
	if n.Line, err = report.SignLine(l, key); err != nil {
		t.Fatal(err)
	}
	return n
}

// samples are the fleets whose pages are kept in testdata/pages.
func samples(t testing.TB) map[string][]report.Node {
	const c, n, u = schema.Compliant, schema.NonCompliant, schema.UnspecifiedData
	of := func(list ...sample) []report.Node {
		var out []report.Node
		for i, s := range list {
			out = append(out, s.node(t, i))
		}
		return out
	}
	mixed := []sample{
		{name: "web-1", status: schema.Online, patch: c, policy: c},
		{name: "web-2", status: schema.Online, patch: n, policy: c, missing: 4, failed: 1, critical: 1, avail: 2},
		{name: "web-3", status: schema.Online, patch: c, policy: c},
		{name: "web-4", status: schema.Online, patch: c, policy: n},
		{name: "api-1", status: schema.Online, patch: c, policy: c, avail: 1, custom: map[string]schema.Compliance{"Custom:disk_full": n}},
		{name: "api-2", status: schema.Online, patch: n, policy: n, reboot: 2, custom: map[string]schema.Compliance{"Custom:" + strings.Repeat("long-", 25): c}},
		{name: "db-primary.eu-central.internal.example.org", status: schema.Online, patch: c, policy: c},
		{name: "db-2", status: schema.ConnectionLost, patch: c, policy: c, commit: "a07e4d2c9b"},
		{name: "cache-1", status: schema.Online, patch: u, policy: c},
		{name: "edge-hel-1", status: schema.CloneConflict, patch: c, policy: c},
		{name: hostile, status: schema.Online, patch: n, policy: c, missing: 17, rejected: 1},
		{name: "new-1", status: schema.Pending},
		{name: "old-1", status: schema.Retired, patch: n, policy: n, missing: 90},
	}
	var large, cut []sample
	for i := range 500 {
		s := sample{name: fmt.Sprintf("node-%03d.example.org", i), status: schema.Online, patch: c, policy: c}
		switch {
		case i%31 == 7:
			s.status = schema.ConnectionLost
		case i%5 == 3:
			s.patch, s.missing, s.critical = n, i%23+1, i%4
		case i%97 == 11:
			s.patch = u
		}
		large = append(large, s)
	}
	for i := range 4 {
		s := sample{name: fmt.Sprintf("node-%d", i), status: schema.ConnectionLost, patch: c, policy: c}
		if i == 3 {
			s.status = schema.Online
		}
		cut = append(cut, s)
	}
	return map[string][]report.Node{"mixed": of(mixed...), "well": of(mixed[0]), "empty": nil, "large": of(large...), "cut": of(cut...)}
}

// isPage reports whether a file of the branch is for people: what is signed is not kept in testdata.
func isPage(name string) bool {
	return !strings.HasPrefix(name, "nodes/") && !strings.HasPrefix(name, "facts/")
}

func TestPagesAreAsTheyWere(t *testing.T) {
	for name, nodes := range samples(t) {
		t.Run(name, func(t *testing.T) {
			files, _, err := report.Build(branch{}.read, "acme", nodes, pageTime)
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join("testdata", "pages", name)
			if os.Getenv("DUNLIN_GOLDEN") != "" {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			kept := 0
			for p, got := range files {
				if !isPage(p) {
					continue
				}
				kept++
				at := filepath.Join(dir, filepath.FromSlash(p))
				if os.Getenv("DUNLIN_GOLDEN") != "" {
					if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, got, 0o644)); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(at)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s differs from %s (make golden writes it anew): %v\n%s", p, at, err, got)
				}
			}
			if want := 7; kept != want {
				t.Errorf("%d pages, want %d", kept, want)
			}
			if n := len(files["README.md"]); n > 100_000 {
				t.Errorf("README.md has %d bytes, a forge may not show it", n)
			}
		})
	}
}

// checkReadme holds the page to what it may be made of, as a forge parses it: GitHub's Markdown with its tables.
func checkReadme(t *testing.T, page []byte) {
	t.Helper()
	for _, r := range string(page) {
		if r != '\n' && r != '\u2011' && r != '\ufe0f' && !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r) || unicode.Is(unicode.Bidi_Control, r) {
			t.Errorf("the page holds %U", r)
		}
	}
	headings, cells, wide := 0, 0, 0
	root := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(page))
	err := ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Document, *ast.Paragraph, *ast.Text, *ast.TextBlock, *extast.Table, *ast.CodeSpan, *ast.Emphasis, *ast.String:
		case *ast.Heading:
			headings++
		case *extast.TableHeader:
			wide = n.ChildCount()
		case *extast.TableRow:
			if n.ChildCount() != wide {
				t.Errorf("a row has %d cells, its table %d", n.ChildCount(), wide)
			}
		case *extast.TableCell:
			cells++
		case *ast.Image:
			if at := string(n.Destination); path.Dir(at) != "charts" {
				t.Errorf("the page shows a picture from %q", at)
			}
		case *ast.Link:
			at := string(n.Destination)
			if dir, _, _ := strings.Cut(at, "/"); dir != "nodes" && dir != "facts" && at != "summary.json" && at != "conflicts.jsonl" || path.Clean(at) != at {
				t.Errorf("the page links to %q", at)
			}
		default:
			t.Errorf("the page holds a %s", n.Kind())
		}
		return ast.WalkContinue, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if headings < 3 || headings > 8 || cells == 0 {
		t.Errorf("the page has %d headings and %d cells", headings, cells)
	}
}

// checkSVG holds a picture to well-formed XML of a few elements that do nothing and load nothing.
func checkSVG(t *testing.T, name string, b []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, b)
		}
		switch e := token.(type) {
		case xml.StartElement:
			if !slices.Contains([]string{"svg", "title", "style", "g", "path", "rect", "circle", "text"}, e.Name.Local) {
				t.Errorf("%s holds <%s>", name, e.Name.Local)
			}
			for _, a := range e.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || strings.Contains(a.Name.Local, "href") || strings.Contains(a.Value, "url(") {
					t.Errorf("%s: <%s> has %s=%q", name, e.Name.Local, a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			for _, r := range string(e) {
				if r != '\n' && r != '\u00a0' && r != '\u2003' && !unicode.IsPrint(r) || unicode.Is(unicode.Bidi_Control, r) {
					t.Errorf("%s holds %U", name, r)
				}
			}
		case xml.EndElement:
		default:
			t.Errorf("%s holds a %T", name, e)
		}
	}
}

func TestPagesHoldNothingThatActs(t *testing.T) {
	for name, nodes := range samples(t) {
		files, message, err := report.Build(branch{}.read, "acme", nodes, pageTime)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			for p, b := range files {
				switch path.Ext(p) {
				case ".md":
					checkReadme(t, b)
				case ".svg":
					checkSVG(t, p, b)
				}
			}
			if strings.ContainsFunc(message, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }) {
				t.Errorf("message %q", message)
			}
		})
	}
}

// Whatever nodes are called, the pages have the same form.
func FuzzNames(f *testing.F) {
	for _, s := range []string{hostile, "", "|", "||\n||", "a\r\nb", "\\", "&lt;", "&#60;script&#62;", "- [ ] x", "1. x", "~~x~~", "$x$", "[^1]", "http://x.example",
		"www.x.example", "a@x.example", "\xff\xfe", "\u2066x\u2069", "\u200b\u200d\ufeff", "\u2005", "e\u0301\u0301\u0301", strings.Repeat("𒐫", 100), ":tada:", "<!--", "]]>", "` `` ```", "\t"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		nodes := []report.Node{
			sample{name: one, status: schema.Online, patch: schema.NonCompliant, policy: schema.Compliant, missing: 1}.node(t, 0),
			sample{name: two, status: schema.NodeStatus(one)}.node(t, 1),
			sample{name: one + two, status: schema.ConnectionLost, patch: schema.Compliant, policy: schema.Compliant}.node(t, 2),
		}
		files, _, err := report.Build(branch{}.read, "acme", nodes, pageTime)
		if err != nil {
			t.Fatal(err)
		}
		checkReadme(t, files["README.md"])
		if n := bytes.Count(files["README.md"], []byte("\n")); n > 90 {
			t.Errorf("a page of three nodes has %d lines", n)
		}
		for p, b := range files {
			if path.Ext(p) == ".svg" {
				checkSVG(t, p, b)
			}
		}
	})
}

// A node that left the roster, or retired, is on the branch still and counts no more.
func TestNodesThatLeftAreNotCounted(t *testing.T) {
	b := branch{}
	nodes := samples(t)["mixed"][:4]
	build(t, b, nodes)
	nodes[3].Status = schema.Retired
	build(t, b, nodes[1:])
	if n := strings.Count(lineFiles(b), "\n"); n != 4 {
		t.Errorf("%d lines, want all 4", n)
	}
	page := string(b["README.md"])
	for _, want := range []string{"**1 of 2 nodes COMPLIANT**", "1 line is of a node that the roster does not have", "💤\u00a0Retired | 1 |"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q:\n%s", want, page)
		}
	}
	if !strings.Contains(string(b["summary.json"]), `"nodes": 2`) {
		t.Errorf("summary.json: %s", b["summary.json"])
	}
}
