package load

import (
	"cmp"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// The reference in docs/reference is written from the definitions, the comments in them, and the examples in
// testdata/reference, which a loader that enforces everything takes without a fault or warning.

const (
	referenceDir  = "../../docs/reference/"
	referenceRepo = "testdata/reference/repo"
	referenceForm = "testdata/reference/forms/"
)

// referencePage is a page of the reference: a kind, or a file with a fixed form.
type referencePage struct {
	word     string   // for Describe
	examples []string // files that it shows
	guide    string   // page that tells how it is used
	rules    []string // what is checked beyond single fields
}

func referencePages() []referencePage {
	return []referencePage{
		{word: "fleet", examples: []string{"fleet.cue"}, guide: "../policy.md", rules: []string{
			"There is exactly one, in `fleet.cue`.",
			"`witnesses` are an odd number; the last of `rollout.waves` is `100%`.",
			"Each role's `threshold` is one that its people can reach; `signers` name `roles` that exist.",
			"A path belongs to the roles with the most specific matching pattern; the default paths of `root` are its own whatever other patterns say.",
			"Once there is a SecureString, `recovery` has at least two recipients, each another (a warning only where it is not given and no version lists its `recipients`).",
		}},
		{word: "baseline", examples: []string{"baselines/debian.cue"}, guide: "../patching.md", rules: []string{
			"At most one `default` per operating system.",
			"A rule has `approveAfterDays` or `approveUntilDate`, not both.",
			"Approved: released strictly before now minus the days; at the very instant it still waits.",
			"Several matching rules: the highest `complianceLevel` counts. A rejection beats everything; an explicit approval beats rules and global filters.",
			"apt archives have no release dates: with `releaseDates: \"publisher\"` delays are not evaluated there (a warning).",
		}},
		{word: "group", examples: []string{"groups/web.cue"}, guide: "../patching.md", rules: []string{
			"At most one baseline per operating system. A node in two groups is in conflict: nothing contested is applied to it (a warning).",
		}},
		{word: "resourceGroup", examples: []string{"groups/places.cue"}, guide: "../policy.md", rules: []string{"Resource groups do not contain themselves, also not through others."}},
		{word: "window", examples: []string{"windows/night.cue"}, guide: "../schedules.md", rules: []string{
			"`duration` is 1h to 24h, `cutoff` is less than it, both in whole minutes.",
			"The schedule opens at least once in 400 days; `end` is after `start`; `offset` goes only with cron.",
			"A task's arguments fit the parameters of its document.",
		}},
		{word: "policy", examples: []string{"policies/web.cue", "files/motd"}, guide: "../resources.md", rules: []string{
			"`content`, `source` and `contentFrom` of a file are alternatives; a `source` exists in the commit and has at most 1 MiB.",
			"Ports that carry the fleet itself are blocked only with `allowLockout: true`.",
			"Of two policies that contradict each other on a node neither is applied there (a warning); a block wins over no block.",
		}},
		{word: "document", examples: []string{"documents/restart-service.cue", "documents/check-port.json"}, rules: []string{
			"A document is an object in CUE, or a file `documents/NAME.json`, `.yaml` or `.yml` as AWS Systems Manager has it, taken unchanged.",
			"At most 64 KiB; names of steps are unique; `finallyStep` only on the last step; `aws:runDocument` at most 3 deep.",
			"A default fits its parameter's type, `allowedValues`, `allowedPattern` and bounds; steps use declared parameters only.",
			"`{{ name }}` inside a script needs `interpolationType: \"TEXT\"`, which is a warning: a value becomes part of the script.",
		}},
		{word: "association", examples: []string{"associations/scan.cue"}, rules: []string{
			"`applyOnlyAtCronInterval` goes only with cron, and `offset` needs it.",
			"A rate is 30 minutes to less than 31 days; a cron runs at most twice an hour and has `*` for its month.",
			"Its arguments fit the parameters of its document.",
		}},
		{word: "calendar", examples: []string{"calendars/freeze.cue"}, rules: []string{"Events are in order, do not overlap, and end after they start."}},
		{word: "parameter", examples: []string{"parameters/db.cue", "parameters/secret.cue"}, rules: []string{
			"A plain value matches `allowedPattern`, has at most 8192 bytes and no `{{`.",
			"A SecureString has `readers` and is encrypted to them; `type` never changes, and versions rise by one.",
			"A label is on one version.",
		}},
		{word: "activation", examples: []string{"activations/act-7q2m9c.cue"}},
		{word: "grant", examples: []string{"grants/ops.cue"}, rules: []string{
			"It says `run` or `sessions`; `sessions` need `targets` and `runAs`, `forward` needs `ports`.",
			"A run is accepted when one grant of its signer covers its document, its parameters and every node of its list; else it is refused whole.",
		}},
		{word: "exception", examples: []string{"exceptions/openssl.cue"}, rules: []string{
			"It says `patches`, `cves` or `policies`.",
			"One that has ended excuses nobody (a warning).",
		}},
		{word: "sink", examples: []string{"sinks/ops.cue"}},
		{word: "rule", examples: []string{"rules/critical.cue"}, rules: []string{"It says `run` or `notify`, or both."}},
		{word: "guardrail", examples: []string{"guardrails/reboots.cue"}},

		{word: "roster", examples: []string{"nodes/uq.jsonl"}, guide: "../cluster.md", rules: []string{
			"A line is canonical JSON (RFC 8785) with every field; lines are sorted by id, in the file named by the first two characters of it.",
			"Ids, names and keys are unique; the id is that of the signing key. `dunlin node line` prints a host's own.",
		}},
		{word: "facts", examples: []string{"facts.json"}, guide: "../inventory.md", rules: []string{"What is missing is empty; unknown fields are refused."}},
		{word: "run", examples: []string{"run.json"}, rules: []string{
			"A file is canonical JSON (RFC 8785); its name is made from the SHA-256 of all of it, as a node's id is from its key. It is never changed.",
		}},
		{word: "report", examples: []string{"report.jsonl"}, guide: "../reports.md", rules: []string{
			"A line is canonical JSON (RFC 8785). The higher `rev` counts; two lines of one `rev` that differ are two hosts with one identity.",
		}},
		{word: "agent", examples: []string{"agent.cue"}, guide: "../agent.md", rules: []string{
			"CUE without imports, or JSON or YAML by the ending of its name. Files of secrets belong to root and have mode 0600.",
		}},
	}
}

// isForm reports whether a page is of a file with a fixed form.
func (p referencePage) isForm() bool {
	return slices.ContainsFunc(Forms(), func(f Form) bool { return f.Name == p.word })
}

// example is the text of one of its files.
func (p referencePage) example(name string) (string, error) {
	dir := referenceRepo + "/"
	if p.isForm() && p.word != "roster" {
		dir = referenceForm
	}
	b, err := os.ReadFile(dir + name)
	return string(b), err
}

// shared are definitions that stand in many places and are described once, on types.md.
func shared() []string {
	return []string{"Targets", "Selection", "Arguments", "Output", "Notify", "Tags", "Name", "DocumentName", "ParameterName", "Description", "Duration", "Time", "Date", "Schedule", "Zone",
		"Concurrency", "ErrorLimit", "Amount", "Severity", "ComplianceLevel", "PatchName", "CVE", "EventType", "Port", "PortRange", "CIDR", "Address", "FilePath", "FileMode", "UnitName",
		"TagKey", "TagValue", "Node", "NodeID", "OS", "Branch", "PublicKey", "SigningKey", "Commit", "Digest", "Signature", "SinkURL", "VersionNumber"}
}

var (
	inSpan     = regexp.MustCompile(`\(((?:at most |at least )?[0-9]+(?: to [0-9]+)?(?: characters)?)\)`)
	ofNumber   = regexp.MustCompile(`(?:whole number|port) (from [0-9]+(?: to [0-9]+)?)`)
	notLetters = regexp.MustCompile(`[^a-z0-9 -]+`)
)

// The reference is what the definitions say now. DUNLIN_GOLDEN=1 writes it anew.
func TestReferenceIsUpToDate(t *testing.T) {
	links := map[string]map[string]bool{}
	for _, p := range referencePages() {
		links[p.word] = map[string]bool{}
	}
	want := map[string]string{}
	for _, p := range referencePages() {
		text, w := pageOf(t, p, links)
		want[p.word+".md"] = text
		for _, u := range w.unsure {
			t.Errorf("%s: say in limitSources where that comes from", u)
		}
	}
	want["types.md"] = typesPage(t, links)
	for word, by := range links {
		var names []string
		for name := range by {
			names = append(names, "["+name+"]("+name+".md)")
		}
		slices.Sort(names)
		if len(names) > 0 {
			want[word+".md"] += "\n## Named by\n\n" + strings.Join(names, ", ") + "\n"
		}
	}
	want["README.md"] = indexPage(t)
	if os.Getenv("DUNLIN_GOLDEN") != "" {
		if err := os.RemoveAll(referenceDir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(referenceDir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range want {
			if err := os.WriteFile(referenceDir+name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := os.ReadDir(referenceDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := want[f.Name()]; !ok {
			t.Errorf("%s%s is of no kind and no form", referenceDir, f.Name())
		}
	}
	for name, text := range want {
		if got, err := os.ReadFile(referenceDir + name); err != nil || string(got) != text {
			t.Errorf("%s%s is not what the definitions say (%v): make golden, and read the difference", referenceDir, name, err)
		}
	}
}

// Every kind and form has a page, and every link leads somewhere.
func TestReferenceIsWhole(t *testing.T) {
	kinds, err := Kinds()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Forms() {
		kinds = append(kinds, f.Name)
	}
	var pages []string
	for _, p := range referencePages() {
		pages = append(pages, p.word)
	}
	slices.Sort(kinds)
	slices.Sort(pages)
	if !slices.Equal(kinds, pages) {
		t.Errorf("pages %q of kinds and forms %q", pages, kinds)
	}
	link := regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	anchors := func(name string) map[string]bool {
		b, err := os.ReadFile(referenceDir + name)
		if err != nil {
			t.Errorf("a link to %s: %v", name, err)
		}
		out := map[string]bool{}
		for _, h := range heading.FindAllSubmatch(b, -1) {
			out[anchor(string(h[1]))] = true
		}
		return out
	}
	files, err := os.ReadDir(referenceDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(referenceDir + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		b = regexp.MustCompile("(?s)```.*?```").ReplaceAll(b, nil)
		for _, m := range link.FindAllSubmatch(b, -1) {
			to := cmp.Or(string(m[1]), f.Name())
			if have := anchors(to); len(m[2]) > 0 && !have[string(m[2])] {
				t.Errorf("%s: no heading %s in %s", f.Name(), m[2], to)
			}
		}
	}
}

// The examples of the reference are right: together they are one repository without a fault or a warning, and the files with
// a fixed form are read by what reads them.
func TestReferenceExamples(t *testing.T) {
	repo, faults, err := language()(t.Context(), folderFS(t, referenceRepo))
	if err != nil || len(faults) > 0 {
		t.Fatalf("%v\n%s", err, lines(faults))
	}
	for _, p := range referencePages() {
		for _, name := range p.examples {
			text, err := p.example(name)
			if err != nil {
				t.Fatal(err)
			}
			if !p.isForm() && strings.HasSuffix(name, ".cue") && !strings.Contains(text, "\n"+p.word+": ") {
				t.Errorf("%s shows no %s", name, p.word)
			}
			switch p.word {
			case "roster":
				if !slices.ContainsFunc(repo.Roster, func(l schema.RosterLine) bool { return strings.Contains(text, l.ID) }) {
					t.Errorf("%s is not in the roster", name)
				}
			case "facts":
				if _, faults := schema.ParseFacts([]byte(text)); len(faults) > 0 {
					t.Errorf("%s:\n%s", name, lines(faults))
				}
				holds[schema.Facts](t, "#Facts", text, false)
			case "run":
				holds[schema.Run](t, "#Run", text, true)
			case "report":
				holds[schema.ReportLine](t, "#ReportLine", strings.TrimSpace(text), true)
			case "agent":
				if c, faults := AgentConfig(name, []byte(text)); len(faults) > 0 || c.Gossip == nil {
					t.Errorf("%s: %+v\n%s", name, c, lines(faults))
				}
			}
		}
	}
}

// holds reads a file with a fixed form, and holds that the Go type gives the same bytes where they are canonical.
func holds[T any](t *testing.T, def, text string, canonical bool) {
	t.Helper()
	defs, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	v, err := parseJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c := &checker{defs: defs}
	if c.check(defs[def], v, nil); c.bad {
		t.Errorf("%s: %+v", def, c.found)
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	var x T
	if err := d.Decode(&x); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	again, err := parseJSON(b)
	if err != nil {
		t.Fatal(err)
	}
	if canonical && string(v.json(nil)) != text {
		t.Errorf("%s is not canonical", def)
	}
	c = &checker{defs: defs}
	if c.check(defs[def], again, nil); c.bad {
		t.Errorf("%s, read and written: %s: %+v", def, b, c.found)
	}
	var y T
	if err := json.Unmarshal(b, &y); err != nil || !reflect.DeepEqual(x, y) {
		t.Errorf("%s reads %+v and then %+v (%v)", def, x, y, err)
	}
}
