package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
	"unicode/utf8"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// hostile are findings in files whose names, paths and texts try to be something else.
func hostile() findings {
	const name = "a b/%2e,ü:::[x](y)\n::error::z##[group].cue"
	f := findings{
		tree: fstest.MapFS{
			name:      {Data: []byte("package fleet\n\tx: \"日本語😀\", y: 1\n")},
			"ok.cue":  {Data: []byte("package fleet\n")},
			"bad.cue": {Data: []byte("a\u202eb\x1b[31m\xff\n")},
		},
		files:   []string{"bad.cue", name, "ok.cue"},
		objects: 2,
	}
	err, warn := schema.SeverityError, schema.SeverityWarning
	f.faults = []schema.Fault{
		{Message: "more than 20000 files", Severity: err},
		{File: "bad.cue", Line: 1, Column: 5, Path: "policy.\"]]>\"", Message: "]]> <x> & \"q\" %0A::error::\x00\u202e [click](https://evil.example)", Severity: err},
		{File: "bad.cue", Line: 9, Column: 9, Message: "a line that is not there", Severity: warn},
		{File: name, Line: 2, Column: 22, Path: "window.w", Message: "one", Severity: err},
		{File: name, Line: 2, Column: 22, Path: "window.w", Message: "one", Severity: warn},
		{File: "gone.cue", Line: 1, Column: 1, Path: "sink.x", Message: "two", Severity: err},
	}
	for i := range 14 {
		f.faults = append(f.faults, schema.Fault{File: "ok.cue", Line: 1, Column: i + 1, Message: fmt.Sprintf("::stop-commands::%d ##[error]x", i), Severity: err})
	}
	return f
}

func printed(t *testing.T, format string, f findings) string {
	t.Helper()
	var b bytes.Buffer
	a := &app{streams: streams{in: strings.NewReader(""), out: &b, err: io.Discard}, output: "text"}
	if err := a.printFindings(format, f); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.String() {
		if r != '\n' && !safe.Shown(r) {
			t.Errorf("%s speaks to the terminal: %q", format, r)
		}
	}
	return b.String()
}

func TestGithubCommands(t *testing.T) {
	out := printed(t, "github", hostile())
	commands := map[string]int{}
	text := regexp.MustCompile(`^::(error|warning) ((file|line|col|title)=[^:]*)?(,(file|line|col|title)=[^:,]*)*::.`)
	for line := range strings.Lines(out) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(strings.TrimSpace(line), "::") {
			m := text.FindStringSubmatch(line)
			if m == nil {
				t.Errorf("no command of ours: %q", line)
				continue
			}
			commands[m[1]]++
		} else if strings.Contains(line, "##[") {
			t.Errorf("an old command: %q", line)
		}
	}
	if commands["error"] != 10 || commands["warning"] != 2 || !strings.Contains(out, "\nbeyond what is shown beside the files:\nerror: ok.cue:1:7: ::stop-commands::6") {
		t.Errorf("%v in\n%s", commands, out)
	}
	if !strings.HasSuffix(out, "\n18 faults, 2 warnings in 4 of 4 files\n") {
		t.Errorf("no summary:\n%s", out)
	}
	if !strings.Contains(out, "file=a b/%252e%2Cü%3A%3A%3A[x](y)%0A%3A%3Aerror%3A%3Az##[group].cue,line=2,col=22,title=window.w::one\n") {
		t.Errorf("not escaped:\n%s", out)
	}
}

