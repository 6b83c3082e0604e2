package load

import (
	"encoding/json"
	"fmt"
	slash "path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/ssm"
)

// imported loads what an import makes, beside files of a repository.
func imported(t interface {
	Helper()
	Fatalf(string, ...any)
}, r ssm.Result, beside fstest.MapFS) (schema.Repo, []schema.Fault) {
	t.Helper()
	m := fstest.MapFS{"fleet.cue": {Data: []byte("package fleet\n\nfleet: name: \"acme\"\n")}}
	for name, f := range beside {
		m[name] = f
	}
	for _, f := range r.Files {
		m[f.Path] = &fstest.MapFile{Data: []byte(f.Text)}
	}
	repo, faults, err := language()(timeless{}, m)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return repo, slices.DeleteFunc(faults, func(f schema.Fault) bool { return f.Severity == schema.SeverityWarning })
}

// timeless is a context that nothing ends.
type timeless struct{}

func (timeless) Deadline() (time.Time, bool) { return time.Time{}, false }
func (timeless) Done() <-chan struct{}       { return nil }
func (timeless) Err() error                  { return nil }
func (timeless) Value(any) any               { return nil }

// A document means the same as a file and, imported, as CUE.
func TestImportedDocumentsMeanTheSame(t *testing.T) {
	m := realDocuments(t)
	want, _, err := language()(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	var in []ssm.Input
	rest := fstest.MapFS{}
	for name, f := range m {
		if slash.Dir(name) != "documents" {
			rest[name] = f
			continue
		}
		in = append(in, ssm.Input{Name: name, Text: f.Data})
		if slash.Base(name) == "patch-like.json" { // an action of ours is none of SSM's
			in = in[:len(in)-1]
			rest[name] = f
		}
		if slash.Base(name) == "reboot-twice.yaml" { // readOnly is ours
			in = in[:len(in)-1]
			rest[name] = f
		}
	}
	r, err := ssm.Documents(in, "")
	if err != nil {
		t.Fatal(err)
	}
	got, faults := imported(t, r, rest)
	if len(faults) > 0 || len(got.Documents) != len(want.Documents) {
		t.Errorf("%d documents, want %d\n%s", len(got.Documents), len(want.Documents), lines(faults))
	}
	for name, w := range want.Documents {
		if !reflect.DeepEqual(got.Documents[name], w) {
			t.Errorf("%s\n%+v\nwas\n%+v", name, got.Documents[name], w)
		}
	}
	for _, n := range r.Notes { // only what the properties of 1.2 take along
		t.Errorf("a note: %s", n)
	}
	for _, f := range r.Files {
		if b, faults := Format(f.Path, []byte(f.Text)); len(faults) > 0 || string(b) != f.Text {
			t.Errorf("%s is not laid out as dunlin fmt does:\n%s\n%s", f.Path, f.Text, lines(faults))
		}
	}
}

// Any document means the same as JSON, as AWS prints it, and as CUE.
func TestAnyDocumentMeansTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc := anyDocument(t)
		b, err := json.MarshalIndent(doc, "", rapid.SampledFrom([]string{"", "  ", "\t"}).Draw(t, "indent"))
		if err != nil {
			t.Fatal(err)
		}
		want, faults := imported(t, ssm.Result{}, fstest.MapFS{"documents/d.json": {Data: b}})
		if len(faults) > 0 {
			t.Fatalf("%s\n%s", b, lines(faults))
		}
		in := ssm.Input{Name: "d.json", Text: b}
		if rapid.Bool().Draw(t, "printed") {
			in.Text, err = json.Marshal(map[string]any{"Name": "d", "DocumentVersion": "1", "Status": "Active", "DocumentType": "Command", "DocumentFormat": "JSON", "Content": string(b)})
			if err != nil {
				t.Fatal(err)
			}
		}
		r, err := ssm.Documents([]ssm.Input{in}, "")
		if err != nil {
			t.Fatal(err)
		}
		got, faults := imported(t, r, nil)
		if len(faults) > 0 || len(r.Notes) > 0 || !reflect.DeepEqual(got.Documents, want.Documents) {
			t.Fatalf("%s\n%v\n%s\n%+v\nwas\n%+v\n%s", r.Text(), r.Notes, lines(faults), got.Documents, want.Documents, b)
		}
	})
}

