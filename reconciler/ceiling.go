package reconciler

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
)

// Ceiling is what the host's own configuration forbids, whatever a commit says.
type Ceiling struct {
	schema.Ceiling
	File string // where it is written; empty for a host without one
	// Own are files and folders that are the program's own: what it may do, and what it has done. No policy writes there.
	Own []string
	// OwnUnit and OwnPackage are what runs the program: no policy stops, disables, restarts or removes them, for nobody
	// would be there to take that back. Empty: it runs otherwise.
	OwnUnit, OwnPackage string
}

// NoCeiling allows everything: that of a host without a configuration.
func NoCeiling() Ceiling {
	return Ceiling{Ceiling: schema.Ceiling{Runs: true, Packages: true, Reboots: true, Sessions: true}}
}

// Denies says why the host does not allow a change of res; empty where it does.
// A glob that does not parse, or that could match no path, denies everything, so that a typing error opens nothing.
func (c Ceiling) Denies(res schema.Resource) string {
	switch res.Kind {
	case schema.KindPackage, schema.KindPatch:
		if !c.Packages {
			return c.because("ceiling.packages", "false")
		}
		name, _, _ := strings.Cut(res.Key, ":")
		if c.OwnPackage != "" && res.Kind == schema.KindPackage && name == c.OwnPackage && res.Package != nil && res.Package.State == schema.Absent {
			return "it is dunlin itself, and nothing would be enforced here any more: remove it by hand"
		}
	case schema.KindService:
		// Without a service the question is whether it may be restarted.
		s := res.Service
		ends := s == nil || s.Running != nil && !*s.Running || s.Enabled != nil && !*s.Enabled
		if c.OwnUnit != "" && ends && (res.Key == c.OwnUnit || res.Key+".service" == c.OwnUnit) {
			return "it is dunlin itself, and nothing would be enforced here any more: stop or restart it by hand"
		}
	case schema.KindFile:
		for _, own := range c.Own {
			if at := path.Clean(res.Key); at == own || strings.HasPrefix(at, own+"/") {
				return fmt.Sprintf("%q is dunlin's own: a policy that could write it could lift this host's ceiling or undo its journal", own)
			}
		}
		if c.Files == nil {
			return ""
		}
		for i, glob := range c.Files.Deny {
			if malformed(glob) || globbed(glob, res.Key) {
				return c.because("ceiling.files.deny["+strconv.Itoa(i)+"]", strconv.Quote(glob))
			}
		}
	}
	return ""
}

func (c Ceiling) because(field, value string) string {
	at := c.File
	if p, ok := c.Positions[field]; ok {
		at += ":" + strconv.Itoa(p.Line)
	}
	return fmt.Sprintf("this host does not allow it: %s: %s is %s", at, field, value)
}

// malformed reports whether a glob does not parse or begins nowhere: `etc/ssh` for `/etc/ssh`.
func malformed(glob string) bool {
	drive := len(glob) > 2 && glob[1] == ':'
	if !strings.HasPrefix(glob, "/") && !strings.HasPrefix(glob, "**") && !drive {
		return true
	}
	_, err := path.Match(glob, "")
	return err != nil && !drive
}

// globbed matches a path against a glob in which `*` and `?` stay within a folder and `**` spans folders.
// A glob of a folder covers all below it.
func globbed(glob, name string) bool {
	return globParts(strings.Split(strings.TrimSuffix(path.Clean(glob), "/"), "/"), strings.Split(path.Clean(name), "/"))
}

func globParts(glob, name []string) bool {
	if len(glob) == 0 {
		return true // a parent folder is denied
	}
	if glob[0] == "**" {
		for i := 0; i <= len(name); i++ {
			if globParts(glob[1:], name[i:]) {
				return true
			}
		}
		return false
	}
	if len(name) == 0 {
		return false
	}
	ok, err := path.Match(glob[0], name[0])
	return (ok || err != nil) && globParts(glob[1:], name[1:])
}
