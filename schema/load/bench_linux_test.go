package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// estate is a repository of n objects as people write them, one a file. Of each share objects one refers to others; 0: none.
func estate(n, share int) fstest.MapFS {
	m := fstest.MapFS{
		"fleet.cue": {Data: []byte("package fleet\n\nfleet: name: \"acme\"\n_web: role: \"web\"\n_days: 0\n_night: {\n\ttimezone: \"Europe/Helsinki\"\n\tduration: \"3h\"\n\tcutoff:   *\"1h\" | string\n}\n")},
		"documents/note.cue": {Data: []byte("package fleet\n\ndocument: note: {schemaVersion: \"2.2\", parameters: Text: type: \"String\"," +
			" mainSteps: [{name: \"note\", action: \"aws:runShellScript\", inputs: runCommand: [\"echo \\\"$SSM_Text\\\"\"]}]}\n")},
	}
	for i := range n - 2 {
		ref := share > 0 && i%share == 0
		or := func(a, b string) string {
			if ref {
				return b
			}
			return a
		}
		dir, text := "", ""
		switch i % 20 {
		case 0, 1, 2, 3, 4, 5, 6, 7, 8:
			dir, text = "documents", fmt.Sprintf(`document: "d-%05[1]d": {
	schemaVersion: "2.2"
	description: %[2]s
	parameters: {
		Service: {type: "String", allowedPattern: "^[A-Za-z0-9@._-]+$", interpolationType: "ENV_VAR"}
		Grace: {type: "String", default: "5", allowedValues: ["5", "10", "30"]}
	}
	mainSteps: [
		{name: "linux", action: "aws:runShellScript", precondition: StringEquals: ["platformType", "Linux"], inputs: {
			timeoutSeconds: 120, onFailure: "exit"
			runCommand: ["set -eu", "systemctl restart svc-%[1]d", "sleep 5", "systemctl is-active svc-%[1]d"]
		}},
		{name: "windows", action: "aws:runPowerShellScript", inputs: runCommand: ["Restart-Service svc-%[1]d"]},
		{name: "pkg", action: "aws:configurePackage", inputs: {name: "svc", action: "Install", version: "1.%[1]d"}},
		{name: "sub", action: "aws:runDocument", inputs: {documentType: "SSMDocument", documentPath: "note", documentParameters: Text: "x"}},
	]
}
`, i, or(fmt.Sprintf(`"generated %d"`, i), fmt.Sprintf(`"by \(_night.timezone) %d"`, i)))
		case 9, 10, 11, 12, 13, 14:
			dir, text = "policies", fmt.Sprintf(`policy: "p-%05[1]d": {
	targets: {tags: %[2]s, exclude: tags: canary: "true"}
	severity: "HIGH"
	blockedPorts: [{port: 23}, {port: "6000-6063"}, {port: 161, protocol: "udp"}]
	packages: {curl: {}, telnetd: state: "absent", openssl: version: "3.0.15-1"}
	services: {ssh: {running: true}, "svc-%[1]d": {running: true, enabled: true}}
	files: {
		"/etc/app-%[1]d/a": {content: "key = %[1]d\n", mode: "0644", owner: "root"}
		"/etc/app-%[1]d/b": {content: "key = %[1]d\n", mode: "0640"}
	}
	sysctls: "net.ipv4.ip_forward": "0"
}
`, i, or(`{role: "web"}`, "_web"))
		case 15, 16:
			dir, text = "baselines", fmt.Sprintf(`baseline: "b-%05[1]d": {
	operatingSystem: "DEBIAN"
	description: "generated baseline %[1]d"
	approvalRules: [
		{filters: {PRIORITY: ["Required", "Important"], SECTION: ["*"]}, approveAfterDays: 0, complianceLevel: "CRITICAL"},
		{filters: PRIORITY: ["Standard", "Optional", "Extra"], approveAfterDays: %[2]s, complianceLevel: "HIGH", enableNonSecurity: true},
	]
	approvedPatches: ["openssl", "ca-certificates", "linux-image-*"]
	rejectedPatches: ["docker-ce*", "kubelet"]
}
`, i, or("0", "_days"))
		case 17, 18:
			dir, text = "windows", fmt.Sprintf(`window: "w-%05[1]d": %[2]s{
	schedule: "cron(%[3]d 2 ? * SUN *)"
%[4]s	targets: tags: role: "r%[5]d"
	tasks: scan: {document: "AWS-RunPatchBaseline", parameters: Operation: "Scan", maxConcurrency: "100%%", maxErrors: "100%%"}
	tasks: patch: {document: "AWS-RunPatchBaseline", parameters: Operation: "Install", priority: 2, maxConcurrency: "100%%", maxErrors: "100%%"}
}
`, i, or("", "_night & "), i%60, or("\ttimezone: \"UTC\"\n\tduration: \"3h\"\n\tcutoff: \"1h\"\n", ""), i%9)
		case 19:
			dir, text = "parameters", fmt.Sprintf("parameter: \"/p/%05[1]d\": {type: \"String\", versions: \"1\": value: \"v%[1]d\", description: %[2]s}\n", i, or(`"x"`, "fleet.name"))
		}
		m[fmt.Sprintf("%s/f%05d.cue", dir, i)] = &fstest.MapFile{Data: []byte("package fleet\n\n" + text)}
	}
	return m
}

