package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestStatesOfPackages(t *testing.T) {
	for _, tt := range []struct {
		status, config    string
		onDisk, held      bool
		working           string
		broken, installed bool
	}{
		{"install ok installed", "", true, false, "2", false, true},
		{"hold ok installed", "", true, true, "2", false, true},
		{"deinstall ok installed", "", true, false, "2", false, true}, // marked for removal, still there
		{"install reinstreq installed", "", true, false, "2", false, true},
		{"install ok triggers-pending", "", true, false, "2", false, true},
		{"install ok triggers-awaited", "", true, false, "2", false, true},
		{"install ok half-configured", "1", true, false, "1", true, true},
		{"install ok unpacked", "1", true, false, "1", true, true},
		{"install reinstreq half-installed", "1", true, false, "1", true, true},
		{"install ok unpacked", "", true, false, "", true, false}, // a first installation that failed
		{"deinstall ok config-files", "2", false, false, "", false, false},
		{"unknown ok not-installed", "", false, false, "", false, false},
		{"", "", false, false, "", false, false},
	} {
		t.Run(tt.status+" "+tt.config, func(t *testing.T) {
			text := "Package: foo\n"
			if tt.status != "" {
				text += "Status: " + tt.status + "\n"
			}
			if tt.config != "" {
				text += "Config-Version: " + tt.config + "\n"
			}
			text += "Version: 2\nArchitecture: amd64\n\n"
			a := simpleHost(t, text, control("foo", "1", "amd64", "", "")+control("foo", "2", "amd64", "", ""))
			p, err := ReadPatches(context.Background(), Options{Root: a.root})
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(p.Packages, func(p Package) bool { return p.Name == "foo" })
			if (i >= 0) != tt.onDisk {
				t.Fatalf("on the disk: %v, want %v", i >= 0, tt.onDisk)
			}
			if i >= 0 && (p.Packages[i].Working() != tt.working || p.Packages[i].Held != tt.held) {
				t.Errorf("Working() = %q, Held %v; want %q, %v", p.Packages[i].Working(), p.Packages[i].Held, tt.working, tt.held)
			}
			if got := len(p.Broken) == 1; got != tt.broken {
				t.Errorf("broken = %v, want %v", got, tt.broken)
			}
			inst := slices.IndexFunc(p.Installed, func(f schema.PackageFact) bool { return f.Name == "foo" })
			if (inst >= 0) != tt.installed {
				t.Fatalf("installed fact: %v, want %v", inst >= 0, tt.installed)
			}
			newer := len(p.Newer) == 1 && p.Newer[0].Version == "2"
			if want := tt.working == "1"; newer != want {
				t.Errorf("newer = %+v; want version 2 in it: %v", p.Newer, want)
			}
		})
	}
}