// anyText has what writers of literals get wrong.
func anyText() *rapid.Generator[string] {
	return rapid.Map(rapid.StringOfN(rapid.RuneFrom([]rune{'a', 'é', '"', '\\', '#', '(', ')', '\n', '\r', '\t', '\'', ' ', '$', '{', '}', '\u2028', '\u0085', '\x1b', '😀', '/', '*', '_', '%', '0'}), 0, 12, -1),
		func(s string) string { return strings.ReplaceAll(s, "{{", "{ {") })
}

func anyDocument(t *rapid.T) map[string]any {
	doc := map[string]any{"schemaVersion": rapid.SampledFrom([]string{"2.2", "2.0", "1.2"}).Draw(t, "version")}
	if rapid.Bool().Draw(t, "described") {
		doc["description"] = anyText().Draw(t, "description")
	}
	value := func(name string) string {
		return anyText().Draw(t, name)
	}
	parameters := map[string]any{}
	for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching("[A-Za-z0-9]{1,4}"), 0, 3, rapid.ID[string]).Draw(t, "names") {
		p := map[string]any{"type": rapid.SampledFrom(schema.ParameterType("").Words()).Draw(t, "type"), "description": value("about")}
		switch p["type"] {
		case "String":
			p["default"] = value("default")
			p["allowedValues"] = []string{p["default"].(string), value("other")}
		case "StringList":
			p["default"], p["maxItems"] = []string{value("first"), value("second")}, rapid.IntRange(2, 9).Draw(t, "most")
		case "Integer":
			p["default"] = rapid.Int64().Draw(t, "default")
		case "Boolean":
			p["default"] = rapid.Bool().Draw(t, "default")
		case "StringMap":
			p["default"] = map[string]string{value("key"): value("value"), "for": value("value")}
		case "MapList":
			p["default"] = []any{map[string]any{value("key"): []any{nil, 1.5, true, value("deep")}}}
		}
		parameters[name] = p
	}
	if len(parameters) > 0 {
		doc["parameters"] = parameters
	}
	inputs := func(action string) map[string]any {
		switch action {
		case "aws:runDocument":
			return map[string]any{"documentType": "LocalPath", "documentPath": value("path"), "documentParameters": map[string]any{value("key"): value("value"), "n": []any{}}}
		case "aws:downloadContent":
			return map[string]any{"sourceType": "S3", "sourceInfo": map[string]any{"path": value("path")}, "destinationPath": value("to")}
		case "aws:configurePackage":
			return map[string]any{"name": value("name"), "action": "Install", "additionalArguments": map[string]any{"SSM_" + value("variable"): value("value")}}
		}
		in := map[string]any{"runCommand": rapid.SliceOfN(anyText(), 1, 4).Draw(t, "lines"), "environment": map[string]string{"A": value("variable")}}
		if rapid.Bool().Draw(t, "block") {
			in["runCommand"] = "set -eu\n" + value("script") + "\n"
		}
		if rapid.Bool().Draw(t, "flow") {
			in["onFailure"], in["timeoutSeconds"], in["workingDirectory"] = "exit", rapid.IntRange(5, 172800).Draw(t, "timeout"), value("folder")
		}
		return in
	}
	actions := []string{"aws:runShellScript", "runPowerShellScript", "aws:runDocument", "aws:downloadContent", "aws:configurePackage"}
	if doc["schemaVersion"] == "1.2" {
		plugins := map[string]any{}
		for _, a := range rapid.SliceOfNDistinct(rapid.SampledFrom(actions), 1, 3, rapid.ID[string]).Draw(t, "plugins") {
			in := inputs(a)
			in["id"] = "0." + a
			plugins[a] = map[string]any{"properties": []any{in}}
			if rapid.Bool().Draw(t, "alone") {
				plugins[a] = map[string]any{"properties": in, "settings": value("settings")}
			}
		}
		doc["runtimeConfig"] = plugins
		return doc
	}
	var steps []any
	for i := range rapid.IntRange(1, 3).Draw(t, "steps") {
		a := rapid.SampledFrom(actions).Draw(t, "action")
		s := map[string]any{"action": a, "name": fmt.Sprintf("%d%s", i, value("step")), "description": value("about"), "inputs": inputs(a)}
		if doc["schemaVersion"] == "2.2" && rapid.Bool().Draw(t, "conditional") {
			s["precondition"] = map[string]any{"StringEquals": []string{"platformType", rapid.SampledFrom(schema.Platforms()).Draw(t, "platform")}}
		}
		steps = append(steps, s)
	}
	doc["mainSteps"] = steps
	return doc
}

