package load

import (
	"bytes"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema/load/writing"
)

// errorWords puts an error of CUE in the words of this language, with the
// author's place of it. What is not known here is said in general words: CUE's
// own never get through, since they speak of how CUE works and of the schema's files.
func errorWords(err errors.Error, l *loading) (string, token.Pos) {
	own := ownPlaces(err)
	last := token.NoPos
	if len(own) > 0 {
		last = own[len(own)-1]
	}
	form, args := err.Msg()
	arg := func(i int) string {
		if i >= len(args) {
			return "this"
		}
		return valueWords(fmt.Sprint(args[i]))
	}
	word := func(i int) string { // of a type
		if i >= len(args) {
			return "a value"
		}
		return typeWords(fmt.Sprint(args[i]))
	}
	function := func(i int) string {
		if i < len(args) {
			if s := fmt.Sprint(args[i]); regexp.MustCompile(`^[\w./]+$`).MatchString(s) {
				return s[strings.LastIndexByte(s, '/')+1:]
			}
		}
		return "this function"
	}
	if strings.HasPrefix(form, "invalid interpolation") || strings.HasSuffix(form, "hand value to '%s' (type %s): %v") {
		// What is wrong with the value itself says more, at its own place if it has one.
		inner, ok := lastArg(args).(errors.Error)
		if !ok {
			inner, ok = errors.Unwrap(err).(errors.Error)
		}
		if ok {
			inner = errors.Errors(inner)[0]
			if f, a := inner.Msg(); strings.HasPrefix(f, "cannot use %s (type %s) as type") && len(a) > 1 {
				return `\(...) puts text, a number, or true or false into a text, and not ` + typeWords(fmt.Sprint(a[1])), last
			}
			m, pos := errorWords(inner, l)
			if !pos.IsValid() {
				pos = last
			}
			return m, pos
		}
	}
	switch {
	case strings.HasPrefix(form, "conflicting values"):
		return l.conflict(own, arg(0), arg(1))
	case strings.HasPrefix(form, "invalid value %v (out of bound"), strings.HasPrefix(form, "invalid value %s (does not satisfy"):
		return fmt.Sprintf("%s does not fit %s%s", arg(0), arg(1), from(own)), last
	case strings.HasPrefix(form, "incompatible list lengths"):
		return fmt.Sprintf("lists of %s and of %s items are both given%s; give one", arg(0), arg(1), from(own)), last
	case strings.HasPrefix(form, "incompatible"):
		return fmt.Sprintf("no value fits both %s and %s%s", arg(0), arg(1), from(own)), last
	case strings.HasPrefix(form, "field not allowed"):
		return "no such field in the definition that this is combined with" + from(own), last
	case strings.HasPrefix(form, "undefined field") && len(args) > 0:
		name := strings.Trim(fmt.Sprint(args[0]), `"`)
		m := fmt.Sprintf("refers to the field %s, which does not exist", name)
		if g := near(name, l.fieldsOf(last)); g != "" {
			m += fmt.Sprintf(" (did you mean %q?)", g)
		}
		return m, last
	case strings.HasPrefix(form, "index out of range"), strings.HasPrefix(form, "index %v out of range"), strings.HasPrefix(form, "index %d out of range"):
		if len(args) >= 2 && strings.Contains(form, "length") {
			return fmt.Sprintf("item %s of a list of %s items; the first is item 0", arg(0), arg(1)), last
		}
		return fmt.Sprintf("item %s of a list that has fewer; the first is item 0", arg(0)), last
	case strings.HasPrefix(form, "invalid index"):
		return "an item of a list is named by a whole number from 0, a field by text", last
	case strings.HasPrefix(form, "invalid slice index"), strings.HasPrefix(form, "cannot slice"), strings.HasPrefix(form, "non-concrete slice"):
		return "no part of this list can be taken: [from:to] counts from 0 and from is not after to", last
	case strings.HasPrefix(form, "invalid operands") && len(args) >= 5:
		m := fmt.Sprintf("%s does not combine %s and %s", arg(2), word(3), word(4))
		if k := word(3) + word(4); arg(2) == "+" && strings.Contains(k, "text") && strings.Contains(k, "number") {
			m += `; a number stands in a text as "\(name)"`
		}
		return m, last
	case strings.HasPrefix(form, "invalid operation") && l.listItem(last):
		return "a list is written as [a, b, c]", last
	case strings.HasPrefix(form, "invalid operation"):
		return fmt.Sprintf("%s does not take %s", arg(1), word(2)), last
	case strings.HasPrefix(form, "invalid left-hand value"), strings.HasPrefix(form, "invalid right-hand value"), strings.HasPrefix(form, "operand %s of"):
		return "calculates with a value that is not given", last
	case strings.HasPrefix(form, "invalid interpolation"):
		return `\(...) puts text, a number, or true or false into a text, and nothing else`, last
	case strings.HasPrefix(form, "cannot range over %s (found"):
		return fmt.Sprintf("for goes through lists and structs; %s is %s", arg(0), word(1)), last
	case strings.HasPrefix(form, "cannot range over"), strings.HasPrefix(form, "missing required field in for"):
		return "for goes through a list or struct that is not given", last
	case strings.HasPrefix(form, "Addition of lists"):
		return "lists are joined with list.Concat([a, b]), not with +", last
	case strings.HasPrefix(form, "Multiplication of lists"):
		return "a list is repeated with list.Repeat(list, times), not with *", last
	case strings.HasPrefix(form, "division by zero"), strings.HasPrefix(form, "failed arithmetic"):
		return "divides by zero, or gives a number that is too large", last
	case strings.HasPrefix(form, "not enough arguments"), strings.HasPrefix(form, "too many arguments"):
		return fmt.Sprintf("%s takes %s, and %s given", function(0), counted(arg(2), "argument"), are(arg(1))), last
	case strings.HasPrefix(form, "cannot use %s (type %s) as") && len(args) >= 4:
		if i := strings.Index(form, "argument"); i >= 0 {
			return fmt.Sprintf("%s: argument %s is %s; %s is wanted", function(4), arg(3), word(1), word(2)), last
		}
		return fmt.Sprintf("%s is %s; %s is wanted", arg(0), word(1), word(2)), last
	case strings.HasPrefix(form, "cannot use"):
		return fmt.Sprintf("%s is %s; %s is wanted", arg(0), word(1), word(2)), last
	case strings.HasPrefix(form, "invalid operand %s (found"):
		return fmt.Sprintf("%s is %s; a struct or a list is wanted", arg(0), word(1)), last
	case strings.HasPrefix(form, "field not found"):
		return fmt.Sprintf("refers to the field %s, which does not exist", unquoted(arg(0))), last
	case strings.HasPrefix(form, "preference mark"):
		return `* marks the default of a choice and stands nowhere else: *"a" | "b"`, last
	case strings.HasPrefix(form, "cannot call"):
		return "no function, or one that does not exist, is called", last
	case strings.HasPrefix(form, "error in call to"):
		return fmt.Sprintf("%s cannot do this%s", function(0), reason(err)), last
	case strings.HasPrefix(form, "explicit error"):
		return "in the place of a value stands the sign for what is never right; write the value", last
	case strings.HasPrefix(form, "unreferenced alias"):
		return fmt.Sprintf("%s is given a name and never used; delete it", unquoted(arg(0))), last
	case strings.Contains(form, "redeclared as imported package"), strings.Contains(form, "redeclared in this block"):
		return fmt.Sprintf("%s is named or imported twice in this file", unquoted(arg(0))), last
	case strings.HasPrefix(form, "reference %q not found"):
		return fmt.Sprintf("reference %s not found", arg(0)), last
	case strings.HasPrefix(form, "invalid regexp"):
		return "the pattern is no regular expression", last
	case strings.HasPrefix(form, "field is required"), strings.HasPrefix(form, "required field missing"):
		return "required, and left open by the template; give a value", last
	case strings.Contains(form, "errors in empty disjunction"), strings.HasPrefix(form, "empty disjunction"):
		return "fits none of the values that it may have" + from(own), last
	case strings.HasPrefix(form, "structural cycle"), strings.HasPrefix(form, "cyclic pattern"):
		return "contains itself without end", last
	case strings.HasPrefix(form, "cycle"), strings.HasPrefix(form, "cyclic"):
		return "depends on itself", last
	case strings.HasPrefix(form, "unresolved disjunction"), strings.HasPrefix(form, "ambiguous default"):
		return "depends on a choice that nobody has made; give the value", last
	case strings.HasPrefix(form, "incomplete %s") && word(0) == "true or false":
		return "a condition asks for a value that is not given; give it here: true or false", last
	case strings.HasPrefix(form, "non-concrete value"):
		if t := word(0); t != "a value" {
			return "depends on a value that is not given: it is only known to be " + t + from(own), last
		}
		return "depends on a value that is not given" + from(own), last
	case strings.HasPrefix(form, "incomplete"), strings.Contains(form, "incomplete"), strings.Contains(form, "non-concrete"), strings.Contains(form, "not concrete"), strings.HasPrefix(form, "unresolved value"):
		return "depends on a value that is not given", last
	case form == "%s" && len(args) == 1, !strings.Contains(form, "%") && len(args) == 0 && len(own) > 0 && l.callsError(own):
		return plainSentence(fmt.Sprintf(form, args...)), last // the author's own error("...")
	}
	return "gives no value that can be used here", last
}

