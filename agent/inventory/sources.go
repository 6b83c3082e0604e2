package inventory

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// source is one `deb` archive as configured: a repository and a suite.
type source struct {
	at      string // "file:line" or "file" of the entry, for people
	uri     aptURI
	suite   string // ends with / for a flat archive
	trusted string // the option trusted=, or empty
	indexes []index
}

// index is one Packages file that apt would read.
type index struct {
	component string // empty in a flat archive
	key       string // as the Release file names it, "main/binary-amd64/Packages"
}

// readSources reads sources.list and sources.list.d, both forms, and gives the
// binary archives in apt's order, each once.
func readSources(t tree, c *aptConf, native string, archs []string) ([]*source, error) {
	files, err := t.parts(c.path("Dir::Etc::sourceparts"), "list", "sources")
	if err != nil {
		return nil, err
	}
	if main := c.path("Dir::Etc::sourcelist"); t.exists(main) {
		files = append([]string{main}, files...)
	}
	l := sourceList{native: native, archs: archs, encode: c.find("Acquire::URIEncode"), byName: map[string]*source{}}
	for _, f := range files {
		b, err := t.read(f, maxConfigSize)
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(f, ".sources") {
			err = l.parseStanzas(f, b)
		} else {
			err = l.parseLines(f, string(b))
		}
		if err != nil {
			return nil, err
		}
	}
	return l.sources, nil
}

type sourceList struct {
	native  string
	archs   []string
	encode  string
	sources []*source
	byName  map[string]*source
}

// options are those of one entry, `arch`, `arch+`, `trusted` ...
type options map[string]string

var errSource = errors.New("apt cannot read this entry")

// parseLines reads the one-line form of sources.list(5).
func (l *sourceList) parseLines(file, text string) error {
	for n := 1; text != ""; n++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.Trim(stripSourceComment(line), " \t\r")
		if line == "" {
			continue
		}
		if err := l.parseLine(fmt.Sprintf("%s:%d", file, n), line); err != nil {
			return &InputError{Path: file, Line: n, Hint: "correct the entry, as apt-get update would ask for", Err: err}
		}
	}
	return nil
}

// stripSourceComment cuts from the first # that stands outside of brackets.
func stripSourceComment(s string) string {
	for i := range len(s) {
		if s[i] == '#' && strings.Count(s[:i], "[") <= strings.Count(s[:i], "]") {
			return s[:i]
		}
	}
	return s
}

func (l *sourceList) parseLine(at, line string) error {
	kind, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	switch kind {
	case "deb":
	case "deb-src":
		return nil
	default:
		return fmt.Errorf("type %q is neither deb nor deb-src", clip([]byte(kind)))
	}
	rest = strings.TrimLeft(rest, " ")
	opts := options{}
	if strings.HasPrefix(rest, "[") {
		shut := strings.IndexByte(rest, ']')
		if shut < 0 {
			return fmt.Errorf("%w: no ] after the options", errSource)
		}
		for _, o := range strings.Fields(rest[1:shut]) {
			k, v, ok := strings.Cut(o, "=")
			if !ok || k == "" || v == "" {
				return fmt.Errorf("%w: option %q is not key=value", errSource, clip([]byte(o)))
			}
			opts[k] = strings.Trim(v, `"`)
		}
		rest = rest[shut+1:]
	}
	words := sourceWords(rest)
	if len(words) < 2 {
		return fmt.Errorf("%w: no address or no suite", errSource)
	}
	return l.add(at, words[0], words[1], words[2:], opts)
}

// sourceWords splits at spaces outside of quotes and brackets ("cdrom:[a b]/")
// and takes off quotes and percent signs.
func sourceWords(s string) []string {
	var out []string
	for {
		s = strings.TrimLeft(s, " ")
		if s == "" {
			return out
		}
		end, shut := 0, byte(0)
		for ; end < len(s); end++ {
			switch c := s[end]; {
			case shut != 0:
				if c == shut {
					shut = 0
				}
				continue
			case c == '"':
				shut = '"'
				continue
			case c == '[':
				shut = ']'
				continue
			case c != ' ':
				continue
			}
			break
		}
		out = append(out, unquotePercent(strings.ReplaceAll(s[:end], `"`, "")))
		s = s[end:]
	}
}

