package inventory

import (
	"bytes"
	"compress/gzip"
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	debversion "pault.ag/go/debian/version"
)

func packTest(t testing.TB, b []byte, packing string) []byte {
	t.Helper()
	var out bytes.Buffer
	var w interface {
		Write([]byte) (int, error)
		Close() error
	}
	var err error
	switch packing {
	case "gz":
		w = gzip.NewWriter(&out)
	case "lz4":
		w = lz4.NewWriter(&out)
	case "xz":
		w, err = xz.NewWriter(&out)
	}
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func sign(n int) int { return min(1, max(-1, n)) }

func TestVersionsOrderAsDpkgSays(t *testing.T) {
	ordered := []string{"0", "0.1~~", "0.1~~a", "0.1~", "0.1", "0.1-0.1", "0.1a", "0.1+", "0.1.0", "1~rc1-1", "1", "1-1", "1-1+deb12u1", "1-1.1", "1.10", "1.a", "9", "10", "1:0", "1:0.1", "2:0"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := sign(CompareVersions(a, b)); got != sign(i-j) {
				t.Errorf("CompareVersions(%q, %q) = %d, want %d", a, b, got, sign(i-j))
			}
			op := "lt"
			if i == j {
				op = "eq"
			} else if i > j {
				op = "gt"
			}
			if i%3 == 0 && j%2 == 0 { // dpkg itself for some, a process each
				if err := exec.Command("dpkg", "--compare-versions", a, op, b).Run(); err != nil {
					t.Errorf("dpkg --compare-versions %s %s %s: %v", a, op, b, err)
				}
			}
		}
	}
	for _, eq := range [][2]string{{"1", "0:1"}, {"1.0", "1.00"}, {"1", "1-0"}, {"1-1", "1-01"}} {
		if c := CompareVersions(eq[0], eq[1]); c != 0 {
			t.Errorf("CompareVersions(%q, %q) = %d, want 0", eq[0], eq[1], c)
		}
	}
}

func TestPhaseDraw(t *testing.T) { // values of libstdc++ 12
	for seed, want := range map[string]int{"": 63, "a": 94, "x-1-abc": 20, "tb-lib-1.0-1-0123456789abcdef0123456789abcdef": 42,
		"openssl-3.0.2-0ubuntu1.15-deadbeefdeadbeefdeadbeefdeadbeef": 28, "linux-6.8.0-45.45-00000000000000000000000000000001": 5} {
		if got := phaseDraw(seed); got != want {
			t.Errorf("phaseDraw(%q) = %d, want %d", seed, got, want)
		}
	}
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("1.0-1", "1.0~rc1-1+deb12u1")
	f.Add("1:1.0", "1.0")
	f.Fuzz(func(t *testing.T, a, b string) {
		c := CompareVersions(a, b)
		if d := CompareVersions(b, a); sign(c) != -sign(d) {
			t.Fatalf("CompareVersions(%q, %q) = %d, the other way %d", a, b, c, d)
		}
		x, errX := debversion.Parse(a)
		y, errY := debversion.Parse(b)
		if errX == nil && errY == nil && strings.TrimSpace(a) == a && strings.TrimSpace(b) == b {
			if want := debversion.Compare(x, y); sign(c) != sign(want) {
				t.Errorf("CompareVersions(%q, %q) = %d, pault.ag/go/debian says %d", a, b, c, want)
			}
		}
	})
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte(control("foo", "1.0", "amd64", "install ok installed", "Source: x (1)\nDepends: a,\n b\n")))
	f.Add([]byte("Package: a\n\n\n\nPackage: b\nStatus: hold ok half-configured\nVersion: 1\nArchitecture: all"))
	f.Fuzz(func(t *testing.T, b []byte) {
		pkgs, err := parseStatus(context.Background(), bytes.NewReader(b), 4096, true, nil)
		if err != nil {
			return
		}
		for _, p := range pkgs {
			if p.Name == "" || p.Version == "" || p.Arch == "" || p.Source == "" || !p.OnDisk() || strings.ContainsAny(p.Name+p.Version+p.Arch, "\x00\n") {
				t.Errorf("accepted %+v", p)
			}
			if len(p.Summary) > maxValue {
				t.Errorf("a summary of %d bytes", len(p.Summary))
			}
		}
	})
}

