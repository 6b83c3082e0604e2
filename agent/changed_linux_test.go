package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == load.Command {
		os.Exit(load.Main(changedOptions(), os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

func changedOptions() load.Options {
	return load.Options{Limits: schema.NotEnforced(), Warn: func(repo schema.Repo) []schema.Fault {
		return append(reconciler.Warnings(repo), reconciler.Expired(repo, time.Now())...)
	}}
}

// manyFiles is a repository of n objects, one a file, as people write them: a third with references. nodes is how many lines its
// roster has.
func manyFiles(n, nodes int) map[string][]byte {
	m := map[string][]byte{"fleet.cue": []byte("package fleet\n\nfleet: name: \"acme\"\n_web: role: \"web\"\n_days: 0\n"),
		"documents/note.cue": []byte(`package fleet
document: note: {schemaVersion: "2.2", parameters: Text: type: "String", mainSteps: [{name: "note", action: "aws:runShellScript", inputs: runCommand: ["echo \"$SSM_Text\""]}]}
`)}
	for i := range n - 2 {
		or := func(a, b string) string {
			if i%3 == 0 {
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
		{name: "sub", action: "aws:runDocument", inputs: {documentType: "SSMDocument", documentPath: "note", documentParameters: Text: "x"}},
	]
}
`, i, or(fmt.Sprintf(`"generated %d"`, i), fmt.Sprintf(`"by \(_web.role) %d"`, i)))
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
}
`, i, or(fmt.Sprintf(`{role: "r%d"}`, i), "_web"))
		case 15, 16:
			dir, text = "baselines", fmt.Sprintf(`baseline: "b-%05[1]d": {
	operatingSystem: "DEBIAN"
	approvalRules: [
		{filters: {PRIORITY: ["Required", "Important"], SECTION: ["*"]}, approveAfterDays: 0, complianceLevel: "CRITICAL"},
		{filters: PRIORITY: ["Standard", "Optional", "Extra"], approveAfterDays: %[2]s, complianceLevel: "HIGH", enableNonSecurity: true},
	]
	approvedPatches: ["openssl", "ca-certificates", "linux-image-*"]
}
`, i, or("0", "_days"))
		case 17, 18:
			dir, text = "windows", fmt.Sprintf(`window: "w-%05[1]d": {
	schedule: "cron(%[2]d 2 ? * SUN *)", timezone: "UTC", duration: "3h", cutoff: "1h"
	targets: tags: role: "r%[3]d"
	tasks: scan: {document: "AWS-RunPatchBaseline", parameters: Operation: "Scan", maxConcurrency: "100%%", maxErrors: "100%%"}
}
`, i, i%60, i%9)
		case 19:
			dir, text = "parameters", fmt.Sprintf("parameter: \"/p/%05[1]d\": {type: \"String\", versions: \"1\": value: \"v%[1]d\", description: %[2]s}\n", i, or(`"x"`, "fleet.name"))
		}
		m[fmt.Sprintf("%s/f%05d.cue", dir, i)] = []byte("package fleet\n\n" + text)
	}
	lines := map[string][]string{}
	for i := range nodes {
		key := sha256.Sum256([]byte(fmt.Sprint("sign", i)))
		sum := sha256.Sum256(key[:])
		id := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))[:26]
		readable, err := age.GenerateX25519Identity()
		if err != nil {
			panic(err)
		}
		lines[id[:2]] = append(lines[id[:2]], fmt.Sprintf(
			`{"added":"2026-01-01T00:00:00Z","id":"%s","keys":{"age":"%s","sign":"ssh-ed25519 %s","tls":"%x"},"name":"node-%05d","os":"debian","state":"active","tags":{"env":"prod","role":"n%d"}}`,
			id, readable.Recipient(), base64.StdEncoding.EncodeToString(append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), key[:]...)), sum, i, i%9))
	}
	for shard, l := range lines {
		slices.SortFunc(l, func(a, b string) int {
			return strings.Compare(a[strings.Index(a, `"id"`):], b[strings.Index(b, `"id"`):])
		})
		m["nodes/"+shard+".jsonl"] = []byte(strings.Join(l, "\n") + "\n")
	}
	return m
}

