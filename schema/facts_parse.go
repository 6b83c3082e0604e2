package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// MaxFacts is the largest facts file that is read, in bytes: some 50,000 packages.
const MaxFacts = 32 << 20

// maxFactFaults bounds what one file can make a reader say.
const maxFactFaults = 50

// ParseFacts reads a facts file (LANGUAGE "Facts"). It is strict: unknown and repeated fields, values of
// another form, and packages without name, version or arch are faults, each at its line and column; the
// caller sets their File. With a fault the Facts are empty.
func ParseFacts(b []byte) (Facts, []Fault) {
	p := factsParser{text: b}
	switch {
	case len(b) > MaxFacts:
		p.fault(0, "", fmt.Sprintf("larger than %d MiB", MaxFacts>>20))
	case !utf8.Valid(b):
		p.fault(invalidUTF8(b), "", "not UTF-8")
	case !json.Valid(b):
		p.syntax()
	default:
		p.value(factsForm, "", -1)
	}
	if len(p.faults) > 0 {
		return Facts{}, SortFaults(p.faults)
	}
	var f Facts
	if err := json.Unmarshal(b, &f); err != nil {
		// What the forms accept, the types take; this is only met where the two have come apart.
		p.fault(0, "", err.Error())
		return Facts{}, p.faults
	}
	return f, nil
}

// form is what a value of a facts file looks like.
type form struct {
	kind   byte        // 'o' object, 'a' list, 's' text, 'i' whole number, 'b' true or false
	what   string      // of a value, as faults call it
	fields []formField // of an object
	item   *form       // of a list
	words  []string    // of a text: the ones allowed
	check  func(s []byte, text string) bool
}

type formField struct {
	name     string
	required bool
	form     *form
}

