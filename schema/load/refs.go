package load

import (
	"cmp"
	"fmt"
	"maps"
	slash "path"
	"regexp"
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"
)

// standard reports whether CUE has a package of that name that only computes.
func standard(name string) bool {
	return slices.Contains(standardPackages(), name)
}

func standardPackages() []string {
	return []string{
		"crypto/ed25519", "crypto/hmac", "crypto/md5", "crypto/sha1", "crypto/sha256", "crypto/sha512",
		"encoding/base64", "encoding/csv", "encoding/hex", "encoding/json", "encoding/toml", "encoding/yaml",
		"html", "list", "math", "math/bits", "net", "path", "regexp", "strconv", "strings", "struct",
		"text/tabwriter", "text/template", "time", "uuid",
	}
}

// predeclared reports whether CUE itself gives a name a meaning.
func predeclared(name string) bool {
	switch strings.TrimPrefix(name, "__") {
	case "string", "bytes", "bool", "int", "float", "number", "error", "len", "close", "matchIf", "matchN",
		"and", "or", "div", "mod", "quo", "rem", "self", "null", "true", "false", "_", "_|_",
		"uint", "uint8", "int8", "uint16", "int16", "rune", "uint32", "int32", "uint64", "int64",
		"uint128", "int128", "float32", "float64":
		return true
	}
	return name == "_" || name == ""
}

// importName is the name under which a file knows an import.
func importName(s *ast.ImportSpec) string {
	if s.Name != nil {
		return s.Name.Name
	}
	p := importPath(s)
	if i := strings.LastIndexByte(p, ':'); i >= 0 {
		return p[i+1:]
	}
	p = p[strings.LastIndexByte(p, '/')+1:]
	p, _, _ = strings.Cut(p, "@")
	return p
}

func importPath(s *ast.ImportSpec) string { return strings.Trim(s.Path.Value, `"`) }

// libDir is the folder of this repository that an import path names, and the name of the package in it.
func (l *loading) libDir(imp string) (dir, pkg string, ok bool) {
	imp, pkg, _ = strings.Cut(imp, ":")
	if l.module == "" {
		return "", "", false
	}
	rest, ok := strings.CutPrefix(imp, l.module+"/")
	if !ok || !strings.HasPrefix(rest, "lib/") {
		return "", "", false
	}
	if pkg == "" {
		pkg = slash.Base(rest)
	}
	return rest, pkg, true
}

// libFiles are the files that make an imported package: those of its folder and of the folders of lib/ above it.
func (l *loading) libFiles(dir, pkg string) []*source {
	var out []*source
	for _, f := range l.files {
		if f.pkg == pkg && (f.dir == dir || strings.HasPrefix(dir, f.dir+"/")) && strings.HasPrefix(f.name, "lib/") {
			out = append(out, f)
		}
	}
	if !slices.ContainsFunc(out, func(f *source) bool { return f.dir == dir }) {
		return nil
	}
	return out
}

// imports checks what a file imports. A wrong import breaks the file.
func (l *loading) imports(f *source) {
	for s := range f.tree.ImportSpecs() {
		imp := importPath(s)
		msg := ""
		switch {
		case imp == "tool" || strings.HasPrefix(imp, "tool/"):
			msg = fmt.Sprintf("%q may not be imported: a policy cannot act", imp)
		case standard(imp):
		case guarded(f.name) != "":
			msg = fmt.Sprintf("%q may not be imported here: what carries authority imports only the standard library", imp)
		case imp == schemaPath || l.shipped(imp) != nil:
		case strings.HasPrefix(imp, "dunlin.dev/"):
			msg = missing("no package", imp, append(l.shippedNames(), schemaPath))
			for _, p := range l.shippedNames() {
				if slash.Base(p) == slash.Base(imp) {
					msg = fmt.Sprintf("no package %q (did you mean %q?)", imp, p)
				}
			}
		default:
			if dir, pkg, ok := l.libDir(imp); ok && l.libFiles(dir, pkg) != nil {
				break
			}
			msg = missing("no package", imp, l.importable())
		}
		if msg == "" && !f.mentions[importName(s)] {
			l.fault(f.name, s.Path.Pos(), "", fmt.Sprintf("%q is imported and not used", imp))
			continue // CUE is spared it: see batch
		}
		if msg != "" {
			l.fault(f.name, s.Path.Pos(), "", msg)
			f.broken = true
		}
	}
}

func missing(what, name string, have []string) string {
	m := fmt.Sprintf("%s %q", what, name)
	if g := near(name, have); g != "" {
		m += fmt.Sprintf(" (did you mean %q?)", g)
	}
	return m
}

// importable are the packages of the repository and the standard ones.
func (l *loading) importable() []string {
	out := standardPackages()
	seen := map[string]bool{}
	for _, f := range l.files {
		if l.module != "" && strings.HasPrefix(f.name, "lib/") && f.pkg != "" && !seen[f.dir] {
			seen[f.dir] = true
			out = append(out, l.module+"/"+f.dir)
		}
	}
	return out
}