// register is a repository with a roster of n lines.
func register(n int) fstest.MapFS {
	m := fstest.MapFS{"fleet.cue": {Data: []byte("package fleet\n\nfleet: name: \"acme\"\n")}}
	lines := map[string][]string{}
	for i := range n {
		key := sha256.Sum256([]byte(fmt.Sprint("sign", i)))
		sign := base64.StdEncoding.EncodeToString(append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), key[:]...))
		id, err := nodeID("ssh-ed25519 " + sign)
		if err != nil {
			panic(err)
		}
		lines[id[:2]] = append(lines[id[:2]], fmt.Sprintf(
			`{"added":"2026-01-01T00:00:00Z","id":"%s","keys":{"age":"%s","sign":"ssh-ed25519 %s","tls":"%x"},"name":"node-%05d","os":"debian","state":"active","tags":{"env":"prod","role":"r%d"}}`,
			id, ageKey(string(key[:])), sign, sha256.Sum256(key[:]), i, i%9))
	}
	for shard, l := range lines {
		slices.SortFunc(l, func(a, b string) int {
			return strings.Compare(a[strings.Index(a, `"id"`):], b[strings.Index(b, `"id"`):])
		})
		m["nodes/"+shard+".jsonl"] = &fstest.MapFile{Data: []byte(strings.Join(l, "\n") + "\n")}
	}
	return m
}

// used is what a child has taken: the most memory, in MiB, and processor time in milliseconds.
type used struct{ memory, cpu float64 }

func (u *used) report(b *testing.B) {
	b.ReportMetric(u.memory, "MiB-child")
	b.ReportMetric(u.cpu, "cpu-ms-child")
}

