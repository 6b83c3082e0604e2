package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// pin is one entry of apt_preferences(5), for one word of its Package field.
type pin struct {
	all      bool       // Package: *
	name     expression // of packages, or of sources
	literal  string     // the word itself, without src: and architecture
	source   bool       // src:name
	arch     string     // name:arch; empty means the host's own
	match    matcher
	priority int
}

// neverPin is Pin-Priority: never, lower than every number that can be written.
const neverPin = math.MinInt16

// matcher decides which versions or archives a pin means.
type matcher struct {
	kind pinKind
	// version, source-version
	version versionText
	// release
	everything                                      bool // release *
	relVersion                                      versionText
	origin, archive, codename, label, comp, relArch *expression
	either                                          *expression // archive or codename
	// origin
	site expression
}

type pinKind uint8

const (
	pinNothing pinKind = iota
	pinVersion
	pinSourceVersion
	pinRelease
	pinOrigin
)

// versionText is a version, a prefix of one (1.2*), or an expression.
type versionText struct {
	text   string
	prefix bool
	expr   expression
}

func newVersionText(s string) versionText {
	v := versionText{text: s}
	if strings.HasSuffix(s, "*") {
		v.prefix, v.text = true, s[:len(s)-1]
	}
	v.expr = newExpression(v.text)
	return v
}

func (v versionText) match(s string) bool {
	if len(s) == len(v.text) || v.prefix && len(s) > len(v.text) {
		if equalFold(s[:len(v.text)], v.text) {
			return true
		}
	}
	return v.expr.match(s)
}

// newMatcher reads the text after the pin's type.
func newMatcher(kind pinKind, data string) matcher {
	m := matcher{kind: kind}
	if data == "" {
		return m
	}
	switch kind {
	case pinVersion, pinSourceVersion:
		m.version = newVersionText(data)
	case pinOrigin:
		if len(data) >= 2 && data[0] == '"' && data[len(data)-1] == '"' {
			data = data[1 : len(data)-1]
		}
		m.site = newExpression(data)
	case pinRelease:
		m.release(data)
	}
	return m
}

func (m *matcher) release(data string) {
	if data == "*" {
		m.everything = true
		return
	}
	expr := func(s string) *expression {
		e := newExpression(s)
		return &e
	}
	if !strings.Contains(data, "=") {
		if isDigit(data[0]) {
			m.relVersion = newVersionText(data)
		} else {
			m.either = expr(data)
		}
		return
	}
	if len(data) > 299 {
		data = data[:299] // as apt cuts it
	}
	parts := strings.Split(data, ",")
	if len(parts) >= 20 {
		m.kind = pinNothing
		return
	}
	for _, p := range parts {
		p = strings.TrimSpace(p)
		if len(p) < 3 || p[1] != '=' {
			continue
		}
		v := p[2:]
		switch lower(p[0]) {
		case 'v':
			m.relVersion = newVersionText(v)
		case 'o':
			m.origin = expr(v)
		case 'a':
			m.archive = expr(v)
		case 'n':
			m.codename = expr(v)
		case 'l':
			m.label = expr(v)
		case 'c':
			m.comp = expr(v)
		case 'b':
			m.relArch = expr(v)
		}
	}
}

// archive is what pins see of an index, or of the status file.
type archiveInfo struct {
	rel       *release // nil for the status file
	component string   // "now" for the status file
	site      string
	arch      string
}

func (e *expression) matchField(s string) bool { return s != "" && e.match(s) }

// file reports whether the pin means an archive.
func (m *matcher) file(a *archiveInfo) bool {
	switch m.kind {
	case pinOrigin:
		return a.rel != nil && m.site.match(a.site)
	case pinRelease:
	default:
		return false
	}
	if m.everything {
		return true
	}
	wantVersion := m.relVersion.text != "" // a bare * is empty, as apt has it
	if a.rel == nil {
		if m.archive != nil && !m.archive.matchField(a.component) || m.either != nil && !m.either.matchField(a.component) ||
			m.origin != nil || m.label != nil || wantVersion || m.codename != nil {
			return false
		}
	} else {
		r := a.rel
		if !wantVersion && m.origin == nil && m.archive == nil && m.label == nil && m.either == nil &&
			m.codename == nil && m.comp == nil && m.relArch == nil {
			return false
		}
		if wantVersion && (r.version == "" || !m.relVersion.match(r.version)) ||
			m.origin != nil && !m.origin.matchField(r.origin) ||
			m.archive != nil && !m.archive.matchField(r.suite) ||
			m.codename != nil && !m.codename.matchField(r.codename) ||
			m.either != nil && !m.either.matchField(r.suite) && !m.either.matchField(r.codename) ||
			m.label != nil && !m.label.matchField(r.label) {
			return false
		}
	}
	return (m.comp == nil || m.comp.match(a.component)) && (m.relArch == nil || m.relArch.matchField(a.arch))
}

