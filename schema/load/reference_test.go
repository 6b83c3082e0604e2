package load

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
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

// from says where a limit comes from. In a path * stands for anything.
type limitSource struct{ path, from string }

// limitSources has the origin of each bound of a field. SSM's names are those of its API, version 2014-11-06.
func limitSources() []limitSource {
	const ours = "Dunlin"
	return []limitSource{
		{"activation.NAME.description", "SSM `ActivationDescription`"},
		{"baseline.NAME.description", "SSM `BaselineDescription`"},
		{"parameter.PATH.description", "SSM `ParameterDescription`"},
		{"window.NAME.description", ours + ", as SSM's descriptions of baselines"},
		{"*.description", ours + ", as SSM's descriptions of baselines"},
		{"*.schedule", "SSM `MaintenanceWindowSchedule`, `ScheduleExpression`"},
		{"*.offset", "SSM `MaintenanceWindowOffset`, `ScheduleOffset`"},

		{"baseline.NAME.globalFilters", "SSM `PatchFilterList`"},
		{"baseline.NAME.approvalRules", "SSM `PatchRuleList`"},
		{"baseline.NAME.approvalRules.filters", "SSM `PatchFilterList`"},
		{"baseline.NAME.approvalRules.approveAfterDays", "SSM `ApproveAfterDays`"},
		{"baseline.NAME.globalFilters.*", "SSM `PatchFilterValueList`, `PatchFilterValue`"},
		{"baseline.NAME.approvalRules.filters.*", "SSM `PatchFilterValueList`, `PatchFilterValue`"},
		{"baseline.NAME.approvedPatches", "SSM `PatchIdList`"},
		{"baseline.NAME.rejectedPatches", "SSM `PatchIdList`"},
		{"baseline.NAME.sources", "SSM `PatchSourceList`"},
		{"baseline.NAME.sources.name", "SSM `PatchSourceName`"},
		{"baseline.NAME.sources.products", "SSM `PatchSourceProductList`, `PatchSourceProduct`"},
		{"baseline.NAME.sources.configuration", "SSM `PatchSourceConfiguration`"},
		{"baseline.NAME.maxRemovals", ours},
		{"group.NAME.baselines", ours + ": there are not more operating systems"},
		{"window.NAME.tasks", "SSM's quota of tasks a window"},
		{"window.NAME.tasks.NAME.priority", "SSM `MaintenanceWindowTaskPriority`"},
		{"policy.NAME.blockedPorts", ours},
		{"policy.NAME.blockedPorts.port", "TCP and UDP"},
		{"policy.NAME.users.NAME.uid", "the kernel; 4294967295 is nobody's"},
		{"document.NAME.mainSteps.name", ours},
		{"document.NAME.mainSteps", "SSM: a document without a step is none"},
		{"document.NAME.runtimeConfig", "SSM: a document without a step is none"},
		{"document.NAME.mainSteps.precondition.StringEquals", "SSM"},
		{"document.NAME.mainSteps.inputs.maxAttempts", "SSM"},
		{"document.NAME.mainSteps.inputs.timeoutSeconds", "SSM's agent"},
		{"document.NAME.mainSteps.inputs.*", "SSM"},
		{"document.NAME.parameters.NAME.*", "SSM's agent"},
		{"activation.NAME.limit", "SSM `RegistrationLimit`"},
		{"parameter.PATH.allowedPattern", "SSM `AllowedPattern`"},
		{"parameter.PATH.versions", "SSM's quota of versions a parameter"},
		{"parameter.PATH.versions.NUMBER.recipients", ours + ": what a file of 1 MiB holds, and more"},
		{"parameter.PATH.versions.NUMBER.labels", "SSM `ParameterLabelList`"},
		{"parameter.PATH.versions.NUMBER.value", "SSM's advanced parameters: 8 KB"},
		{"fleet.sync.fetchers", ours},
		{"fleet.witnesses", ours},
		{"fleet.roles.*.threshold", ours},
		{"grant.NAME.ports", "TCP"},
		{"run.comment", "SSM `Comment`"},
		{"exception.NAME.reason", ours},
		{"exception.NAME.patches", "SSM `PatchId`"},
		{"guardrail.NAME.limit.*", "a count"},
		{"facts.candidates.phased", "a percentage"},
		{"*.tags", "AWS's tags a resource"},
		{"report.counts.*", "counts"},
		{"report.rev", ours},
		{"guardrail.NAME.limit", ours + ": a guardrail without a limit is none"},
		{"*", ""}, // a list, map or text that must not be empty, and a form's version
	}
}