// inChild loads a repository in a child, as validate and the agent do.
func (u *used) inChild(b *testing.B, m fstest.MapFS) *result {
	b.Helper()
	t, err := tree.Read(m)
	if err != nil {
		b.Fatal(err)
	}
	var in bytes.Buffer
	if err := t.Write(&in); err != nil {
		b.Fatal(err)
	}
	res, err := runChild(b.Context(), &in, func(s *os.ProcessState) {
		u.memory = max(u.memory, float64(s.SysUsage().(*syscall.Rusage).Maxrss)/1024)
		u.cpu = float64((s.UserTime() + s.SystemTime()).Microseconds()) / 1000
	})
	if err != nil {
		b.Fatal(err)
	}
	return res
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		for _, share := range []int{0, 3, 1} {
			name := map[int]string{0: "none", 1: "all", 3: "third"}[share]
			b.Run(fmt.Sprintf("objects=%d/references=%s", n, name), func(b *testing.B) {
				m := estate(n, share)
				u := used{}
				for b.Loop() {
					res := u.inChild(b, m)
					if len(res.Faults) > 2 || res.Repo.Objects != n {
						b.Fatal(res.Repo.Objects, res.Faults)
					}
				}
				u.report(b)
			})
		}
	}
	// The peer of objects=1000/references=third: CUE's own packages, each folder whole.
	b.Run("peer=vet/objects=1000/references=third", func(b *testing.B) {
		m := estate(1000, 3)
		for b.Loop() {
			if _, err := oracle(m); err != nil {
				b.Fatal(err)
			}
		}
	})
	// What an agent does of a commit that changed one file of 10,000, from the files to the evaluated policy.
	b.Run("changed=1of10000", func(b *testing.B) {
		m := estate(10000, 3)
		load := Child(Options{})
		for b.Loop() {
			m["policies/f00009.cue"] = &fstest.MapFile{Data: append(m["policies/f00009.cue"].Data, '\n')}
			if repo, faults, err := load(b.Context(), m); err != nil || schema.Refused(faults) || repo.Objects != 10000 {
				b.Fatal(repo.Objects, faults, err)
			}
		}
	})
	b.Run("roster=10000", func(b *testing.B) {
		m := register(10000)
		u := used{}
		for b.Loop() {
			res := u.inChild(b, m)
			if len(res.Faults) > 0 || len(res.Repo.Roster) != 10000 {
				b.Fatal(len(res.Repo.Roster), res.Faults)
			}
		}
		u.report(b)
	})
}

// BenchmarkChanged is what a commit costs that changes one file of 10,000, from the files to the evaluated policy, where the
// one before is known: of a plain object, of one with references, of one that others look at, and a line of the roster. What
// an agent does in all is agent's BenchmarkChanged.
func BenchmarkChanged(b *testing.B) {
	m := estate(10000, 3)
	for name, f := range register(10000) {
		if strings.HasPrefix(name, "nodes/") {
			m[name] = f
		}
	}
	j := ChildJudge(Options{})
	base, err := j.Whole(b.Context(), m)
	if err != nil || schema.Refused(base.Faults) {
		b.Fatal(err, base.Faults)
	}
	shard := slices.Sorted(maps.Keys(m))[slices.IndexFunc(slices.Sorted(maps.Keys(m)), func(s string) bool { return strings.HasPrefix(s, "nodes/") })]
	for _, what := range []struct{ name, file, from, to string }{
		{"plain", "policies/f00010.cue", `"6000-6063"`, `"6000-6064"`},
		{"references", "policies/f00009.cue", `"6000-6063"`, `"6000-6064"`},
		{"document", "documents/f00001.cue", `sleep 5`, `sleep 6`},
		{"roster", shard, `"env":"prod"`, `"env":"test"`},
	} {
		b.Run(what.name, func(b *testing.B) {
			after := maps.Clone(m)
			after[what.file] = &fstest.MapFile{Data: bytes.Replace(m[what.file].Data, []byte(what.from), []byte(what.to), 1)}
			var was, is [2]syscall.Rusage
			usage(b, &was)
			for b.Loop() {
				if _, err := j.Step(b.Context(), base, m, after, []string{what.file}); err != nil {
					b.Fatal(err)
				}
			}
			usage(b, &is)
			for i, who := range []string{"cpu-ms-here/op", "cpu-ms-child/op"} {
				took := time.Duration(is[i].Utime.Nano() + is[i].Stime.Nano() - was[i].Utime.Nano() - was[i].Stime.Nano())
				b.ReportMetric(float64(took.Microseconds())/1000/float64(b.N), who)
			}
		})
	}
}

// usage is the processor time that this process and its children have taken.
func usage(b *testing.B, u *[2]syscall.Rusage) {
	for i, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		if err := syscall.Getrusage(who, &u[i]); err != nil {
			b.Fatal(err)
		}
	}
}
