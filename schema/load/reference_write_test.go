package load

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

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