var (
	textForm = &form{kind: 's', what: "text"}
	nameForm = &form{kind: 's', what: "text that is not empty", check: func(_ []byte, text string) bool { return text != "" }}
	boolForm = &form{kind: 'b', what: "true or false"}
	textList = &form{kind: 'a', what: "a list of texts", item: textForm}
	timeForm = &form{kind: 's', what: `an instant such as "2026-12-31T22:00:00Z"`, check: func(_ []byte, text string) bool {
		_, err := time.Parse(time.RFC3339Nano, text)
		return err == nil && factsTime().MatchString(text)
	}}
	// factsTime is #Time: time.Parse alone also takes a comma before the fraction.
	factsTime = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$`)
	})
	phaseForm = &form{kind: 'i', what: "a whole number from 0 to 100", check: func(n []byte, _ string) bool {
		v, err := strconv.Atoi(string(n))
		return err == nil && v >= 0 && v <= 100
	}}
	oneForm = &form{kind: 'i', what: "1", check: func(n []byte, _ string) bool { return string(n) == "1" }}

	systemForm = &form{kind: 's', words: []string{"WINDOWS", "AMAZON_LINUX", "AMAZON_LINUX_2", "AMAZON_LINUX_2022", "AMAZON_LINUX_2023", "UBUNTU", "DEBIAN", "RASPBIAN",
		"REDHAT_ENTERPRISE_LINUX", "CENTOS", "ORACLE_LINUX", "ROCKY_LINUX", "ALMA_LINUX", "SUSE", "MACOS", "FEDORA", ""}}
	outcomeForm = &form{kind: 's', words: []string{"installed", "failed"}}

	originForm = &form{kind: 'o', fields: []formField{{"origin", false, textForm}, {"label", false, textForm}, {"suite", false, textForm}, {"codename", false, textForm},
		{"component", false, textForm}, {"site", false, textForm}, {"trusted", false, boolForm}}}
	advisoryForm = &form{kind: 'o', fields: []formField{{"id", false, textForm}, {"type", false, textForm}, {"severity", false, textForm},
		{"issued", false, timeForm}, {"updated", false, timeForm}, {"cves", false, textList}}}
	installedForm = packageForm(formField{"held", false, boolForm})
	candidateForm = packageForm(formField{"phased", false, phaseForm}, formField{"firstSeen", false, timeForm})

	factsForm = &form{kind: 'o', what: "facts of a host", fields: []formField{
		{"v", true, oneForm}, {"node", false, textForm}, {"at", false, timeForm},
		{"os", false, &form{kind: 'o', fields: []formField{{"id", false, textForm}, {"versionId", false, textForm}, {"operatingSystem", false, systemForm}, {"product", false, textForm}}}},
		{"arch", false, textForm},
		{"installed", false, &form{kind: 'a', what: "a list of packages", item: installedForm}},
		{"candidates", false, &form{kind: 'a', what: "a list of packages", item: candidateForm}},
		{"pendingReboot", false, &form{kind: 'o', fields: []formField{{"is", false, boolForm}, {"packages", false, textList}}}},
		{"lastInstall", false, &form{kind: 'a', what: "a list of installs", item: &form{kind: 'o', fields: []formField{{"name", false, textForm}, {"arch", false, textForm},
			{"version", false, textForm}, {"at", false, timeForm}, {"outcome", false, outcomeForm}}}}},
		{"updates", false, &form{kind: 'a', what: "a list of updates", item: &form{kind: 'o', fields: []formField{{"kb", false, textForm}, {"title", false, textForm}, {"classification", false, textForm},
			{"severity", false, textForm}, {"products", false, textList}, {"productFamily", false, textForm}, {"patchSet", false, textForm}, {"released", false, timeForm},
			{"installed", false, boolForm}, {"superseded", false, boolForm}, {"pendingReboot", false, boolForm}}}}},
	}}
)

func packageForm(own ...formField) *form {
	return &form{kind: 'o', fields: append([]formField{{"name", true, nameForm}, {"version", true, nameForm}, {"arch", true, nameForm},
		{"source", false, textForm}, {"sourceVersion", false, textForm}, {"priority", false, textForm}, {"section", false, textForm},
		{"origins", false, &form{kind: 'a', what: "a list of origins", item: originForm}}, {"released", false, timeForm},
		{"advisories", false, &form{kind: 'a', what: "a list of advisories", item: advisoryForm}}}, own...)}
}

// word is what a fault says is wanted.
func (f *form) word() string {
	switch {
	case f.what != "":
		return f.what
	case len(f.words) > 0:
		return "one of " + strings.TrimSuffix(strings.Join(f.words, ", "), ", ")
	}
	return "an object"
}

// factsParser walks JSON that is known to be well-formed and places what is wrong in it.
type factsParser struct {
	text   []byte
	at     int // of the next byte
	faults []Fault
	lines  []int // offsets of line starts, made at the first fault
}

// value walks the next value, which must have form f. label is the offset of the field's label, -1 for none.
func (p *factsParser) value(f *form, path string, label int) {
	p.blanks()
	start := p.at
	switch c := p.text[p.at]; {
	case len(p.faults) >= maxFactFaults:
		p.skip()
	case c == '{' && f.kind == 'o':
		if label < 0 {
			label = start
		}
		p.object(f, path, label)
	case c == '[' && f.kind == 'a':
		p.at++
		for i := 0; !p.end(']'); i++ {
			p.value(f.item, path+"["+strconv.Itoa(i)+"]", -1)
		}
	case c == '"' && f.kind == 's':
		text := p.string()
		if len(f.words) > 0 && !slices.Contains(f.words, text) || f.check != nil && !f.check(nil, text) {
			p.fault(start, path, strconv.Quote(short(text))+" is not "+f.word()+didYouMean(text, f.words))
		}
	case (c == 't' || c == 'f') && f.kind == 'b':
		p.skip()
	case (c == '-' || c >= '0' && c <= '9') && f.kind == 'i':
		p.skip()
		if n := p.text[start:p.at]; !f.check(n, "") {
			p.fault(start, path, short(string(n))+" is not "+f.word())
		}
	default:
		p.skip()
		p.fault(start, path, found(p.text[start:p.at])+"; "+f.word()+" is wanted")
	}
}

// object walks the fields of an object. What is missing is reported at label.
func (p *factsParser) object(f *form, path string, label int) {
	p.at++
	var seen [16]int // offset of each field's label plus one, by its place in f.fields; no form has more
	var strangers []string
	for !p.end('}') {
		p.blanks()
		start := p.at
		name := p.string()
		p.blanks()
		p.at++ // the colon
		below := JoinPath(name)
		if path != "" {
			below = path + "." + below
		}
		field, i := (*formField)(nil), 0
		for i = range f.fields {
			if f.fields[i].name == name {
				field = &f.fields[i]
				break
			}
		}
		if field == nil {
			if !slices.Contains(strangers, name) && len(strangers) < maxFactFaults {
				strangers = append(strangers, name)
				p.fault(start, below, "no such field"+didYouMean(name, f.names())+"; allowed: "+strings.Join(f.names(), ", "))
			}
			p.blanks()
			p.skip()
			continue
		}
		if seen[i] > 0 {
			p.fault(start, below, "already given in line "+strconv.Itoa(p.line(seen[i]-1)))
		}
		seen[i] = start + 1
		p.value(field.form, below, start)
	}
	for i, field := range f.fields {
		if field.required && seen[i] == 0 {
			below := field.name
			if path != "" {
				below = path + "." + below
			}
			p.fault(label, below, "required; "+field.form.word())
		}
	}
}

func (f *form) names() []string {
	out := make([]string, len(f.fields))
	for i, x := range f.fields {
		out[i] = x.name
	}
	return out
}

// end steps over a comma, or over the closing bracket, and reports whether it was the latter.
func (p *factsParser) end(bracket byte) bool {
	p.blanks()
	switch p.text[p.at] {
	case bracket:
		p.at++
		return true
	case ',':
		p.at++
	}
	return false
}

func (p *factsParser) blanks() {
	for p.at < len(p.text) && (p.text[p.at] == ' ' || p.text[p.at] == '\t' || p.text[p.at] == '\n' || p.text[p.at] == '\r') {
		p.at++
	}
}

// string reads the text that begins here.
func (p *factsParser) string() string {
	start := p.at
	p.skipString()
	raw := p.text[start:p.at]
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	_ = json.Unmarshal(raw, &s) // well-formed: the whole file is
	return s
}

func (p *factsParser) skipString() {
	for p.at++; p.text[p.at] != '"'; p.at++ {
		if p.text[p.at] == '\\' {
			p.at++
		}
	}
	p.at++
}

// skip steps over the value that begins here.
func (p *factsParser) skip() {
	depth := 0
	for p.at < len(p.text) {
		switch c := p.text[p.at]; c {
		case '"':
			p.skipString()
		case '{', '[':
			depth++
			p.at++
		case '}', ']':
			depth--
			p.at++
		case ',', ':', ' ', '\t', '\n', '\r':
			p.at++
			continue
		default: // a number or a word
			for p.at < len(p.text) && bytes.IndexByte([]byte(",:]} \t\r\n"), p.text[p.at]) < 0 {
				p.at++
			}
		}
		if depth == 0 {
			return
		}
	}
}

// syntax reports where JSON ends being JSON.
func (p *factsParser) syntax() {
	var v any
	var wrong *json.SyntaxError
	err := json.Unmarshal(p.text, &v)
	if !errors.As(err, &wrong) {
		p.fault(0, "", "not JSON")
		return
	}
	// The offset is that of the byte after the wrong one; at the end of the file there is none.
	at := max(0, int(wrong.Offset)-1)
	if strings.Contains(wrong.Error(), "unexpected end") {
		at = len(p.text)
	}
	p.fault(at, "", "not JSON: "+wrong.Error())
}

func (p *factsParser) fault(at int, path, message string) {
	if len(p.faults) >= maxFactFaults {
		return
	}
	line := p.line(at)
	p.faults = append(p.faults, Fault{Line: line, Column: at - p.lines[line-1] + 1, Path: path, Message: message, Severity: SeverityError})
}

// line gives the line of an offset, from 1.
func (p *factsParser) line(at int) int {
	if p.lines == nil {
		p.lines = []int{0}
		for i, c := range p.text {
			if c == '\n' {
				p.lines = append(p.lines, i+1)
			}
		}
	}
	n, exact := slices.BinarySearch(p.lines, at)
	if exact {
		n++
	}
	return n
}

// found says what a value of another form is.
func found(raw []byte) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		var s string
		_ = json.Unmarshal(raw, &s)
		return strconv.Quote(short(s)) + " is text"
	case 't', 'f', 'n':
		return string(raw)
	}
	return short(string(raw)) + " is a number"
}

// short keeps a stranger's text from filling the screen.
func short(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

func invalidUTF8(b []byte) int {
	at := 0
	for at < len(b) {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		at += n
	}
	return at
}