func lastArg(args []any) any {
	if len(args) == 0 {
		return nil
	}
	return args[len(args)-1]
}

// ownPlaces are the places of an error in the author's files, in the order of the text.
func ownPlaces(err errors.Error) []token.Pos {
	var own []token.Pos
	for _, pos := range append([]token.Pos{err.Position()}, errors.Positions(err)...) {
		if pos.IsValid() && !strings.HasPrefix(pos.Filename(), "dunlin.dev/") && !slices.Contains(own, pos) {
			own = append(own, pos)
		}
	}
	slices.SortFunc(own, func(a, b token.Pos) int {
		if c := strings.Compare(a.Filename(), b.Filename()); c != 0 {
			return c
		}
		return a.Offset() - b.Offset()
	})
	return own
}

// from names the place before the last, which asks for something else.
func from(own []token.Pos) string {
	if len(own) < 2 {
		return ""
	}
	return " (" + place(position(own[len(own)-2]), own[len(own)-1].Filename()) + ")"
}

// conflict says which two values are both given, and where.
func (l *loading) conflict(own []token.Pos, a, b string) (string, token.Pos) {
	if len(own) == 0 {
		return fmt.Sprintf("%s and %s are both given; give one", a, b), token.NoPos
	}
	last := own[len(own)-1]
	texts, at := l.texts(own)
	if n := len(at); n >= 2 {
		x, y := texts[n-1], texts[n-2]
		where := place(position(at[n-2]), at[n-1].Filename())
		if t := typeWords(y); t != "a value" {
			return fmt.Sprintf("%s is given, and %s asks for %s", x, where, t), at[n-1]
		}
		if t := typeWords(x); t != "a value" {
			return fmt.Sprintf("%s is asked for, and %s (%s) is given", t, y, where), at[n-1]
		}
		return fmt.Sprintf("%s and %s (%s) are both given; give one", x, y, where), at[n-1]
	}
	if t := typeWords(b); t != "a value" {
		return fmt.Sprintf("%s is given, and %s is wanted", a, t), last
	}
	if t := typeWords(a); t != "a value" {
		return fmt.Sprintf("%s is given, and %s is wanted", b, t), last
	}
	return fmt.Sprintf("%s and %s are both given%s; give one", a, b, from(own)), last
}

