package load

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	slash "path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dunlin-dev/dunlin/schema"
)

// author writes commits as people might, and as attackers might.
type author struct {
	*rand.Rand
	files fstest.MapFS
}

func (a *author) of(words ...string) string { return words[a.IntN(len(words))] }

func (a *author) odds(n int) bool { return a.IntN(100) < n }

func (a *author) name(prefix string, n int) string {
	return fmt.Sprint(prefix, a.IntN(n))
}

// targets are some, of groups and nodes among others.
func (a *author) targets() string {
	return a.of(`{all: true}`, `{tags: role: "web"}`, `{tags: {role: ["web", "db"], env: "prod"}}`, `{os: ["debian"]}`, `{all: true, exclude: tags: canary: "true"}`,
		`{tags: role: "web", exclude: tags: role: "web"}`, fmt.Sprintf(`{groups: ["g%d"]}`, a.IntN(5)), fmt.Sprintf(`{resourceGroups: ["rg%d"]}`, a.IntN(3)),
		fmt.Sprintf(`{groups: ["g%d"], exclude: resourceGroups: ["rg%d"]}`, a.IntN(5), a.IntN(3)), fmt.Sprintf(`{nodes: ["node-%05d"]}`, a.IntN(12)),
		fmt.Sprintf(`{all: true, exclude: groups: ["g%d"]}`, a.IntN(5)))
}

