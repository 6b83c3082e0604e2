package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkProcess times whole processes, start included, each in turn with a peer that answers the same question, so
// that a busy machine slows both. It reports medians in milliseconds and how many times faster than the peer it is.
func BenchmarkProcess(b *testing.B) {
	dir := b.TempDir()
	program := filepath.Join(dir, "dunlin")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	state := filepath.Join(dir, "state")
	one := filepath.Join("..", "..", "examples", "one-host")
	thousand := thousandResources(b, filepath.Join(dir, "resources"), filepath.Join(dir, "files"))
	objects := thousandObjects(b, filepath.Join(dir, "objects"))
	for range 2 { // the first makes the files, the second keeps what it judged
		if out, err := exec.Command(program, "reconcile", "--repo", thousand, "--state", state, "-o", "json").CombinedOutput(); err != nil {
			b.Fatalf("reconcile: %v\n%s", err, out)
		}
	}
	dpkg := []string{"dpkg-query", "-W", "-f=${Package} ${Version} ${Architecture} ${Section} ${Maintainer} ${Homepage}\n"}
	apt := []string{"apt", "list", "--upgradable"}
	for _, bm := range []struct {
		name       string
		ours, peer []string
	}{
		{"start", []string{program, "--version"}, []string{"true"}},
		{"inventory-applications", []string{program, "inventory", "--type", "AWS:Application", "-o", "json"}, dpkg},
		{"inventory-all", []string{program, "inventory", "-o", "json"}, dpkg},
		{"scan", []string{program, "scan", "--repo", one, "--state", state}, apt},
		{"facts", []string{program, "inventory", "--facts"}, apt},
		{"reconcile-nothing-1000", []string{program, "reconcile", "--repo", thousand, "--state", state}, apt},
		{"validate-1000-objects", []string{program, "validate", objects}, apt},
	} {
		b.Run(bm.name, func(b *testing.B) {
			var ours, peers []time.Duration
			for b.Loop() {
				ours = append(ours, timed(b, bm.ours))
				peers = append(peers, timed(b, bm.peer))
			}
			slices.Sort(ours)
			slices.Sort(peers)
			mine, theirs := ours[len(ours)/2], peers[len(peers)/2]
			b.ReportMetric(mine.Seconds()*1000, "ms/run")
			b.ReportMetric(theirs.Seconds()*1000, "ms/peer")
			b.ReportMetric(theirs.Seconds()/mine.Seconds(), "x")
			b.ReportMetric(0, "ns/op") // of both together: means nothing
		})
	}
}

func timed(b *testing.B, args []string) time.Duration {
	b.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		b.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return took
}

func write(b *testing.B, name, text string) {
	b.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
}

// thousandResources is a policy of 900 files of about 1 KiB and 100 packages that are installed.
func thousandResources(b *testing.B, repo, files string) string {
	b.Helper()
	out, err := exec.Command("dpkg-query", "-W", "-f=${Package}\n").Output()
	if err != nil {
		b.Fatal(err)
	}
	packages := strings.Fields(string(out))
	write(b, filepath.Join(repo, "fleet.cue"), "package fleet\nfleet: name: \"bench\"\n")
	if err := os.MkdirAll(files, 0o755); err != nil {
		b.Fatal(err)
	}
	for p := range 10 {
		var t strings.Builder
		fmt.Fprintf(&t, "package fleet\npolicy: p%d: {\n\ttargets: all: true\n\tfiles: {\n", p)
		for i := range 90 {
			fmt.Fprintf(&t, "\t\t%q: {content: %q, mode: \"0644\", owner: \"root\", group: \"root\"}\n",
				filepath.Join(files, fmt.Sprintf("%d-%d", p, i)), strings.Repeat(fmt.Sprintf("line of file %d\n", i), 60))
		}
		t.WriteString("\t}\n\tpackages: {\n")
		for i := range 10 {
			fmt.Fprintf(&t, "\t\t%q: state: \"present\"\n", packages[p*10+i])
		}
		t.WriteString("\t}\n}\n")
		write(b, filepath.Join(repo, "policies", fmt.Sprintf("p%d.cue", p)), t.String())
	}
	return repo
}

// thousandObjects is a repository of 1,000 objects in 100 files, a third of them with references to a template.
func thousandObjects(b *testing.B, repo string) string {
	b.Helper()
	write(b, filepath.Join(repo, "fleet.cue"), "package fleet\nfleet: name: \"bench\"\n_night: {schedule: \"cron(0 2 ? * SUN *)\", duration: \"3h\"}\n")
	for f := range 100 {
		var t strings.Builder
		t.WriteString("package fleet\n")
		for i := range 10 {
			n := f*10 + i
			switch i % 3 {
			case 0:
				fmt.Fprintf(&t, "window: \"w%d\": _night & {targets: tags: role: \"r%d\", cutoff: \"1h\"}\n", n, n)
			case 1:
				fmt.Fprintf(&t, "policy: \"p%d\": {targets: tags: role: \"r%d\", blockedPorts: [{port: %d}], sysctls: \"net.ipv4.ip_forward\": \"0\"}\n", n, n, 1000+n)
			case 2:
				fmt.Fprintf(&t, "baseline: \"b%d\": {operatingSystem: \"DEBIAN\", approvalRules: [{filters: PRIORITY: [\"Required\", \"Important\"], approveAfterDays: 0, complianceLevel: \"HIGH\"}]}\n", n)
			}
		}
		write(b, filepath.Join(repo, "objects", fmt.Sprintf("f%d.cue", f)), t.String())
	}
	return repo
}