// The fields of docs.gitlab.com, "Code Quality report format", and what it says of them.
func TestGitlabReport(t *testing.T) {
	f := hostile()
	var list []map[string]any
	if err := json.Unmarshal([]byte(printed(t, "gitlab", f)), &list); err != nil || len(list) != len(f.faults) {
		t.Fatal(len(list), err)
	}
	seen := map[string]bool{}
	for _, x := range list {
		at := x["location"].(map[string]any)
		begin := at["lines"].(map[string]any)["begin"].(float64)
		mark := x["fingerprint"].(string)
		if x["description"] == "" || x["check_name"] == "" || at["path"] == "" || strings.HasPrefix(at["path"].(string), "./") || begin < 1 || seen[mark] ||
			!regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(mark) || !slices.Contains([]string{"info", "minor", "major", "critical", "blocker"}, x["severity"].(string)) {
			t.Errorf("not as documented: %v", x)
		}
		seen[mark] = true
	}
	moved := f
	moved.faults = slices.Clone(f.faults)
	for i := range moved.faults {
		moved.faults[i].Line += 7
	}
	if !slices.Equal(f.fingerprints(), moved.fingerprints()) {
		t.Error("fingerprints change when lines move")
	}
	if got := printed(t, "gitlab", findings{}); got != "[]\n" {
		t.Errorf("no faults: %s", got)
	}
}

// What SARIF 2.1.0 demands of what is used of it (OASIS, sections 3.13 to 3.52).
func TestSarifLog(t *testing.T) {
	f := hostile()
	f.prefix = "infra policy"
	var log struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Name, Version, InformationURI string
					Rules                         []struct {
						ID                   string
						ShortDescription     struct{ Text string }
						DefaultConfiguration struct{ Level string }
					}
				}
			}
			ColumnKind string
			Results    []struct {
				RuleID    string
				RuleIndex *int
				Level     string
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation *struct {
						ArtifactLocation struct{ URI string }
						Region           *struct{ StartLine, StartColumn *int }
					}
					LogicalLocations []struct{ FullyQualifiedName string }
				}
				PartialFingerprints map[string]string
			}
		}
	}
	d := json.NewDecoder(strings.NewReader(printed(t, "sarif", f)))
	d.DisallowUnknownFields()
	if err := d.Decode(&log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || !strings.HasSuffix(log.Schema, "/sarif-schema-2.1.0.json") || len(log.Runs) != 1 {
		t.Fatalf("%+v", log)
	}
	run := log.Runs[0]
	rules := map[string]bool{}
	for _, r := range run.Tool.Driver.Rules {
		if rules[r.ID] || r.ShortDescription.Text == "" || r.DefaultConfiguration.Level != "error" {
			t.Errorf("rule %+v", r)
		}
		rules[r.ID] = true
	}
	if u, err := url.Parse(run.Tool.Driver.InformationURI); err != nil || !u.IsAbs() || run.Tool.Driver.Name != "dunlin" || run.ColumnKind != "utf16CodeUnits" || len(run.Results) != len(f.faults) {
		t.Errorf("run %+v, %v", run.Tool, err)
	}
	for i, r := range run.Results {
		x := f.faults[i]
		if r.RuleIndex == nil || run.Tool.Driver.Rules[*r.RuleIndex].ID != r.RuleID || r.Level != string(x.Severity) || r.Message.Text == "" || len(r.PartialFingerprints) != 1 || strings.Contains(r.Message.Text, "](") {
			t.Errorf("result %+v of %+v", r, x)
		}
		if x.File == "" {
			if len(r.Locations) > 0 {
				t.Errorf("a place of what has none: %+v", r)
			}
			continue
		}
		at := r.Locations[0].PhysicalLocation
		u, err := url.Parse(at.ArtifactLocation.URI)
		if err != nil || u.IsAbs() || u.Host != "" || u.Path != "infra policy/"+x.File || strings.ContainsAny(at.ArtifactLocation.URI, " \n:[]") {
			t.Errorf("uri %q of %q: %v", at.ArtifactLocation.URI, x.File, err)
		}
		if at.Region == nil || *at.Region.StartLine != x.Line || at.Region.StartColumn != nil && *at.Region.StartColumn < 1 {
			t.Errorf("region %+v of %+v", at.Region, x)
		}
	}
	if got := *run.Results[3].Locations[0].PhysicalLocation.Region.StartColumn; got != 14 { // 21 bytes before it, of which 13 are of 5 units
		t.Errorf("column %d", got)
	}
	if got := printed(t, "sarif", findings{}); !strings.Contains(got, `"results": []`) || !strings.Contains(got, `"rules": []`) {
		t.Errorf("no faults: %s", got)
	}
}