// parsePreferences reads one file of apt_preferences(5). What makes apt refuse
// the file is an error here, what makes it warn is passed over.
func parsePreferences(file string, b []byte) ([]pin, error) {
	var out []pin
	b = dropComments(b)
	sr := newStanzaReader(bytes.NewReader(b), make([]byte, len(b)+1))
	for {
		st, err := sr.next(true)
		if err != nil {
			return out, nil // the end
		}
		first := sr.lines - bytes.Count(st, []byte{'\n'})
		wrap := func(line int, err error) error {
			return &InputError{Path: file, Line: first + line + 1, Hint: "correct the entry; apt refuses to work with it", Err: err}
		}
		var name, spec, prio []byte
		hasPin := false
		n := 0
		it := fields{b: st}
		for {
			k, v, ok, err := it.step()
			if err != nil {
				return nil, wrap(it.line, err)
			}
			if !ok {
				break
			}
			n++
			switch {
			case is(k, "Package"):
				name = v
			case is(k, "Pin"):
				spec, hasPin = v, true
			case is(k, "Pin-Priority"):
				prio = v
			}
		}
		if n == 0 {
			continue
		}
		if len(name) == 0 {
			return nil, wrap(0, errors.New("no Package field"))
		}
		if !hasPin {
			continue
		}
		all := string(name) == "*"
		end := bytes.IndexFunc(spec, func(r rune) bool { return r < 128 && isSpace(byte(r)) })
		if end < 0 {
			end = len(spec)
		}
		data := string(trimSpace(spec[end:]))
		var kind pinKind
		switch word := strings.ToLower(string(spec[:end])); {
		case word == "version" && !all:
			kind = pinVersion
		case word == "source-version" && !all:
			kind = pinSourceVersion
		case word == "release":
			kind = pinRelease
		case word == "origin":
			kind = pinOrigin
		default:
			continue
		}
		priority, err := parsePriority(string(prio), all)
		if err != nil {
			return nil, wrap(0, err)
		}
		m := newMatcher(kind, data)
		if all {
			out = append(out, pin{all: true, match: m, priority: priority})
			continue
		}
		for _, w := range strings.Fields(string(name)) {
			out = append(out, newPin(w, m, priority))
		}
	}
}

func parsePriority(s string, all bool) (int, error) {
	if s == "never" {
		if !all {
			return 0, errors.New("Pin-Priority never is for Package: * only")
		}
		return neverPin, nil
	}
	n, err := strconv.Atoi(s)
	switch {
	case s == "" || err == nil && n == 0:
		return 0, errors.New("no Pin-Priority, or zero")
	case err != nil || n < math.MinInt16 || n > math.MaxInt16:
		return 0, fmt.Errorf("Pin-Priority %q is not a number from %d to %d", clip([]byte(s)), math.MinInt16, math.MaxInt16)
	case n == neverPin:
		n++
	}
	return n, nil
}

func newPin(word string, m matcher, priority int) pin {
	p := pin{match: m, priority: priority}
	word, p.source = strings.CutPrefix(word, "src:")
	if i := strings.LastIndexByte(word, ':'); i >= 0 {
		word, p.arch = word[:i], word[i+1:]
	}
	p.literal = word
	if len(word) > 1 && word[0] == '/' && word[len(word)-1] == '/' || strings.ContainsAny(word, "*[?") {
		p.name = newExpression(word)
	} else {
		p.name = expression{none: true}
	}
	return p
}

// names reports whether the pin means the package or source called n.
func (p *pin) names(n string) bool { return p.literal == n || p.name.match(n) }

// forArch reports whether the pin means packages of an architecture, `all`
// packages counting as the host's own.
func (p *pin) forArch(arch, native string) bool {
	switch p.arch {
	case "", "native":
		return arch == native
	case "any", arch:
		return true
	}
	if cpu, ok := strings.CutPrefix(p.arch, "any-"); ok {
		return archCPU(arch) == cpu
	}
	if os, ok := strings.CutSuffix(p.arch, "-any"); ok {
		return os == "linux" && !strings.Contains(arch, "-") // foreign kernels have names such as hurd-i386
	}
	return false
}

func archCPU(arch string) string {
	if _, cpu, ok := strings.Cut(arch, "-"); ok {
		return cpu
	}
	return arch
}