// texts are the values that the author wrote at some places, where they are short, and their places.
func (l *loading) texts(own []token.Pos) (texts []string, at []token.Pos) {
	for _, pos := range own {
		if t := l.textAt(pos); t != "" {
			texts, at = append(texts, t), append(at, pos)
		}
	}
	return texts, at
}

// noneOf says of a value that it is none of several, where each of the errors is that it is not another of them; else
// nothing.
func (l *loading) noneOf(errs []errors.Error) (string, token.Pos) {
	value, first := "", token.NoPos
	var place0 token.Pos
	var words []string
	for _, err := range errs {
		form, _ := err.Msg()
		if strings.Contains(form, "empty disjunction") {
			continue
		}
		texts, at := l.texts(ownPlaces(err))
		if !strings.HasPrefix(form, "conflicting values") || len(texts) != 2 || value != "" && (texts[1] != value || at[1] != first) {
			return "", token.NoPos
		}
		value, first = texts[1], at[1]
		if !place0.IsValid() || at[0].Offset() < place0.Offset() {
			place0 = at[0]
		}
		if t := typeWords(texts[0]); t != "a value" {
			texts[0] = t
		}
		words = append(words, texts[0])
	}
	if len(words) < 2 {
		return "", token.NoPos
	}
	slices.Sort(words)
	return fmt.Sprintf("%s is none of %s (%s)", value, strings.Join(slices.Compact(words), ", "), place(position(place0), first.Filename())), first
}

