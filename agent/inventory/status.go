package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Paths of dpkg's files, as on the host.
const (
	StatusPath = "/var/lib/dpkg/status"
	infoPath   = "/var/lib/dpkg/info"
	archPath   = "/var/lib/dpkg/arch"
)

// State is how far dpkg got with a package (dpkg(1), "package states").
type State uint8

const (
	NotInstalled State = iota
	ConfigFiles
	HalfInstalled
	Unpacked
	HalfConfigured
	TriggersAwaited
	TriggersPending
	Installed
)

var stateWords = [...]string{"not-installed", "config-files", "half-installed", "unpacked",
	"half-configured", "triggers-awaited", "triggers-pending", "installed"}

// String is dpkg's own word.
func (s State) String() string {
	if int(s) < len(stateWords) {
		return stateWords[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Package is a stanza of dpkg's status file. Strings are the file's own.
type Package struct {
	Name, Version, Arch   string
	Source, SourceVersion string // resolved: the name and version themselves where the file says nothing
	Maintainer, Homepage  string
	Summary               string // first line of the description
	Section, Priority     string
	Held                  bool   // apt-mark hold
	CoInstalled           bool   // Multi-Arch: same
	State                 State  // what dpkg last achieved
	ConfigVersion         string // version last configured, where it is not Version's own state

	identity identity
}

// OnDisk reports whether the package's files are, perhaps partly, on the host.
func (p *Package) OnDisk() bool { return p.State > ConfigFiles }

// Working gives the version that was last configured and has not been removed:
// what counts as installed when patches are judged. A version that is only
// unpacked or whose configuration failed is not it; the one before it is. It is
// empty if there is none.
func (p *Package) Working() string {
	switch p.State {
	case Installed, TriggersAwaited, TriggersPending:
		return p.Version
	case HalfInstalled, Unpacked, HalfConfigured:
		return p.ConfigVersion
	}
	return ""
}

// ReadStatus reads dpkg's status file below root. Packages that are not
// installed are left out, those of which only configuration files remain too.
// The order is the file's. Errors are *InputError; a missing file wraps fs.ErrNotExist.
func ReadStatus(ctx context.Context, root string) ([]Package, error) {
	return readStatus(ctx, newTree(root), false, nil)
}

// readStatus takes note of the packages' identities only if they are wanted.
// found, if not nil, is given the packages a few at a time, while the rest is
// being read; it may keep but not change them.
func readStatus(ctx context.Context, t tree, identities bool, found func([]Package)) ([]Package, error) {
	f, size, err := t.open(StatusPath)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxStatusSize {
		return nil, &InputError{Path: StatusPath, Err: fmt.Errorf("%d bytes, more than the %d that are read", size, maxStatusSize)}
	}
	return parseStatus(ctx, io.LimitReader(f, maxStatusSize), statusWindow, identities, found)
}

// statusWindow is what is read of the status file at a time: most stanzas have a KiB, so memory for all of it
// would take longer to come by than reading it does.
const statusWindow = 64 << 10

func parseStatus(ctx context.Context, r io.Reader, window int, identities bool, found func([]Package)) ([]Package, error) {
	out := make([]Package, 0, 1024)
	sr := newStanzaReader(r, make([]byte, window))
	sr.max = windowSize
	p := statusParser{identities: identities}
	var last []byte
	told := 0
	for {
		if len(out)%512 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if found != nil && len(out)-told == 64 {
			found(out[told:])
			told = len(out)
		}
		st, err := sr.next(true)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, &InputError{Path: StatusPath, Line: sr.lines + 1, Hint: hintStatus, Err: cause(err)}
		}
		// Empty lines before the stanza are counted by next, too.
		at := func() int { return sr.lines - bytes.Count(st, []byte{'\n'}) }
		last = st
		pkg, line, err := p.parse(st)
		if err != nil {
			return nil, &InputError{Path: StatusPath, Line: at() + line + 1, Hint: hintStatus, Err: err}
		}
		if pkg.OnDisk() {
			if len(out) == maxPackages {
				return nil, &InputError{Path: StatusPath, Line: at() + 1, Err: fmt.Errorf("more than %d packages", maxPackages)}
			}
			out = append(out, pkg)
		}
	}
	switch {
	case sr.total == 0:
		return nil, &InputError{Path: StatusPath, Hint: hintStatus, Err: errors.New("the file is empty")}
	case len(last) > 0 && last[len(last)-1] != '\n':
		return nil, &InputError{Path: StatusPath, Line: sr.lines + 1, Hint: hintStatus, Err: errors.New("cut off in the middle of a line")}
	}
	if found != nil && told < len(out) {
		found(out[told:])
	}
	return out, nil
}

type statusParser struct {
	identities bool
	t          texts
	out        []string
}

// parse reads one stanza; on an error it gives the line within it, from 0.
func (sp *statusParser) parse(st []byte) (p Package, line int, err error) {
	if bytes.IndexByte(st, 0) >= 0 {
		return p, bytes.Count(st[:bytes.IndexByte(st, 0)], []byte{'\n'}), errors.New("a NUL byte")
	}
	var f statusFields
	var id identityBuilder
	it := fields{b: st}
	for {
		key, v, ok, err := it.step()
		if err != nil {
			return p, it.line, err
		}
		if !ok {
			break
		}
		if kept := f.field(key); kept != nil {
			*kept = v
		} else if sp.identities {
			id.add(key, v)
		}
	}
	if sp.identities {
		id.add([]byte("Multi-Arch"), f.multi)
	}
	if len(f.name) == 0 {
		return p, 0, errors.New("a stanza without a Package field")
	}
	if p.Held, p.State, err = parseState(f.status); err != nil {
		return p, 0, fmt.Errorf("package %q: %w", clip(f.name), err)
	}
	if !p.OnDisk() {
		return p, 0, nil
	}
	if len(f.version) == 0 || len(f.arch) == 0 {
		return p, 0, fmt.Errorf("package %q is %s without a version or architecture", clip(f.name), p.State)
	}
	for _, v := range [][]byte{f.name, f.version, f.arch, f.source, f.config} {
		if len(v) > maxValue || bytes.IndexByte(v, '\n') >= 0 {
			return p, 0, fmt.Errorf("package %q has a name or version of more than a line or %d bytes", clip(f.name), maxValue)
		}
	}
	source, sourceVersion := cutSource(f.source)
	sp.t.reset()
	for _, v := range [][]byte{f.name, f.version, f.arch, source, sourceVersion, f.maint, f.home, firstLine(f.desc), f.section, f.prio, f.config} {
		sp.t.add(v)
	}
	sp.out = sp.t.done(sp.out)
	o := sp.out
	p.Name, p.Version, p.Arch, p.Source, p.SourceVersion = o[0], o[1], o[2], o[3], o[4]
	p.Maintainer, p.Homepage, p.Summary, p.Section, p.Priority, p.ConfigVersion = o[5], o[6], o[7], o[8], o[9], o[10]
	if p.Source == "" {
		p.Source = p.Name
	}
	if p.SourceVersion == "" {
		p.SourceVersion = p.Version
	}
	p.CoInstalled = string(f.multi) == "same"
	if sp.identities {
		p.identity = id.done(p.Arch == "all")
	}
	return p, 0, nil
}

// statusFields are the fields of a stanza that are kept, some ten of thirty.
type statusFields struct{ name, version, arch, source, status, maint, home, desc, section, prio, config, multi []byte }

// field gives the place of a field, or nil. Names may be in any case.
func (f *statusFields) field(key []byte) *[]byte {
	if kept := f.exactly(string(key)); kept != nil {
		return kept
	}
	// dpkg writes them as above: only a name that begins like one of them is looked at again.
	first := [...]string{6: "s", 7: "psv", 8: "ph", 10: "m", 11: "d", 12: "a", 14: "c"}
	if len(key) >= len(first) || strings.IndexByte(first[len(key)], lower(key[0])) < 0 {
		return nil
	}
	var title [len(first)]byte
	for i, c := range key {
		title[i] = lower(c)
		if (i == 0 || key[i-1] == '-') && 'a' <= title[i] && title[i] <= 'z' {
			title[i] -= 'a' - 'A'
		}
	}
	return f.exactly(string(title[:len(key)]))
}

func (f *statusFields) exactly(key string) *[]byte {
	switch key {
	case "Package":
		return &f.name
	case "Status":
		return &f.status
	case "Priority":
		return &f.prio
	case "Section":
		return &f.section
	case "Maintainer":
		return &f.maint
	case "Architecture":
		return &f.arch
	case "Source":
		return &f.source
	case "Version":
		return &f.version
	case "Config-Version":
		return &f.config
	case "Description":
		return &f.desc
	case "Homepage":
		return &f.home
	case "Multi-Arch":
		return &f.multi
	}
	return nil
}

// parseState reads `want flag state`. An absent field is not installed, as dpkg has it.
func parseState(v []byte) (held bool, s State, err error) {
	if len(v) == 0 {
		return false, NotInstalled, nil
	}
	w := bytes.Fields(v)
	if len(w) != 3 {
		return false, 0, fmt.Errorf("status %q is not three words", clip(v))
	}
	switch string(w[0]) {
	case "unknown", "install", "hold", "deinstall", "purge":
	default:
		return false, 0, fmt.Errorf("status %q does not begin with install, hold, deinstall, purge or unknown", clip(v))
	}
	for i, word := range stateWords {
		if string(w[2]) == word {
			return string(w[0]) == "hold", State(i), nil
		}
	}
	return false, 0, fmt.Errorf("status %q does not end with one of %s", clip(v), strings.Join(stateWords[:], ", "))
}

// cutSource splits `name (version)`.
func cutSource(v []byte) (name, version []byte) {
	i := bytes.IndexByte(v, ' ')
	if i < 0 {
		return v, nil
	}
	name, v = v[:i], v[i:]
	open := bytes.IndexByte(v, '(')
	if open < 0 {
		return name, nil
	}
	shut := bytes.IndexByte(v[open:], ')')
	if shut < 0 {
		return name, nil
	}
	return name, v[open+1 : open+shut]
}

func firstLine(v []byte) []byte {
	if i := bytes.IndexByte(v, '\n'); i >= 0 {
		return trimSpace(v[:i])
	}
	return v
}

// clip shortens outside text for an error.
func clip(v []byte) string {
	if len(v) > 80 {
		return string(v[:80]) + "..."
	}
	return string(v)
}