// object is the text of an object, and the folders where its kind may be.
func (a *author) object() (text string, dirs []string) {
	dirs = []string{"policies", "policies/web", "policies/web/eu", "documents", "."}
	template := func(plain, hidden string) string {
		if a.odds(12) {
			return hidden
		}
		return plain
	}
	switch a.IntN(13) {
	case 0, 1, 2:
		text = fmt.Sprintf("policy: p%d: {\n\ttargets: %s\n", a.IntN(9), template(a.targets(), "{tags: _web}"))
		if a.odds(60) {
			text += fmt.Sprintf("\tfiles: \"/etc/f%d\": %s\n", a.IntN(4), a.of(`{content: "x\n"}`, `{source: "files/a"}`, `{source: "files/b"}`, `{content: "y\n", mode: "0600"}`, fmt.Sprintf(`{contentFrom: parameter: "/p/%d"}`, a.IntN(5))))
		}
		if a.odds(40) {
			text += fmt.Sprintf("\twindow: \"w%d\"\n", a.IntN(3))
		}
		if a.odds(30) {
			text += fmt.Sprintf("\tchecks: c: {document: \"d%d\", parameters: %s}\n", a.IntN(6), a.of(`Text: "x"`, `{}`, `{Text: "y", Other: "z"}`, fmt.Sprintf(`Text: "{{ssm:/p/%d}}"`, a.IntN(5))))
		}
		if a.odds(20) {
			text += "\tblockedPorts: [{port: 23}]\n\tpackages: telnetd: state: \"absent\"\n"
		}
		if a.odds(8) {
			text += "\tregistry: \"HKLM\\\\X\\\\y\": {type: \"REG_DWORD\", data: 1}\n"
		}
		text += "}\n"
	case 3:
		text = fmt.Sprintf("group: g%d: {%s, baselines: [\"b%d\"%s]}\n", a.IntN(5), a.of("targets: "+a.targets(), `description: "x"`), a.IntN(4), a.of("", "", `, "AWS-UbuntuDefaultPatchBaseline"`, fmt.Sprintf(`, "b%d"`, a.IntN(4))))
	case 4:
		text = fmt.Sprintf("resourceGroup: rg%d: targets: %s\n", a.IntN(3), a.targets())
	case 5:
		text = fmt.Sprintf("baseline: b%d: {operatingSystem: %q, default: %v, approvalRules: [{filters: PRIORITY: [\"Required\"], approveAfterDays: %s}]}\n", a.IntN(4), a.of("DEBIAN", "DEBIAN", "UBUNTU"), a.odds(40), template("3", "_days"))
	case 6:
		text = fmt.Sprintf("window: w%d: {schedule: \"cron(%d 2 ? * SUN *)\", timezone: \"UTC\", duration: \"3h\", cutoff: \"1h\", targets: %s, tasks: t: {document: %q, %smaxConcurrency: \"100%%\", maxErrors: \"100%%\"}}\n",
			a.IntN(3), a.IntN(60), a.targets(), a.of("AWS-RunPatchBaseline", a.name("d", 6)), a.of(`parameters: Operation: "Scan", `, `parameters: Text: "x", `, ""))
	case 7, 8:
		dirs = []string{"documents", "policies", "."}
		text = fmt.Sprintf("document: d%d: %s\n", a.IntN(6), a.document())
	case 9:
		dirs = []string{"parameters", "parameters/x"}
		value := a.of(`"v1"`, `"v2"`)
		text = fmt.Sprintf("parameter: \"/p/%d\": {type: %q, versions: {\"1\": {value: %s%s}}}\n", a.IntN(5), a.of("String", "String", "StringList"), value, a.of("", `, labels: ["stable"]`))
		if a.odds(30) {
			text = fmt.Sprintf("parameter: \"/p/%d\": {type: \"SecureString\", readers: %s, versions: \"1\": value: %q}\n", a.IntN(5), a.targets(), sealedForTwo)
		}
	case 10:
		text = fmt.Sprintf("association: a%d: {document: \"d%d\", targets: %s, parameters: %s%s}\n", a.IntN(3), a.IntN(6), a.targets(), a.of(`Text: "x"`, `{}`), a.of("", fmt.Sprintf(", window: \"w%d\"", a.IntN(3)), fmt.Sprintf(", calendars: [\"c%d\"]", a.IntN(2))))
	case 11:
		text = a.of(fmt.Sprintf("sink: s%d: url: \"https://x.example/%d\"\n", a.IntN(2), a.IntN(9)), fmt.Sprintf("sink: s%d: {url: \"https://x.example\", secret: \"/p/%d\"}\n", a.IntN(2), a.IntN(5)),
			fmt.Sprintf("rule: r%d: {when: type: [\"node.joined\"], notify: [\"s%d\"]}\n", a.IntN(2), a.IntN(2)),
			fmt.Sprintf("calendar: c%d: events: [{start: \"2026-12-24T00:00:00Z\", end: \"2026-12-%dT00:00:00Z\"}]\n", a.IntN(2), 25+a.IntN(4)))
	case 12:
		switch a.IntN(3) {
		case 0:
			dirs = []string{"grants"}
			text = fmt.Sprintf("grant: gr%d: {who: [\"alice\"], run: {documents: [%q], targets: %s%s}}\n", a.IntN(2), a.of(a.name("d", 6), "AWS-RunShellScript"), a.targets(), a.of("", `, parameters: Text: "a+"`))
		case 1:
			dirs = []string{"exceptions"}
			text = fmt.Sprintf("exception: e%d: {targets: %s, policies: [\"p%d\"], reason: \"x\", approvedBy: \"alice\", until: \"2027-01-%02dT00:00:00Z\"}\n", a.IntN(2), a.targets(), a.IntN(9), 1+a.IntN(20))
		case 2:
			dirs = []string{"guardrails"}
			text = fmt.Sprintf("guardrail: gu%d: {limit: nodesChanged: %d, targets: %s}\n", a.IntN(2), 1+a.IntN(3), a.targets())
		}
	}
	return text, dirs
}

func (a *author) document() string {
	steps := []string{`{name: "s", action: "aws:runShellScript", inputs: {timeoutSeconds: 20000, runCommand: ["echo \"$SSM_Text\""]}}`,
		`{name: "s", action: "aws:runShellScript", inputs: runCommand: ["true"]}`,
		fmt.Sprintf(`{name: "s", action: "aws:runShellScript", inputs: runCommand: ["echo {{ssm:/p/%d%s}}"]}`, a.IntN(5), a.of("", ":1", ":stable")),
		fmt.Sprintf(`{name: "s", action: "aws:runDocument", inputs: {documentType: "SSMDocument", documentPath: "d%d", documentParameters: Text: "x"}}`, a.IntN(6))}
	return fmt.Sprintf(`{schemaVersion: "2.2", %smainSteps: [%s]}`, a.of(`parameters: Text: {type: "String"}, `, `parameters: Text: {type: "String", default: "a"}, `, ""), a.of(steps...))
}

