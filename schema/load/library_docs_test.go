package load

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"cuelang.org/go/cue"

	"github.com/dunlin-dev/dunlin/schema/load/shipped"
)

const libraryPage = "../../docs/library.md"

// The tables of docs/library.md are what the library has. make golden writes them anew.
func TestLibraryPageIsCurrent(t *testing.T) {
	page, err := os.ReadFile(libraryPage)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]string{"patching": baselineTable(t), "documents": documentTable(t), "hardening": hardeningTables(t)}
	if got := shippedFolders(t); !slices.Equal(got, slices.Sorted(maps.Keys(tables))) {
		t.Errorf("the library has the packages %q, and the page tables of %d", got, len(tables))
	}
	for name, table := range tables {
		mark := regexp.MustCompile("(?s)(<!-- " + name + ": written by make golden -->\n).*?(<!-- end -->)")
		if !mark.Match(page) {
			t.Errorf("%s has no place for the table of %s", libraryPage, name)
		}
		page = mark.ReplaceAllFunc(page, func(b []byte) []byte {
			m := mark.FindSubmatch(b)
			return fmt.Appendf(nil, "%s\n%s\n%s", m[1], table, m[2])
		})
	}
	golden(t, libraryPage, page)
}

// The blocks of docs/library.md that name a file are together a valid repository of this build, and of plain CUE.
func TestLibraryPageLoads(t *testing.T) {
	page, err := os.ReadFile(libraryPage)
	if err != nil {
		t.Fatal(err)
	}
	m := files("")
	plain := fstest.MapFS{}
	for i, b := range regexp.MustCompile("(?s)```cue (\\S+)\n(.*?)```").FindAllSubmatch(page, -1) {
		m[string(b[1])] = &fstest.MapFile{Data: b[2]}
		plain[fmt.Sprintf("f%d.cue", i)] = &fstest.MapFile{Data: b[2]}
	}
	repo, faults, err := thisBuild()(t.Context(), m)
	if err != nil || len(faults) > 0 || len(repo.Policies) != 4 || len(repo.Baselines) != 1 {
		t.Errorf("%d policies, %d baselines, %v:\n%s", len(repo.Policies), len(repo.Baselines), err, lines(faults))
	}
	if _, err := plainCUE(t, plain); err != nil {
		t.Errorf("plain CUE refuses it: %v", err)
	}
}

// cell is a text as a cell of a table.
func cell(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "|", "\\|"), "\n", " ") }

func baselineTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| baseline | operating system | approves |\n|---|---|---|\n")
	shipped := shipped.Baselines()
	for _, name := range slices.Sorted(maps.Keys(shipped)) {
		x := shipped[name]
		var rules []string
		for _, r := range x.ApprovalRules {
			var filters []string
			for _, key := range slices.Sorted(maps.Keys(r.Filters)) {
				if values := r.Filters[key]; !slices.Equal(values, []string{"*"}) {
					filters = append(filters, key+" "+strings.Join(values, " or "))
				}
			}
			s := strings.Join(filters, " and ")
			if s == "" {
				s = "everything"
			}
			linux := x.OperatingSystem != "WINDOWS" && x.OperatingSystem != "MACOS"
			switch {
			case r.EnableNonSecurity:
				s += ", security or not"
			case linux && len(r.Filters["CLASSIFICATION"]) == 0:
				s += ", security only"
			}
			if days := *r.ApproveAfterDays; days > 0 {
				s += fmt.Sprintf(", after %d days", days)
			} else {
				s += ", at once"
			}
			rules = append(rules, s)
		}
		system := string(x.OperatingSystem)
		if x.Default {
			system += " (default)"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, system, cell(strings.Join(rules, "; ")))
	}
	return b.String()
}

func documentTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| document | parameter | type | default | allowed | what it is |\n|---|---|---|---|---|---|\n")
	shipped := shipped.Documents()
	for _, name := range slices.Sorted(maps.Keys(shipped)) {
		d := shipped[name]
		fmt.Fprintf(&b, "| `%s` | | | | | %s |\n", name, cell(d.Description))
		for _, param := range slices.Sorted(maps.Keys(d.Parameters)) {
			p := d.Parameters[param]
			dflt := "required"
			if p.Default != "" {
				dflt = "`" + string(p.Default) + "`"
			}
			var allowed []string
			for _, v := range p.AllowedValues {
				var s string
				if err := json.Unmarshal([]byte(v), &s); err != nil {
					t.Fatal(err)
				}
				allowed = append(allowed, s)
			}
			fmt.Fprintf(&b, "| | `%s` | %s | %s | %s | %s |\n", param, p.Type, dflt, cell(strings.Join(allowed, ", ")), cell(p.Description))
		}
	}
	return b.String()
}

// hardeningTables is a table of the package's policies, and one of the items of each template.
func hardeningTables(t *testing.T) string {
	t.Helper()
	v := shippedPackage(t, newContext(), "hardening")
	text := func(v cue.Value, path string) string {
		s, err := v.LookupPath(cue.ParsePath(path)).String()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ready := map[string][]string{} // by description, which is the template's
	for name, p := range shippedPolicies(t) {
		ready[p.Description] = append(ready[p.Description], "`"+name+"`")
	}
	var b, items strings.Builder
	b.WriteString("| template | ready objects | severity | what it does | why |\n|---|---|---|---|---|\n")
	it, err := v.Fields(cue.Definitions(true))
	for err == nil && it.Next() {
		all := it.Value().LookupPath(cue.ParsePath("#items"))
		if !all.Exists() {
			continue
		}
		name, x := it.Selector().String(), it.Value()
		objects := ready[text(x, "description")]
		slices.Sort(objects)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", name, strings.Join(objects, ", "), text(x, "severity"), cell(text(x, "description")), cell(text(x, "annotations.rationale")))
		fmt.Fprintf(&items, "\n### %s\n\n| item | is set to | why | see |\n|---|---|---|---|\n", name)
		var more []string // what has no value unless it is given
		options, err := x.LookupPath(cue.ParsePath("#options")).Fields(cue.Optional(true))
		for err == nil && options.Next() {
			if option := options.Selector().Unquoted(); !all.LookupPath(cue.MakePath(cue.Str(option))).Exists() {
				more = append(more, "`"+option+"`")
			}
		}
		one, err := all.Fields()
		for err == nil && one.Next() {
			fmt.Fprintf(&items, "| `%s` | %s | %s | %s |\n", one.Selector().Unquoted(), cell(setTo(one.Value())), cell(text(one.Value(), "rationale")), cell(text(one.Value(), "reference")))
		}
		if len(more) > 0 {
			fmt.Fprintf(&items, "\nWith `#options` can be given as well: %s.\n", strings.Join(more, ", "))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String() + items.String()
}

// setTo says what an item of a template makes of a host.
func setTo(item cue.Value) string {
	if port, err := item.LookupPath(cue.ParsePath("port")).Int64(); err == nil {
		var protocols []string
		_ = item.LookupPath(cue.ParsePath("protocols")).Decode(&protocols)
		return fmt.Sprintf("%d/%s blocked", port, strings.Join(protocols, " and "))
	}
	if s, err := item.LookupPath(cue.ParsePath("value")).String(); err == nil {
		return "`" + s + "`"
	}
	on, _ := item.LookupPath(cue.ParsePath("on")).String()
	if on == "all" {
		on = "all systems"
	}
	return "stopped, not started at boot (" + on + ")"
}
