package load

import (
	"io/fs"
	slash "path"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/policies"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/shipped"
)

// policiesPath is where repositories import the shipped library from.
const policiesPath = "dunlin.dev/policies/"

// shipped is the package of the shipped library that an import path names, or nil.
func (l *loading) shipped(imp string) fs.FS {
	folder, ok := strings.CutPrefix(imp, policiesPath)
	if !ok || !fs.ValidPath(folder) || folder == "." {
		return nil
	}
	if names, err := fs.Glob(policies.Files, folder+"/*.cue"); err != nil || len(names) == 0 {
		return nil
	}
	sub, err := fs.Sub(policies.Files, folder)
	if err != nil {
		return nil
	}
	return sub
}

func (l *loading) shippedNames() []string {
	names, _ := fs.Glob(policies.Files, "*/*.cue")
	var out []string
	for _, name := range names {
		out = append(out, policiesPath+slash.Dir(name))
	}
	return slices.Compact(out) // Glob sorts
}

// readShipped adds the documents that come with the program, and the baselines that this build can judge by:
// others must never be anybody's default. It keeps the systems of those, so that who names one is told.
func (l *loading) readShipped() {
	l.repo.Shipped, l.repo.ShippedDocuments = shipped.Baselines(), shipped.Documents()
	l.notJudged = map[string]schema.OperatingSystem{}
	for name, b := range l.repo.Shipped {
		if schema.Refuses(l.opts.Limits, schema.LimitOperatingSystem, string(b.OperatingSystem)) {
			l.notJudged[name] = b.OperatingSystem
			delete(l.repo.Shipped, name)
		}
	}
}
