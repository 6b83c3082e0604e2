package target

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dunlin-dev/dunlin/schema"
)

// Limits of a selection (LANGUAGE, section 2).
const (
	maxValues = 50
	maxNodes  = 1000
)

// field is one that the command line names: its word there, what a value looks like, and how many.
type field struct {
	word  string
	valid func(string) bool
	what  string // of a value
	limit int
}

func fields() [4]field {
	const alnum = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	name := word(alnum, alnum+"._-", 63)
	return [...]field{
		{"os", word("abcdefghijklmnopqrstuvwxyz", "abcdefghijklmnopqrstuvwxyz0123456789_-", 32), "an operating system such as debian", maxValues},
		{"node", word(alnum, alnum+"._-", 253), "a node's name or id", maxNodes},
		{"group", name, "the name of a patch group", maxValues},
		{"resourceGroup", name, "the name of a resource group", maxValues},
	}
}

// word is the pattern of one of first and up to most-1 of rest. It says what a regular expression would; compiling one
// with large counts takes ten milliseconds, which every start of the program would pay.
func word(first, rest string, most int) func(string) bool {
	return func(s string) bool {
		return s != "" && len(s) <= most && strings.Contains(first, s[:1]) && strings.Trim(s[1:], rest) == ""
	}
}

// tagText is #TagKey and #TagValue: least to most letters, blanks, digits and _ . : / = + @ -.
func tagText(least, most int) func(string) bool {
	return func(s string) bool {
		n := 0
		for _, r := range s {
			if n++; r == utf8.RuneError || !unicode.In(r, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+@-", r) {
				return false
			}
		}
		return n >= least && n <= most
	}
}

const forms = "all, tag:KEY=VALUE, os=, node=, group= or resourceGroup=, or one of them with ! in front"

// Parse reads targets as the command line gives them, one text a flag: `tag:role=web,api`, `os=debian`,
// `node=web-1`, `group=edge`, `resourceGroup=eu`, `all`, each but all also as `!tag:canary=true`, which excludes.
//
// Commas mean or. Texts that are repeated mean and: of one tag or of os given twice both lists must
// hold, and an exclusion given twice excludes what either means. The key of a tag ends at the first
// `=`. Parse fails on anything else, on what can hold for no node, on more than 50 values (1,000 nodes),
// and on exclusions of different fields, which targets cannot say: a resource group can.
func Parse(texts []string) (schema.Targets, error) {
	var t schema.Targets
	excludedBy := ""
	for _, text := range texts {
		rest, excludes := strings.CutPrefix(text, "!")
		if rest == "all" {
			if excludes {
				return schema.Targets{}, fmt.Errorf("target %q: excluding all leaves no node", text)
			}
			t.All = true
			continue
		}
		word, list, assigned := strings.Cut(rest, "=")
		if !assigned {
			return schema.Targets{}, fmt.Errorf("target %q: want %s", text, forms)
		}
		into := &t.Selection
		if excludes {
			if excludedBy != "" && excludedBy != word {
				return schema.Targets{}, fmt.Errorf("target %q: already excluding by %s, and one exclusion of two fields would mean nodes that have both; name the nodes in a resource group and exclude that", text, excludedBy)
			}
			excludedBy = word
			if t.Exclude == nil {
				t.Exclude = &schema.Selection{}
			}
			into = t.Exclude
		}
		if err := add(into, word, strings.Split(list, ","), excludes); err != nil {
			return schema.Targets{}, fmt.Errorf("target %q: %w", text, err)
		}
	}
	switch some := len(t.Tags)+len(t.OS)+len(t.Nodes)+len(t.Groups)+len(t.ResourceGroups) > 0; {
	case t.All && some:
		return schema.Targets{}, fmt.Errorf("target \"all\" goes only with exclusions")
	case !t.All && !some && t.Exclude != nil:
		return schema.Targets{}, fmt.Errorf("targets only exclude; add \"all\" or what to select")
	case !t.All && !some:
		return schema.Targets{}, fmt.Errorf("no targets; give \"all\" for every node")
	}
	return t, nil
}

