package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// ArgumentFault says what is wrong with one argument.
type ArgumentFault struct {
	Parameter string
	Item      int // of a list that was given; -1: the whole
	Missing   bool
	Unknown   bool
	Message   string
}

// CheckArguments holds arguments against the parameters of d: declared, required ones given, of a fitting type, allowed
// (SSM §3.3). Arguments with a placeholder are not known before the run and fit. The faults are sorted by parameter. title
// is how d is called.
func (d Document) CheckArguments(title string, args Arguments) []ArgumentFault {
	var out []ArgumentFault
	declared := slices.Sorted(maps.Keys(d.Parameters))
	for _, name := range slices.Sorted(maps.Keys(args)) {
		p, ok := d.Parameters[name]
		if ok {
			out = append(out, p.checkArgument(name, args[name])...)
			continue
		}
		m := "no such parameter of " + title + didYouMean(name, declared)
		if len(declared) > 0 {
			m += "; allowed: " + strings.Join(declared, ", ")
		} else {
			m += ", which has none"
		}
		out = append(out, ArgumentFault{Parameter: name, Item: -1, Unknown: true, Message: m})
	}
	for _, name := range declared {
		if p := d.Parameters[name]; p.Default == "" && !args.has(name) {
			out = append(out, ArgumentFault{Parameter: name, Item: -1, Missing: true, Message: "required; " + p.wanted()})
		}
	}
	slices.SortStableFunc(out, func(a, b ArgumentFault) int { return strings.Compare(a.Parameter, b.Parameter) })
	return out
}

func (a Arguments) has(name string) bool { _, ok := a[name]; return ok }

// wanted is what a caller may give, in words.
func (p DocumentParameter) wanted() string {
	switch {
	case len(p.AllowedValues) > 0 && p.Type == TypeStringList:
		return "a list of " + strings.Join(p.allowed(), ", ")
	case len(p.AllowedValues) > 0:
		return "one of " + strings.Join(p.allowed(), ", ")
	case p.Type == TypeStringList:
		return "a list of texts"
	case p.Type == TypeStringMap:
		return "a struct of texts"
	}
	return "text"
}

// allowed are the allowed values as texts.
func (p DocumentParameter) allowed() []string {
	out := make([]string, len(p.AllowedValues))
	for i, v := range p.AllowedValues {
		out[i] = v.Text()
	}
	return out
}

// Text is a value as a text that it is part of shows it: a text as such, anything else as JSON.
func (j JSON) Text() string {
	var s string
	if json.Unmarshal([]byte(j), &s) == nil {
		return s
	}
	return string(j)
}

func (p DocumentParameter) checkArgument(name string, a Argument) []ArgumentFault {
	fault := func(item int, format string, args ...any) ArgumentFault {
		return ArgumentFault{Parameter: name, Item: item, Message: fmt.Sprintf(format, args...)}
	}
	texts := []string(a.Texts)
	if slices.ContainsFunc(texts, func(s string) bool { return len(Placeholders(s)) > 0 }) {
		return nil
	}
	var out []ArgumentFault
	items := func(list []string) {
		if err := p.CheckCount(len(list)); err != nil {
			out = append(out, fault(-1, "%v", err))
		}
		for i, s := range list {
			if err := p.CheckText(s); err != nil {
				if p.Type == TypeString {
					i = -1
				}
				out = append(out, fault(i, "%v", err))
			}
		}
	}
	switch p.Type {
	case TypeString:
		if a.Map != nil || len(texts) != 1 {
			return []ArgumentFault{fault(-1, "one text is wanted")}
		}
		items(texts)
	case TypeStringList:
		if a.Map != nil {
			return []ArgumentFault{fault(-1, "a struct; a list of texts is wanted")}
		}
		items(texts)
	case TypeStringMap:
		m := a.Map
		if m == nil { // SSM's callers give it as JSON
			if len(texts) != 1 || json.Unmarshal([]byte(texts[0]), &m) != nil || m == nil {
				return []ArgumentFault{fault(-1, "a struct of texts is wanted")}
			}
		}
		if err := p.CheckCount(len(m)); err != nil {
			out = append(out, fault(-1, "%v", err))
		}
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if len(Placeholders(m[key])) > 0 {
				continue
			}
			if err := p.CheckText(m[key]); err != nil {
				out = append(out, fault(-1, "%s: %v", key, err))
			}
		}
	default: // agents refuse to change these (SSM §3.3)
		if p.Default == "" || a.Map != nil || len(texts) != 1 || texts[0] != p.Default.Text() {
			return []ArgumentFault{fault(-1, "nobody can give a parameter of type %s; it keeps its default", p.Type)}
		}
	}
	return out
}

// CheckText holds a text, or one item of a list or map, against what p allows: the values, the pattern, which the whole text
// must match, and the number of characters. Types Integer and Boolean have no bounds.
func (p DocumentParameter) CheckText(s string) error {
	if len(p.AllowedValues) > 0 {
		words := p.allowed()
		if !slices.Contains(words, s) {
			return fmt.Errorf("%q is not one of %s%s", s, strings.Join(words, ", "), didYouMean(s, words))
		}
	}
	if p.AllowedPattern != "" {
		re, err := p.Pattern()
		if err == nil && !re.MatchString(s) {
			return fmt.Errorf("%q does not match %s", s, p.AllowedPattern)
		}
	}
	if p.Type == TypeInteger || p.Type == TypeBoolean {
		return nil
	}
	n := utf8.RuneCountInString(s)
	switch {
	case p.MinChars != nil && n < *p.MinChars:
		return fmt.Errorf("%s; at least %d are wanted", counted(n, "character"), *p.MinChars)
	case p.MaxChars != nil && n > *p.MaxChars:
		return fmt.Errorf("%s; at most %d are allowed", counted(n, "character"), *p.MaxChars)
	}
	return nil
}

// CheckCount holds the number of items against the bounds of a list or map.
func (p DocumentParameter) CheckCount(n int) error {
	switch {
	case p.Type != TypeStringList && p.Type != TypeStringMap && p.Type != TypeMapList:
		return nil
	case p.MinItems != nil && n < *p.MinItems:
		return fmt.Errorf("%s; at least %d wanted", counted(n, "item"), *p.MinItems)
	case p.MaxItems != nil && n > *p.MaxItems:
		return fmt.Errorf("%s; at most %d are allowed", counted(n, "item"), *p.MaxItems)
	}
	return nil
}

// Pattern is the compiled AllowedPattern, which whole texts must match. SSM takes Java's expressions; agents know RE2 alone.
func (p DocumentParameter) Pattern() (*regexp.Regexp, error) {
	if _, err := regexp.Compile(p.AllowedPattern); err != nil {
		return nil, err
	}
	return regexp.Compile("^(?:" + p.AllowedPattern + ")$")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