// What a document pastes or what agents leave out is said, and the result loads.
func TestImportedDocumentsSayWhatIsLost(t *testing.T) {
	r, err := ssm.Documents([]ssm.Input{{Name: "-", Text: []byte(`{
		"Name": "AWS-Greet", "CreatedDate": 1580695506.7, "DocumentVersion": "3", "DocumentType": "Command", "DocumentFormat": "YAML",
		"Requires": [{"Name": "Other"}],
		"Content": "schemaVersion: '2.2'\nassumeRole: x\nparameters:\n  Whom: {type: String, label: y, minChars: '1'}\n  a_b: {type: String}\nmainSteps:\n- action: aws:runShellScript\n  name: a\n  isEnd: true\n  inputs: {id: 0.a, runCommand: ['echo {{ Whom }}'], finallyStep: true}\n- action: aws:runShellScript\n  name: b\n  inputs: {RunCommand: ['true']}\n"}`)}}, "")
	if err != nil {
		t.Fatal(err)
	}
	var notes []string
	for _, n := range r.Notes {
		notes = append(notes, n.String())
		text := n.Message
		if n.Path != "" {
			text = n.Path + ": " + text
		}
		if !strings.Contains(r.Text(), "// Import: "+text+"\n") {
			t.Errorf("no comment says %q", text)
		}
	}
	want := []string{
		`document.Greet: was called "AWS-Greet"`,
		`document.Greet: Requires: [{"Name":"Other"}] has no counterpart and is left out`,
		`document.Greet: parameters.Whom.minChars: was the text "1"`,
		`document.Greet: parameters.Whom.label: "y" has no counterpart and is left out`,
		`document.Greet: parameters.a_b: the name is not letters and digits alone: agents leave such a parameter out, and its places in the document as they are`,
		`document.Greet: mainSteps[0].inputs.finallyStep: agents ignore it but in the last step, and it is left out`,
		`document.Greet: mainSteps[0].isEnd: true has no counterpart and is left out`,
		`document.Greet: mainSteps[0].inputs.id: "0.a" has no counterpart and is left out`,
		`document.Greet: mainSteps[1].inputs.RunCommand: is written runCommand here`,
		`document.Greet: parameters.Whom: its value is pasted into a script, which interpolationType "TEXT" keeps; safer is to take that out and write "$SSM_Whom" in the script`,
		`document.Greet: assumeRole: "x" has no counterpart and is left out`,
	}
	if !slices.Equal(notes, want) {
		t.Errorf("notes:\n%s\nwant:\n%s", strings.Join(notes, "\n"), strings.Join(want, "\n"))
	}
	repo, faults := imported(t, r, nil)
	if d := repo.Documents["Greet"]; len(faults) > 0 || d.Parameters["Whom"].InterpolationType != schema.InterpolateText || *d.Parameters["Whom"].MinChars != 1 || len(d.MainSteps) != 2 {
		t.Errorf("%+v\n%s", d, lines(faults))
	}
}

