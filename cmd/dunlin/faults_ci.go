package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/xml"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// GitHub shows so many annotations of a severity of one step; the rest is only in its log
// (docs.github.com, "Workflow commands", 2026).
const maxAnnotations = 10

// github writes workflow commands, and what GitHub would not show of them as text.
func (f findings) github(w *bufio.Writer) {
	shown := map[string]int{}
	var rest []string
	for _, x := range f.faults {
		kind := "error"
		if x.Severity == schema.SeverityWarning {
			kind = "warning"
		}
		if shown[kind]++; shown[kind] > maxAnnotations {
			x.File = f.shownPath(x.File)
			rest = append(rest, kind+": "+safe.Runner(x.String()))
			continue
		}
		var props []string
		if x.File != "" {
			name := f.shownPath(x.File)
			if strings.ContainsFunc(name, func(r rune) bool { return r != '\n' && !safe.Shown(r) }) {
				name = printable(name) // of no use to GitHub, and harmless in the log
			}
			props = append(props, "file="+githubProperty(name))
		}
		if x.Line > 0 {
			props = append(props, fmt.Sprintf("line=%d,col=%d", x.Line, x.Column))
		}
		if x.Path != "" {
			props = append(props, "title="+githubProperty(printable(x.Path)))
		}
		fmt.Fprintf(w, "::%s %s::%s\n", kind, strings.Join(props, ","), githubData(printable(x.Message)))
	}
	if len(rest) > 0 {
		fmt.Fprintf(w, "beyond what is shown beside the files:\n%s\n", strings.Join(rest, "\n"))
	}
	sum, _ := f.summary()
	fmt.Fprintln(w, sum)
}

// githubData and githubProperty escape as the runner's own library does: nothing of a text can end the command.
func githubData(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func githubProperty(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}

// gitlabIssue is one entry of a Code Quality report (docs.gitlab.com, "Code Quality report format").
type gitlabIssue struct {
	Description string         `json:"description"`
	CheckName   string         `json:"check_name"`
	Fingerprint string         `json:"fingerprint"`
	Severity    string         `json:"severity"` // info, minor, major, critical, blocker
	Location    gitlabLocation `json:"location"`
}

type gitlabLocation struct {
	Path  string `json:"path"`
	Lines struct {
		Begin int `json:"begin"`
	} `json:"lines"`
}

func (f findings) gitlab() []gitlabIssue {
	out := []gitlabIssue{}
	marks := f.fingerprints()
	for i, x := range f.faults {
		g := gitlabIssue{Description: x.Message, CheckName: "dunlin-" + ruleOf(x), Fingerprint: marks[i], Severity: "major", Location: gitlabLocation{Path: f.shownPath(x.File)}}
		if x.Path != "" {
			g.Description = x.Path + ": " + x.Message
		}
		if x.Severity == schema.SeverityWarning {
			g.Severity = "minor"
		}
		if x.File == "" {
			g.Location.Path = f.shownPath("fleet.cue") // what concerns the repository
		}
		g.Location.Lines.Begin = max(x.Line, 1)
		out = append(out, g)
	}
	return out
}

// fingerprints tell faults apart and stay as they are when lines move: they are of file, path and message, and of how
// often all three were there before.
func (f findings) fingerprints() []string {
	seen := map[string]int{}
	out := make([]string, len(f.faults))
	for i, x := range f.faults {
		key := strconv.Quote(f.shownPath(x.File)) + strconv.Quote(x.Path) + strconv.Quote(x.Message)
		sum := sha256.Sum256([]byte(key + strconv.Itoa(seen[key])))
		seen[key]++
		out[i] = fmt.Sprintf("%x", sum[:16])
	}
	return out
}

// ruleOf groups faults by the kind that they are about.
func ruleOf(x schema.Fault) string {
	kind, _, _ := strings.Cut(x.Path, ".")
	if kind == "" || strings.ContainsFunc(kind, func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }) || !slices.Contains(faultKinds(), kind) {
		return "file"
	}
	return kind
}

// faultKinds are the words that a path may begin with.
func faultKinds() []string {
	return []string{
		"fleet", "baseline", "group", "resourceGroup", "window", "policy", "document", "association", "calendar", "parameter",
		"activation", "grant", "exception", "sink", "rule", "guardrail",
	}
}

