package inventory

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

func aptRun(a aptTree, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), a.env()...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// simpleHost has one archive, Debian's stable, and the packages of a status file.
func simpleHost(t testing.TB, status, packages string) aptTree {
	a := newAptTree(t)
	a.write("etc/apt/sources.list", "deb http://one.example.org/debian stable main\n")
	a.write("var/lib/dpkg/status", status+control("dpkg", "1.21", "amd64", "install ok installed", ""))
	a.write("var/lib/apt/lists/one.example.org_debian_dists_stable_InRelease", "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: bookworm\n")
	a.write("var/lib/apt/lists/one.example.org_debian_dists_stable_main_binary-amd64_Packages", packages)
	return a
}

func TestPhasedUpdatesAsAptKeepsThem(t *testing.T) {
	var status, packages string
	for i := range 40 {
		n := fmt.Sprintf("ph%02d", i)
		status += control(n, "1.0", "amd64", "install ok installed", "")
		more := fmt.Sprintf("Phased-Update-Percentage: %d\n", i*100/39)
		if i%5 == 0 {
			more += "Source: src-" + n + " (3:7.1-2)\n"
		}
		packages += control(n, "1.1", "amd64", "", more)
	}
	for _, tt := range []struct{ name, conf, release string }{
		{"by the machine's draw", "", ""},
		{"never", `APT::Get::Never-Include-Phased-Updates "true";`, ""},
		{"always", `APT::Get::Always-Include-Phased-Updates "1";`, ""},
		{"always, as update-manager says it", `Update-Manager::Always-Include-Phased-Updates "yes";`, ""},
		{"a security archive is not phased", "", "Origin: Ubuntu\nSuite: noble-security\n"},
		{"phasing as part of the policy", `APT::Get::Phase-Policy "true";`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The tree's apt is this machine's, since its rules changed over time.
			v, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", "apt").Output()
			if err != nil {
				t.Fatal(err)
			}
			a := simpleHost(t, status+control("apt", string(v), "amd64", "install ok installed", ""), packages)
			a.write("etc/apt/apt.conf.d/50phase", tt.conf+"\nDir::Bin::ischroot \"/bin/false\";\n")
			if tt.release != "" {
				a.write("var/lib/apt/lists/one.example.org_debian_dists_stable_InRelease", tt.release)
			}
			out, err := aptRun(a, "apt-get", "-s", "upgrade")
			if err != nil {
				t.Fatalf("apt-get -s upgrade: %v\n%s", err, out)
			}
			want := map[string]bool{}
			for _, m := range regexp.MustCompile(`(?m)^Inst (\S+) `).FindAllStringSubmatch(out, -1) {
				want[m[1]] = true
			}
			p := compareWithApt(t, a.root, a.env())
			for i := range 40 {
				n := fmt.Sprintf("ph%02d", i)
				c, _ := p.Candidate(n, "amd64")
				if got := c.Version == "1.1" && !c.Phased; got != want[n] {
					t.Errorf("Candidate(%q) = %+v, apt-get upgrades it: %v", n, c, want[n])
				}
			}
			for _, f := range p.Newer {
				if f.Name == "ph03" && (f.Phased == nil || *f.Phased != 7) {
					t.Errorf("phased of %s = %v, want 7", f.Name, f.Phased)
				}
			}
		})
	}
}

// TestRefusalsAgreeWithApt: what apt refuses is an error that names the file,
// what it takes is none.
func TestRefusalsAgreeWithApt(t *testing.T) {
	for _, tt := range []struct{ name, file, text, want string }{
		{"a pin without priority", "etc/apt/preferences", "Package: *\nPin: release *\n", "preferences\" line 1: no Pin-Priority"},
		{"a priority of zero", "etc/apt/preferences", "Package: x\nPin: release *\nPin-Priority: 0\n", "zero"},
		{"a priority beyond 16 bits", "etc/apt/preferences", "Package: *\nPin: release *\nPin-Priority: 40000\n", "40000"},
		{"no package", "etc/apt/preferences", "\nPin: release *\nPin-Priority: 4\n", "line 2: no Package"},
		{"never for one package", "etc/apt/preferences", "Package: x\nPin: release *\nPin-Priority: never\n", "never"},
		{"never for all", "etc/apt/preferences", "Package: *\nPin: release n=bookworm\nPin-Priority: never\n", ""},
		{"an unknown pin type is passed over", "etc/apt/preferences", "Package: *\nPin: releases *\nPin-Priority: 4\n", ""},
		{"a broken regular expression matches nothing", "etc/apt/preferences", "Package: /(/\nPin: release *\nPin-Priority: 4\n", ""},
		{"a default release of no source", "etc/apt/apt.conf.d/1", `APT::Default-Release "sid";`, "sid"},
		{"a default release in a block and comments", "etc/apt/apt.conf.d/1", "// x\n/* y\n*/ apt { # z\n default-release \"book*\"; };", ""},
		{"a source of unknown type", "etc/apt/sources.list.d/x.list", "\nrpm http://x.example stable main\n", "x.list\" line 2: type \"rpm\""},
		{"a source without suite", "etc/apt/sources.list.d/x.list", "deb http://x.example\n", "line 1"},
		{"a source without component", "etc/apt/sources.list.d/x.list", "deb http://x.example stable\n", "no component"},
		{"an exact path with component", "etc/apt/sources.list.d/x.list", "deb http://x.example ./ main\n", "cannot have components"},
		{"an option without value", "etc/apt/sources.list.d/x.list", "deb [arch] http://x.example stable main\n", "arch"},
		{"a comment after an entry", "etc/apt/sources.list.d/x.list", "deb [ arch=amd64 ] http://x.example stable main # why\n", ""},
		{"a stanza without types", "etc/apt/sources.list.d/x.sources", "URIs: http://x.example\nSuites: a\nComponents: b\n", "line 1"},
		{"a stanza without suites", "etc/apt/sources.list.d/x.sources", "# c\n\nTypes: deb\nURIs: http://x.example\nComponents: b\n", "Suites"},
		{"a stanza that is off", "etc/apt/sources.list.d/x.sources", "Types: deb\nEnabled: no\n", ""},
		{"a stanza of sources only", "etc/apt/sources.list.d/x.sources", "Types: deb-src\nURIs: http://x.example\nSuites: a\nComponents: b\n", ""},
		{"a file with another ending", "etc/apt/sources.list.d/x.list.save", "garbage\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := simpleHost(t, control("foo", "1.0", "amd64", "install ok installed", ""), control("foo", "1.1", "amd64", "", ""))
			a.write(tt.file, tt.text)
			_, err := ReadPatches(context.Background(), Options{Root: a.root})
			out, aptErr := aptRun(a, "apt-cache", "policy", "foo")
			if (aptErr != nil) != (tt.want != "") {
				t.Fatalf("apt-cache policy: %v, the test expects otherwise\n%s", aptErr, out)
			}
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("ReadPatches = %v, apt takes it", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || Hint(err) == ""):
				t.Errorf("ReadPatches = %v (hint %q), want it to say %q and a hint", err, Hint(err), tt.want)
			}
			if tt.want == "" {
				compareWithApt(t, a.root, a.env())
			}
		})
	}
}