func TestBadInputNamesTheFileAndTheRemedy(t *testing.T) {
	const list = "var/lib/apt/lists/one.example.org_debian_dists_stable_main_binary-amd64_Packages"
	const inRelease = "var/lib/apt/lists/one.example.org_debian_dists_stable_InRelease"
	whole := control("foo", "1.1", "amd64", "", "")
	for _, tt := range []struct {
		name  string
		spoil func(a aptTree)
		want  string
	}{
		{"no status file", func(a aptTree) { a.remove("var/lib/dpkg/status") }, `"/var/lib/dpkg/status": no such file`},
		{"an empty status file", func(a aptTree) { a.write("var/lib/dpkg/status", "") }, "empty"},
		{"a status file cut off in a line", func(a aptTree) {
			a.write("var/lib/dpkg/status", control("foo", "1", "amd64", "install ok installed", "")+"Package: ba")
		}, "cut off"},
		{"a status file cut off in a stanza", func(a aptTree) {
			a.write("var/lib/dpkg/status", "Package: foo\nStatus: install ok installed\nArchitecture: amd64\n")
		}, "without a version"},
		{"garbage in the status file", func(a aptTree) {
			a.write("var/lib/dpkg/status", control("foo", "1", "amd64", "install ok installed", "")+"Package: bar\ngarbage\n")
		}, "line 15: no colon"},
		{"NUL bytes in the status file", func(a aptTree) { a.write("var/lib/dpkg/status", "Package: foo\nVersion: \x00\x00\n") }, "line 2: a NUL byte"},
		{"a status of unknown words", func(a aptTree) { a.write("var/lib/dpkg/status", "Package: foo\nStatus: install ok bricked\n") }, "bricked"},
		{"a stanza larger than the window", func(a aptTree) {
			a.write("var/lib/dpkg/status", "Package: foo\nDescription: "+strings.Repeat("x", windowSize+10)+"\n")
		}, "more than 1048576 bytes"},
		{"an endless name", func(a aptTree) {
			a.write("var/lib/dpkg/status", "Package: "+strings.Repeat("x", maxValue+1)+"\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n")
		}, "more than a line"},
		{"a folder for a status file", func(a aptTree) { a.remove("var/lib/dpkg/status"); a.mkdir("var/lib/dpkg/status") }, "not a regular file"},
		{"no lists at all", func(a aptTree) { a.remove(list) }, "no list of the source http://one.example.org/debian/ stable (/etc/apt/sources.list:1)"},
		{"a list only half-downloaded, in partial", func(a aptTree) {
			a.remove(list)
			a.write(strings.Replace(list, "lists/", "lists/partial/", 1), whole[:50])
		}, "no list of the source"},
		{"a list shorter than its Release file says", func(a aptTree) {
			a.write(inRelease, "Origin: Debian\nSHA256:\n "+strings.Repeat("0", 64)+" 1000 main/binary-amd64/Packages\n")
		}, "bytes, but its Release file says 1000"},
		{"a packed list cut off", func(a aptTree) { a.pack(list, "lz4", 30) }, ".lz4"},
		{"a packed list cut off (xz)", func(a aptTree) { a.pack(list, "xz", 30) }, ".xz"},
		{"a packed list cut off (gz)", func(a aptTree) { a.pack(list, "gz", 30) }, ".gz"},
		{"a packed list of garbage", func(a aptTree) { a.remove(list); a.write(list+".xz", "this is no xz") }, ".xz"},
		{"an empty packed list", func(a aptTree) { a.remove(list); a.write(list+".gz", "") }, ".gz"},
		{"a packing that is not read", func(a aptTree) { a.remove(list); a.write(list+".bz2", "BZh9") }, "packed as bz2"},
		{"an empty Release file", func(a aptTree) { a.write(inRelease, "") }, "empty"},
		{"a signed Release file cut off", func(a aptTree) {
			a.write(inRelease, "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nOrigin: Debian\n")
		}, "cut off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := simpleHost(t, control("foo", "1.0", "amd64", "install ok installed", ""), whole)
			if _, err := ReadPatches(context.Background(), Options{Root: a.root}); err != nil {
				t.Fatalf("before: %v", err)
			}
			tt.spoil(a)
			_, err := ReadPatches(context.Background(), Options{Root: a.root})
			var in *InputError
			if !errors.As(err, &in) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), a.root) {
				t.Fatalf("ReadPatches = %v, want an InputError with %q and the host's own path", err, tt.want)
			}
			if in.Hint == "" && !errors.Is(err, fs.ErrNotExist) && !strings.Contains(tt.name, "folder") {
				t.Errorf("%v has no hint", err)
			}
		})
	}
}

func (a aptTree) remove(p string) {
	a.t.Helper()
	if err := os.RemoveAll(filepath.Join(a.root, p)); err != nil {
		a.t.Fatal(err)
	}
}

// pack replaces a list by a packed one that lacks its last cut bytes.
func (a aptTree) pack(p, packing string, cut int) {
	a.t.Helper()
	b, err := os.ReadFile(filepath.Join(a.root, p))
	if err != nil {
		a.t.Fatal(err)
	}
	a.remove(p)
	packed := packTest(a.t, b, packing)
	a.write(p+"."+packing, string(packed[:len(packed)-cut]))
}