func TestImportedBaselines(t *testing.T) {
	input := func(name, system, more string) ssm.Input {
		all := map[string]any{}
		for _, text := range []string{`{"BaselineId": "pb-0123456789abcdef0", "Name": "` + name + `", "OperatingSystem": "` + system + `", "CreatedDate": 1580695506.7, "ModifiedDate": 1580695506.7,
			"ApprovedPatches": [], "RejectedPatches": [], "RejectedPatchesAction": "ALLOW_AS_DEPENDENCY", "ApprovedPatchesEnableNonSecurity": false, "Sources": [], "GlobalFilters": {"PatchFilters": []}}`, "{" + more[1:] + "}"} {
			if err := json.Unmarshal([]byte(text), &all); err != nil {
				t.Fatal(err)
			}
		}
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return ssm.Input{Name: name, Text: b}
	}
	r, err := ssm.Baselines([]ssm.Input{
		input("rhel", "REDHAT_ENTERPRISE_LINUX", `, "Description": "For RHEL.", "PatchGroups": ["web", "db servers"], "ApprovedPatchesComplianceLevel": "HIGH", "ApprovedPatchesEnableNonSecurity": true,
			"ApprovedPatches": ["curl*", "RHSA-2024:0001"], "RejectedPatches": ["docker"], "RejectedPatchesAction": "BLOCK",
			"GlobalFilters": {"PatchFilters": [{"Key": "PRODUCT", "Values": ["*"]}]},
			"Sources": [{"Name": "internal", "Products": ["RedhatEnterpriseLinux9"], "Configuration": "[internal]\nname=internal\nbaseurl=https://rpm.acme.example/\n"}],
			"ApprovalRules": {"PatchRules": [
				{"PatchFilterGroup": {"PatchFilters": [{"Key": "CLASSIFICATION", "Values": ["Security"]}, {"Key": "SEVERITY", "Values": ["Critical", "Important"]}]}, "ComplianceLevel": "CRITICAL", "ApproveAfterDays": 0, "EnableNonSecurity": false},
				{"PatchFilterGroup": {"PatchFilters": [{"Key": "CLASSIFICATION", "Values": ["Bugfix"]}]}, "ComplianceLevel": "UNSPECIFIED", "ApproveUntilDate": "2026-10-31", "EnableNonSecurity": true}]}`),
		input("windows", "WINDOWS", `, "PatchGroups": ["web"], "AvailableSecurityUpdatesComplianceStatus": "NON_COMPLIANT",
			"ApprovalRules": {"PatchRules": [{"PatchFilterGroup": {"PatchFilters": [{"Key": "MSRC_SEVERITY", "Values": ["Critical"]}]}, "ComplianceLevel": "HIGH", "ApproveAfterDays": 7, "EnableNonSecurity": false}]}`),
	}, "", false)
	if err != nil || len(r.Notes) != 1 || r.Notes[0].String() != `group.db-servers: was called "db servers"` {
		t.Fatalf("%v %v", err, r.Notes)
	}
	repo, faults := imported(t, r, nil)
	zero, seven := 0, 7
	want := map[string]schema.Baseline{
		"rhel": {
			OperatingSystem: "REDHAT_ENTERPRISE_LINUX", Description: "For RHEL.", GlobalFilters: map[string][]string{"PRODUCT": {"*"}},
			ApprovedPatches: []string{"curl*", "RHSA-2024:0001"}, ApprovedPatchesComplianceLevel: schema.High, ApprovedPatchesEnableNonSecurity: true,
			RejectedPatches: []string{"docker"}, RejectedPatchesAction: schema.BlockRejected, ReleaseDates: schema.DatesOfPublisher,
			Sources: []schema.PatchSource{{Name: "internal", Products: []string{"RedhatEnterpriseLinux9"}, Configuration: "[internal]\nname=internal\nbaseurl=https://rpm.acme.example/\n"}},
			ApprovalRules: []schema.ApprovalRule{
				{Filters: map[string][]string{"CLASSIFICATION": {"Security"}, "SEVERITY": {"Critical", "Important"}}, ApproveAfterDays: &zero, ComplianceLevel: schema.Critical},
				{Filters: map[string][]string{"CLASSIFICATION": {"Bugfix"}}, ApproveUntilDate: "2026-10-31", ComplianceLevel: schema.Unspecified, EnableNonSecurity: true},
			},
		},
		"windows": {
			OperatingSystem: "WINDOWS", ApprovedPatchesComplianceLevel: schema.Unspecified, RejectedPatchesAction: schema.AllowAsDependency, ReleaseDates: schema.DatesOfPublisher,
			AvailableSecurityUpdatesComplianceStatus: schema.NonCompliant,
			ApprovalRules:                            []schema.ApprovalRule{{Filters: map[string][]string{"MSRC_SEVERITY": {"Critical"}}, ApproveAfterDays: &seven, ComplianceLevel: schema.High}},
		},
	}
	if len(faults) > 0 || !reflect.DeepEqual(repo.Baselines, want) {
		t.Errorf("%+v\nwant\n%+v\n%s", repo.Baselines, want, lines(faults))
	}
	groups := map[string]schema.Group{
		"web":        {Baselines: []string{"rhel", "windows"}},
		"db-servers": {Baselines: []string{"rhel"}, Targets: &schema.Targets{Selection: schema.Selection{Tags: map[string]schema.Texts{"PatchGroup": {"db servers"}}}}},
	}
	if !reflect.DeepEqual(repo.Groups, groups) {
		t.Errorf("groups %+v, want %+v", repo.Groups, groups)
	}
}