// add puts one text's values into a selection. either says that a field given twice means any of both
// lists, as exclusions do; else values of both lists are kept.
func add(s *schema.Selection, word string, values []string, either bool) error {
	slices.Sort(values)
	values = slices.Compact(values)
	if key, isTag := strings.CutPrefix(word, "tag:"); isTag {
		if !tagText(1, 128)(key) {
			return fmt.Errorf("%q is not the key of a tag", key)
		}
		if err := check(values, tagText(0, 256), "the value of a tag", maxValues); err != nil {
			return err
		}
		joined, err := join(s.Tags[key], values, either, "tag "+key, maxValues)
		if err != nil {
			return err
		}
		if s.Tags == nil {
			s.Tags = map[string]schema.Texts{}
		}
		s.Tags[key] = joined
		return nil
	}
	for _, f := range fields() {
		if word != f.word {
			continue
		}
		if err := check(values, f.valid, f.what, f.limit); err != nil {
			return err
		}
		list := map[string]*[]string{"os": &s.OS, "node": &s.Nodes, "group": &s.Groups, "resourceGroup": &s.ResourceGroups}[word]
		if len(*list) > 0 && !either && word != "os" {
			// Two names can mean one node, and a node can be in two groups: the lists cannot be joined by value.
			return fmt.Errorf("%s is given twice; write %s=a,b for either", word, word)
		}
		joined, err := join(*list, values, either, word, f.limit)
		if err != nil {
			return err
		}
		*list = joined
		return nil
	}
	return fmt.Errorf("want %s", forms)
}

func check(values []string, valid func(string) bool, what string, limit int) error {
	for _, v := range values {
		if !valid(v) {
			return fmt.Errorf("%q is not %s", v, what)
		}
	}
	if len(values) > limit {
		return fmt.Errorf("%d values; at most %d are allowed", len(values), limit)
	}
	return nil
}

// join makes one sorted list of two that a field was given.
func join(have, more []string, either bool, what string, limit int) ([]string, error) {
	if len(have) == 0 {
		return more, nil
	}
	var out []string
	if either {
		out = append(append(out, have...), more...)
		slices.Sort(out)
		out = slices.Compact(out)
		if len(out) > limit {
			return nil, fmt.Errorf("%d values of %s; at most %d are allowed", len(out), what, limit)
		}
		return out, nil
	}
	for _, v := range have {
		if slices.Contains(more, v) {
			out = append(out, v)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s is given twice without a common value, so that no node can match; write values that will do in one list", what)
	}
	return out, nil
}

// Format writes targets as Parse reads them, in a fixed order. It gives false for what the command line
// cannot say: an exclusion of several fields, and a tag whose key has a `=`.
func Format(t schema.Targets) ([]string, bool) {
	var out []string
	for key := range t.Tags {
		if strings.Contains(key, "=") {
			return nil, false
		}
	}
	if t.All {
		out = append(out, "all")
	}
	out = append(out, formatSelection(t.Selection, "")...)
	if t.Exclude == nil {
		return out, true
	}
	for key := range t.Exclude.Tags {
		if strings.Contains(key, "=") {
			return nil, false
		}
	}
	excluded := formatSelection(*t.Exclude, "!")
	return append(out, excluded...), len(excluded) == 1
}

func formatSelection(s schema.Selection, sign string) []string {
	var out []string
	for key, values := range s.Tags {
		out = append(out, sign+"tag:"+key+"="+strings.Join(values, ","))
	}
	slices.Sort(out)
	for _, f := range []struct {
		word string
		list []string
	}{{"os", s.OS}, {"node", s.Nodes}, {"group", s.Groups}, {"resourceGroup", s.ResourceGroups}} {
		if len(f.list) > 0 {
			out = append(out, sign+f.word+"="+strings.Join(f.list, ","))
		}
	}
	return out
}