// changedAgent is an agent whose store has some files, in force.
func changedAgent(t testing.TB, state string, log io.Writer) *Agent {
	t.Helper()
	o := changedOptions()
	a, err := New(Options{
		Config: schema.AgentConfig{State: state, Trust: schema.AgentTrust{Unsigned: true}},
		Local: Local{State: state, Root: "/", Evaluate: load.Child(o), Judge: load.ChildJudge(o), Now: time.Now,
			LastInstalls: func() ([]schema.LastInstall, error) { return nil, nil }},
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), Random: func() float64 { return 0.5 },
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// commits puts a commit upon another into the agent's store.
func (a *Agent) commits(t testing.TB, parent string, files map[string][]byte) string {
	t.Helper()
	commit, err := a.policies.Commit(gitrepo.Change{Parent: parent, Files: files, Message: "change", Author: "test", When: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return commit
}

// enforces puts a commit into force.
func (a *Agent) enforces(t testing.TB, commit string) Policy {
	t.Helper()
	later := a.consider(t.Context(), commit, false)
	p, _, _ := a.inForce()
	if later || p.Commit != commit {
		t.Fatalf("commit %s is not in force: %+v %v", commit, a.refused, a.problems)
	}
	return p
}

// A commit in which a parameter is other without a new version is put into force, and told until the next one.
func TestRewrittenParametersAreTold(t *testing.T) {
	a := changedAgent(t, t.TempDir(), io.Discard)
	policy := func(text string) map[string][]byte {
		return map[string][]byte{"fleet.cue": []byte("package fleet\n\nfleet: name: \"acme\"\n"), "parameters/p.cue": []byte("package fleet\n\nparameter: " + text + "\n")}
	}
	first := a.commits(t, "", policy(`"/a": {type: "String", versions: {"1": value: "x", "2": value: "y"}}`))
	a.enforces(t, first)
	if text := a.problems["parameters"]; text != "" {
		t.Errorf("of the first commit it says %q", text)
	}
	other := a.commits(t, first, policy(`"/a": {type: "StringList", versions: {"1": value: "x", "2": value: "y"}}`))
	a.enforces(t, other)
	if text, want := a.problems["parameters"], "commit "+short(other)+" rewrites parameters: /a was a String and is a StringList; a revert does so, and a parameter that was made anew"; text != want {
		t.Errorf("it says %q, want %q", text, want)
	}
	a.enforces(t, a.commits(t, other, policy(`"/a": {type: "StringList", versions: {"1": value: "x", "2": value: "y", "3": value: "z"}}`)))
	if text := a.problems["parameters"]; text != "" {
		t.Errorf("of a new version it says %q", text)
	}
}

// BenchmarkChanged is what an agent does from a new commit in its store to that commit in force, of a repository of 10,000
// files: where one file has changed, and, as the peer, where all is evaluated.
func BenchmarkChanged(b *testing.B) {
	for _, repo := range []struct {
		name  string
		nodes int
		cases []changedCase
	}{
		{"objects=10000", 0, []changedCase{
			{"plain", "policies/f00010.cue", "6000-6063", "60%02d-6100", false},
			{"references", "policies/f00009.cue", "6000-6063", "60%02d-6100", false},
			{"template", "fleet.cue", "_days: 0", "_days: %d", false},
			{"peer=whole", "policies/f00010.cue", "6000-6063", "60%02d-6100", true},
		}},
		{"nodes=10000", 10000, []changedCase{
			{"line", "", `"env":"prod"`, `"env":"p%d"`, false},
			{"peer=whole", "", `"env":"prod"`, `"env":"p%d"`, true},
		}},
	} {
		n := 10000
		if repo.nodes > 0 {
			n = 40
		}
		files := manyFiles(n, repo.nodes)
		shard := ""
		for name := range files {
			if strings.HasPrefix(name, "nodes/") && (shard == "" || name < shard) {
				shard = name
			}
		}
		a := changedAgent(b, b.TempDir(), io.Discard)
		head := a.commits(b, "", files)
		a.enforces(b, head)
		for _, c := range repo.cases {
			if c.file == "" {
				c.file = shard
			}
			b.Run(repo.name+"/"+c.name, func(b *testing.B) {
				var took [2]time.Duration
				i := 0
				for b.Loop() {
					b.StopTimer()
					i++
					head = a.commits(b, head, map[string][]byte{c.file: bytes.Replace(files[c.file], []byte(c.from), fmt.Appendf(nil, c.to, i%100), 1)})
					if c.whole {
						p, _, _ := a.inForce()
						p.known = nil
						a.use(p, time.Now())
					}
					was := processorTime(b)
					b.StartTimer()
					a.enforces(b, head)
					b.StopTimer()
					now := processorTime(b)
					took[0], took[1] = took[0]+now[0]-was[0], took[1]+now[1]-was[1]
					b.StartTimer()
				}
				b.ReportMetric(float64(took[0].Microseconds())/1000/float64(b.N), "cpu-ms-agent/op")
				b.ReportMetric(float64(took[1].Microseconds())/1000/float64(b.N), "cpu-ms-child/op")
				runtime.GC()
				var mem runtime.MemStats
				runtime.ReadMemStats(&mem)
				b.ReportMetric(float64(mem.HeapAlloc)/(1<<20), "MiB-live")
			})
		}
	}
}

type changedCase struct {
	name, file, from, to string
	whole                bool
}

// processorTime is what this process and its children have taken.
func processorTime(t testing.TB) (out [2]time.Duration) {
	for i, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			t.Fatal(err)
		}
		out[i] = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return out
}