func TestImportedWindows(t *testing.T) {
	const window = `{"WindowId": "mw-1", "Name": "sun-0200", "Description": "Sundays.", "StartDate": "2026-01-01T00:00:00+02:00", "EndDate": "2030-01-01T00:00Z", "Schedule": "cron(0 2 ? * SUN *)",
		"ScheduleTimezone": "Europe/Helsinki", "ScheduleOffset": 2, "NextExecutionTime": "2026-11-29T02:00+02:00", "Duration": 4, "Cutoff": 1, "AllowUnassociatedTargets": false, "Enabled": false, "CreatedDate": 1.5, "ModifiedDate": 1.5}`
	const targets = `{"Targets": [
		{"WindowId": "mw-1", "WindowTargetId": "t-1", "ResourceType": "INSTANCE", "Name": "Web servers", "Targets": [{"Key": "tag:Env", "Values": ["prod", "stage"]}, {"Key": "tag:Role", "Values": ["web"]}]},
		{"WindowId": "mw-1", "WindowTargetId": "t-2", "ResourceType": "INSTANCE", "Targets": [{"Key": "InstanceIds", "Values": ["*"]}]}]}`
	const tasks = `{"Tasks": [
		{"WindowId": "mw-1", "WindowTaskId": "k-1", "TaskArn": "AWS-RunPatchBaseline", "Type": "RUN_COMMAND", "Targets": [{"Key": "WindowTargetIds", "Values": ["t-1"]}], "TaskParameters": {}, "Priority": 0, "MaxConcurrency": "10%", "MaxErrors": "1", "Name": "Patch"},
		{"WindowId": "mw-1", "WindowTaskId": "k-2", "TaskArn": "arn:aws:ssm:eu-west-1:1:document/AWS-RunShellScript", "Type": "RUN_COMMAND", "Targets": [{"Key": "WindowTargetIds", "Values": ["t-1", "t-2"]}], "TaskParameters": {"commands": {"Values": ["a", "b"]}}, "Priority": 1, "MaxConcurrency": "5", "MaxErrors": "0%"}]}`
	const task = `{"WindowId": "mw-1", "WindowTaskId": "k-1", "TaskArn": "AWS-RunPatchBaseline", "TaskType": "RUN_COMMAND", "Targets": [{"Key": "WindowTargetIds", "Values": ["t-1"]}], "Priority": 0, "MaxConcurrency": "10%", "MaxErrors": "1", "Name": "Patch", "CutoffBehavior": "CANCEL_TASK",
		"TaskInvocationParameters": {"RunCommand": {"DocumentVersion": "$DEFAULT", "OutputS3BucketName": "logs", "OutputS3KeyPrefix": "patch/", "Parameters": {"Operation": ["Install"], "RebootOption": ["NoReboot"]}}}}`
	start, end := time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("", 7200)), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	want := schema.Window{
		Description: "Sundays.", Schedule: "cron(0 2 ? * SUN *)", Timezone: "Europe/Helsinki", Offset: 2, Start: &start, End: &end, Duration: "4h", Cutoff: "1h",
		Targets: schema.Targets{Selection: schema.Selection{ResourceGroups: []string{"sun-0200-Web-servers", "sun-0200-2"}}},
		Tasks: map[string]schema.Task{
			"Patch": {Document: "AWS-RunPatchBaseline", Parameters: schema.Arguments{"Operation": {Texts: schema.Texts{"Install"}}, "RebootOption": {Texts: schema.Texts{"NoReboot"}}}, Priority: 0,
				Targets: &schema.Targets{Selection: schema.Selection{ResourceGroups: []string{"sun-0200-Web-servers"}}}, MaxConcurrency: "10%", MaxErrors: "1", CutoffBehavior: schema.CancelTask, Output: &schema.Output{URL: "s3://logs/patch"}},
			"k-2": {Document: "AWS-RunShellScript", Parameters: schema.Arguments{"commands": {Texts: schema.Texts{"a", "b"}}}, Priority: 1, MaxConcurrency: "5", MaxErrors: "0%", CutoffBehavior: schema.ContinueTask},
		},
	}
	groups := map[string]schema.ResourceGroup{
		"sun-0200-Web-servers": {Description: "Web servers", Targets: schema.Targets{Selection: schema.Selection{Tags: map[string]schema.Texts{"Env": {"prod", "stage"}, "Role": {"web"}}}}},
		"sun-0200-2":           {Targets: schema.Targets{All: true}},
	}
	for name, in := range map[string][]ssm.Input{
		"a file each, in another order": {{Name: "k", Text: []byte(task)}, {Name: "t", Text: []byte(targets)}, {Name: "ks", Text: []byte(tasks)}, {Name: "w", Text: []byte(window)}},
		"one after the other":           {{Name: "-", Text: []byte(window + "\n" + targets + "\n" + tasks + task)}},
		"one object":                    {{Name: "-", Text: []byte(`{"Window": ` + window + `, "Targets": ` + targets[len(`{"Targets": `):len(targets)-1] + `, "Tasks": ` + tasks[len(`{"Tasks": `):len(tasks)-1] + `}`)}, {Name: "k", Text: []byte(task)}},
	} {
		r, err := ssm.Windows(in, "")
		if err != nil || len(r.Notes) > 0 {
			t.Errorf("%s: %v %v", name, err, r.Notes)
			continue
		}
		repo, faults := imported(t, r, nil)
		got := repo.Windows["sun-0200"]
		if len(faults) > 0 || got.Start == nil || !got.Start.Equal(start) || got.End == nil || !got.End.Equal(end) {
			t.Errorf("%s: %+v\n%s\n%s", name, got, lines(faults), r.Text())
			continue
		}
		got.Start, got.End = &start, &end // equal instants, other zones
		if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(repo.ResourceGroups, groups) {
			t.Errorf("%s: %+v\nwant %+v\n%+v", name, got, want, repo.ResourceGroups)
		}
	}
}