func TestJUnitReport(t *testing.T) {
	f := hostile()
	out := printed(t, "junit", f)
	var got junitSuites
	d := xml.NewDecoder(strings.NewReader(out))
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Suite.Tests != 5 || len(got.Suite.Cases) != 5 || got.Suite.Failures != 5 || got.Tests != 5 || got.Failures != 5 { // gone.cue is a case, the repository is one
		t.Errorf("%d tests, %d failures, %d cases:\n%s", got.Suite.Tests, got.Suite.Failures, len(got.Suite.Cases), out)
	}
	for _, c := range got.Suite.Cases {
		if c.Name == "" || c.Class == "" || c.Failure == nil || c.Failure.Message == "" || strings.TrimSpace(c.Failure.Text) == "" {
			t.Errorf("case %+v", c)
		}
		if c.Name == "bad.cue" && (!strings.Contains(c.Failure.Text, "]]> <x> & \"q\"") || !strings.Contains(c.Out, "not there")) {
			t.Errorf("case %+v", c)
		}
	}
	f.faults = nil
	if out := printed(t, "junit", f); strings.Count(out, "<testcase") != 3 || strings.Contains(out, "<failure") || strings.Contains(out, "<system-out") {
		t.Errorf("no faults:\n%s", out)
	}
}

func TestJSONOfFaultsStaysAsItIs(t *testing.T) {
	out := printed(t, "json", findings{faults: []schema.Fault{{File: "a.cue", Line: 1, Column: 2, Path: "p", Message: "m", Severity: "error"}}, files: []string{"a.cue"}, objects: 3})
	want := `{"faults":[{"file":"a.cue","line":1,"column":2,"path":"p","message":"m","severity":"error"}],"objects":3}`
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(out)); err != nil || b.String() != want {
		t.Errorf("%s, %v", b.String(), err)
	}
}

func TestTextOfFaults(t *testing.T) {
	f := findings{
		tree: fstest.MapFS{"a.cue": {Data: []byte("package fleet\n\n\tmode: \"audits\"\r\n" + strings.Repeat("x", 300) + "日本\u0301 bad\n")}},
		faults: []schema.Fault{
			{File: "a.cue", Line: 3, Column: 8, Path: "policy.w.mode", Message: `"audits" is not one of enforce, audit (did you mean "audit"?)`, Severity: "error"},
			{File: "a.cue", Line: 4, Column: 310, Message: "a warning", Severity: "warning"},
			{File: "b.cue", Line: 4, Column: 310, Message: "of no file", Severity: "error"},
		},
		files: []string{"a.cue", "c.cue"},
	}
	show := func(l look, width int) string {
		var b bytes.Buffer
		w := bufio.NewWriter(&b)
		f.text(w, l, width)
		_ = w.Flush()
		return b.String()
	}
	want := `a.cue:3:8: policy.w.mode: "audits" is not one of enforce, audit (did you mean
  "audit"?)
  3 │     mode: "audits"
    │           ^^^^^^^^

a.cue:4:310: warning: a warning
  4 │ …` + strings.Repeat("x", 63) + "日本\u0301 bad" + `
    │ ` + strings.Repeat(" ", 69) + `^^^

b.cue:4:310: of no file

✗ 2 faults, 1 warning in 2 of 2 files
`
	if got := show(look{terminal: true, unicode: true}, 80); got != want {
		t.Errorf("on a terminal\n%s\nwant\n%s", got, want)
	}
	want = `a.cue:3:8: policy.w.mode: "audits" is not one of enforce, audit (did you mean "audit"?)
a.cue:4:310: warning: a warning
b.cue:4:310: of no file
✗ 2 faults, 1 warning in 2 of 2 files
`
	if got := show(look{unicode: true, colour: true}, 0); got != strings.Replace(want, "✗", "\x1b[31m✗\x1b[0m", 1) {
		t.Errorf("elsewhere\n%q\nwant\n%q", got, want)
	}
	if got := show(look{terminal: true, unicode: true, colour: true}, 80); !strings.Contains(got, "\x1b[1ma.cue:3:8\x1b[0m: policy") || !strings.Contains(got, "\x1b[31m^^^^^^^^\x1b[0m") || !strings.Contains(got, ": \x1b[33mwarning:\x1b[0m a warning") {
		t.Errorf("in colours\n%q", got)
	}
}

