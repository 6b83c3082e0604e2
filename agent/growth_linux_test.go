package agent_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

// BenchmarkReportsGrowth says how large the branch of reports of 10,000 nodes in 200 package sets is, packed, and how
// much a year adds, from a day on which 5 % of the nodes and of the sets change, in 24 pushes, and the
// archives bring five new versions. It is run once: go test ./agent -run '^$' -bench ReportsGrowth -benchtime 1x
func BenchmarkReportsGrowth(b *testing.B) {
	const nodes, sets, archives, days, pushes = 10_000, 200, 4, 1, 24
	for range b.N {
		r := rand.New(rand.NewPCG(1, 2))
		dir := filepath.Join(b.TempDir(), "reports.git")
		git := func(stdin []byte, args ...string) string {
			cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
			cmd.Stdin = bytes.NewReader(stdin)
			out, err := cmd.CombinedOutput()
			if err != nil {
				b.Fatalf("git %v: %v: %s", args, err, out)
			}
			return string(out)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		git(nil, "init", "-q", "--bare")
		w := grownFleet(b, r, nodes, sets, archives)
		now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		branch := map[string][]byte{}
		read := func(path string) ([]byte, error) {
			if text, ok := branch[path]; ok {
				return text, nil
			}
			return nil, fs.ErrNotExist
		}
		var stream bytes.Buffer
		begun := false
		push := func() {
			all := slices.Clone(w.nodes)
			report.AddFacts(all, 1<<40, func(path, _ string) bool { return branch[path] != nil }, func(n report.Node) ([]byte, error) { return w.files[n.Line.Facts], nil })
			more := report.More{Renew: true, Catalogs: report.Catalogs(all, w.told, func(digest string) ([]byte, error) { return w.files[digest], nil })}
			for path := range branch {
				if name, ok := strings.CutPrefix(path, "catalog/"); ok {
					more.Names = append(more.Names, name)
				}
			}
			files, message, err := report.Write(read, nil, "acme", all, more, now)
			if err != nil {
				b.Fatal(err)
			}
			fmt.Fprintf(&stream, "commit refs/heads/reports\ncommitter dunlin <dunlin@acme.invalid> %d +0000\ndata %d\n%s\n", now.Unix(), len(message), message)
			if begun && stream.Len() < 1<<20 && !strings.Contains(stream.String(), "from refs") {
				fmt.Fprint(&stream, "from refs/heads/reports^0\n")
			}
			for path, text := range files {
				if text == nil {
					delete(branch, path)
					fmt.Fprintf(&stream, "D %s\n", path)
				} else {
					branch[path] = text
					fmt.Fprintf(&stream, "M 100644 inline %s\ndata %d\n%s\n", path, len(text), text)
				}
			}
		}
		packed := func() int {
			git(stream.Bytes(), "fast-import", "--quiet")
			stream.Reset()
			begun = true
			git(nil, "repack", "-q", "-a", "-d", "-f")
			_, text, _ := strings.Cut(git(nil, "count-objects", "-v"), "size-pack: ")
			text, _, _ = strings.Cut(text, "\n")
			kib, err := strconv.Atoi(text)
			if err != nil {
				b.Fatal(err)
			}
			return kib << 10
		}
		w.sign(b, now, 0, nodes)
		push()
		base := packed()
		for day := range days {
			changed := r.Perm(nodes)[:nodes/20]
			for _, set := range r.Perm(sets)[:sets/20] {
				w.upgrade(b, r, set)
			}
			w.publish(b, r, 5, day)
			for p := range pushes {
				now = now.Add(24 * time.Hour / pushes)
				part := changed[len(changed)*p/pushes : len(changed)*(p+1)/pushes]
				for _, i := range part {
					w.missing[i]++
					w.sign(b, now, i, i+1)
				}
				push()
			}
		}
		grown := packed() - base
		b.ReportMetric(float64(base)/1e6, "MB-at-first")
		b.ReportMetric(float64(grown)/1e6*365/days, "MB/year")
	}
}

// grown is a fleet whose packages change.
type grown struct {
	keys    []ed25519.PrivateKey
	nodes   []report.Node
	missing []int
	revs    []uint64
	sets    []schema.Facts
	digests []string // of the facts of each set
	told    map[string]schema.CatalogRecord
	files   map[string][]byte
	origins [][]schema.Origin
}

func grownFleet(b *testing.B, r *rand.Rand, nodes, sets, archives int) *grown {
	w := &grown{told: map[string]schema.CatalogRecord{}, files: map[string][]byte{}, missing: make([]int, nodes), revs: make([]uint64, nodes)}
	for i := range archives {
		w.origins = append(w.origins, []schema.Origin{{Origin: "Debian", Label: "Debian-Security", Codename: fmt.Sprint("release", i), Component: "main", Site: "security.debian.org", Trusted: true}})
	}
	for set := range sets {
		o := w.origins[set%archives]
		f := schema.Facts{V: 1, OS: schema.OSFacts{ID: "debian", VersionID: "12"}, Arch: "amd64"}
		for p := range 1400 {
			if p > 600 && r.IntN(2) == 0 {
				continue
			}
			name := fmt.Sprintf("lib%x-%d", p*2654435761%0xffffff, p)
			f.Installed = append(f.Installed, schema.PackageFact{Name: name, Version: fmt.Sprintf("%d.%d.%d-1", p%7, p%13, r.IntN(3)), Arch: "amd64", Source: "src-" + name,
				SourceVersion: "1", Origins: o, Priority: "optional", Section: "libs"})
		}
		for _, p := range f.Installed[:60] {
			p.Version += "+deb12u1"
			f.Candidates = append(f.Candidates, p)
		}
		w.sets = append(w.sets, f)
		w.digests = append(w.digests, "")
	}
	for i := range nodes {
		seed := make([]byte, ed25519.SeedSize)
		binary.BigEndian.PutUint64(seed, uint64(i)+1)
		key := ed25519.NewKeyFromSeed(seed)
		w.keys = append(w.keys, key)
		w.nodes = append(w.nodes, report.Node{Line: schema.ReportLine{Node: schema.NodeID(key.Public().(ed25519.PublicKey))}, Name: fmt.Sprintf("node-%05d", i), Status: schema.Online, Key: key.Public().(ed25519.PublicKey)})
	}
	for set := range sets {
		w.write(b, set)
	}
	return w
}

func (w *grown) keep(text []byte) string {
	sum := sha256.Sum256(text)
	digest := hex.EncodeToString(sum[:])
	w.files[digest] = text
	return digest
}

// write writes the files of a set anew.
func (w *grown) write(b *testing.B, set int) {
	facts, err := report.FactsFile(w.sets[set])
	if err != nil {
		b.Fatal(err)
	}
	part, archives, err := report.CandidatesFile(w.sets[set], w.origins[set%len(w.origins)])
	if err != nil {
		b.Fatal(err)
	}
	w.digests[set] = w.keep(facts)
	told := schema.CatalogRecord{Archives: archives, Candidates: w.keep(part)}
	for i := set; i < len(w.nodes); i += len(w.sets) {
		w.told[w.nodes[i].Line.Node] = told
	}
}

// upgrade installs a newer version of three packages of a set.
func (w *grown) upgrade(b *testing.B, r *rand.Rand, set int) {
	f := &w.sets[set]
	for range min(3, len(f.Candidates)) {
		i := r.IntN(len(f.Candidates))
		c := f.Candidates[i]
		f.Candidates = append(f.Candidates[:i:i], f.Candidates[i+1:]...)
		for k := range f.Installed {
			if f.Installed[k].Name == c.Name {
				f.Installed[k].Version = c.Version
			}
		}
	}
	w.write(b, set)
}

// publish brings out versions of packages that all sets have.
func (w *grown) publish(b *testing.B, r *rand.Rand, n, day int) {
	for range n {
		p := r.IntN(600)
		for set := range w.sets {
			c := w.sets[set].Installed[p]
			c.Version += fmt.Sprintf("+deb12u%d", day+2)
			w.sets[set].Candidates = append(w.sets[set].Candidates, c)
		}
	}
	for set := range w.sets {
		w.write(b, set)
	}
}

// sign signs the lines of some nodes, each with the facts of its set.
func (w *grown) sign(b *testing.B, now time.Time, from, to int) {
	for i := from; i < to; i++ {
		w.revs[i]++
		l, err := report.SignLine(schema.ReportLine{Fleet: "acme", Node: w.nodes[i].Line.Node, Rev: w.revs[i], Since: now, Commit: strings.Repeat("1", 40), Facts: w.digests[i%len(w.sets)],
			Compliance: map[string]schema.Compliance{"Patch": schema.NonCompliant, "Policy": schema.Compliant},
			Counts:     map[string]int{"InstalledCount": 412, "MissingCount": 2 + w.missing[i], "SecurityNonCompliantCount": w.missing[i]}}, w.keys[i])
		if err != nil {
			b.Fatal(err)
		}
		w.nodes[i].Line = l
	}
}