// What cannot be taken over is said: the result has the comment, and where it would select other nodes it does not load.
func TestImportedWindowsSayWhatIsLost(t *testing.T) {
	r, err := ssm.Windows([]ssm.Input{{Name: "-", Text: []byte(`
		{"WindowId": "mw-1", "Name": "w", "Schedule": "rate(7 days)", "Duration": 2, "Cutoff": 0, "AllowUnassociatedTargets": true, "Enabled": true, "StartDate": "2026-01-01T00:00:00"}
		{"Targets": [{"WindowId": "mw-1", "WindowTargetId": "t-1", "OwnerInformation": "ops", "Targets": [{"Key": "tag:Env", "Values": ["prod"]}, {"Key": "tag-key", "Values": ["Patch"]}]}]}
		{"Tasks": [
			{"WindowId": "mw-1", "WindowTaskId": "k-1", "TaskArn": "arn:aws:lambda:eu-west-1:1:function:x", "Type": "LAMBDA", "Priority": 1},
			{"WindowId": "mw-1", "WindowTaskId": "k-2", "TaskArn": "AWS-RunPatchBaseline", "Type": "RUN_COMMAND", "Targets": [{"Key": "WindowTargetIds", "Values": ["t-9"]}], "Priority": 1, "MaxConcurrency": "1", "MaxErrors": "1", "ServiceRoleArn": "arn:aws:iam::1:role/x"}]}`)}}, "")
	if err != nil {
		t.Fatal(err)
	}
	var notes []string
	for _, n := range r.Notes {
		notes = append(notes, n.String())
		if !strings.Contains(r.Text(), "// Import: "+n.Path+": "+n.Message+"\n") {
			t.Errorf("no comment says %q", n)
		}
	}
	want := []string{
		`window.w: StartDate: "2026-01-01T00:00:00" says no offset; it is taken as UTC`,
		`window.w: AllowUnassociatedTargets: true has no counterpart: tasks say their own targets here whenever they want`,
		`window.w: Targets[0].Targets[1]: {"Key":"tag-key","Values":["Patch"]} has no counterpart: the targets are left empty, for you to say which nodes they mean`,
		`window.w: Targets[0].OwnerInformation: "ops" has no counterpart and is left out`,
		`window.w: Tasks[0]: a task of type LAMBDA has no counterpart and is left out: {"WindowId":"mw-1","WindowTaskId":"k-1","TaskArn":"arn:aws:lambda:eu-west-1:1...`,
		`window.w: Tasks[1].TaskInvocationParameters: is not in the input, so that the task has no parameters: give what aws ssm get-maintenance-window-task prints`,
		`window.w: Tasks[1].Targets: the targets t-9 are not in the input: give what aws ssm describe-maintenance-window-targets prints, or say which nodes`,
		`window.w: Tasks[1].ServiceRoleArn: "arn:aws:iam::1:role/x" has no counterpart and is left out`,
	}
	if !slices.Equal(notes, want) {
		t.Errorf("notes:\n%s\nwant:\n%s", strings.Join(notes, "\n"), strings.Join(want, "\n"))
	}
	_, faults := imported(t, r, nil)
	for _, want := range []string{"window.w.targets: empty; to mean every node say all: true", "window.w.tasks.k-2.targets: empty; to mean every node say all: true"} {
		if !strings.Contains(lines(faults), want) {
			t.Errorf("no fault says %q:\n%s", want, lines(faults))
		}
	}
}

// The inputs that an import takes over are those of the definitions.
func TestImportKnowsTheInputsOfActions(t *testing.T) {
	defs, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range defs["#inputs"].fields {
		if strings.Contains(f.name, ":") {
			continue // ours
		}
		var want []string
		for _, in := range f.s.fields {
			want = append(want, in.name)
		}
		if len(f.s.labels) > 0 { // the gatherers of an inventory
			want = append(want, "applications", "awsComponents", "networkConfig", "windowsUpdates", "instanceDetailedInformation", "services", "windowsRoles", "customInventory", "billingInfo")
		}
		got := ssm.Inputs("aws:" + f.name)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", f.name, got, want)
		}
	}
}
