package baseline

import (
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// names is a list of approved or rejected patches made ready for many packages. An entry is one of
// apt's spellings of a package (SSM §7.4): name, version, name.arch, name-version, arch:version or
// name.arch:version; case does not matter, and `*`, `?`, `[a-z]` and `[!a-z]` are wildcards.
type names struct {
	list  []string
	exact map[string]int // lower-case entry to its place in list
	globs []glob
}

type glob struct {
	at      int    // its place in list
	pattern string // lower case
	prefix  string // what comes before the first wildcard
}

func compileNames(list []string) names {
	n := names{list: list, exact: make(map[string]int, len(list))}
	for i, entry := range list {
		lower := strings.ToLower(entry)
		if meta := strings.IndexAny(lower, "*?["); meta >= 0 {
			n.globs = append(n.globs, glob{i, lower, lower[:meta]})
		} else if _, twice := n.exact[lower]; !twice {
			n.exact[lower] = i
		}
	}
	return n
}

// match gives the first entry of the list that names p.
func (n names) match(p *schema.PackageFact) (string, bool) {
	if len(n.list) == 0 {
		return "", false
	}
	name, arch, version := strings.ToLower(p.Name), strings.ToLower(p.Arch), strings.ToLower(p.Version)
	full := name + "." + arch + ":" + version
	nameArch := len(name) + 1 + len(arch)
	const named = 4 // the spellings that begin with the name come first
	spellings := [...]string{name, full[:nameArch], name + "-" + version, full, version, full[len(name)+1:]}
	first := len(n.list)
	for _, s := range spellings {
		if i, ok := n.exact[s]; ok {
			first = min(first, i)
		}
	}
	for _, g := range n.globs {
		if g.at > first {
			break
		}
		from := 0
		if len(g.prefix) <= len(name) && !strings.HasPrefix(name, g.prefix) {
			from = named // none of those that begin with the name can match
		}
		for _, s := range spellings[from:] {
			if strings.HasPrefix(s, g.prefix) && globMatch(g.pattern[len(g.prefix):], s[len(g.prefix):]) {
				first = g.at
				break
			}
		}
	}
	if first == len(n.list) {
		return "", false
	}
	return n.list[first], true
}

// Rejected gives the entry of b's rejectedPatches that names p. Installing asks it about packages that
// an approved one would bring along: with rejectedPatchesAction BLOCK they may not come.
func Rejected(b schema.Baseline, p schema.PackageFact) (entry string, rejected bool) {
	return compileNames(b.RejectedPatches).match(&p)
}

// globMatch reports whether all of s matches pattern. A `[` that is never closed stands for itself. It
// takes time in the product of both lengths at worst.
func globMatch(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0 // the last star, and where the text after it was tried last
	for i < len(s) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, mark = p, i
				p++
				continue
			}
			if width, ok := matchOne(pattern[p:], s[i]); ok {
				p += width
				i++
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches one byte with the head of a pattern and gives the head's length.
func matchOne(pattern string, c byte) (width int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		end := classEnd(pattern)
		if end < 0 {
			return 1, c == '['
		}
		class := pattern[1:end]
		negated := class[0] == '!'
		if negated {
			class = class[1:]
		}
		in := false
		for k := 0; k < len(class); k++ {
			if k+2 < len(class) && class[k+1] == '-' {
				in = in || class[k] <= c && c <= class[k+2]
				k += 2
			} else {
				in = in || class[k] == c
			}
		}
		return end + 1, in != negated
	}
	return 1, pattern[0] == c
}

// classEnd finds the `]` that closes the class at the head of a pattern, -1 when there is none. Right
// after `[` or `[!` a `]` is one of the class.
func classEnd(pattern string) int {
	k := 1
	if k < len(pattern) && pattern[k] == '!' {
		k++
	}
	if k >= len(pattern) {
		return -1
	}
	end := strings.IndexByte(pattern[k+1:], ']')
	if end < 0 {
		return -1
	}
	return k + 1 + end
}
