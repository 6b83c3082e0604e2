package inventory

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// Known is what the caller knows of the host and no file of it says.
type Known struct {
	Node        string               // id in the roster, or empty
	At          time.Time            // the instant of the facts
	LastInstall []schema.LastInstall // from the state folder
}

// ReadFacts reads what judging patches needs (LANGUAGE, "Facts"), and gives the
// patches that it is made of for apt's own choices and warnings. Errors are
// those of ReadPatches.
func ReadFacts(ctx context.Context, o Options, k Known) (schema.Facts, *Patches, error) {
	p, err := ReadPatches(ctx, o)
	if err != nil {
		return schema.Facts{}, nil, err
	}
	t := newTree(o.Root)
	os, err := readOS(t)
	if err != nil {
		return schema.Facts{}, nil, err
	}
	f := schema.Facts{V: 1, Node: k.Node, At: k.At.UTC(), OS: os.facts(), Arch: p.Arch, Installed: p.Installed, Candidates: p.Newer,
		PendingReboot: pendingReboot(t), LastInstall: k.LastInstall}
	if f.Candidates == nil {
		f.Candidates = []schema.PackageFact{}
	}
	if f.LastInstall == nil {
		f.LastInstall = []schema.LastInstall{}
	}
	return f, p, nil
}

// ReadOS reads which operating system is below root, from os-release(5).
func ReadOS(root string) (schema.OSFacts, error) {
	os, err := readOS(newTree(root))
	return os.facts(), err
}

// osRelease holds the fields of os-release(5) that are used.
type osRelease struct{ id, name, versionID string }

func readOS(t tree) (osRelease, error) {
	var r osRelease
	var b []byte
	err := error(nil)
	for _, p := range [...]string{"/etc/os-release", "/usr/lib/os-release"} {
		if b, err = t.read(p, 64<<10); err == nil || !isNotExist(err) {
			break
		}
	}
	if err != nil {
		return r, err
	}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		if v = unquoteShell(v); len(v) > 256 {
			continue
		}
		switch k {
		case "ID":
			r.id = v
		case "NAME":
			r.name = v
		case "VERSION_ID":
			r.versionID = v
		}
	}
	return r, nil
}

// unquoteShell takes off the quotes that os-release(5) allows.
func unquoteShell(s string) string {
	if len(s) >= 2 && s[0] == s[len(s)-1] && (s[0] == '"' || s[0] == '\'') {
		double := s[0] == '"'
		s = s[1 : len(s)-1]
		if double && strings.Contains(s, `\`) {
			s = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\$`, `$`, "\\`", "`").Replace(s)
		}
	}
	return s
}

func (r osRelease) facts() schema.OSFacts {
	f := schema.OSFacts{ID: r.id, VersionID: r.versionID}
	switch r.id {
	case "debian":
		major, _, _ := strings.Cut(r.versionID, ".")
		f.OperatingSystem, f.Product = schema.Debian, "Debian"+major
	case "ubuntu":
		f.OperatingSystem, f.Product = schema.Ubuntu, "Ubuntu"+r.versionID
	}
	return f
}

const maxRebootPackages = 10_000

// pendingReboot reads the files that maintainer scripts leave (Debian's
// update-notifier convention); a file that cannot be read counts as a request.
func pendingReboot(t tree) schema.PendingReboot {
	r := schema.PendingReboot{Packages: []string{}}
	const flag, pkgs = "/run/reboot-required", "/run/reboot-required.pkgs"
	if !t.exists(flag) {
		return r
	}
	r.Is = true
	b, err := t.read(pkgs, maxConfigSize)
	if err != nil {
		return r
	}
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSpace(line); line != "" && len(line) <= 256 && len(r.Packages) < maxRebootPackages {
			r.Packages = append(r.Packages, line)
		}
	}
	slices.Sort(r.Packages)
	r.Packages = slices.Compact(r.Packages)
	return r
}
