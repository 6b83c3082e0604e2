// Package signs holds texts against a pattern sign by sign. A pattern such as ^[\p{L}\p{N}_.-]{1,128}$ takes a regular
// expression milliseconds to compile, 128 times the class, and a child that judges one file has few of them.
package signs

import (
	"regexp"
	"regexp/syntax"
	"sync"
	"unicode/utf8"
)

// Signs is what a pattern says of the signs of a text: of some of them, one after the other, of any number of one kind
// within bounds, and of some more.
type Signs struct {
	before []class
	many   class
	lo, hi int // how many of these; hi -1: any number
	after  []class
}

// class are ranges of signs, from and to.
type class []rune

func (c class) has(r rune) bool {
	for i := 0; i+1 < len(c); i += 2 {
		if r >= c[i] && r <= c[i+1] {
			return true
		}
	}
	return false
}

// Of reads a pattern; ok is false for one that is not of this form.
func Of(source string) (*Signs, bool) {
	re, err := syntax.Parse(source, syntax.Perl)
	if err != nil || re.Op != syntax.OpConcat || len(re.Sub) < 3 {
		return nil, false
	}
	last := len(re.Sub) - 1
	if re.Sub[0].Op != syntax.OpBeginText || re.Sub[last].Op != syntax.OpEndText {
		return nil, false
	}
	out := &Signs{}
	open := false // there was one of any number
	for _, item := range re.Sub[1:last] {
		of, lo, hi, ok := repeated(item)
		switch {
		case !ok:
			return nil, false
		case lo == hi && !open:
			for range lo {
				out.before = append(out.before, of...)
			}
		case lo == hi:
			for range lo {
				out.after = append(out.after, of...)
			}
		case open || len(of) != 1:
			return nil, false
		default:
			open, out.many, out.lo, out.hi = true, of[0], lo, hi
		}
		if len(out.before)+len(out.after) > 1024 {
			return nil, false
		}
	}
	return out, true
}

// repeated is an item of a pattern: some classes, and how often they follow each other.
func repeated(re *syntax.Regexp) (of []class, lo, hi int, ok bool) {
	one := func(re *syntax.Regexp) ([]class, bool) {
		switch {
		case re.Flags&syntax.FoldCase != 0:
			return nil, false
		case re.Op == syntax.OpCharClass:
			return []class{re.Rune}, true
		case re.Op == syntax.OpLiteral:
			var out []class
			for _, r := range re.Rune {
				out = append(out, class{r, r})
			}
			return out, true
		}
		return nil, false
	}
	switch re.Op {
	case syntax.OpRepeat:
		of, ok = one(re.Sub[0])
		return of, re.Min, re.Max, ok
	case syntax.OpStar:
		of, ok = one(re.Sub[0])
		return of, 0, -1, ok
	case syntax.OpPlus:
		of, ok = one(re.Sub[0])
		return of, 1, -1, ok
	case syntax.OpQuest:
		of, ok = one(re.Sub[0])
		return of, 0, 1, ok
	}
	of, ok = one(re)
	return of, 1, 1, ok
}

// Match reports whether a text is what the pattern says.
func (s *Signs) Match(text string) bool {
	n := utf8.RuneCountInString(text)
	many := n - len(s.before) - len(s.after)
	if many < s.lo || s.hi >= 0 && many > s.hi {
		return false
	}
	i := 0
	for _, r := range text { // a byte that is no UTF-8 is U+FFFD, as for package regexp
		c := s.many
		switch {
		case i < len(s.before):
			c = s.before[i]
		case i >= n-len(s.after):
			c = s.after[i-(n-len(s.after))]
		}
		if !c.has(r) {
			return false
		}
		i++
	}
	return true
}

// Matcher holds texts against a pattern, by its signs where that can be done, and else by the regular expression that re
// gives. Neither is made before a text comes.
func Matcher(source string, re func() *regexp.Regexp) func() func(string) bool {
	return sync.OnceValue(func() func(string) bool {
		if s, ok := Of(source); ok {
			return s.Match
		}
		return re().MatchString
	})
}