func unquotePercent(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func unhex(c byte) int {
	switch c = lower(c); {
	case isDigit(c):
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

// stanzaOptions maps fields of the deb822 form to options of the one-line form.
var stanzaOptions = [...][2]string{
	{"Architectures", "arch"}, {"Architectures-Add", "arch+"}, {"Architectures-Remove", "arch-"}, {"Trusted", "trusted"},
}

// parseStanzas reads the deb822 form of sources.list(5).
func (l *sourceList) parseStanzas(file string, b []byte) error {
	b = dropComments(b)
	sr := newStanzaReader(bytes.NewReader(b), make([]byte, len(b)+1))
	for {
		st, err := sr.next(true)
		if err != nil {
			return nil // only the end is possible: the window holds it all
		}
		first := sr.lines - bytes.Count(st, []byte{'\n'})
		wrap := func(line int, err error) error {
			return &InputError{Path: file, Line: first + line + 1, Hint: "correct the entry, as apt-get update would ask for", Err: err}
		}
		f := map[string]string{}
		it := fields{b: st}
		for {
			k, v, ok, err := it.step()
			if err != nil {
				return wrap(it.line, err)
			}
			if !ok {
				break
			}
			f[strings.ToLower(string(k))] = string(v)
		}
		if len(f) == 0 || f["enabled"] != "" && !aptBool(f["enabled"], true) {
			continue
		}
		types := strings.Fields(f["types"])
		if len(types) == 0 {
			return wrap(0, fmt.Errorf("%w: no Types field", errSource))
		}
		for _, typ := range types {
			if typ != "deb" && typ != "deb-src" {
				return wrap(0, fmt.Errorf("type %q is neither deb nor deb-src", clip([]byte(typ))))
			}
		}
		if !slices.Contains(types, "deb") {
			continue
		}
		opts := options{}
		for _, o := range stanzaOptions {
			if v, ok := f[strings.ToLower(o[0])]; ok {
				opts[o[1]] = strings.Join(strings.Fields(v), ",")
			}
		}
		uris, suites := strings.Fields(f["uris"]), strings.Fields(f["suites"])
		if len(uris) == 0 || len(suites) == 0 {
			return wrap(0, fmt.Errorf("%w: no URIs or no Suites field", errSource))
		}
		for _, u := range uris {
			for _, s := range suites {
				if err := l.add(fmt.Sprintf("%s:%d", file, first+1), u, s, strings.Fields(f["components"]), opts); err != nil {
					return wrap(0, err)
				}
			}
		}
	}
}

// dropComments takes out whole lines that begin with #. Line numbers change
// only after the first of them within a stanza, which errors can live with.
func dropComments(b []byte) []byte {
	var out []byte
	for len(b) > 0 {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line = b[:i+1]
		}
		b = b[len(line):]
		if line[0] != '#' {
			out = append(out, line...)
		}
	}
	return out
}

// add notes the indexes of one entry.
func (l *sourceList) add(at, uri, suite string, components []string, opts options) error {
	uri = strings.ReplaceAll(uri, "$(ARCH)", l.native)
	suite = strings.ReplaceAll(suite, "$(ARCH)", l.native)
	if !strings.Contains(uri, ":") {
		return fmt.Errorf("%w: %q is no address", errSource, clip([]byte(uri)))
	}
	u := parseURI(uri)
	if !strings.HasSuffix(u.path, "/") {
		u.path += "/"
	}
	flat := strings.HasSuffix(suite, "/")
	switch {
	case flat && len(components) > 0:
		return fmt.Errorf("%w: the suite %q ends with / and so cannot have components", errSource, clip([]byte(suite)))
	case !flat && len(components) == 0:
		return fmt.Errorf("%w: no component", errSource)
	}
	s := &source{at: at, uri: u, suite: suite}
	name := s.listName("Release", l.encode)
	if old := l.byName[name]; old != nil {
		s = old
	} else {
		l.byName[name] = s
		l.sources = append(l.sources, s)
	}
	if v := opts["trusted"]; v != "" {
		s.trusted = v
	}
	if flat {
		s.addIndex(index{key: "Packages"})
		return nil
	}
	archs := l.entryArchs(opts)
	for _, c := range components {
		for _, a := range archs {
			s.addIndex(index{component: c, key: c + "/binary-" + a + "/Packages"})
		}
	}
	return nil
}

func (s *source) addIndex(i index) {
	if !slices.Contains(s.indexes, i) {
		s.indexes = append(s.indexes, i)
	}
}

// entryArchs are the architectures of an entry: the host's own unless options
// say otherwise, and all, which archives may keep apart.
func (l *sourceList) entryArchs(opts options) []string {
	comma := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ',' })
	}
	archs := slices.Clone(l.archs)
	if v, ok := opts["arch"]; ok {
		archs = comma(v)
	}
	for _, a := range comma(opts["arch+"]) {
		if !slices.Contains(archs, a) {
			archs = append(archs, a)
		}
	}
	minus := comma(opts["arch-"])
	archs = slices.DeleteFunc(archs, func(a string) bool { return slices.Contains(minus, a) })
	if !slices.Contains(archs, "all") && !slices.Contains(minus, "all") {
		archs = append(archs, "all")
	}
	return archs
}