// write makes or changes the file of an object, now and then one of two objects, or one where another has it.
func (a *author) write() {
	text, dirs := a.object()
	head := strings.SplitN(text, ":", 3)
	name := head[0] + "-" + strings.Trim(strings.ReplaceAll(head[1], "/", ""), ` "`)
	dir := dirs[int(name[len(name)-1])%len(dirs)]
	if a.odds(8) {
		dir = a.of(dirs...)
	}
	if a.odds(10) {
		more, _ := a.object()
		text += more
	}
	a.files[slash.Join(dir, name+".cue")] = &fstest.MapFile{Data: []byte("package fleet\n" + strings.Repeat("\n", a.IntN(3)) + text)}
}

// found makes a first repository that is valid.
func (a *author) found(t *testing.T, o Options) {
	for range 400 {
		before := a.files
		a.files = maps.Clone(a.files)
		a.write()
		if len(a.files) == len(before) {
			a.files = before
			continue
		}
		if _, faults, err := InProcess(o)(t.Context(), a.files); err != nil || schema.Refused(faults) {
			a.files = before
		}
		if len(a.files) > 30 {
			return
		}
	}
}

// some is the name of a file that is no fleet.cue.
func (a *author) some(test func(string) bool) string {
	names := slices.Sorted(maps.Keys(a.files))
	names = slices.DeleteFunc(names, func(name string) bool { return name == "fleet.cue" || !test(name) })
	if len(names) == 0 {
		return ""
	}
	return names[a.IntN(len(names))]
}

func isCUE(name string) bool { return strings.HasSuffix(name, ".cue") }

// commit changes something and says what.
func (a *author) commit() string {
	a.files = maps.Clone(a.files)
	switch n := a.IntN(100); {
	case n < 45:
		a.write()
		return "write"
	case n < 55:
		delete(a.files, a.some(isCUE))
		return "remove"
	case n < 62: // to another folder, under another name
		from := a.some(isCUE)
		to := slash.Join(a.of("policies", "policies/web", "policies/web/eu", "documents", ".", "parameters", "grants"), fmt.Sprintf("m%d.cue", a.IntN(3)))
		if from != "" && from != to {
			a.files[to] = a.files[from]
			delete(a.files, from)
		}
		return "move"
	case n < 70:
		name := a.of("a", "b")
		if a.odds(30) {
			delete(a.files, "files/"+name)
		} else {
			a.files["files/"+name] = &fstest.MapFile{Data: []byte(strings.Repeat("x", 1+a.IntN(9)))}
		}
		return "source"
	case n < 77:
		a.roster()
		return "roster"
	case n < 83:
		ext := a.of(".json", ".yaml")
		name := "documents/" + a.name("d", 6) + ext
		if a.odds(30) {
			delete(a.files, name)
			return "no document file"
		}
		body := `{"schemaVersion": "2.2", "parameters": {"Text": {"type": "String"}}, "mainSteps": [{"name": "s", "action": "aws:runShellScript", "inputs": {"runCommand": ["` + a.of("true", "false", "echo {{ssm:/p/1}}") + `"]}}]}`
		a.files[name] = &fstest.MapFile{Data: []byte(body)}
		return "document file"
	case n < 87:
		name := a.of("README.md", "policies/old.yaml", "tests/t.txtar", "documents/UPPER.JSON", "policies/.hidden.cue", "nodes/readme.txt", "fleet.yaml")
		if a.odds(40) {
			delete(a.files, name)
		} else {
			a.files[name] = &fstest.MapFile{Data: []byte("package fleet\n" + strings.Repeat("#", a.IntN(5)) + "\n")}
		}
		return "other file"
	case n < 91: // what is no plain object, in a folder of its own or of others
		name := slash.Join(a.of("policies", "policies/web", "documents", "."), "rest.cue")
		if a.odds(60) {
			delete(a.files, name)
			return "no template"
		}
		a.files[name] = &fstest.MapFile{Data: []byte("package fleet\n" + a.of("_more: x: 1\n", "_some: {role: \"db\"}\n", "policy: [string]: severity: string\n", "for k in [\"1\"] {policy: \"made-\\(k)\": {targets: all: true}}\n",
			"if len(policy) > 40 {policy: p0: severity: \"LOW\"}\n", "_count: len(policy)\n", "policy: q0: targets: policy.p0.targets\n", "let x = 3\n_y: x\n"))}
		return "template"
	case n < 95: // two at once
		a.write()
		a.write()
		delete(a.files, a.some(isCUE))
		return "several"
	case n < 98: // the same object once more, beside itself or elsewhere, and what is done with one of the two
		if twin := a.some(func(name string) bool { return slash.Base(name) == "twin.cue" }); twin != "" && a.odds(70) {
			if a.odds(50) {
				delete(a.files, twin)
				return "no twin"
			}
			for _, name := range slices.Sorted(maps.Keys(a.files)) {
				if name != twin && bytes.Equal(a.files[name].Data, a.files[twin].Data) {
					delete(a.files, name)
				}
			}
			return "the other twin"
		}
		if from := a.some(isCUE); from != "" {
			a.files[slash.Join(a.of(slash.Dir(from), slash.Dir(from), "policies/web/eu"), "twin.cue")] = a.files[from]
		}
		return "twin"
	case n < 99:
		a.files["lib/words/w.cue"] = &fstest.MapFile{Data: []byte(fmt.Sprintf("package words\nDays: %d\n", a.IntN(9)))}
		return "lib"
	default:
		a.files["fleet.cue"] = &fstest.MapFile{Data: []byte(firstFleet + fmt.Sprintf("_other: %d\n", a.IntN(9)))}
		return "fleet"
	}
}

