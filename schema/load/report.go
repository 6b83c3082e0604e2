package load

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
	"github.com/dunlin-dev/dunlin/schema/load/writing"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// maxFaults is how many faults are told; beyond these nobody reads on.
const maxFaults = 1_000

// report gathers faults. It is not safe for concurrent use.
type report struct {
	faults []schema.Fault
}

func (r *report) add(f schema.Fault) {
	if f.Severity == "" {
		f.Severity = schema.SeverityError
	}
	f.File = safe.Clip(f.File, tree.MaxName)
	f.Path, f.Message = readable(safe.HidePrivateKeys(f.Path), 400), readable(safe.HidePrivateKeys(f.Message), 1000)
	r.faults = append(r.faults, f)
}

// readable keeps a text of the author's within one line that a person reads: a word of kilobytes is cut in its middle,
// and what a terminal would obey is escaped.
func readable(s string, most int) string {
	if len(s) <= 120 && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return s
	}
	var b strings.Builder
	word, from := 0, 0 // of the word: how many characters, and where in b it has its 80th
	for _, r := range s {
		if r == ' ' {
			word = 0
		}
		if word++; word == 80 {
			from = b.Len()
		}
		if word > 110 {
			text := []rune(b.String()[from:])
			head := b.String()[:from]
			b.Reset()
			b.WriteString(head + "…" + string(text[len(text)-min(len(text), 20):]))
			word = 90
		}
		if unicode.IsPrint(r) && r != utf8.RuneError {
			b.WriteRune(r)
		} else {
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
		if b.Len() > 4*most {
			break
		}
	}
	return writing.Clip(b.String(), most)
}

func (r *report) faultAt(file string, line, column int, path, message string) {
	r.add(schema.Fault{File: file, Line: line, Column: column, Path: path, Message: message})
}

func (r *report) fault(file string, pos token.Pos, path, message string) {
	p := position(pos)
	if p.File != file {
		p = schema.Position{File: file}
	}
	r.faultAt(file, p.Line, p.Column, path, message)
}

// syntax reports what keeps a file from being read.
func (r *report) syntax(name string, text []byte, err error) {
	for _, s := range writing.Explain(name, text, err) {
		r.slip(name, text, s)
	}
}

func (r *report) slip(name string, text []byte, s writing.Slip) {
	at := min(s.At, len(text))
	line := 1 + bytes.Count(text[:at], []byte("\n"))
	r.faultAt(name, line, at-bytes.LastIndexByte(text[:at], '\n'), "", s.Message)
}

// once leaves one fault of those that say the same of the same place, and in it
// how many objects it spoils: a mistake in a template is one mistake.
func (l *loading) once(faults []schema.Fault) []schema.Fault {
	type place struct {
		file, message string
		line, column  int
		severity      schema.Severity
	}
	object := func(f schema.Fault) string { // kind and name; empty where none is concerned
		kind, rest, _ := strings.Cut(f.Path, ".")
		if !l.kinds[kind] {
			return ""
		}
		if kind == "fleet" {
			return kind
		}
		name, _, _ := strings.Cut(rest, ".")
		return kind + "." + name
	}
	first := map[place]int{}
	more := map[int]map[string]bool{}
	out := faults[:0]
	for _, f := range faults {
		k := place{f.File, f.Message, f.Line, f.Column, f.Severity}
		i, seen := first[k]
		switch {
		case !seen || f.Line == 0:
			first[k] = len(out)
			out = append(out, f)
		case object(f) != "" && object(out[i]) != "":
			if more[i] == nil {
				more[i] = map[string]bool{}
			}
			more[i][object(f)] = object(f) != object(out[i])
		case object(f) != "":
			out[i] = f // names the object rather than what it takes from
		}
	}
	for i, objects := range more {
		n := 0
		for _, other := range objects {
			if other {
				n++
			}
		}
		if n == 0 {
			continue
		}
		if n == 1 {
			out[i].Message += "; 1 more object takes it from here"
		} else {
			out[i].Message += fmt.Sprintf("; %d more objects take it from here", n)
		}
	}
	return out
}

// position is a place of the author's, or nothing.
func position(pos token.Pos) schema.Position {
	if !pos.IsValid() {
		return schema.Position{}
	}
	return schema.Position{File: pos.Filename(), Line: pos.Line(), Column: pos.Column()}
}

// place is a position as faults quote it, without the file if that is the same.
func place(p schema.Position, from string) string {
	if p.File == from {
		return fmt.Sprintf("%d:%d", p.Line, p.Column)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// enough says that more faults than anybody reads are known: what is costly to say need not be said of more.
func (r *report) enough() bool { return len(r.faults) >= maxFaults }
