package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"html"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// faultFormats are the forms in which faults are printed, the first one for people.
func faultFormats() []string {
	return []string{"text", "json", "github", "gitlab", "sarif", "junit"}
}

// forTools prints faults in the form of a forge or of a report. dir is what was validated: the places of faults are given
// from where the program runs, which is where a forge has the repository's root.
func (a *app) forTools(format, dir string, objects int, faults []schema.Fault) error {
	placed := make([]schema.Fault, len(faults))
	for i, f := range faults {
		if f.File != "" && !filepath.IsAbs(dir) {
			f.File = filepath.ToSlash(filepath.Join(dir, filepath.FromSlash(f.File)))
		}
		placed[i] = f
	}
	switch format {
	case "github":
		return a.githubFaults(placed)
	case "gitlab":
		return a.printJSON(gitlabFaults(placed))
	case "sarif":
		return a.printJSON(sarifFaults(placed))
	}
	return a.junitFaults(placed, objects)
}

// githubFaults prints a workflow command a fault, which GitHub shows at its line (10 of a kind in a step). Its log shows
// the message alone, so that has the place as well.
func (a *app) githubFaults(faults []schema.Fault) error {
	text := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	w := bufio.NewWriter(a.out)
	for _, f := range faults {
		fmt.Fprintf(w, "::%s ", severityWord(f))
		var at []string
		if f.File != "" {
			at = append(at, "file="+property.Replace(printable(f.File)))
		}
		if f.Line > 0 {
			at = append(at, fmt.Sprintf("line=%d,col=%d", f.Line, f.Column))
		}
		title := "dunlin validate"
		if f.Path != "" {
			title = f.Path
		}
		at = append(at, "title="+property.Replace(printable(title)))
		fmt.Fprintf(w, "%s::%s\n", strings.Join(at, ","), text.Replace(printable(f.String())))
	}
	return w.Flush()
}

func severityWord(f schema.Fault) string {
	if f.Severity == schema.SeverityWarning {
		return "warning"
	}
	return "error"
}

// fingerprints tell faults apart, also when they move within their file.
func fingerprints(faults []schema.Fault) []string {
	out, seen := make([]string, len(faults)), map[string]int{}
	for i, f := range faults {
		key := f.File + "\x00" + f.Path + "\x00" + f.Message
		seen[key]++
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d", key, seen[key]))
		out[i] = fmt.Sprintf("%x", sum[:16])
	}
	return out
}

// about is what is wrong, without its place.
func about(f schema.Fault) string {
	if f.Path == "" {
		return f.Message
	}
	return f.Path + ": " + f.Message
}

type gitlabFault struct {
	Description string `json:"description"`
	CheckName   string `json:"check_name"`
	Fingerprint string `json:"fingerprint"`
	Severity    string `json:"severity"`
	Location    struct {
		Path  string `json:"path"`
		Lines struct {
			Begin int `json:"begin"`
		} `json:"lines"`
	} `json:"location"`
}

// gitlabFaults is GitLab's Code Quality report.
func gitlabFaults(faults []schema.Fault) []gitlabFault {
	out, prints := make([]gitlabFault, len(faults)), fingerprints(faults)
	for i, f := range faults {
		g := gitlabFault{Description: about(f), CheckName: "dunlin validate", Fingerprint: prints[i], Severity: "blocker"}
		if f.Severity == schema.SeverityWarning {
			g.Severity = "minor"
		}
		g.Location.Path, g.Location.Lines.Begin = f.File, max(f.Line, 1)
		if f.File == "" {
			g.Location.Path = "." // all of it
		}
		out[i] = g
	}
	return out
}

// sarifFaults is a log of SARIF 2.1.0 with one run.
func sarifFaults(faults []schema.Fault) any {
	type object = map[string]any
	results, prints := []object{}, fingerprints(faults)
	for i, f := range faults {
		r := object{
			"ruleId": "policy", "level": severityWord(f), "message": object{"text": about(f)},
			"partialFingerprints": object{"dunlin/v1": prints[i]},
		}
		if f.File != "" {
			place := object{"artifactLocation": object{"uri": (&url.URL{Path: f.File}).EscapedPath(), "uriBaseId": "%SRCROOT%"}}
			if f.Line > 0 {
				place["region"] = object{"startLine": f.Line, "startColumn": max(f.Column, 1)}
			}
			r["locations"] = []object{{"physicalLocation": place}}
		}
		results = append(results, r)
	}
	return object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json",
		"version": "2.1.0",
		"runs": []object{{
			"tool": object{"driver": object{
				"name": "dunlin", "version": version, "informationUri": "https://github.com/dunlin-dev/dunlin",
				"rules": []object{{"id": "policy", "shortDescription": object{"text": "A policy repository is right"}}},
			}},
			"results": results,
		}},
	}
}

// junitFaults prints a test report in the way of JUnit: a case for each file that has faults, one for all that has none.
func (a *app) junitFaults(faults []schema.Fault, objects int) error {
	escape := func(s string) string { return html.EscapeString(printable(s)) }
	var files []string
	byFile := map[string][]schema.Fault{}
	failures := 0
	for _, f := range faults {
		if byFile[f.File] == nil {
			files = append(files, f.File)
		}
		byFile[f.File] = append(byFile[f.File], f)
	}
	for _, of := range byFile {
		if schema.Refused(of) {
			failures++
		}
	}
	w := bufio.NewWriter(a.out)
	cases := max(len(files), 1)
	fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"dunlin validate\" tests=\"%d\" failures=\"%d\">\n", cases, failures)
	if len(files) == 0 {
		fmt.Fprintf(w, "<testcase classname=\"dunlin\" name=\"%s\"/>\n", escape(counted(objects, "object")))
	}
	for _, name := range files {
		var wrong, warnings []string
		for _, f := range byFile[name] {
			if f.Severity == schema.SeverityWarning {
				warnings = append(warnings, escape(f.String()))
			} else {
				wrong = append(wrong, escape(f.String()))
			}
		}
		title := name
		if title == "" {
			title = "the repository"
		}
		fmt.Fprintf(w, "<testcase classname=\"dunlin\" name=\"%s\" file=\"%s\">\n", escape(title), escape(name))
		if len(wrong) > 0 {
			fmt.Fprintf(w, "<failure type=\"fault\" message=\"%s\">%s</failure>\n", counted(len(wrong), "fault"), strings.Join(wrong, "\n"))
		}
		if len(warnings) > 0 {
			fmt.Fprintf(w, "<system-out>%s</system-out>\n", strings.Join(warnings, "\n"))
		}
		fmt.Fprintln(w, "</testcase>")
	}
	fmt.Fprintln(w, "</testsuite>\n</testsuites>")
	return w.Flush()
}