// roster changes, adds or removes a line.
func (a *author) roster() {
	all := register(14)
	names := slices.Sorted(maps.Keys(all))
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, "nodes/") })
	name := names[a.IntN(len(names))]
	text := string(all[name].Data)
	switch a.IntN(5) {
	case 0:
		delete(a.files, name)
		return
	case 1:
		text = strings.ReplaceAll(text, `"state":"active"`, `"state":"retired"`)
	case 2:
		text = strings.ReplaceAll(text, `"role":"r`, `"role":"web`)
	case 3:
		if other := a.some(func(n string) bool { return strings.HasSuffix(n, ".jsonl") }); other != "" {
			text = strings.ReplaceAll(text, `"name":"node-`, `"name":"n-`)
		}
	case 4: // as another one is called
		if i := strings.Index(text, `"name":"node-`); i >= 0 {
			text = text[:i] + fmt.Sprintf(`"name":"node-%05d"`, a.IntN(12)) + text[i+len(`"name":"node-00000"`):]
		}
	}
	a.files[name] = &fstest.MapFile{Data: []byte(text)}
}

const firstFleet = `package fleet
fleet: {
	name: "acme"
	signers: alice: {keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMTYVQnG1/bgtfbVmZnu8ALSIYohPkBNXjuj9rse4YpS alice"], roles: ["root", "policy"]}
	roles: {root: {paths: ["fleet.cue"], threshold: 1}, policy: {paths: ["**"], threshold: 1}}
	recovery: ["age1lcd5axs8aea79aln5rnfmm04l4wezttp6zu543y4mqpccn9lf4vq9spx6g", "age1nufj3u903wee3anw6zpep9thqavdy0zx9x7clx8s2sc5sltkad7qmal2q5"]
}
_web: role: "web"
_days: 3
`

// sealedForTwo is an age file that has the form of one.
var sealedForTwo = "-----BEGIN AGE ENCRYPTED FILE-----\n" +
	base64.StdEncoding.EncodeToString([]byte("age-encryption.org/v1\n-> X25519 a\nb\n-> X25519 c\nd\n--- mac\n"+strings.Repeat("n", 16+16+5))) +
	"\n-----END AGE ENCRYPTED FILE-----\n"

// idleOnly are the limits that refuse nothing.
func idleOnly() []schema.Limit {
	return slices.DeleteFunc(schema.NotEnforced(), func(x schema.Limit) bool { return !x.Idle })
}
