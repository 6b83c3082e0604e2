package load

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"
)

// files makes a repository of a txtar-like text: lines `-- name --` begin a file.
// A .cue file outside lib/ gets its package clause, and a fleet.cue is added.
func files(text string) fstest.MapFS {
	m := fstest.MapFS{}
	name := ""
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "-- "); ok && strings.HasSuffix(n, " --") {
			name = strings.TrimSuffix(n, " --")
			m[name] = &fstest.MapFile{}
			if strings.HasSuffix(name, ".cue") && !strings.HasPrefix(name, "lib/") && !strings.HasPrefix(name, "cue.mod/") {
				m[name].Data = []byte("package fleet\n")
			}
			continue
		}
		if name != "" {
			m[name].Data = append(m[name].Data, line...)
		}
	}
	if m["fleet.cue"] == nil {
		m["fleet.cue"] = &fstest.MapFile{Data: []byte("package fleet\nfleet: name: \"acme\"\n")}
	}
	return m
}

const window = `schedule: "rate(1 day)", duration: "3h", targets: all: true`

func TestFaults(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		// Places of authority.
		{"a signer from an embedded library package", `
-- cue.mod/module.cue --
module: "x.example/f@v0"
-- lib/evil/evil.cue --
package evil
All: fleet: signers: mallory: {keys: ["ssh-ed25519 AAAA"], roles: ["root"]}
-- policies/a.cue --
import "x.example/f/lib/evil"
evil.All
`, "policies/a.cue:3:1: fleet: fleet may only be written in fleet.cue\n"},
		{"a pattern over what lies in a place of authority", `
-- a.cue --
policy: [_]: severity: "HIGH"
-- grants/p.cue --
policy: p: targets: all: true
`, "grants/p.cue:2:9: policy.p: a folder above says more of it, by a pattern or the like, which files in grants/ may not see\n"},
		{"an object that only a folder below refuses", `
-- a.cue --
policy: a: {targets: all: true, if len(policy) > 1 {severty: "HIGH"}}
-- policies/b.cue --
policy: b: targets: all: true
`, "a.cue:2:9: policy.a: right by itself, but not with what is said in policies/\n"},
		{"an exception that is there where others are", `
-- a.cue --
#g: {exception?: y: {targets: all: true, policies: ["x"], reason: "r", approvedBy: "bob", until: "2030-01-01T00:00:00Z"}, ...}
#g
-- exceptions/e.cue --
exception: own: {targets: all: true, patches: ["x"], reason: "r", approvedBy: "bob", until: "2030-01-01T00:00:00Z"}
`, "exceptions/e.cue: exception.y: a folder above makes it together with what exceptions/ says; files there see only their own folder and fleet.cue\n" +
			"exceptions/e.cue:2:12: exception.own: not enforced by this version; leave it out\n"},
		{"fleet in braces", `
-- fleet.cue --
{fleet: name: "acme"}
`, "fleet.cue:2:2: fleet: written in no plain way; at the top of the file: fleet: {...}\n"},
		{"a grant under a computed kind", `
-- policies/a.cue --
("gr"+"ant"): x: {who: ["bob"], sessions: ["shell"], targets: all: true, runAs: "root"}
`, "policies/a.cue:2:15: grant.x: a grant may only be written in grants/\n"},
		{"patterns over kinds, of which some mean authority", `
-- fleet.cue --
fleet: name: "acme"
[=~"^fl"]: sync: interval: "1m"
-- a.cue --
[=~"^fl"]: {...}
for k in ["a"] {[string]: _}
[!="policy" & !~"^f"]: {...}
["window" | "policy"]: [string]: annotations: team: "web"
[=~"^pol"]: [string]: mode: "audit"
-- grants/a.cue --
[=~"^gr"]: {...}
[X=("fleet" | "grant")]: {...}
-- policies/b.cue --
[=~"t$"]: freshness: "1h"
`, `a.cue:2:1: fleet: fleet may only be written in fleet.cue, and this pattern means it, too; write the kinds that it is for, such as ["policy" | "window"]
a.cue:3:17: fleet: fleet may only be written in fleet.cue, and this pattern means it, too; write the kinds that it is for, such as ["policy" | "window"]
a.cue:4:1: activation: an activation may only be written in activations/, and this pattern means it, too; write the kinds that it is for, such as ["policy" | "window"]
grants/a.cue:3:1: fleet: fleet may only be written in fleet.cue, and this pattern means it, too; write the kinds that it is for, such as ["policy" | "window"]
policies/b.cue:2:1: fleet: fleet may only be written in fleet.cue, and this pattern means it, too; write the kinds that it is for, such as ["policy" | "window"]
`},
		{"a pattern at the root over grants", `
-- a.cue --
grant: [_]: runAs: "root"
-- grants/g.cue --
grant: x: {who: ["bob"], sessions: ["shell"], targets: all: true, runAs: "deploy"}
`, "a.cue:2:8: grant: a grant may only be written in grants/\ngrants/g.cue:2:18: grant.x.who[0]: no signer \"bob\"\n"},
		{"a grant that takes from the root", `
-- a.cue --
_user: "root"
-- grants/g.cue --
grant: x: {who: ["bob"], sessions: ["shell"], targets: all: true, runAs: _user}
`, "grants/g.cue:2:18: grant.x.who[0]: no signer \"bob\"\ngrants/g.cue:2:74: grant.x: reference \"_user\" not found; files in grants/ refer only to their own folder and fleet.cue\n"},
		{"fleet.cue that takes from another file", `
-- fleet.cue --
fleet: name: _n
-- a.cue --
_n: "acme"
`, "fleet.cue:2:14: fleet: reference \"_n\" not found; fleet.cue refers only to itself\n"},
		{"a grant that imports a package of the repository", `
-- cue.mod/module.cue --
module: "x.example/f@v0"
-- lib/who/who.cue --
package who
All: ["bob"]
-- grants/g.cue --
import "x.example/f/lib/who"
grant: x: {who: who.All, sessions: ["shell"], targets: all: true, runAs: "deploy"}
`, "grants/g.cue:2:8: \"x.example/f/lib/who\" may not be imported here: what carries authority imports only the standard library\n"},

		// Folders.
		{"a hidden field of the root declared again", `
-- a.cue --
_n: string
-- policies/b.cue --
_n: "x"
`, "policies/b.cue:2:1: _n: already in a.cue:2:1; a folder below may use what a folder above says, not add to it\n"},
		{"an object of the root changed below by a comprehension", `
-- a.cue --
window: w: {` + window + `}
-- below/b.cue --
for n in ["w"] {window: "\(n)": enabled: false}
`, "below/b.cue:2:25: window: a computed label over a kind of which a.cue:2:9 has an object; a folder below may not add to what a folder above says\n"},
		{"two folders that compute the same object", `
-- a/a.cue --
for n in ["w"] {window: "\(n)": {` + window + `}}
-- b/b.cue --
for n in ["w"] {window: "\(n)": {` + window + `}}
`, "b/b.cue:2:25: window.w: already in a/a.cue:2:25; a kind and name belong to one folder\n"},
		{"no fleet", "\n-- fleet.cue --\n", "fleet.cue: fleet: required; fleet.cue says at least fleet: name: \"...\"\n"},

		// CUE.
		{"a template that conflicts names both places", `
-- a.cue --
_night: duration: "3h"
window: w: _night & {schedule: "rate(1 day)", targets: all: true, duration: "4h"}
`, "a.cue:3:77: window.w.duration: \"4h\" and \"3h\" (2:19) are both given; give one\n"},
		{"all faults of an object at once", `
-- a.cue --
window: w: {schedule: "rate(1 day)", durations: "3h", cutoff: 1, targets: all: true}
`, `a.cue:2:38: window.w.durations: no such field (did you mean "duration"?); allowed: annotations, description, schedule, timezone, offset, start, end, duration, cutoff, enabled, targets, tasks
a.cue:2:63: window.w.cutoff: 1 is a number; a duration such as "90m", "3h" or "7d" is wanted
`},
		{"one faulty object does not hide another's", `
-- a.cue --
window: a: {` + window + `, x: 1}
window: b: _none
policy: c: {targets: all: true, mode: "enforced"}
`, `a.cue:2:74: window.a.x: no such field; allowed: annotations, description, schedule, timezone, offset, start, end, duration, cutoff, enabled, targets, tasks
a.cue:3:12: window.b: reference "_none" not found
a.cue:4:39: policy.c.mode: "enforced" is not one of enforce, audit (did you mean "enforce"?)
`},
		{"a syntax error", "\n-- a.cue --\nwindow: {\n", "a.cue:2:9: { is not closed: a } is missing\n"},
		{"a cycle", "\n-- a.cue --\nwindow: w: {" + window + ", annotations: {a: annotations.b, b: annotations.a}}\n",
			`a.cue:2:91: window.w.annotations.a: annotations.b is not a value; text is wanted
a.cue:2:109: window.w.annotations.b: annotations.a is not a value; text is wanted
`},
		{"an attribute that depends on the caller", "\n-- a.cue --\nwindow: w: {" + window + ", description: string @tag(x)}\n",
			"a.cue:2:94: @tag may not be used: a repository says the same to everyone\n"},
		{"a hidden field with two values", "\n-- a.cue --\n_x: 1\n_x: 2\n", "a.cue:3:5: _x: 2 and 1 (2:5) are both given; give one\n"},
		{"a name that is none", "\n-- a.cue --\nwindow: \"a b\": {" + window + "}\n",
			"a.cue:2:9: window.\"a b\": not a name: letters, digits, \".\", \"_\" and \"-\", at most 63, starting with a letter or digit\n"},

		// References.
		{"references with a word like the right one", `
-- a.cue --
baseline: "debian-prod": operatingSystem: "DEBIAN"
group: web: baselines: ["debian-pro", "AWS-UbuntuDefaultPatchBaseline"]
resourceGroup: eu: targets: tags: region: "fra"
policy: p: {targets: {groups: ["wen"], exclude: resourceGroups: ["uu"]}, files: "/etc/motd": source: "files/modt"}
-- files/motd --
hello
`, `a.cue:3:25: group.web.baselines[0]: no baseline "debian-pro" (did you mean "debian-prod"?)
a.cue:5:32: policy.p.targets.groups[0]: no group "wen" (did you mean "web"?)
a.cue:5:66: policy.p.targets.exclude.resourceGroups[0]: no resource group "uu" (did you mean "eu"?)
a.cue:5:102: policy.p.files."/etc/motd".source: no file "files/modt" (did you mean "files/motd"?)
`},
		{"two baselines for one system in a group", `
-- a.cue --
baseline: a: operatingSystem: "DEBIAN"
group: web: baselines: ["a", "AWS-DebianDefaultPatchBaseline"]
`, "a.cue:3:30: group.web.baselines[1]: \"AWS-DebianDefaultPatchBaseline\" and \"a\" are both for DEBIAN; a group has one baseline per operating system\n"},
		{"a second default baseline", `
-- a.cue --
baseline: b: {operatingSystem: "DEBIAN", default: true}
-- b.cue --
baseline: a: {operatingSystem: "DEBIAN", default: true}
`, "b.cue:2:51: baseline.a.default: DEBIAN has the default baseline b already (a.cue:2:51)\n"},
		{"a name of the shipped library", "\n-- a.cue --\nbaseline: \"AWS-Mine\": operatingSystem: \"DEBIAN\"\n",
			"a.cue:2:11: baseline.AWS-Mine: names that begin with AWS-, Amazon or Dunlin- are the shipped library's\n"},
		{"a file of the shipped library", `
-- a.cue --
import "dunlin.dev/policies/patchin"
policy: p: {targets: all: true, description: patchin.x}
`, "a.cue:2:8: no package \"dunlin.dev/policies/patchin\" (did you mean \"dunlin.dev/policies/patching\"?)\n"},

		// Policies.
		{"ports out of range", `
-- a.cue --
policy: p: {targets: all: true, blockedPorts: [{port: 0}, {port: 65536}, {port: "1-70000"}]}
`, `a.cue:2:55: policy.p.blockedPorts[0].port: 0 is not a port from 1 to 65535 or a range such as "8000-8100"
a.cue:2:66: policy.p.blockedPorts[1].port: 65536 is not a port from 1 to 65535 or a range such as "8000-8100"
a.cue:2:81: policy.p.blockedPorts[2].port: "1-70000" is not a port from 1 to 65535 or a range such as "8000-8100"
`},
		{"a range that ends too high", "\n-- a.cue --\npolicy: p: {targets: all: true, blockedPorts: [{port: \"60000-70000\"}]}\n",
			"a.cue:2:55: policy.p.blockedPorts[0].port: \"60000-70000\" is not a port from 1 to 65535 or a range such as \"8000-8100\"\n"},
		{"a range over the fleet's own port", "\n-- a.cue --\npolicy: p: {targets: all: true, blockedPorts: [{port: \"7900-8000\"}]}\n",
			"a.cue:2:55: policy.p.blockedPorts[0].port: 7900-8000 covers 7950, which carries the fleet itself (gossip); set allowLockout: true to block it all the same\n"},
		{"a path that is not clean", "\n-- a.cue --\npolicy: p: {targets: all: true, files: \"/etc/../x\": {}}\n",
			"a.cue:2:40: policy.p.files.\"/etc/../x\": write it as \"/x\"\n"},
		{"accounts, parameters and services that no host can have", `
-- a.cue --
policy: p: {
	targets: all: true
	users: {
		toor: uid: 0
		root: state: "absent"
		ops: {groups: ["a:b"], home: "/home/o:ps"}
	}
	sysctls: {
		"net/../kernel/panic": "1"
		"kernel.domainname":   "a\nkernel.panic = 0"
	}
}
policy: q: {targets: all: true, onChange: restart: ["nginx", "../sshd"]}
`, `a.cue:5:3: policy.p.users.toor: uid 0: number 0 is root's and nobody else's
a.cue:6:3: policy.p.users.root: is root's account: never deleted
a.cue:7:3: policy.p.users.ops: "a:b" has a sign that cannot stand in an account
a.cue:10:3: policy.p.sysctls."net/../kernel/panic": "net/../kernel/panic" is not the name of one kernel parameter
a.cue:11:26: policy.p.sysctls."kernel.domainname": a value is one line: it also stands in a file of sysctl.d
a.cue:14:62: policy.q.onChange.restart[1]: "../sshd" is not a unit such as "nginx" or "ssh.socket"
`},
		{"a source outside", "\n-- a.cue --\npolicy: p: {targets: all: true, files: \"/x\": source: \"../x\"}\n",
			"a.cue:2:54: policy.p.files.\"/x\".source: \"../x\" is not a path from the root of the repository such as \"files/motd\"\n"},
		{"exclude alone", "\n-- a.cue --\npolicy: p: targets: exclude: os: [\"debian\"]\n",
			"a.cue:2:21: policy.p.targets.exclude: exclude alone selects nothing; add all: true to mean every other node\n"},

		// Limits and window tasks.
		{"a task without maxConcurrency, with another document, with unknown parameters", `
-- a.cue --
window: w: {` + window + `, tasks: {
	a: {document: "AWS-RunPatchBaseline", parameters: Operation: "Instal", maxErrors: "100%"}
	b: {document: "AWS-RunShellScript", maxConcurrency: "100%", maxErrors: "100%"}
	c: {document: "AWS-RunPatchBaseline", parameters: Reboot: "x", maxConcurrency: "100%", maxErrors: "100%"}
}}
`, `a.cue:3:2: window.w.tasks.a.maxConcurrency: not enforced by this version; write maxConcurrency: "100%"
a.cue:3:63: window.w.tasks.a.parameters.Operation: "Instal" is not one of Scan, Install (did you mean "Install"?)
a.cue:4:2: window.w.tasks.b.parameters.commands: required; a list of texts
a.cue:4:6: window.w.tasks.b.document: AWS-RunShellScript: window tasks of this version run AWS-RunPatchBaseline only
a.cue:5:40: window.w.tasks.c.parameters.Operation: required; one of Scan, Install
a.cue:5:52: window.w.tasks.c.parameters.Reboot: no such parameter of AWS-RunPatchBaseline (did you mean "RebootOption"?); allowed: AssociationId, BaselineOverride, InstallOverrideList, Operation, RebootOption, SnapshotId
`},
		{"limits of the fleet", "\n-- fleet.cue --\nfleet: {name: \"acme\", minAgent: \"0.4.0\"}\n", "fleet.cue:2:23: fleet.minAgent: not enforced by this version; leave it out\n"},
		{"a kind that limits", "\n-- guardrails/a.cue --\nguardrail: g: limit: reboots: 1\n", "guardrails/a.cue:2:12: guardrail.g: not enforced by this version; leave it out\n"},
		{"a system that is not judged", "\n-- a.cue --\nbaseline: b: operatingSystem: \"SUSE\"\n",
			"a.cue:2:14: baseline.b.operatingSystem: SUSE: not judged by this version, which knows DEBIAN and UBUNTU\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := lines(faultsOf(t, thisBuild(), files(tt.text))); got != tt.want {
				t.Errorf("faults:\n%swant:\n%s", got, tt.want)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	_, faults, err := thisBuild()(context.Background(), files(`
-- _a.cue --
-- a.cue --
baseline: b: {operatingSystem: "DEBIAN", approvalRules: [{filters: PRIORITY: ["*"], approveAfterDays: 7}]}
-- sinks/p.cue --
sink: x: {url: "https://a.example"}
sink: y: {url: "https://a.example"}
-- cue.mod/pkg/dunlin.dev/schema/a.cue --
package schema
`))
	want := `_a.cue: warning: not read: its name starts with . or _
a.cue:2:85: warning: baseline.b.approvalRules[0].approveAfterDays: not evaluated on DEBIAN: apt archives have no release dates, and releaseDates is "publisher"
cue.mod/pkg/dunlin.dev/schema: warning: differs from this version's schema, which is the one that counts; renew it with: dunlin schema vendor
sinks/p.cue:2:7: warning: sink.x: sink does nothing yet in this version
`
	if got := lines(faults); got != want || err != nil {
		t.Errorf("warnings %v:\n%swant:\n%s", err, got, want)
	}
}
