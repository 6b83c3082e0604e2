package inventory

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// aptTree is a private host for real apt: sources, lists, status and preferences.
type aptTree struct {
	t    testing.TB
	root string
}

func newAptTree(t testing.TB) aptTree {
	a := aptTree{t, t.TempDir()}
	for _, d := range []string{"etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d", "var/lib/apt/lists/partial", "var/lib/dpkg", "var/cache/apt/archives/partial", "etc"} {
		a.mkdir(d)
	}
	a.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
	a.write("etc/os-release", "ID=debian\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n")
	a.write("apt-oracle.conf", fmt.Sprintf(`Dir "%s/";
Dir::State::status "%s/var/lib/dpkg/status";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Architecture "amd64";
APT::Architectures { "amd64"; "i386"; };
`, a.root, a.root))
	a.write("var/lib/dpkg/arch", "amd64\ni386\n")
	return a
}

func (a aptTree) mkdir(p string) {
	a.t.Helper()
	if err := os.MkdirAll(filepath.Join(a.root, p), 0o755); err != nil {
		a.t.Fatal(err)
	}
}

func (a aptTree) write(p, text string) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.root, p), []byte(text), 0o644); err != nil {
		a.t.Fatal(err)
	}
}

func (a aptTree) env() []string {
	return []string{"APT_CONFIG=" + filepath.Join(a.root, "apt-oracle.conf")}
}

// control is a stanza of a package, for status if state is not empty.
func control(name, version, arch, state, more string) string {
	s := "Package: " + name + "\n"
	if state != "" {
		s += "Status: " + state + "\n"
	}
	s += "Priority: optional\nSection: utils\nInstalled-Size: 10\nMaintainer: T <t@example.org>\nArchitecture: " + arch + "\nVersion: " + version + "\n" + more
	if state == "" {
		s += "Filename: pool/" + name + "_" + version + ".deb\nSize: 1000\n"
	}
	return s + "Description: a test package\n longer text\n .\n end\n\n"
}

// archives of the property test: prefix of the list files, Release text, signed inline or not.
var testArchives = []struct{ line, prefix, site, release string }{
	{"deb http://one.example.org/debian stable main contrib", "one.example.org_debian_dists_stable", "one.example.org",
		"Origin: Debian\nLabel: Debian\nSuite: oldstable\nVersion: 12.9\nCodename: bookworm\nArchitectures: amd64 i386 all\nComponents: main contrib\n"},
	{"deb http://one.example.org/debian stable-security main", "one.example.org_debian_dists_stable-security", "one.example.org",
		"Origin: Debian\nLabel: Debian-Security\nSuite: oldstable-security\nVersion: 12\nCodename: bookworm-security\n"},
	{"deb http://one.example.org/debian stable-backports main", "one.example.org_debian_dists_stable-backports", "one.example.org",
		"Origin: Debian Backports\nLabel: Debian Backports\nSuite: oldstable-backports\nCodename: bookworm-backports\nNotAutomatic: yes\nButAutomaticUpgrades: yes\n"},
	{"deb http://user:secret@two.example.com:8080/x experimental main", "two.example.com:8080_x_dists_experimental", "two.example.com",
		"Origin: Debian\nLabel: Debian\nSuite: experimental\nCodename: rc-buggy\nNotAutomatic: yes\n"},
	{"deb [trusted=yes] file:/srv/local ./", "_srv_local_._", "", "Origin: Local\nLabel: local things\n"},
	{"deb [arch=amd64] https://acme.example.net/apt stable main", "acme.example.net_apt_dists_stable", "acme.example.net",
		"Origin: Acme tools\nLabel: Acme\nSuite: stable\nVersion: 1.0\nCodename: jolly\n"},
}

var testVersions = []string{"1.0-1", "1.0-1+deb12u1", "1.0-1~bpo12+1", "1:0.9-1", "1.2-1", "1.2.3-4", "2.0~rc1-1", "2.0-1", "1.0-1"}

// randomHost fills a tree with packages in archives and on the host.
func randomHost(a aptTree, r *rand.Rand) {
	var lines []string
	status := ""
	packages := map[string]string{} // list file to text
	var list []string
	for _, ar := range testArchives {
		lines = append(lines, ar.line)
	}
	names := []string{"alpha", "beta", "gamma-tools", "libgamma1", "libdelta2", "linux-image-6.1", "zeta+x", "python3.11", "node-x", "omega"}
	for _, n := range names {
		for _, arch := range []string{"amd64", "i386", "all"} {
			if arch == "i386" && r.IntN(3) > 0 || arch == "all" && n != "omega" && n != "node-x" {
				continue
			}
			if arch == "amd64" && n == "omega" {
				continue
			}
			pick := func() string { return testVersions[r.IntN(len(testVersions))] }
			more := func() string {
				switch r.IntN(6) {
				case 0:
					return "Depends: libc6 (>= 2.3)\n"
				case 1:
					return "Multi-Arch: foreign\n"
				case 2:
					return "Source: gamma (" + pick() + ")\n"
				case 3:
					return "Source: gamma\n"
				}
				return ""
			}
			state := "install ok installed"
			switch r.IntN(8) {
			case 0:
				state = "hold ok installed"
			case 1:
				state = "install ok half-configured"
			case 2:
				state = "install ok unpacked"
			}
			if (n != "alpha" || arch != "amd64") && (n != "node-x" || arch != "amd64") {
				status += control(n, pick(), arch, state, more())
			}
			for _, ar := range testArchives {
				flat := strings.HasSuffix(ar.prefix, "._")
				for range r.IntN(3) {
					file := ar.prefix + "_main_binary-" + arch + "_Packages"
					if arch == "all" && r.IntN(2) == 0 {
						file = ar.prefix + "_main_binary-amd64_Packages"
					}
					if strings.Contains(ar.line, "contrib") && r.IntN(3) == 0 {
						file = strings.Replace(file, "_main_", "_contrib_", 1)
					}
					if flat {
						file = ar.prefix + "_Packages"
					}
					if packages[file] == "" {
						list = append(list, file)
					}
					packages[file] += control(n, pick(), arch, "", more())
				}
			}
		}
	}
	// dpkg itself says which architecture is the host's own.
	status += control("dpkg", "1.21", "amd64", "install ok installed", "")
	status += control("gone", "1.0", "amd64", "deinstall ok config-files", "")
	a.write("etc/apt/sources.list", strings.Join(lines, "\n")+"\n")
	a.write("var/lib/dpkg/status", status)
	for i, ar := range testArchives {
		name := ar.prefix + "_InRelease"
		if i == 3 {
			name = ar.prefix + "_Release" // unsigned
		}
		a.write("var/lib/apt/lists/"+name, ar.release)
	}
	for _, f := range list {
		a.write("var/lib/apt/lists/"+f, packages[f])
	}
	// A list of no configured source, which must not count.
	a.write("var/lib/apt/lists/stale.example.org_dists_stable_main_binary-amd64_Packages", control("alpha", "99", "amd64", "", ""))
}

