package host

import (
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

const simulated = `Reading package lists...
The following packages will be REMOVED:
  libold1
Remv libold1 [1.2-3]
Inst tb-newdep (1.0-1 Debian-Security:12/oldstable-security [all])
Inst libc6 [2.36-9] (2.36-9+deb12u1 Debian:12/stable, Debian-Security:12/oldstable-security [amd64]) []
Inst libc6:i386 [2.36-9] (2.36-9+deb12u1 Debian:12/stable [i386]) [libc6:amd64 ]
Conf libc6 (2.36-9+deb12u1 Debian:12/stable [amd64])
`

func TestASimulationIsRead(t *testing.T) {
	got, err := parseSimulation([]byte(simulated))
	want := []schema.SimulatedStep{
		{Action: schema.Remove, Name: "libold1", Old: "1.2-3"},
		{Action: schema.Install, Name: "tb-newdep", Arch: "all", New: "1.0-1"},
		{Action: schema.Upgrade, Name: "libc6", Arch: "amd64", Old: "2.36-9", New: "2.36-9+deb12u1"},
		{Action: schema.Upgrade, Name: "libc6", Arch: "i386", Old: "2.36-9", New: "2.36-9+deb12u1"},
	}
	if err != nil || !reflect.DeepEqual(got.Steps, want) {
		t.Errorf("parseSimulation = %+v, %v\nwant %+v", got.Steps, err, want)
	}
	for _, bad := range []string{"Inst x", "Inst x [1", "Inst x [1] 2)", "Inst X (1 [all])", "Remv ", "Inst x ()"} {
		if got, err := parseSimulation([]byte(bad)); err == nil {
			t.Errorf("parseSimulation(%q) = %+v, want an error: what is not understood must not run", bad, got)
		}
	}
}

// FuzzSimulation: nothing panics, and every line that changes a package is either a step or an error.
func FuzzSimulation(f *testing.F) {
	f.Add([]byte(simulated))
	f.Add([]byte("Inst x [1] (2 [all])\nPurg y [1]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sim, err := parseSimulation(b)
		parseRefusal(b)
		parseFailures(b)
		parseWarnings(b)
		parseDownload(b)
		parseReplaces(b)
		progressLine(string(b))
		if err != nil {
			return
		}
		n := 0
		for line := range strings.SplitSeq(string(b), "\n") {
			if v, _, ok := strings.Cut(line, " "); ok && (v == "Inst" || v == "Remv" || v == "Purg") {
				n++
			}
		}
		if n != len(sim.Steps) {
			t.Errorf("%d steps of %d lines", len(sim.Steps), n)
		}
		for _, st := range sim.Steps {
			if !packageName().MatchString(st.Name) || (st.Action == schema.Remove) != (st.New == "") {
				t.Errorf("step %+v", st)
			}
		}
	})
}

// FuzzStatus: dpkg's database and apt's states are files of the host; nothing in them panics.
func FuzzStatus(f *testing.F) {
	f.Add([]byte("Package: a\nStatus: hold ok installed\nEssential: yes\nArchitecture: amd64\nVersion: 1\nDescription: x\n y\n\nPackage: b\nStatus: install reinstreq installed\nArchitecture: i386\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseStatus(strings.NewReader(string(b)), "amd64")
		parseAuto(strings.NewReader(string(b)))
		if err != nil {
			return
		}
		foreign := false
		for _, p := range all {
			own := p.Arch == "amd64" || p.Arch == "all"
			if own && foreign {
				t.Errorf("%+v stands after a foreign package", p)
			}
			foreign = foreign || !own
		}
	})
}

func TestStatusWords(t *testing.T) {
	got, err := parseStatus(strings.NewReader("Package: a\nStatus: install ok installed\nArchitecture: i386\nVersion: 1\n\n"+
		"Package: a\nStatus: hold ok installed\nProtected: yes\nArchitecture: amd64\nVersion: 1\n\nPackage: b\nStatus: install reinstreq installed\nArchitecture: all\nVersion: 2"), "amd64")
	want := []schema.PackageStatus{
		{Name: "a", Arch: "amd64", Version: "1", State: "installed", Held: true, Essential: true},
		{Name: "b", Arch: "all", Version: "2", State: "half-installed", Reinstall: true},
		{Name: "a", Arch: "i386", Version: "1", State: "installed"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("parseStatus = %+v, %v\nwant %+v", got, err, want)
	}
}

func TestRefusalsNameWhomTheyBlame(t *testing.T) {
	for _, tt := range []struct {
		out, words string
		names      []string
	}{
		{"E: Unable to locate package tb-nothere\nE: Version '9' for 'tb-multi' was not found\n", "Unable to locate package tb-nothere; Version '9' for 'tb-multi' was not found", []string{"tb-multi", "tb-nothere"}},
		{"The following held packages will be changed:\n  tb-held tb-b:i386\nE: Held packages were changed and -y was used without --allow-change-held-packages.\n", "The following held packages will be changed; tb-held; tb-b; Held packages", []string{"tb-b", "tb-held"}},
		{"The following packages have unmet dependencies:\n tb-web : Depends: tb-lib (>= 2) but 1 is to be installed\nE: Unable to correct problems, you have held broken packages.\n", "tb-web: Depends: tb-lib (>= 2) but 1 is to be installed", []string{"tb-web"}},
	} {
		got := parseRefusal([]byte(tt.out))
		if !strings.Contains(got.Words, tt.words) || !slices.Equal(got.Packages, tt.names) {
			t.Errorf("parseRefusal(%q) = %q, %q\nwant %q, %q", tt.out, got.Words, got.Packages, tt.words, tt.names)
		}
	}
}

func TestFailuresAreAscribedToPackages(t *testing.T) {
	words, whole := parseFailures([]byte(`dpkg: error processing package tb-broken (--configure):
 installed tb-broken package post-installation script subprocess returned error exit status 1
dpkg: error processing archive /tmp/apt-dpkg-install-5Jlrs8/05-tb-web_2.4-1_all.deb (--unpack):
 cannot copy extracted data: failed to write (No space left on device)
dpkg: error processing archive /var/cache/apt/archives/0ad_1_amd64.deb (--unpack):
 trying to overwrite '/x'
dpkg: error processing package libc6:i386 (--configure):
 dependency problems - leaving unconfigured
E: Failed to fetch http://x/pool/g/g%2b%2b_1%3a2_amd64.deb  404  Not Found [IP: 192.0.2.1 80]
E: Unable to fetch some archives
E: Sub-process /usr/bin/dpkg returned an error code (1)
`))
	want := map[string]string{
		"tb-broken": "installed tb-broken package post-installation script subprocess returned error exit status 1",
		"tb-web":    "cannot copy extracted data: failed to write (No space left on device)",
		"0ad":       "trying to overwrite '/x'",
		"libc6":     "dependency problems - leaving unconfigured",
		"g++":       "could not be fetched: Failed to fetch http://x/pool/g/g%2b%2b_1%3a2_amd64.deb  404  Not Found [IP: 192.0.2.1 80]",
	}
	if !reflect.DeepEqual(words, want) || whole != "Unable to fetch some archives" {
		t.Errorf("parseFailures = %q, %q\nwant %q", words, whole, want)
	}
}

func TestOnlyPackageNamesReachApt(t *testing.T) {
	for _, tt := range []struct {
		ref    schema.PackageRef
		remove bool
		want   string // empty: refused
	}{
		{schema.PackageRef{Name: "g++", Arch: "amd64", Version: "4:12.2.0-3"}, false, "g++:amd64=4:12.2.0-3"},
		{schema.PackageRef{Name: "tb-lib", Arch: "all", Version: "1"}, false, "tb-lib=1"},
		{schema.PackageRef{Name: "libc6:i386"}, true, "libc6:i386-"},
		{schema.PackageRef{Name: "--allow-unauthenticated"}, false, ""},
		{schema.PackageRef{Name: "./evil.deb"}, false, ""},
		{schema.PackageRef{Name: "a", Version: "1 b"}, false, ""},
		{schema.PackageRef{Name: "a", Version: "1/../x"}, false, ""},
		{schema.PackageRef{Name: "a", Arch: "-o"}, false, ""},
		{schema.PackageRef{Name: "a*"}, false, ""},
	} {
		got, err := aptArgument(tt.ref, tt.remove)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("aptArgument(%+v) = %q, %v, want %q", tt.ref, got, err, tt.want)
		}
	}
}

func TestReplacementsNeedBothFields(t *testing.T) {
	got := parseReplaces([]byte("Package: new\nReplaces: old (<< 2), files\nBreaks: old (<< 2)\nConflicts: other\n\nPackage: n2\nReplaces: x\nConflicts: x:any\n"))
	if want := map[string]string{"old": "new", "x": "n2"}; !reflect.DeepEqual(got, want) {
		t.Errorf("parseReplaces = %v, want %v", got, want)
	}
}

func TestLastInstallsKeepTheNewest(t *testing.T) {
	l := LastInstalls{Path: filepath.Join(t.TempDir(), "lastinstall.json")}
	if got, err := l.Read(); err != nil || len(got) != 0 {
		t.Fatalf("Read of no file = %v, %v", got, err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	e := func(name, version, outcome, reason string) schema.LastInstall {
		return schema.LastInstall{Name: name, Arch: "all", Version: version, At: at, Outcome: outcome, Reason: reason}
	}
	if err := errors.Join(l.Add([]schema.LastInstall{e("b", "1", "failed", "why\x1b[31m"), e("a", "1", "installed", "")}), l.Add([]schema.LastInstall{e("a", "2", "failed", "no")})); err != nil {
		t.Fatal(err)
	}
	got, err := l.Read()
	if want := []schema.LastInstall{e("a", "2", "failed", "no"), e("b", "1", "failed", "why [31m")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("Read = %+v, %v\nwant %+v", got, err, want)
	}
}

// Whatever the host's own apt is told, nothing that nobody signed is fetched or installed.
func TestAptMustAuthenticate(t *testing.T) {
	args := aptOptions(time.Minute)
	for _, want := range []string{"APT::Get::AllowUnauthenticated=false", "Acquire::AllowInsecureRepositories=false"} {
		if i := slices.Index(args, want); i < 1 || args[i-1] != "-o" {
			t.Errorf("apt-get is not told %q: %q", want, args)
		}
	}
	for _, a := range args {
		if strings.Contains(a, "allow-") || strings.Contains(a, "--force-yes") {
			t.Errorf("apt-get is told %q", a)
		}
	}
}
