package inventory

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestApplicationsOfThisMachine compares every field with dpkg-query's.
func TestApplicationsOfThisMachine(t *testing.T) {
	out, err := exec.Command("dpkg-query", "-W", "-f", `${db:Status-Status}|${Package}|${Version}|${Architecture}|${Section}|${Maintainer}|${Homepage}|${source:Package}\n`).Output()
	if err != nil {
		t.Fatalf("dpkg-query (needs the package dpkg): %v", err)
	}
	var want []string
	for line := range strings.Lines(string(out)) {
		state, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "|")
		if state != "config-files" && state != "not-installed" {
			want = append(want, rest)
		}
	}
	apps, err := Gather{}.Applications(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	untimed := 0
	for _, a := range apps {
		got = append(got, strings.Join([]string{a.Name, a.Version, a.Architecture, a.ApplicationType, a.Publisher, a.URL, a.PackageID}, "|"))
		if a.InstalledTime == "" {
			untimed++
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("%d applications, dpkg-query has %d; first difference:\n%s\n%s", len(got), len(want), got[i], want[i])
			}
		}
		t.Fatalf("%d applications, dpkg-query has %d", len(got), len(want))
	}
	if untimed > 0 {
		t.Errorf("%d applications without a time", untimed)
	}
}

func TestApplicationsAreWrittenAsEncodingJSONWould(t *testing.T) {
	apps, err := Gather{}.Applications(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	apps = append(apps, Application{Name: "a\"\\\n\x00\u2028ü\xff<&>\x7f"}, Application{})
	for _, list := range [][]Application{apps, {}, apps[len(apps)-1:]} {
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		enc.SetIndent("  ", "  ")
		if err := enc.Encode(list); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		w := bufio.NewWriterSize(&got, 1000)
		WriteApplications(w, list, "  ")
		if err := w.Flush(); err != nil || got.String()+"\n" != want.String() {
			t.Errorf("WriteApplications of %d differs from encoding/json, %v", len(list), err)
		}
	}
}

func TestInstanceOfThisMachine(t *testing.T) {
	i, err := Gather{AgentVersion: "1"}.Instance()
	if err != nil || len(i) != 1 {
		t.Fatalf("Instance = %v, %v", i, err)
	}
	name, _ := os.Hostname()
	if i[0].ComputerName != name || i[0].PlatformType != "Linux" || i[0].PlatformName == "" {
		t.Errorf("Instance = %+v, want computer %q on Linux", i[0], name)
	}
	d, err := Gather{}.Details()
	if err != nil || len(d) != 1 || d[0].CPUs < 1 || d[0].KernelVersion == "" {
		t.Errorf("Details = %+v, %v", d, err)
	}
	n, err := Gather{}.Networks()
	if err != nil || !slices.ContainsFunc(n, func(n Network) bool { return n.Name == "lo" }) {
		t.Errorf("Networks = %+v, %v; want lo among them", n, err)
	}
}

func TestProcessorsAreCountedByTopology(t *testing.T) {
	var b strings.Builder
	for i := range 8 { // 2 sockets of 2 cores of 2 threads
		fmt.Fprintf(&b, "processor\t: %d\nmodel name\t: Some CPU @ 2.0GHz\ncpu MHz\t\t: 1999.7\nphysical id\t: %d\ncore id\t\t: %d\n\n", i, i%2, i/2%2)
	}
	want := InstanceDetailedInformation{CPUModel: "Some CPU @ 2.0GHz", CPUs: 8, CPUCores: 4, CPUSockets: 2, CPUSpeedMHz: 1999, CPUHyperThreadEnabled: "true"}
	if got := parseCPUInfo(b.String()); got != want {
		t.Errorf("parseCPUInfo = %+v, want %+v", got, want)
	}
	want = InstanceDetailedInformation{CPUs: 2, CPUCores: 2, CPUSockets: 1, CPUHyperThreadEnabled: "false"}
	if got := parseCPUInfo("processor\t: 0\nBogoMIPS\t: 50\n\nprocessor\t: 1\n"); got != want {
		t.Errorf("parseCPUInfo(arm) = %+v, want %+v", got, want)
	}
}

func TestServicesJoinUnitsAndTheirFiles(t *testing.T) {
	a := newAptTree(t)
	for _, d := range []string{"etc/systemd/system/multi-user.target.wants", "usr/lib/systemd/system"} {
		a.mkdir(d)
	}
	link := func(to, at string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(a.root, at)); err != nil {
			t.Fatal(err)
		}
	}
	link("/usr/lib", "lib") // merged /usr
	for _, u := range []string{"ssh.service", "idle.service", "bad.service", "tmpl@.service"} {
		a.write("usr/lib/systemd/system/"+u, "[Service]\n")
	}
	link("/usr/lib/systemd/system/ssh.service", "etc/systemd/system/multi-user.target.wants/ssh.service")
	link("/usr/lib/systemd/system/ssh.service", "etc/systemd/system/sshd.service")
	link("/dev/null", "etc/systemd/system/bad.service")
	g := Gather{Root: a.root, Units: func(context.Context) ([]Unit, error) {
		return []Unit{{"ssh.service", "OpenSSH", "loaded", "active", "running"}, {"gone.service", "gone.service", "not-found", "inactive", "dead"},
			{"tmpl@1.service", "one", "loaded", "activating", "start"}, {"x.mount", "", "loaded", "active", "mounted"}, {"once.service", "once", "loaded", "active", "exited"}}, nil
	}}
	got, err := g.Services(context.Background())
	want := []Service{
		{"bad.service", "", "service", "Stopped", "Disabled"},
		{"idle.service", "", "service", "Stopped", "Manual"},
		{"once.service", "once", "service", "Stopped", "Manual"},
		{"ssh.service", "OpenSSH", "service", "Running", "Automatic"},
		{"tmpl@1.service", "one", "service", "StartPending", "Manual"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Services = %+v, %v\nwant %+v", got, err, want)
	}
	g.Units = func(context.Context) ([]Unit, error) { return nil, fmt.Errorf("x: %w", errors.ErrUnsupported) }
	if got, err := g.Services(context.Background()); err != nil || got == nil || len(got) != 0 {
		t.Errorf("without systemd: Services = %#v, %v; want an empty list", got, err)
	}
}
