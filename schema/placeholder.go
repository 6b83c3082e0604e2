package schema

import (
	"errors"
	"fmt"
	"strings"
)

// Placeholder is one `{{ ... }}` of a document that means something (SSM §3.4, §3.6).
type Placeholder struct {
	Start, End int // bytes of the text, braces included
	Source     PlaceholderSource
	Name       string // of the parameter, of the stored parameter, or of the fact of the platform
	Selector   string // of a stored parameter: a version in digits, or a label; empty for the newest
}

// PlaceholderSource is where a placeholder's value comes from.
type PlaceholderSource string

const (
	FromParameter PlaceholderSource = "parameter"  // {{ name }}: a parameter of the document
	FromStore     PlaceholderSource = "ssm"        // {{ssm:/path}}: a stored parameter, read on the node
	FromSecret    PlaceholderSource = "ssm-secure" // {{ssm-secure:/path}}: a SecureString, for secrets of downloads alone
	FromPlatform  PlaceholderSource = "platform"   // {{platform:platformType}}: what the node is
	FromElsewhere PlaceholderSource = ""           // {{global:DATE}}, {{automation:X}}: means something to runbooks only and stays as it is
)

// Placeholders finds the placeholders of a text, in order. Anything else between braces is text: a name of a parameter has
// letters and digits alone, there is nothing but blanks around it, and the value of a placeholder is never searched again.
func Placeholders(text string) []Placeholder {
	var out []Placeholder
	for i := 0; ; {
		n := strings.Index(text[i:], "{{")
		if n < 0 {
			return out
		}
		i += n
		if p, ok := placeholderAt(text, i); ok {
			out = append(out, p)
			i = p.End
		} else {
			i++
		}
	}
}

// WholePlaceholder gives the placeholder that a text consists of: its value keeps its own type.
func WholePlaceholder(text string) (Placeholder, bool) {
	p, ok := placeholderAt(text, 0)
	return p, ok && p.End == len(text)
}

func placeholderAt(text string, start int) (Placeholder, bool) {
	if !strings.HasPrefix(text[start:], "{{") {
		return Placeholder{}, false
	}
	i := start + 2
	rest := strings.TrimLeft(text[i:], blanks)
	before := text[i : len(text)-len(rest)]
	n := 0
	for n < len(rest) && placeholderByte(rest[n]) {
		n++
	}
	body := rest[:n]
	tail := strings.TrimLeft(rest[n:], blanks)
	after := rest[n : len(rest)-len(tail)]
	if body == "" || !strings.HasPrefix(tail, "}}") {
		return Placeholder{}, false
	}
	p := Placeholder{Start: start, End: len(text) - len(tail) + 2, Source: FromParameter, Name: body}
	source, name, colon := strings.Cut(body, ":")
	if !colon {
		return p, wordOf(body, "")
	}
	p.Source, p.Name = PlaceholderSource(source), name
	switch p.Source {
	case FromStore, FromSecret:
		if strings.Trim(before+after, " ") != "" { // tabs and new lines are not for these
			return Placeholder{}, false
		}
		var selected bool
		p.Name, p.Selector, selected = strings.Cut(name, ":")
		if p.Name == "" || selected && !wordOf(p.Selector, "_.-") {
			return Placeholder{}, false
		}
	case FromPlatform:
		return p, wordOf(name, "")
	default:
		p.Source, p.Name = FromElsewhere, body
		return p, wordOf(source, "_-") && name != ""
	}
	return p, true
}

const blanks = " \t\n\f\r"

func placeholderByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_.-/:", c) >= 0
}

// wordOf reports whether s has letters, digits and the given signs alone, and something of them.
func wordOf(s, signs string) bool {
	for i := range len(s) {
		if c := s[i]; !placeholderByte(c) || strings.IndexByte("_.-/:", c) >= 0 && strings.IndexByte(signs, c) < 0 {
			return false
		}
	}
	return s != ""
}

// PlatformType is the word of a precondition that stands for the kind of operating system.
const PlatformType = "platformType"

// Platforms are the values of platformType, in the spelling of documents; they are compared without regard to case.
func Platforms() []string { return []string{"Linux", "Windows", "MacOS"} }

// Condition is a precondition that can be evaluated: the step runs where its two sides are equal.
type Condition struct {
	// Platform is the kind of operating system that is wanted, in lower case; empty if A and B are compared.
	Platform string
	// A and B are compared byte by byte once their placeholders are filled in.
	A, B string
}

// Condition reads a precondition (SSM §3.7). declared tells of a parameter of the document. An error says what is wrong with
// it in every run; a step with such a precondition fails.
func (p Precondition) Condition(declared func(name string) bool) (Condition, error) {
	if len(p.StringEquals) != 2 {
		return Condition{}, fmt.Errorf("%d arguments; exactly 2 are wanted", len(p.StringEquals))
	}
	a, b := p.StringEquals[0], p.StringEquals[1]
	if a == b {
		return Condition{}, fmt.Errorf("both arguments are %q; a condition compares two different ones", a)
	}
	parameters := false
	for _, side := range p.StringEquals {
		for _, h := range Placeholders(side) {
			switch h.Source {
			case FromStore, FromSecret:
				return Condition{}, fmt.Errorf("a condition may not read a stored parameter: %s", side[h.Start:h.End])
			case FromParameter:
				parameters = parameters || declared(h.Name)
			}
		}
	}
	if isPlatform(b) {
		a, b = b, a
	}
	switch {
	case isPlatform(a) && parameters:
		return Condition{}, errors.New("platformType is compared with a fixed word, not with a parameter")
	case isPlatform(a):
		for _, w := range Platforms() {
			if strings.EqualFold(w, b) {
				return Condition{Platform: strings.ToLower(b)}, nil
			}
		}
		return Condition{}, fmt.Errorf("no platformType is %q; one of Linux, Windows, MacOS%s", b, didYouMean(b, Platforms()))
	case !parameters:
		return Condition{}, errors.New("neither argument has a parameter of the document, so that the step would run always or never")
	}
	return Condition{A: a, B: b}, nil
}

func isPlatform(side string) bool {
	if side == PlatformType {
		return true
	}
	h, ok := WholePlaceholder(side)
	return ok && h.Source == FromPlatform && h.Name == PlatformType
}