func FuzzPackages(f *testing.F) {
	f.Add([]byte(control("foo", "1.1", "amd64", "", "Phased-Update-Percentage: 5\n")+control("bar", "1", "all", "", "")), 5)
	f.Fuzz(func(t *testing.T, b []byte, split int) {
		// Cut into units at any place, the list must give the same versions as whole.
		pkgs := []Package{{Name: "foo", Arch: "amd64", Version: "1"}, {Name: "bar", Arch: "all", Version: "1"}}
		s := newScanner(context.Background(), newTree("/"), "amd64", pkgs)
		read := func(window int) ([]string, error) {
			var out []string
			sr := newStanzaReader(bytes.NewReader(b), make([]byte, window))
			var p entryParser
			for {
				st, err := sr.next(false)
				if err != nil {
					return out, err
				}
				es, err := s.look(st, 0, &p, nil)
				if err != nil {
					return out, err
				}
				for _, e := range es {
					if e.phased < 0 || e.phased > 100 || e.version == "" {
						t.Errorf("entry %+v", e)
					}
					out = append(out, pkgs[e.pkg].Name+" "+e.version)
				}
			}
		}
		if split < 0 {
			split = -(split + 1)
		}
		whole, _ := read(len(b) + 16)
		parts, err := read(16 + split%(len(b)+1))
		if err.Error() == "EOF" && strings.Join(whole, ",") != strings.Join(parts, ",") {
			t.Errorf("whole %q, through a window %q", whole, parts)
		}
	})
}

func FuzzPreferences(f *testing.F) {
	f.Add("Package: lib* /x|y/ src:z\nPin: release o=Debian,a=/^s/,v=1*\nPin-Priority: 990\n\n# c\nPackage: *\nPin: origin \"\"\nPin-Priority: never\n", "libx")
	f.Fuzz(func(t *testing.T, text, name string) {
		pins, err := parsePreferences("/etc/apt/preferences", []byte(text))
		if err != nil {
			return
		}
		r := release{origin: name, suite: name, codename: "c", label: "l", version: "1"}
		for i := range pins {
			if p := pins[i].priority; p == 0 || p < neverPin || p > 32767 {
				t.Errorf("priority %d", p)
			}
			pins[i].names(name)
			pins[i].forArch("amd64", "amd64")
			pins[i].match.file(&archiveInfo{rel: &r, component: name, site: name})
			pins[i].match.file(&statusArchive)
		}
	})
}

func FuzzRelease(f *testing.F) {
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: x\nSHA256:\n 00 12 main/binary-amd64/Packages\n-----BEGIN PGP SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRelease(b)
		if err != nil {
			return
		}
		if n, ok := r.size("main/binary-amd64/Packages"); ok && n < 0 {
			t.Errorf("size %d", n)
		}
	})
}

func FuzzSources(f *testing.F) {
	f.Add("deb [arch=amd64,i386 trusted=yes] http://u:p@h:80/a b c # x\n", false)
	f.Add("Types: deb\nURIs: file:/x cdrom:[a b]/\nSuites: ./ \n", true)
	f.Fuzz(func(t *testing.T, text string, stanzas bool) {
		l := sourceList{native: "amd64", archs: []string{"amd64"}, encode: "+~ ", byName: map[string]*source{}}
		var err error
		if stanzas {
			err = l.parseStanzas("/x", []byte(text))
		} else {
			err = l.parseLines("/x", text)
		}
		if err != nil {
			return
		}
		for _, s := range l.sources {
			for _, ix := range s.indexes {
				if n := s.listName(ix.key, "+~ "); strings.ContainsAny(n, "/\x00") {
					t.Errorf("list name %q leaves its folder", n)
				}
			}
		}
	})
}

func FuzzAptConf(f *testing.F) {
	f.Add("APT::Architectures { \"a\"; \"b\"; };\n#clear x;\nDir::State \"/x\"; /* c */ // d\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := &aptConf{scalar: map[string]string{}, list: map[string][]string{}}
		_ = c.parse(text, func(string) error { return nil })
		if p := c.path("Dir::State::lists"); !strings.HasPrefix(p, "/") || strings.Contains(p, "/../") {
			t.Errorf("path %q", p)
		}
	})
}