// randomPreferences writes entries of every form, odd ones included.
func randomPreferences(r *rand.Rand) string {
	one := func(s ...string) string { return s[r.IntN(len(s))] }
	var b strings.Builder
	for range 1 + r.IntN(6) {
		b.WriteString(one("", "Explanation: why\n", "# a comment\n"))
		b.WriteString("Package: " + one("*", "*", "*", "alpha", "beta gamma-tools", "lib*", "/^lib/", "/GAMMA/", "?eta", "[a-b]*", "libgamma1:i386",
			"*:any", "beta:amd64", "src:gamma", "src:g*", "alpha\n beta", "nothere", "lib* omega", "/[[:digit:]]$/", "* alpha", "zeta+x", "/a{2}|om\\w/", "python3.1[!2]") + "\n")
		b.WriteString("Pin: " + one("release a=oldstable", "release n=bookworm*", "release o=Debian", "release o=Debian,l=Debian-Security", "release l=Acme",
			"release c=contrib", "release v=12", "release v=12*", "release v=12.9", "release a=now", "release now", "release stable", "release 12.9", "release 12*",
			"release *", "release b=i386", "release o=Debian Backports", "release a=/^old.*(security|backports)$/", "release a=*stable , c=main", "release x=y",
			"release bookworm-*", "origin one.example.org", `origin "two.example.com"`, `origin ""`, "origin *.example.*", "version 1.2*", "version 1.0-1",
			"version 2.0-1", "version /^1:/", "version *", "version 1.0-1*", "release n=jolly", "Release A=Experimental", "release o=Local", "release l=local*") + "\n")
		b.WriteString("Pin-Priority: " + one("1", "100", "500", "600", "900", "990", "995", "1000", "1001", "-1", "-10", "50", "499", "501") + "\n\n")
	}
	return b.String()
}

// TestCandidatesUnderRandomPins compares with apt under preferences of every form.
func TestCandidatesUnderRandomPins(t *testing.T) {
	var none, older, notNewest, kept, rounds int
	defer func() {
		if none == 0 || older == 0 || notNewest == 0 || kept == 0 {
			t.Errorf("too little happened in %d rounds: %d without candidate, %d downgrades, %d not the newest, %d kept", rounds, none, older, notNewest, kept)
		}
	}()
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 7))
		a := newAptTree(t)
		randomHost(a, r)
		for i := range 15 {
			conf := ""
			switch r.IntN(8) {
			case 0:
				conf = `APT::Default-Release "oldstable-backports";`
			case 1:
				conf = "APT { Default-Release \"bookworm*\"; };\n"
			case 2:
				conf = `APT::Default-Release "n=jolly";`
			}
			a.write("etc/apt/apt.conf.d/50test", conf)
			a.write("etc/apt/preferences", randomPreferences(r))
			a.write("etc/apt/preferences.d/more.pref", randomPreferences(r))
			a.write("etc/apt/preferences.d/not.read", "Package: *\nPin: release *\nPin-Priority: -1\n")
			p := compareWithApt(t, a.root, a.env())
			rounds++
			newest := map[string]string{}
			for _, f := range p.Newer {
				newest[f.Name+f.Arch] = f.Version
			}
			for _, pkg := range p.Packages {
				switch c, _ := p.Candidate(pkg.Name, pkg.Arch); {
				case c.Version == "":
					none++
				case CompareVersions(c.Version, pkg.Version) < 0:
					older++
				case c.Version == pkg.Version:
					kept++
				case c.Version != newest[pkg.Name+pkg.Arch]:
					notNewest++
				}
			}
			if t.Failed() {
				p1, _ := os.ReadFile(filepath.Join(a.root, "etc/apt/preferences"))
				p2, _ := os.ReadFile(filepath.Join(a.root, "etc/apt/preferences.d/more.pref"))
				t.Fatalf("seed %d, round %d, conf %s\n%s\n%s", seed, i, conf, p1, p2)
			}
		}
	}
}