func TestPackedListsAreReadLikePlainOnes(t *testing.T) {
	const list = "var/lib/apt/lists/one.example.org_debian_dists_stable_main_binary-amd64_Packages"
	var packages strings.Builder
	for i := range 20000 { // several units, windows and blocks
		packages.WriteString(control("other"+strings.Repeat("x", i%97), "1.0", "amd64", "", ""))
		if i%5000 == 4999 {
			packages.WriteString(control("foo", "1."+strings.Repeat("1", i/5000+1), "amd64", "", ""))
		}
	}
	var first *Patches
	for _, packing := range []string{"", "lz4", "xz", "gz"} {
		a := simpleHost(t, control("foo", "1.0", "amd64", "install ok installed", ""), packages.String())
		if packing != "" {
			a.pack(list, packing, 0)
		}
		for _, workers := range []int{1, 3} {
			p, err := ReadPatches(context.Background(), Options{Root: a.root, Workers: workers})
			if err != nil {
				t.Fatalf("%q: %v", packing, err)
			}
			if len(p.Newer) != 4 {
				t.Errorf("%q: %d newer versions, want 4", packing, len(p.Newer))
			}
			if first == nil {
				first = p
			}
			x, _ := json.Marshal(first.Newer)
			y, _ := json.Marshal(p.Newer)
			if !bytes.Equal(x, y) {
				t.Errorf("%q with %d workers differs:\n%s\n%s", packing, workers, x, y)
			}
		}
	}
}

func TestTrustFollowsTheSignature(t *testing.T) {
	a := newAptTree(t)
	a.write("etc/apt/sources.list", "deb http://one.example.org/debian stable main\ndeb http://one.example.org/debian bare main\n"+
		"deb [trusted=yes] http://one.example.org/debian forced main\ndeb [trusted=no] http://one.example.org/debian barred main\ndeb http://one.example.org/debian apart main\n")
	a.write("var/lib/dpkg/status", control("dpkg", "1", "amd64", "install ok installed", ""))
	want := map[string]bool{"stable": true, "bare": false, "forced": true, "barred": false, "apart": true}
	for suite := range want {
		p := "var/lib/apt/lists/one.example.org_debian_dists_" + suite
		name := "_InRelease"
		if suite == "bare" || suite == "forced" || suite == "apart" {
			name = "_Release"
		}
		a.write(p+name, "Suite: "+suite+"\n")
		if suite == "apart" {
			a.write(p+"_Release.gpg", "")
		}
		a.write(p+"_main_binary-amd64_Packages", control("dpkg", "2", "amd64", "", ""))
	}
	p, err := ReadPatches(context.Background(), Options{Root: a.root})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Newer) != 1 || len(p.Newer[0].Origins) != len(want) {
		t.Fatalf("newer = %+v, want one version from %d archives", p.Newer, len(want))
	}
	for _, o := range p.Newer[0].Origins {
		if o.Trusted != want[o.Suite] || o.Site != "one.example.org" || o.Component != "main" {
			t.Errorf("origin %+v, want trusted %v", o, want[o.Suite])
		}
	}
}