// The parts of SARIF 2.1.0 (OASIS) that are used.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string    `json:"id"`
		Short   sarifText `json:"shortDescription"`
		Default struct {
			Level string `json:"level"`
		} `json:"defaultConfiguration"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations,omitempty"`
		Fingerprints map[string]string `json:"partialFingerprints"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
	}
)

func (f findings) sarif() sarifLog {
	d := sarifDriver{Name: "dunlin", Version: version, InformationURI: "https://github.com/dunlin-dev/dunlin", Rules: []sarifRule{}}
	index := map[string]int{}
	lines := &sourceLines{tree: f.tree}
	marks := f.fingerprints()
	results := []sarifResult{}
	for i, x := range f.faults {
		rule := ruleOf(x)
		if _, ok := index[rule]; !ok {
			index[rule] = len(d.Rules)
			r := sarifRule{ID: "dunlin/" + rule, Short: sarifText{"A fault in an object of kind " + rule}}
			if rule == "file" {
				r.Short.Text = "A fault in a file of the policy repository"
			}
			r.Default.Level = "error"
			d.Rules = append(d.Rules, r)
		}
		r := sarifResult{RuleID: "dunlin/" + rule, RuleIndex: index[rule], Level: "error", Message: sarifText{x.Message}, Fingerprints: map[string]string{"dunlin/v1": marks[i]}}
		if x.Severity == schema.SeverityWarning {
			r.Level = "warning"
		}
		var at sarifLocation
		if x.File != "" {
			at.Physical = &sarifPhysical{Artifact: sarifArtifact{relativeURI(f.shownPath(x.File))}}
			if x.Line > 0 {
				at.Physical.Region = &sarifRegion{StartLine: x.Line}
				if line, ok := lines.at(x.File, x.Line); ok {
					at.Physical.Region.StartColumn = utf16Column(line, x.Column)
				}
			}
		}
		if x.Path != "" {
			at.Logical = []sarifLogical{{x.Path}}
			r.Message.Text = x.Path + ": " + x.Message
		}
		r.Message.Text = strings.ReplaceAll(r.Message.Text, "](", "] (") // else it would be a link
		if at.Physical != nil || at.Logical != nil {
			r.Locations = []sarifLocation{at}
		}
		results = append(results, r)
	}
	return sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0",
		Runs:    []sarifRun{{Tool: sarifTool{d}, ColumnKind: "utf16CodeUnits", Results: results}},
	}
}

// relativeURI is a path as a relative reference (RFC 3986): each step percent-encoded, and none that could be a scheme.
func relativeURI(name string) string {
	steps := strings.Split(name, "/")
	for i, s := range steps {
		steps[i] = strings.ReplaceAll(url.PathEscape(s), ":", "%3A")
	}
	return strings.Join(steps, "/")
}

// The parts of JUnit's XML that CI reads.
type (
	junitSuites struct {
		XMLName  xml.Name   `xml:"testsuites"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Suite    junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr,omitempty"`
		Failure *junitFailure `xml:"failure"`
		Out     string        `xml:"system-out,omitempty"` // warnings
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// junit writes a test case for each file, and one for the repository where something is wrong with it as a whole.
func (f findings) junit(w *bufio.Writer) error {
	of := map[string][]schema.Fault{}
	names := slices.Clone(f.files)
	for _, x := range f.faults {
		of[x.File] = append(of[x.File], x)
		names = append(names, x.File)
	}
	slices.Sort(names)
	s := junitSuite{Name: "dunlin validate"}
	for _, name := range slices.Compact(names) {
		c := junitCase{Name: printable(f.shownPath(name)), Class: "policy", File: printable(f.shownPath(name))}
		if name == "" {
			c.Name, c.File = "the repository", ""
		}
		var wrong, warnings []string
		for _, x := range of[name] {
			x.File = f.shownPath(x.File)
			if x.Severity == schema.SeverityWarning {
				warnings = append(warnings, printable(x.String()))
			} else {
				wrong = append(wrong, printable(x.String()))
			}
		}
		if len(wrong) > 0 {
			c.Failure = &junitFailure{Message: wrong[0], Type: "fault", Text: strings.Join(wrong, "\n")}
			if len(wrong) > 1 {
				c.Failure.Message = counted(len(wrong), "fault")
			}
			s.Failures++
		}
		c.Out = strings.Join(warnings, "\n")
		s.Cases = append(s.Cases, c)
	}
	s.Tests = len(s.Cases)
	b, err := xml.MarshalIndent(junitSuites{Name: "dunlin", Tests: s.Tests, Failures: s.Failures, Suite: s}, "", "  ")
	if err != nil {
		return fmt.Errorf("write faults: %w", err)
	}
	_, _ = w.WriteString(xml.Header)
	_, _ = w.Write(b)
	_ = w.WriteByte('\n') // the writer keeps its first error for Flush
	return nil
}