// handLimits are bounds that the loader checks beyond the definitions.
func handLimits() map[string][][3]string {
	return map[string][][3]string{
		"window":      {{"`duration`", "1h to 24h", "SSM `MaintenanceWindowDurationHours`"}, {"`cutoff`", "0h to less than `duration`", "SSM `MaintenanceWindowCutoff`"}},
		"association": {{"`schedule` with rate", "30 minutes to less than 31 days", "SSM State Manager"}},
		"activation":  {{"`expires`", "at most 30 days ahead", "SSM `ExpirationDate`"}},
		"document":    {{"the whole document", "at most 64 KiB", "SSM `DocumentContent`"}, {"`aws:runDocument`", "at most 3 deep", "SSM's agent"}},
		"run":         {{"`deliveryTimeout`", "30s to 30d", "SSM `TimeoutSeconds`"}, {"`executionTimeout`", "5s to 2d", "SSM's agent"}},
		"grant":       {{"`maxDuration`", "1m to 24h", "SSM `maxSessionDuration`"}},
		"policy":      {{"`files.PATH.source`", "at most 1 MiB", "Dunlin"}},
		"parameter":   {{"its path", "at most 15 levels and 1011 characters, not under /aws or /ssm", "SSM `PSParameterName`"}, {"a label", "at most 100 characters", "SSM `ParameterLabel`"}},
		"types": {
			{"Targets: keys of `tags`", "at most 5", "SSM `Targets`"},
			{"Targets: values of a tag, `groups`, `os`, `resourceGroups`", "at most 50", "SSM `TargetValues`"},
			{"Targets: `nodes`", "at most 1000", "Dunlin; SSM takes 50 ids"},
			{"TagKey, TagValue, Tags", "1 to 128 characters, at most 256 characters, at most 50", "AWS's tags"},
			{"Concurrency", "a count from 1 or 1% to 100%", "SSM `MaxConcurrency`"},
			{"ErrorLimit", "a count from 0 or 0% to 100%", "SSM `MaxErrors`"},
			{"Schedule", "at most 256 characters", "SSM `MaintenanceWindowSchedule`, `ScheduleExpression`"},
			{"PatchName", "1 to 100 characters", "SSM `PatchId`"},
			{"ParameterName", "at most 15 levels and 1011 characters", "SSM `PSParameterName`"},
			{"Description", "1 to 1024 characters", "SSM `BaselineDescription`, `ParameterDescription`"},
			{"Name, DocumentName", "at most 63 characters", "Dunlin; SSM takes 3 to 128"},
			{"OperatingSystem, Severity, ComplianceLevel", "their words", "SSM, and FEDORA"},
		},
		"fleet": {{"`sync.interval`, `reports.interval`", "at least 1s", "Dunlin"}},
	}
}

// referenced is the page of what a field names.
func referenced(path string) string {
	name := path[strings.LastIndexByte(path, '.')+1:]
	switch {
	case path == "policy.NAME.users.NAME.groups" || path == "parameter.PATH.policies" || strings.HasPrefix(path, "facts.") || strings.HasPrefix(path, "agent."):
		return ""
	case strings.HasPrefix(path, "run.") && name == "fleet" || strings.HasPrefix(path, "report.") && name == "fleet":
		return "fleet"
	}
	return map[string]string{
		"document": "document", "documents": "document", "documentPath": "document", "window": "window", "calendars": "calendar", "notify": "sink", "secret": "parameter", "parameter": "parameter",
		"baselines": "baseline", "groups": "group", "resourceGroups": "resourceGroup", "policies": "policy", "who": "fleet", "activations": "activation", "witnesses": "roster", "nodes": "roster",
	}[name]
}

var (
	inSpan     = regexp.MustCompile(`\(((?:at most |at least )?[0-9]+(?: to [0-9]+)?(?: characters)?)\)`)
	ofNumber   = regexp.MustCompile(`(?:whole number|port) (from [0-9]+(?: to [0-9]+)?)`)
	notLetters = regexp.MustCompile(`[^a-z0-9 -]+`)
)

// bound is what a type in words says of how many, empty where it says nothing.
func bound(t string) string {
	var out []string
	for _, m := range append(ofNumber.FindAllStringSubmatch(t, -1), inSpan.FindAllStringSubmatch(t, -1)...) {
		out = append(out, m[1])
	}
	if len(out) == 2 && strings.HasPrefix(t, "list of") {
		return out[1] + ", each " + out[0]
	}
	return strings.Join(out, ", ")
}