// references finds names that mean nothing where they stand. A plain object that
// uses one is left out of the evaluation; anything else breaks its file.
func (l *loading) references(d *folder) {
	scope := map[string]bool{}
	for _, f := range d.chain {
		for _, t := range f.tops {
			scope[t.name] = true
		}
		if f.tree == nil { // what it would declare is not known
			for _, name := range regexp.MustCompile(`[\p{L}_#][\p{L}\p{N}_#]*`).FindAllString(string(f.text), -1) {
				scope[name] = true
			}
		}
	}
	for _, f := range d.own {
		switch {
		case f.tree == nil || f.pkg != "fleet":
		case f.name == "fleet.cue":
			own := map[string]bool{}
			for _, t := range f.tops {
				own[t.name] = true
			}
			l.unresolved(f, own, "; fleet.cue refers only to itself")
		case d.place != "":
			l.unresolved(f, scope, "; files in "+d.place+" refer only to their own folder and fleet.cue")
		default:
			l.unresolved(f, scope, "")
		}
	}
}

func (l *loading) unresolved(f *source, scope map[string]bool, rule string) {
	dashes := map[int]bool{} // lines that are items of a list in YAML
	words := slices.Sorted(maps.Keys(scope))
	for _, id := range f.tree.Unresolved {
		if scope[id.Name] || predeclared(id.Name) || importsName(f, id.Name) || id.Pos() == packagePos(f.tree) {
			continue
		}
		owner := f.owner(id.Pos())
		p := ""
		if owner != nil {
			owner.lost = true
			p = owner.key.path().String()
		} else {
			f.broken = true
		}
		if l.enough() {
			continue
		}
		m := fmt.Sprintf("reference %q not found", id.Name)
		if g := near(id.Name, words); g != "" {
			m += fmt.Sprintf(" (did you mean %q?)", g)
		} else if l.anywhere(id.Name) {
			m += cmp.Or(rule, "; folders side by side do not see each other's: share it through fleet.cue or lib/")
		} else {
			switch line := strings.TrimSpace(l.lineOf(id.Pos())); {
			case line == id.Name:
				m = fmt.Sprintf("%q stands alone; a field is written as name: value", id.Name)
			case dashed(f.text, id.Pos().Offset()) != "":
				word := dashed(f.text, id.Pos().Offset())
				if !strings.HasPrefix(word, id.Name+"-") {
					continue // the same word
				}
				m = fmt.Sprintf("a text stands between quotes: %q", word)
			case strings.HasPrefix(line, "- "):
				if dashes[id.Pos().Line()] = true; dashes[id.Pos().Line()-1] {
					continue // the same list
				}
				m = "a list is written as [a, b, c]"
			default:
				m += otherwise(id.Name, append(l.shippedNames(), schemaPath))
			}
		}
		l.fault(f.name, id.Pos(), p, m)
	}
}

// dashed is the word with dashes around a place in a file, such as AWS-RunPatchBaseline, which CUE reads as a difference;
// empty where there is none.
func dashed(text []byte, at int) string {
	in := func(i int) bool {
		return i >= 0 && i < len(text) && (text[i] == '-' || text[i] == '_' || text[i] >= '0' && text[i] <= '9' || text[i] >= 'A' && text[i] <= 'Z' || text[i] >= 'a' && text[i] <= 'z')
	}
	lo, hi := at, at
	for in(lo-1) && at-lo < 100 {
		lo--
	}
	for in(hi) && hi-at < 100 {
		hi++
	}
	if word := string(text[lo:hi]); regexp.MustCompile(`^[A-Za-z]\w*(-\w+)+$`).MatchString(word) {
		return word
	}
	return ""
}

// otherwise says what a name was probably meant to be that nothing is called by.
func otherwise(name string, known []string) string {
	switch lower := strings.ToLower(name); {
	case slices.Contains([]string{"yes", "no", "on", "off", "true", "false"}, lower):
		return "; write true or false"
	case slices.Contains([]string{"nil", "none", "undefined"}, lower):
		return "; leave the field out to say nothing"
	case strings.HasPrefix(name, "_") || strings.HasPrefix(name, "#"):
		return ""
	}
	for _, p := range append(standardPackages(), known...) {
		if slash.Base(p) == name {
			return fmt.Sprintf("; it is a package: import %q", p)
		}
	}
	return fmt.Sprintf("; a text stands between quotes: %q", name)
}

func (l *loading) anywhere(name string) bool {
	return slices.ContainsFunc(l.files, func(f *source) bool { _, ok := f.topPos(name); return ok })
}

func importsName(f *source, name string) bool {
	for s := range f.tree.ImportSpecs() {
		if importName(s) == name {
			return true
		}
	}
	return false
}

// owner is the plain object that a place lies in, or nil.
func (f *source) owner(pos token.Pos) *fragment {
	for _, fr := range f.frags {
		if fr.from <= pos.Offset() && pos.Offset() < fr.to {
			return fr
		}
	}
	return nil
}