// typeWords is what an author calls a type of CUE; "a value" for all else.
func typeWords(s string) string {
	var w []string
	for part := range strings.SplitSeq(strings.Trim(s, "()"), "|") {
		t := map[string]string{
			"string": "text", "int": "a whole number", "float": "a number", "number": "a number", "bool": "true or false",
			"list": "a list", "struct": "a struct", "null": "null", "bytes": "bytes", "func": "a function",
		}[strings.TrimSpace(part)]
		if t == "" {
			return "a value"
		}
		if t == "a whole number" && strings.Contains(s, "float") {
			t = "a number"
		}
		if !slices.Contains(w, t) {
			w = append(w, t)
		}
	}
	return strings.Join(w, " or ")
}

// valueWords is a value as CUE writes it, if that is a short piece of the author's own text.
func valueWords(s string) string {
	switch {
	case strings.HasPrefix(s, "{"):
		return "a struct"
	case strings.HasPrefix(s, "["):
		return "a list"
	case s == "", strings.ContainsAny(s, "\n#{") || strings.Contains(s, "_|_") || strings.Contains(s, "(:") || strings.Contains(s, "dunlin.dev/"):
		return "this"
	}
	return plainSentence(writing.Clip(s, 60))
}

func unquoted(s string) string { return strings.Trim(s, `"`) }

func counted(n, word string) string {
	if n == "1" {
		return n + " " + word
	}
	return n + " " + word + "s"
}

func are(n string) string {
	if n == "1" {
		return "1 is"
	}
	return n + " are"
}

// plainSentence is a text of the author in one line, without what a terminal obeys.
func plainSentence(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	return writing.Clip(strings.TrimSpace(s), 300)
}

// reason is what a function of the standard library says it was given, where these are its own words and not CUE's.
func reason(err errors.Error) string {
	for e := errors.Unwrap(err); e != nil; e = errors.Unwrap(e) {
		s := e.Error()
		if x, ok := e.(errors.Error); ok {
			f, a := x.Msg()
			s = fmt.Sprintf(f, a...)
			if strings.HasPrefix(f, "invalid list element") && len(a) >= 4 {
				return fmt.Sprintf(": item %v of its list is %s; %s is wanted", a[0], typeWords(fmt.Sprint(a[3])), typeWords(f[strings.LastIndexByte(f, ' ')+1:]))
			}
		}
		if i := strings.IndexByte(s, '\n'); i >= 0 {
			s = s[:i]
		}
		if _, rest, found := strings.Cut(s, "error in call to "); found {
			_, s, _ = strings.Cut(rest, ": ")
		}
		if s != "" && !jargon(s) {
			return ": " + writing.Clip(plainSentence(s), 120)
		}
	}
	return ""
}

