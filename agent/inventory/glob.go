package inventory

import (
	"regexp"
	"strings"
)

// expression is a text of a pin to compare with a name: a fnmatch pattern, or a
// POSIX extended regular expression between slashes; both in any case.
type expression struct {
	glob string
	re   *regexp.Regexp
	none bool // a regular expression that is none: apt warns and it matches nothing
}

const maxPattern = 1000 // bytes; longer patterns match nothing

func newExpression(s string) expression {
	if len(s) > maxPattern {
		return expression{none: true}
	}
	if len(s) < 1 || s[0] != '/' || s[len(s)-1] != '/' {
		return expression{glob: s}
	}
	if len(s) < 2 {
		return expression{none: true}
	}
	re, err := regexp.Compile("(?is:" + fromPOSIX(s[1:len(s)-1]) + ")")
	if err != nil {
		return expression{none: true}
	}
	return expression{re: re}
}

func (e expression) match(s string) bool {
	switch {
	case e.none:
		return false
	case e.re != nil:
		return e.re.MatchString(s)
	}
	return globMatch(e.glob, s)
}

// fromPOSIX rewrites an extended regular expression of glibc for package
// regexp: in brackets a backslash stands for itself, outside of them it only
// has the meanings that glibc knows.
func fromPOSIX(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '\\':
			if i+1 == len(s) {
				b.WriteString(`\`) // regexp refuses it, as regcomp does
				continue
			}
			i++
			switch n := s[i]; {
			case strings.IndexByte("wWsSbB", n) >= 0:
				b.WriteByte('\\')
				b.WriteByte(n)
			case n == '<' || n == '>':
				b.WriteString(`\b`)
			case n == '`':
				b.WriteString(`\A`)
			case n == '\'':
				b.WriteString(`\z`)
			default:
				b.WriteString(regexp.QuoteMeta(string(rune(n))))
			}
		case '[':
			end := bracketEnd(s, i)
			if end < 0 {
				b.WriteString("[") // unbalanced: regexp refuses it
				continue
			}
			b.WriteString(bracket(s[i:end]))
			i = end - 1
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// bracketEnd gives the index after the ] that closes the bracket at i, or -1.
func bracketEnd(s string, i int) int {
	i++
	if i < len(s) && (s[i] == '^' || s[i] == '!') {
		i++
	}
	if i < len(s) && s[i] == ']' {
		i++
	}
	for ; i < len(s); i++ {
		if s[i] == ']' {
			return i + 1
		}
		if s[i] == '[' && i+1 < len(s) && strings.IndexByte(":.=", s[i+1]) >= 0 {
			if j := strings.Index(s[i+2:], string(s[i+1])+"]"); j >= 0 {
				i += j + 3
			}
		}
	}
	return -1
}

// bracket rewrites a bracket expression: backslashes and inner brackets are
// characters like others, classes stay.
func bracket(s string) string {
	var b strings.Builder
	b.WriteByte('[')
	s = s[1 : len(s)-1]
	if strings.HasPrefix(s, "^") {
		b.WriteByte('^')
		s = s[1:]
	}
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], "[:") {
			if j := strings.Index(s[i:], ":]"); j >= 0 {
				b.WriteString(s[i : i+j+2])
				i += j + 1
				continue
			}
		}
		if strings.IndexByte(`\[]^`, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte(']')
	return b.String()
}

// globMatch is fnmatch(3) without flags but in any case: * and ? match slashes
// and leading dots, too. It takes at most len(p)*len(s) steps.
func globMatch(p, s string) bool {
	pi, si := 0, 0
	starP, starS := -1, 0
	for si < len(s) {
		if pi < len(p) {
			if p[pi] == '*' {
				starP, starS = pi, si
				pi++
				continue
			}
			if n, ok := globOne(p[pi:], s[si]); ok {
				pi += n
				si++
				continue
			}
		}
		if starP < 0 {
			return false
		}
		starS++
		pi, si = starP+1, starS
	}
	for pi < len(p) && p[pi] == '*' {
		pi++
	}
	return pi == len(p)
}

// globOne matches the first element of a pattern, n bytes long, with c.
func globOne(p string, c byte) (n int, ok bool) {
	switch p[0] {
	case '?':
		return 1, true
	case '\\':
		if len(p) > 1 {
			return 2, lower(p[1]) == lower(c)
		}
		return 1, false
	case '[':
		if end := bracketEnd(p, 0); end > 0 {
			return end, inBracket(p[1:end-1], lower(c))
		}
	}
	return 1, lower(p[0]) == lower(c)
}

func inBracket(s string, c byte) bool {
	not := false
	if s != "" && (s[0] == '!' || s[0] == '^') {
		not, s = true, s[1:]
	}
	in := false
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], "[:") {
			if j := strings.Index(s[i:], ":]"); j >= 0 {
				in = in || inClass(s[i+2:i+j], c)
				i += j + 1
				continue
			}
		}
		lo := s[i]
		if lo == '\\' && i+1 < len(s) {
			i++
			lo = s[i]
		}
		hi := lo
		if i+2 < len(s) && s[i+1] == '-' {
			i += 2
			hi = s[i]
			if hi == '\\' && i+1 < len(s) {
				i++
				hi = s[i]
			}
		}
		in = in || lower(lo) <= c && c <= lower(hi)
	}
	return in != not
}

func inClass(name string, c byte) bool {
	alpha := 'a' <= c && c <= 'z'
	switch name {
	case "alpha", "lower", "upper":
		return alpha
	case "digit":
		return isDigit(c)
	case "alnum":
		return alpha || isDigit(c)
	case "xdigit":
		return unhex(c) >= 0
	case "space":
		return isSpace(c)
	case "blank":
		return c == ' ' || c == '\t'
	case "punct":
		return c > ' ' && c < 0x7f && !alpha && !isDigit(c)
	case "graph":
		return c > ' ' && c < 0x7f
	case "print":
		return c >= ' ' && c < 0x7f
	case "cntrl":
		return c < ' ' || c == 0x7f
	}
	return false
}