// listName is the name in the lists folder of a file of the archive.
func (s *source) listName(file, encode string) string {
	u := s.uri
	switch {
	case s.suite == "/":
	case strings.HasSuffix(s.suite, "/"):
		u.path += quote(s.suite, encode)
	default:
		u.path += "dists/" + quote(s.suite, encode) + "/"
	}
	if file == "Release" || file == "InRelease" || file == "Release.gpg" {
		u.path += quote(file, encode)
	} else {
		u.path += file
	}
	return u.fileName()
}

// String is how people know the source.
func (s *source) String() string {
	return fmt.Sprintf("%s %s (%s)", s.uri.site(), s.suite, s.at)
}

// aptURI is an address as apt cuts it, brackets of cdrom: names included.
type aptURI struct{ scheme, user, host, port, path string }

func parseURI(s string) aptURI {
	var u aptURI
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return aptURI{path: s}
	}
	u.scheme = scheme
	rest = strings.TrimPrefix(rest, "//")
	end, in := len(rest), false
	for i := range len(rest) {
		switch rest[i] {
		case '[':
			in = true
		case ']':
			in = false
		}
		if rest[i] == '/' && !in {
			end = i
			break
		}
	}
	u.host, u.path = rest[:end], rest[end:]
	if u.path == "" {
		u.path = "/"
	}
	if at := strings.LastIndexByte(u.host, '@'); at >= 0 {
		u.user, u.host = u.host[:at], u.host[at+1:]
	}
	bracket := strings.LastIndexByte(u.host, ']')
	if c := strings.LastIndexByte(u.host, ':'); c > bracket {
		u.host, u.port = u.host[:c], strings.TrimLeft(u.host[c+1:], "0")
	}
	u.host = strings.NewReplacer("[", "", "]", "").Replace(u.host)
	return u
}

// site is the address without user and path, for people.
func (u aptURI) site() string {
	if u.host == "" {
		return u.scheme + ":" + u.path
	}
	return u.scheme + "://" + u.host + u.path
}

// fileName is apt's name in the lists folder: no scheme, no user, slashes as
// underscores, and what could mean something else in hexadecimal.
func (u aptURI) fileName() string {
	s := u.host
	if u.port != "" && s != "" {
		s += ":" + u.port
	}
	if !strings.HasPrefix(u.path, "/") {
		s += "/"
	}
	return strings.ReplaceAll(quote(s+u.path, `\|{}[]<>"^~_=!@#$%&*`), "/", "_")
}

// quote writes control, non-ASCII, space, percent and bad characters as %xx.
func quote(s, bad string) string {
	const hex = "0123456789abcdef"
	b := make([]byte, 0, len(s)+8)
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '%' || strings.IndexByte(bad, c) >= 0 {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// listPath is the path of a file in the lists folder.
func listPath(c *aptConf, name string) string { return path.Join(c.path("Dir::State::lists"), name) }
