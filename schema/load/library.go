package load

import (
	"io/fs"
	slash "path"
	"strings"

	"github.com/dunlin-dev/dunlin/policies"
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
	return out
}

// readShipped adds the baselines that come with the program.
func (l *loading) readShipped() error {
	b, err := Shipped()
	l.repo.Shipped = b
	return err
}