// Whatever a line holds, its excerpt fits the width, says nothing to the terminal, and the mark lies below it.
func FuzzExcerpt(f *testing.F) {
	f.Add("\tmode: \"x\"", 8, 70)
	f.Add(strings.Repeat("日本語", 90)+"e\u0301\u0301", 400, 40)
	f.Add("a\u202eb\x1b[31m\xff\x00", 3, 20)
	f.Fuzz(func(t *testing.T, line string, at, width int) {
		if width < 20 || width > 1000 || strings.ContainsAny(line, "\n") || len(line) > 5000 {
			return
		}
		e := excerptOf(line, at, width)
		n := 0
		for _, r := range e.text {
			if !safe.Shown(r) && r != unicode.ReplacementChar || !utf8.ValidRune(r) {
				t.Errorf("%q speaks in %q", r, e.text)
			}
			n += runeWidth(r)
		}
		if n > width || e.caret < 0 || e.long < 1 || e.caret > n || e.caret+e.long > max(n, e.caret+1) {
			t.Errorf("excerptOf(%q, %d, %d) = %+v, %d wide", line, at, width, e, n)
		}
	})
}

// docs/faults.md shows what a terminal of 80 columns does.
func TestDocsShowAFault(t *testing.T) {
	f := findings{
		tree: fstest.MapFS{"baselines/web.cue": {Data: []byte(strings.Repeat("\n", 6) + "\t\tfilters: PRIORITY: [\"Required\", \"Imporant\"], approveAfterDays: 7\n")}},
		faults: []schema.Fault{{File: "baselines/web.cue", Line: 7, Column: 35, Path: "baseline.web-prod.approvalRules[0].filters.PRIORITY[1]", Severity: "error",
			Message: `"Imporant" is not one of Required, Important, Standard, Optional, Extra, * (did you mean "Important"?)`}},
		files: make([]string, 23),
	}
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	f.text(w, look{terminal: true, unicode: true}, 80)
	_ = w.Flush()
	docs, err := os.ReadFile("../../docs/faults.md")
	if err != nil || !strings.Contains(string(docs), "```text\n"+b.String()+"```\n") {
		t.Errorf("docs/faults.md does not show, %v:\n%s", err, b.String())
	}
}

func TestTheLineBelowAFaultHidesAPrivateKey(t *testing.T) {
	key := "AGE-SECRET-KEY-1ALZ0QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGP"
	f := findings{tree: fstest.MapFS{"fleet.cue": {Data: []byte("fleet: recovery: [\"" + key + "\"]\n")}}, files: []string{"fleet.cue"},
		faults: []schema.Fault{{File: "fleet.cue", Line: 1, Column: 20, Path: "fleet.recovery[0]", Message: "this is a private key", Severity: schema.SeverityError}}}
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	f.text(w, look{terminal: true, unicode: true}, 120)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := b.String(); strings.Contains(got, "ALZ0") || !strings.Contains(got, `fleet: recovery: ["AGE-****`) {
		t.Errorf("shows a private key, or no line:\n%s", got)
	}
}