// sourceOf is the entry of a path; nothing where there is none of its own.
func sourceOf(path string) (limitSource, bool) {
	for _, s := range limitSources() {
		if ok, _ := regexp.MatchString("^"+strings.ReplaceAll(regexp.QuoteMeta(s.path), `\*`, `.*`)+"$", path); ok {
			return s, s.path != "*"
		}
	}
	return limitSource{}, false
}

// anchor is the fragment that forges give to a heading.
func anchor(heading string) string {
	h := strings.ToLower(strings.ReplaceAll(heading, "`", ""))
	return strings.ReplaceAll(notLetters.ReplaceAllString(h, ""), " ", "-")
}

// writer makes a page.
type writer struct {
	bytes.Buffer
	page   string
	tables map[string]string // rows of tables that stand on the page, with the heading above them
	limits [][3]string
	unsure []string // bounds without an origin
	links  map[string]map[string]bool
}

func (w *writer) line(format string, a ...any) { fmt.Fprintf(w, format+"\n", a...) }

// prose keeps what a definition's comment says from being markup.
func prose(s string) string {
	return strings.NewReplacer("<", "&lt;", "**", `\*\*`).Replace(s)
}

func tableCell(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "|", `\|`), "\n", " ")
}

// below is a path without its page's own beginning: `tasks.NAME.document`.
func (w *writer) below(path string) string {
	_, rest, _ := strings.Cut(path, ".")
	if w.page == "fleet" || slices.ContainsFunc(Forms(), func(f Form) bool { return f.Name == w.page }) {
		return rest
	}
	_, rest, _ = strings.Cut(rest, ".")
	return rest
}

// typeText is a field's type with its words marked and a link to where it is described.
func (w *writer) typeText(d Description) string {
	t := d.Type
	if len(d.Values) > 1 {
		t = strings.Replace(t, strings.Join(d.Values, ", "), "`"+strings.Join(d.Values, "`, `")+"`", 1)
	}
	if slices.Contains(shared(), d.Definition) {
		for _, cut := range []string{" such as", ": "} { // the examples are where the link leads
			t, _, _ = strings.Cut(t, cut)
		}
		t = "[" + t + "](types.md#" + anchor(d.Definition) + ")"
	}
	return tableCell(t)
}

func (w *writer) row(d Description) {
	must := ""
	switch {
	case d.Required:
		must = "**required**"
	case d.Default != "" && d.Default != "{}" && len(d.Default) < 60:
		must = "`" + d.Default + "`"
	case len(d.Default) >= 60:
		must = "see below"
	}
	about := prose(d.Doc)
	if to := referenced(d.Path); to != "" && to != w.page {
		about += " → [" + to + "](" + to + ".md)"
		w.links[to][w.page] = true
	}
	for _, l := range schema.NotEnforced() {
		if strings.Contains(l.Path, ".") && matches(l.Path, d.Path) {
			about += " *" + strings.ToUpper(l.Status()[:1]) + l.Status()[1:] + ".*"
		}
	}
	w.line("| `%s` | %s | %s | %s |", d.Name(), w.typeText(d), tableCell(must), tableCell(about))
	if b := bound(d.Type); b != "" {
		from, known := sourceOf(d.Path)
		if known {
			of := d.Path
			if strings.HasSuffix(from.path, ".*") && len(from.path) > 2 {
				of = from.path
			}
			w.limit("`"+w.below(of)+"`", b, from.from)
		} else if b != "at least 1" && b != "at least 1 characters" && b != "at least 1, each at least 1 characters" {
			w.unsure = append(w.unsure, d.Path+": "+b)
		}
	}
}

// limit notes a bound once; those of one entry stand together.
func (w *writer) limit(of, bound, from string) {
	i := slices.IndexFunc(w.limits, func(l [3]string) bool { return l[0] == of && l[2] == from })
	switch {
	case i < 0:
		w.limits = append(w.limits, [3]string{of, bound, from})
	case strings.HasPrefix(bound, w.limits[i][1]+", "): // says more
		w.limits[i][1] = bound
	case bound == w.limits[i][1] || strings.HasPrefix(w.limits[i][1], bound+", "):
	case !slices.Contains(strings.Split(w.limits[i][1], "; "), bound):
		w.limits[i][1] += "; " + bound
	}
}

// matches reports whether a description's path is that of a limit, with * for names.
func matches(limit, path string) bool {
	a, b := strings.Split(limit, "."), strings.Split(path, ".")
	return slices.EqualFunc(a, b, func(l, p string) bool { return l == p || l == "*" && p == strings.ToUpper(p) })
}