// jargon reports whether a text speaks of how CUE works.
func jargon(s string) bool {
	s = strings.ToLower(s)
	return slices.ContainsFunc([]string{
		"concrete", "incomplete", "conflicting values", "_|_", "disjunction", "conjunct", "instance", "#", "schema.", "optional", "operand",
		"adt", "bottom", "vertex", "unif", "closedness", "expected ", "cue", "argument", "validator", "literal",
	}, func(w string) bool { return strings.Contains(s, w) })
}

// callsError reports whether error(...) stands at one of the places.
func (l *loading) callsError(own []token.Pos) bool {
	if l == nil {
		return false
	}
	for _, pos := range own {
		for _, f := range l.files {
			if f.name == pos.Filename() && pos.Offset() < len(f.text) && strings.HasPrefix(string(f.text[pos.Offset():min(len(f.text), pos.Offset()+6)]), "error(") {
				return true
			}
		}
	}
	return false
}

// listItem reports whether a place follows a dash that begins a line, as items do in YAML.
func (l *loading) listItem(pos token.Pos) bool {
	line := l.lineOf(pos)
	return strings.HasPrefix(strings.TrimLeft(line, " \t"), "- ")
}

// lineOf is the author's line of a place.
func (l *loading) lineOf(pos token.Pos) string {
	if l == nil || !pos.IsValid() {
		return ""
	}
	for _, f := range l.files {
		if f.name == pos.Filename() && pos.Offset() <= len(f.text) {
			lo := max(pos.Offset()-2000, 0)
			lo += bytes.LastIndexByte(f.text[lo:pos.Offset()], '\n') + 1
			line := f.text[lo:]
			if n := bytes.IndexByte(line, '\n'); n >= 0 {
				line = line[:n]
			}
			return string(line[:min(len(line), 2000)])
		}
	}
	return ""
}

// textAt is the expression that begins at a place, if it is short and no reference.
func (l *loading) textAt(pos token.Pos) string {
	if l == nil {
		return ""
	}
	for _, f := range l.files {
		if f.name != pos.Filename() || f.tree == nil || l.whole(f).tree == nil {
			continue
		}
		found := ""
		ast.Walk(l.whole(f).tree, func(n ast.Node) bool {
			if found != "" || n.Pos().Offset() > pos.Offset() || n.End().IsValid() && n.End().Offset() < pos.Offset() {
				return found == "" && !n.Pos().IsValid()
			}
			if e, ok := n.(ast.Expr); ok && n.Pos().Offset() == pos.Offset() {
				switch e := e.(type) {
				case *ast.Ident:
					if typeWords(e.Name) != "a value" {
						found = e.Name
					}
					return found == ""
				case *ast.SelectorExpr, *ast.BinaryExpr, *ast.Comprehension: // the last has no text of its own
					return true
				case *ast.StructLit:
					found = "a struct"
					return false
				}
				if b, err := format.Node(e); err == nil && len(b) <= 60 && !strings.Contains(string(b), "\n") {
					found = plainSentence(string(b))
				}
			}
			return true
		}, nil)
		return found
	}
	return ""
}

// fieldsOf are the fields of the shipped package that the author takes one from at a place.
func (l *loading) fieldsOf(at token.Pos) []string {
	if l == nil {
		return nil
	}
	var names []string
	for _, f := range l.files {
		if f.name != at.Filename() || f.tree == nil {
			continue
		}
		for s := range f.tree.ImportSpecs() {
			pkg := l.shipped(importPath(s))
			if importPath(s) == schemaPath {
				for name := range l.defs {
					names = append(names, name)
				}
				slices.Sort(names)
			}
			if pkg == nil || !regexp.MustCompile(`\b`+regexp.QuoteMeta(importName(s))+`\.`).MatchString(l.lineOf(at)) {
				continue
			}
			_ = fs.WalkDir(pkg, ".", func(name string, _ fs.DirEntry, _ error) error {
				b, _ := fs.ReadFile(pkg, name)
				for _, m := range regexp.MustCompile(`(?m)^(#?[A-Za-z]\w*):`).FindAllSubmatch(b, -1) {
					names = append(names, string(m[1]))
				}
				return nil
			})
		}
	}
	return names
}
