package inventory

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// aptConf is apt's configuration: keys in lower case with their values. A list
// entry is a value under `key::`.
type aptConf struct {
	scalar map[string]string
	list   map[string][]string

	included bool // files outside its own folder may have been read
}

// aptDefaults are apt's built-in values of the keys that are asked for here.
var aptDefaults = [...][2]string{
	{"Dir", "/"},
	{"Dir::State", "var/lib/apt"},
	{"Dir::State::lists", "lists"},
	{"Dir::Etc", "etc/apt"},
	{"Dir::Etc::main", "apt.conf"},
	{"Dir::Etc::parts", "apt.conf.d"},
	{"Dir::Etc::sourcelist", "sources.list"},
	{"Dir::Etc::sourceparts", "sources.list.d"},
	{"Dir::Etc::preferences", "preferences"},
	{"Dir::Etc::preferencesparts", "preferences.d"},
	{"Acquire::URIEncode", "+~ "},
}

const maxIncludes = 10 // depth, as apt's

// readAptConf reads apt.conf.d and then apt.conf, as apt does.
func readAptConf(t tree) (*aptConf, error) {
	c := &aptConf{scalar: map[string]string{}, list: map[string][]string{}}
	for _, d := range aptDefaults {
		c.set(d[0], d[1])
	}
	files, err := t.parts(c.path("Dir::Etc::parts"), "", "conf")
	if err != nil {
		return nil, err
	}
	if main := c.path("Dir::Etc::main"); t.exists(main) {
		files = append(files, main)
	}
	for _, f := range files {
		if err := c.readFile(t, f, 0); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *aptConf) readFile(t tree, p string, depth int) error {
	if depth > maxIncludes {
		return &InputError{Path: p, Err: fmt.Errorf("includes nested more than %d deep", maxIncludes)}
	}
	b, err := t.read(p, maxConfigSize)
	if err != nil {
		return err
	}
	return c.parse(string(b), func(include string) error {
		c.included = true
		if strings.HasSuffix(include, "/") {
			files, err := t.parts(include, "", "conf")
			for _, f := range files {
				if err == nil {
					err = c.readFile(t, f, depth+1)
				}
			}
			return err
		}
		return c.readFile(t, include, depth+1)
	})
}

// parse takes over the statements of one file. What apt would refuse is passed
// over: apt itself reports it at every call.
func (c *aptConf) parse(s string, include func(string) error) error {
	var scopes []string
	scope := ""
	var words []string
	lex := confLexer{s: s}
	for {
		w, term, ok := lex.token()
		if !ok {
			return nil
		}
		if term == 0 {
			words = append(words, w)
			continue
		}
		tag, value, hasValue := "", "", false
		switch len(words) {
		case 0:
		case 1:
			if term == '{' {
				tag = words[0]
			} else {
				value, hasValue = words[0], true
			}
		default:
			tag, value, hasValue = words[0], words[1], true
		}
		had := len(words) > 0
		words = words[:0]
		switch {
		case strings.HasPrefix(tag, "#"):
			switch tag {
			case "#clear":
				c.clear(value)
			case "#include":
				if err := include(value); err != nil {
					return err
				}
			}
		case term == '{':
			if !had {
				continue
			}
			scopes = append(scopes, scope)
			scope = join(scope, tag)
			if hasValue {
				c.set(scope, value)
			}
		case had && hasValue:
			c.set(join(scope, tag), value)
		}
		if term == '}' && len(scopes) > 0 {
			scope, scopes = scopes[len(scopes)-1], scopes[:len(scopes)-1]
		}
	}
}

func join(scope, tag string) string {
	if scope == "" {
		return tag
	}
	return scope + "::" + tag
}

func (c *aptConf) set(key, value string) {
	key = strings.ToLower(key)
	if k, ok := strings.CutSuffix(key, "::"); ok {
		c.list[k] = append(c.list[k], value)
		return
	}
	c.scalar[key] = value
}

func (c *aptConf) clear(key string) {
	key = strings.ToLower(strings.TrimSuffix(key, "::"))
	for k := range c.scalar {
		if k == key || strings.HasPrefix(k, key+"::") {
			delete(c.scalar, k)
		}
	}
	for k := range c.list {
		if k == key || strings.HasPrefix(k, key+"::") {
			delete(c.list, k)
		}
	}
}

func (c *aptConf) find(key string) string { return c.scalar[strings.ToLower(key)] }

// vector gives a list, or a single value split at commas.
func (c *aptConf) vector(key string) []string {
	if l := c.list[strings.ToLower(key)]; len(l) > 0 {
		return l
	}
	return strings.FieldsFunc(c.find(key), func(r rune) bool { return r == ',' })
}

// flag gives a boolean, or def where nothing or no boolean is said.
func (c *aptConf) flag(key string, def bool) bool { return aptBool(c.find(key), def) }

// path gives a file or folder: relative values are below the parent key's.
func (c *aptConf) path(key string) string {
	v := c.find(key)
	for !strings.HasPrefix(v, "/") {
		i := strings.LastIndex(key, "::")
		if i < 0 {
			break
		}
		key = key[:i]
		v = path.Join(c.find(key), v)
	}
	return path.Clean("/" + v)
}

// aptBool reads a boolean as apt writes them.
func aptBool(s string, def bool) bool {
	switch strings.ToLower(s) {
	case "yes", "true", "with", "on", "enable":
		return true
	case "no", "false", "without", "off", "disable":
		return false
	}
	if n, err := strconv.ParseInt(s, 0, 32); err == nil && (n == 0 || n == 1) {
		return n == 1
	}
	return def
}

// confLexer cuts apt.conf into words and the ends of statements.
type confLexer struct {
	s string
	i int
}

// token gives a word (term 0) or one of ; { }.
func (l *confLexer) token() (word string, term byte, ok bool) {
	for l.i < len(l.s) {
		rest := l.s[l.i:]
		c := rest[0]
		switch {
		case isSpace(c):
			l.i++
		case strings.HasPrefix(rest, "//"), c == '#' && !magicComment(rest):
			if n := strings.IndexByte(rest, '\n'); n >= 0 {
				l.i += n
			} else {
				l.i = len(l.s)
			}
		case strings.HasPrefix(rest, "/*"):
			if n := strings.Index(rest[2:], "*/"); n >= 0 {
				l.i += n + 4
			} else {
				l.i = len(l.s)
			}
		case c == ';' || c == '{' || c == '}':
			l.i++
			return "", c, true
		default:
			return l.word(), 0, true
		}
	}
	return "", 0, false
}

func magicComment(s string) bool {
	return strings.HasPrefix(s, "#clear") || strings.HasPrefix(s, "#include") || strings.HasPrefix(s, "#x-apt-configure-index")
}

func (l *confLexer) word() string {
	var b strings.Builder
	quoted := false
	for ; l.i < len(l.s); l.i++ {
		c := l.s[l.i]
		switch {
		case c == '"':
			quoted = !quoted
			continue
		case c == '\n':
			return b.String()
		case quoted:
		case isSpace(c), c == ';', c == '{', c == '}':
			return b.String()
		case strings.HasPrefix(l.s[l.i:], "//") && b.Len() == 0, strings.HasPrefix(l.s[l.i:], "/*") && b.Len() == 0:
			return b.String()
		}
		b.WriteByte(c)
	}
	return b.String()
}