// fields writes the table of a struct's fields, and below it those of the structs in it.
func (w *writer) fields(d Description, heading string) {
	w.table(d.Fields, heading)
	for _, f := range d.Fields {
		if len(f.Fields) == 0 || slices.Contains(shared(), f.Definition) {
			continue
		}
		at := f.Fields[0].Path[:strings.LastIndexByte(f.Fields[0].Path, '.')]
		if strings.HasPrefix(f.Type, "list of") {
			at += "[]"
		}
		title := "`" + w.below(at) + "`"
		w.line("\n### %s\n", title)
		if f.Doc != "" {
			w.line("%s\n", prose(f.Doc))
		}
		if len(f.Default) >= 60 {
			w.line("Default:\n\n```cue\n%s\n```\n", f.Default)
		}
		for _, group := range f.OneOf {
			w.line("Exactly one of `%s` is given.\n", strings.Join(group, "`, `"))
		}
		w.fields(f, title)
	}
}

// table writes fields, those that depend on another field below the others. A table that stands on the page already is linked to.
func (w *writer) table(fields []Description, heading string) {
	var whens []string
	for _, f := range fields {
		if !slices.Contains(whens, f.When) {
			whens = append(whens, f.When)
		}
	}
	slices.SortStableFunc(whens, func(a, b string) int { return cmp.Compare(min(len(a), 1), min(len(b), 1)) })
	var part writer
	part.page, part.links = w.page, w.links
	for i, when := range whens {
		if i > 0 || when != "" {
			if i > 0 {
				part.line("")
			}
			part.line("Where %s:\n", when)
		}
		part.line("| field | type | default | meaning |\n|---|---|---|---|")
		for _, f := range fields {
			if f.When == when {
				part.row(f)
			}
		}
	}
	w.unsure = append(w.unsure, part.unsure...)
	for _, l := range part.limits {
		for b := range strings.SplitSeq(l[1], "; ") {
			w.limit(l[0], b, l[2])
		}
	}
	if at, ok := w.tables[part.String()]; ok {
		w.line("The fields are those of [%s](#%s).", at, anchor(at))
		return
	}
	w.tables[part.String()] = heading
	w.Write(part.Bytes())
}

// pageOf writes the page of a kind or form. links gathers who names whom.
func pageOf(t *testing.T, p referencePage, links map[string]map[string]bool) (string, *writer) {
	t.Helper()
	d, err := Describe(p.word, -1)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{page: p.word, tables: map[string]string{}, links: links}
	w.line("# %s\n", p.word)
	w.line("%s\n", prose(d.Doc))
	if p.isForm() {
		i := slices.IndexFunc(Forms(), func(f Form) bool { return f.Name == p.word })
		w.line("A file with a fixed form: %s.", prose(Forms()[i].File))
	} else {
		place := "in any `.cue` file of the repository"
		switch at := Place(p.word); {
		case strings.HasSuffix(at, "/"):
			place = "in files below `" + at + "` and nowhere else"
		case at != "":
			place = "in `" + at + "` and nowhere else"
		}
		name := ""
		if p.word != "fleet" {
			name = ", keyed by [Name](types.md#name)"
			if p.word == "parameter" {
				name = ", keyed by [path](types.md#parametername)"
			}
		}
		w.line("Written %s%s.", place, name)
	}
	for _, l := range schema.NotEnforced() {
		if l.Path == p.word {
			w.line("\n> %s.", strings.ToUpper(l.Status()[:1])+l.Status()[1:])
		}
	}
	more := []string{"`dunlin schema " + p.word + "` prints the same on a terminal"}
	if p.guide != "" {
		more = append([]string{"How it is used: [" + strings.TrimPrefix(p.guide, "../") + "](" + p.guide + ")"}, more...)
	}
	w.line("\n%s.\n\n## Example\n", strings.Join(more, "; "))
	for i, name := range p.examples {
		text, err := p.example(name)
		if err != nil {
			t.Fatal(err)
		}
		if p.word == "run" || p.word == "report" || p.word == "roster" {
			var b bytes.Buffer
			if err := json.Indent(&b, []byte(strings.TrimSpace(text)), "", "  "); err != nil {
				t.Fatal(err)
			}
			text = b.String()
			w.line("In the file it is one line; here it is broken for reading.\n")
		}
		if i > 0 {
			w.line("")
		}
		kind := name[strings.LastIndexByte(name, '.')+1:]
		if strings.Contains(kind, "/") {
			kind = "text"
		}
		w.line("```%s %s\n%s\n```", strings.TrimSuffix(kind, "l"), name, strings.TrimRight(text, "\n"))
	}
	w.line("\n## Fields\n")
	for _, group := range d.OneOf {
		w.line("Exactly one of `%s` is given.\n", strings.Join(group, "`, `"))
	}
	w.fields(d, "Fields")
	if len(p.rules) > 0 {
		w.line("\n## What else is checked\n")
		for _, r := range p.rules {
			w.line("- %s", r)
		}
	}
	if all := append(handLimits()[p.word], w.limits...); len(all) > 0 {
		w.line("\n## Limits, and where they come from\n\n| of | limit | from |\n|---|---|---|")
		for _, l := range all {
			w.line("| %s | %s | %s |", l[0], l[1], tableCell(l[2]))
		}
	}
	return w.String(), w
}

