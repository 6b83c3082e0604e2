package inventory

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// aptAnswer is what apt-cache policy says of one package.
type aptAnswer struct {
	candidate string
	versions  map[string]bool // that some list has
}

// aptPolicy asks apt itself for the candidates of packages.
func aptPolicy(t testing.TB, env []string, names []string) map[string]*aptAnswer {
	t.Helper()
	cmd := exec.Command("apt-cache", append([]string{"policy"}, names...)...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), env...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("apt-cache policy (needs the package apt): %v\n%s", err, errs.String())
	}
	got := map[string]*aptAnswer{}
	var at *aptAnswer
	version := ""
	for line := range strings.Lines(string(out)) {
		line = strings.TrimRight(line, "\n")
		switch v, ok := strings.CutPrefix(line, "  Candidate: "); {
		case line == "":
		case line[0] != ' ':
			at = &aptAnswer{versions: map[string]bool{}}
			got[strings.TrimSuffix(line, ":")] = at
		case ok:
			if v != "(none)" {
				at.candidate = v
			}
		case strings.HasPrefix(line, " *** "), strings.HasPrefix(line, "     ") && line[5] != ' ':
			version = strings.Fields(line[5:])[0]
		case strings.HasPrefix(line, "       ") && !strings.HasSuffix(line, "/var/lib/dpkg/status"):
			at.versions[version] = true
		}
	}
	return got
}

// compareWithApt compares the choice for every installed package with apt's.
func compareWithApt(t testing.TB, root string, env []string) *Patches {
	t.Helper()
	p, err := ReadPatches(context.Background(), Options{Root: root})
	if err != nil {
		t.Fatalf("ReadPatches(%q): %v (hint: %s)", root, err, Hint(err))
	}
	var names []string
	for _, pkg := range p.Packages {
		names = append(names, qualified(pkg, p.Arch))
	}
	want := aptPolicy(t, env, names)
	if len(want) != len(names) {
		t.Errorf("apt knows %d of %d packages", len(want), len(names))
	}
	newer := map[string][]string{}
	for _, f := range p.Newer {
		k := f.Name + " " + nativeArch(f.Arch, p.Arch)
		if l := newer[k]; len(l) == 0 || l[len(l)-1] != f.Version { // amd64 and all of one version
			newer[k] = append(newer[k], f.Version)
		}
	}
	bad := 0
	for _, pkg := range p.Packages {
		q := qualified(pkg, p.Arch)
		c, _ := p.Candidate(pkg.Name, pkg.Arch)
		w, ok := want[q]
		if !ok {
			w, ok = want[pkg.Name]
		}
		if !ok {
			t.Errorf("apt does not answer for %s", q)
		}
		if c.Version != w.candidate {
			if bad++; bad <= 10 {
				t.Errorf("Candidate(%q, %q) = %q, apt-cache policy says %q (installed %s)", pkg.Name, pkg.Arch, c.Version, w.candidate, pkg.Version)
			}
		}
		if have := pkg.Working(); have != "" {
			var wantNewer []string
			for v := range w.versions {
				if CompareVersions(v, have) > 0 {
					wantNewer = append(wantNewer, v)
				}
			}
			slices.SortFunc(wantNewer, CompareVersions)
			if got := newer[pkg.Name+" "+nativeArch(pkg.Arch, p.Arch)]; !slices.Equal(got, wantNewer) {
				t.Errorf("newer versions of %s = %q, apt-cache policy says %q", q, got, wantNewer)
			}
		}
	}
	if bad > 10 {
		t.Errorf("%d candidates differ in all", bad)
	}
	return p
}

func nativeArch(arch, native string) string {
	if arch == "all" {
		return native
	}
	return arch
}

// qualified is the name by which apt-cache prints a package back.
func qualified(p Package, native string) string {
	if p.Arch == native || p.Arch == "all" {
		return p.Name
	}
	return p.Name + ":" + p.Arch
}

// TestCandidatesOfThisMachine needs apt's lists: run apt-get update first.
func TestCandidatesOfThisMachine(t *testing.T) {
	p := compareWithApt(t, "/", nil)
	if len(p.Packages) < 50 || len(p.Newer) > 0 && len(p.Newer[0].Origins) == 0 {
		t.Errorf("%d packages, %d newer versions: too few", len(p.Packages), len(p.Newer))
	}
	trusted := 0
	for _, f := range p.Installed {
		if len(f.Origins) > 0 && f.Origins[0].Trusted && f.Origins[0].Origin != "" {
			trusted++
		}
	}
	if trusted < len(p.Installed)/2 {
		t.Errorf("only %d of %d installed versions have a trusted origin", trusted, len(p.Installed))
	}
	t.Logf("%d packages, %d newer versions, %d of trusted origin", len(p.Packages), len(p.Newer), trusted)
}
