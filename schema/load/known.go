package load

import (
	slash "path"
	"slices"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// Known is what the judgement of a whole repository leaves behind, beside what it says: enough to judge a later change of
// some of its files by a part of it. It belongs to the repository that it came with and to no other.
type Known struct {
	Warnings []schema.Fault      // of the evaluation, without those of Options.Warn
	Files    int                 // in the repository
	Bytes    int64               // of those that are evaluated
	Folders  map[string]Folder   // of package fleet, by path: those of which there is something to say
	Apart    map[string][]string // files of objects that are not written in just one place, by object
	Looks    map[string][]string // what the judgement of an object looked at
	Library  []string            // cue.mod/module.cue and files under lib/
	Tried    int                 // of maxTried
	Asked    int                 // of maxAsked
}

// Folder is what objects of a folder of package fleet, and of those below, may depend on.
type Folder struct {
	Support []string // files that say more than whole objects
	Active  bool     // one of them makes objects or looks at them
	Uses    []string // kinds of which other objects of it take something; "self" for any
	Imports bool     // packages under lib/
}

// known gathers it.
func (l *loading) known(warnings []schema.Fault) *Known {
	k := &Known{Warnings: slices.Clone(warnings), Files: len(l.tree.Size), Folders: map[string]Folder{}, Apart: map[string][]string{}, Looks: l.looks(), Tried: l.tried, Asked: l.asked}
	for name, text := range l.tree.Content {
		k.Bytes += int64(len(text))
		if name == "cue.mod/module.cue" || strings.HasPrefix(name, "lib/") {
			k.Library = append(k.Library, name)
		}
	}
	slices.Sort(k.Library)
	for _, d := range l.folders {
		f := Folder{Active: slices.ContainsFunc(d.own, l.active)}
		uses := map[string]bool{}
		take := func(names map[string]bool) {
			for name := range names {
				switch {
				case name == "self" || name == "__self":
					uses["self"] = true
				case l.kinds[name] && name != "fleet":
					uses[name] = true
				}
			}
		}
		for _, s := range d.own {
			f.Active = f.Active || len(s.touches) > 0
			if s.rest {
				f.Support = append(f.Support, s.name)
			}
			take(s.restUses)
			for _, fr := range s.frags {
				take(fr.uses)
			}
			for imp := range s.tree.ImportSpecs() {
				if _, _, ok := l.libDir(importPath(imp)); ok {
					f.Imports = true
				}
			}
		}
		for name := range uses {
			f.Uses = append(f.Uses, name)
		}
		slices.Sort(f.Uses)
		if len(f.Support) > 0 || f.Active || len(f.Uses) > 0 || f.Imports {
			k.Folders[d.dir] = f
		}
	}
	for key, o := range l.objects {
		if o.text != nil || len(o.frags) == 1 {
			continue
		}
		files := []string{}
		for _, fr := range o.frags {
			if !slices.Contains(files, fr.file.name) {
				files = append(files, fr.file.name)
			}
		}
		k.Apart[key.text()] = files
	}
	return k
}

// objectIn takes the object off a path as faults write it, and gives what is left of the path.
func objectIn(path string) (key objKey, rest string, ok bool) {
	kind, rest, _ := strings.Cut(path, ".")
	if kind == "fleet" {
		return objKey{"fleet", ""}, rest, true
	}
	if rest == "" {
		return objKey{}, "", false
	}
	if rest[0] == '"' {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return objKey{}, "", false
		}
		name, err := strconv.Unquote(quoted)
		return objKey{kind, name}, rest[len(quoted):], err == nil
	}
	end := strings.IndexAny(rest, ".[")
	if end < 0 {
		end = len(rest)
	}
	return objKey{kind, rest[:end]}, rest[end:], true
}

// keyOf is the key that text wrote.
func keyOf(text string) objKey {
	kind, name, _ := strings.Cut(text, " ")
	return objKey{kind, name}
}

// above are a folder and those above it, the root last.
func above(dir string) []string {
	out := []string{dir}
	for dir != "." {
		dir = slash.Dir(dir)
		out = append(out, dir)
	}
	return out
}