// typesPage describes what stands in many places.
func typesPage(t *testing.T, links map[string]map[string]bool) string {
	t.Helper()
	all, err := described()
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{page: "types", tables: map[string]string{}, links: links}
	w.line("# Types\n\nWhat fields of several kinds have in common. Texts are held against regular expressions in the syntax of RE2.")
	for _, name := range shared() {
		s := all.defs["#"+name]
		if s == nil {
			t.Fatalf("no definition #%s", name)
		}
		d := all.describe(found{field: &shapeField{name: name, s: s, doc: all.docs["#"+name]}, path: name}, -1)
		w.line("\n## %s\n", name)
		if d.Doc == "" && name == "TagValue" {
			d.Doc = "As [TagKey](#tagkey), and it may be empty."
		}
		w.line("%s\n", prose(d.Doc))
		if d.Type != name && d.Type != "struct" && d.Type != "text" {
			w.line("Written as %s.", w.typeText(Description{Type: d.Type, Values: d.Values}))
		}
		if len(s.patterns) > 0 {
			w.line("\n```text")
			for _, p := range s.patterns {
				not := ""
				if p.not {
					not = "not "
				}
				w.line("%s%s", not, p.re().String())
			}
			w.line("```")
		}
		if len(d.Fields) > 0 {
			w.table(d.Fields, name)
		}
	}
	w.line("\n## Limits, and where they come from\n\n| of | limit | from |\n|---|---|---|")
	for _, l := range handLimits()["types"] {
		w.line("| %s | %s | %s |", l[0], l[1], l[2])
	}
	return w.String()
}

func indexPage(t *testing.T) string {
	t.Helper()
	w := &writer{}
	w.line("# Reference of the policy language\n")
	w.line("One page a kind of object and one a file with a fixed form: every field with its type, default and limits, and an example.")
	w.line("The pages are written from the definitions that check (`schema/*.cue`), and a test loads the examples, which are together")
	w.line("one repository. The same is at hand offline: `dunlin schema`, `dunlin schema window.tasks`; `dunlin new KIND NAME` writes a")
	w.line("commented object. How to write a repository is told in [policy.md](../policy.md), what faults mean in [faults.md](../faults.md).\n")
	w.line("Objects are maps keyed by name at the top level of `package fleet`: `window: \"sun-0200\": {...}`. An unknown kind or field is")
	w.line("a fault; `annotations` are the one open place. A field that is absent has its default; a list or map that is absent is empty.")
	w.line("What limits, delays or forbids something and is not enforced by this version is refused, and its page says so.\n")
	for _, forms := range []bool{false, true} {
		if forms {
			w.line("\n## Files with a fixed form\n\n| form | what | file |\n|---|---|---|")
		} else {
			w.line("## Kinds of objects\n\n| kind | what | in this version |\n|---|---|---|")
		}
		for _, p := range referencePages() {
			if p.isForm() != forms {
				continue
			}
			d, err := Describe(p.word, 0)
			if err != nil {
				t.Fatal(err)
			}
			if forms {
				i := slices.IndexFunc(Forms(), func(f Form) bool { return f.Name == p.word })
				w.line("| [%s](%s.md) | %s | %s |", p.word, p.word, tableCell(prose(d.Doc)), tableCell(prose(Forms()[i].File)))
				continue
			}
			status := ""
			for _, l := range schema.NotEnforced() {
				if l.Path == p.word {
					status = l.Status()
				}
			}
			w.line("| [%s](%s.md) | %s | %s |", p.word, p.word, tableCell(prose(d.Doc)), status)
		}
	}
	w.line("\nWhat fields of several kinds have in common, targets before all, is on [types.md](types.md).")
	return w.String()
}

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