func TestFacts(t *testing.T) {
	a := simpleHost(t, control("foo", "1:1.0-1", "amd64", "hold ok installed", "Source: foosrc (1.0)\n"),
		control("foo", "1:1.1-1", "amd64", "", "Phased-Update-Percentage: 20\n"))
	a.mkdir("run")
	a.write("run/reboot-required", "")
	a.write("run/reboot-required.pkgs", "linux-image\nfoo\nlinux-image\n")
	at := time.Date(2026, 5, 1, 2, 3, 4, 0, time.UTC)
	f, _, err := ReadFacts(context.Background(), Options{Root: a.root}, Known{Node: "n", At: at, LastInstall: []schema.LastInstall{{Name: "foo", Outcome: "failed"}}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	const origin = `[{"origin":"Debian","label":"Debian","suite":"stable","codename":"bookworm","component":"main","site":"one.example.org","trusted":true}]`
	want := `{"v":1,"node":"n","at":"2026-05-01T02:03:04Z","os":{"id":"debian","versionId":"12","operatingSystem":"DEBIAN","product":"Debian12"},"arch":"amd64","installed":[` +
		`{"name":"dpkg","version":"1.21","arch":"amd64","source":"dpkg","sourceVersion":"1.21","priority":"optional","section":"utils"},` +
		`{"name":"foo","version":"1:1.0-1","arch":"amd64","source":"foosrc","sourceVersion":"1.0","held":true,"priority":"optional","section":"utils"}],` +
		`"candidates":[{"name":"foo","version":"1:1.1-1","arch":"amd64","source":"foo","sourceVersion":"1:1.1-1","origins":` + origin + `,"priority":"optional","section":"utils","phased":20}],` +
		`"pendingReboot":{"is":true,"packages":["foo","linux-image"]},"lastInstall":[{"name":"foo","arch":"","version":"","at":"0001-01-01T00:00:00Z","outcome":"failed"}]}`
	if string(b) != want {
		t.Errorf("facts =\n%s\nwant\n%s", b, want)
	}
}

func TestProducts(t *testing.T) {
	for _, tt := range []struct{ text, product, id string }{
		{"ID=debian\nVERSION_ID=\"12\"\n", "Debian12", "DEBIAN"},
		{"ID=ubuntu\nVERSION_ID='24.04'\n", "Ubuntu24.04", "UBUNTU"},
		{"ID=debian\nVERSION_ID=12.4\n", "Debian12", "DEBIAN"},
		{"ID=fedora\nVERSION_ID=40\n", "", ""},
	} {
		a := newAptTree(t)
		a.write("etc/os-release", tt.text)
		got, err := ReadOS(a.root)
		if err != nil || got.Product != tt.product || string(got.OperatingSystem) != tt.id {
			t.Errorf("ReadOS(%q) = %+v, %v; want %q, %q", tt.text, got, err, tt.product, tt.id)
		}
	}
}

// TestLinksStayBelowTheRoot: an absolute link of a host is the host's own path.
func TestLinksStayBelowTheRoot(t *testing.T) {
	a := newAptTree(t)
	a.remove("etc/os-release")
	a.mkdir("usr/lib")
	a.write("usr/lib/os-release", "ID=debian\nVERSION_ID=9\n")
	if err := os.Symlink("/usr/lib/../../../../usr/lib/os-release", filepath.Join(a.root, "etc/os-release")); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadOS(a.root); err != nil || got.Product != "Debian9" {
		t.Errorf("ReadOS = %+v, %v; want the root's own file", got, err)
	}
	a.remove("etc/os-release")
	if err := os.Symlink("os-release", filepath.Join(a.root, "etc/os-release")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadOS(a.root); err == nil {
		t.Error("a link to itself was read")
	}
}

func TestFieldNamesMayBeInAnyCase(t *testing.T) {
	for _, name := range []string{"Package", "Status", "Priority", "Section", "Maintainer", "Architecture", "Source", "Version", "Config-Version", "Description", "Homepage", "Multi-Arch"} {
		var f statusFields
		want := f.exactly(name)
		for _, key := range []string{name, strings.ToLower(name), strings.ToUpper(name), strings.ToLower(name[:2]) + strings.ToUpper(name[2:])} {
			if got := f.field([]byte(key)); got == nil || got != want {
				t.Errorf("the field %q is not %q", key, name)
			}
		}
		for _, key := range []string{name[1:], name + "s", "X" + name, "x" + name[1:]} {
			if f.field([]byte(key)) != nil {
				t.Errorf("the field %q is kept", key)
			}
		}
	}
}
