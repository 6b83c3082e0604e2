package trust

import (
	slash "path"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// Root is the role that owns what says who may change what.
const Root = "root"

// rootPaths are root's whatever other patterns say; another role gets one only by naming it literally (LANGUAGE "fleet
// and trust").
func rootPaths() []string {
	return []string{"fleet.cue", "schema.cue", "cue.mod/**", "nodes/**", "activations/**", "grants/**", "guardrails/**"}
}

// Owners gives the roles that must agree to a change of a path, sorted. A role with activations owns nothing: it may only
// add roster lines, which is judged apart. A path that no role owns is root's: nobody else may say so.
func Owners(roles map[string]schema.Role, path string) []string {
	own := rootPath(path)
	best, owners := -1, []string(nil)
	if own != "" {
		// Who names the pattern itself owns it; then root does so only where it names it, too.
		for name, r := range roles {
			if len(r.Activations) == 0 && slices.Contains(r.Paths, own) {
				owners = append(owners, name)
			}
		}
	} else {
		for name, r := range roles {
			if len(r.Activations) > 0 {
				continue
			}
			for _, pattern := range r.Paths {
				n := literal(pattern)
				if n < best || !Match(pattern, path) {
					continue
				}
				if n > best {
					best, owners = n, nil
				}
				if !slices.Contains(owners, name) {
					owners = append(owners, name)
				}
			}
		}
	}
	if len(owners) == 0 {
		return []string{Root}
	}
	slices.Sort(owners)
	return owners
}

// rootPath is the pattern of rootPaths that a path matches, or empty. Case does not save a path: some file systems fold it.
func rootPath(path string) string {
	for _, p := range rootPaths() {
		if Match(p, path) || Match(p, strings.ToLower(path)) {
			return p
		}
	}
	return ""
}

// literal is the length of what a pattern says before its first sign that stands for others: the longer, the more specific.
func literal(pattern string) int {
	if i := strings.IndexAny(pattern, "*?["); i >= 0 {
		return i
	}
	return len(pattern)
}

// Match reports whether a path matches a pattern: *, ? and [a-z] stand for what path.Match says, within one step; ** as a
// whole step stands for any number of folders, and at the end for everything below.
func Match(pattern, name string) bool {
	steps, parts := strings.Split(pattern, "/"), strings.Split(name, "/")
	// at[j] says that the steps so far match the first j parts.
	at := make([]bool, len(parts)+1)
	at[0] = true
	for i, step := range steps {
		next := make([]bool, len(parts)+1)
		for j := range at {
			switch {
			case !at[j]:
			case step == "**" && i == len(steps)-1:
				for k := j + 1; k <= len(parts); k++ {
					next[k] = true
				}
			case step == "**":
				for k := j; k <= len(parts); k++ {
					next[k] = true
				}
			case j < len(parts):
				ok, err := slash.Match(step, parts[j])
				next[j+1] = next[j+1] || ok && err == nil
			}
		}
		at = next
	}
	return at[len(parts)]
}
