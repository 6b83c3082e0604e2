package load

import (
	"fmt"
	"strings"

	"cuelang.org/go/cue/token"

	"github.com/dunlin-dev/dunlin/schema"
)

// report gathers faults. It is not safe for concurrent use.
type report struct {
	faults []schema.Fault
}

func (r *report) add(f schema.Fault) {
	if f.Severity == "" {
		f.Severity = schema.SeverityError
	}
	r.faults = append(r.faults, f)
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

// once leaves one fault of those that say the same of the same place, and in it
// how many objects it spoils: a mistake in a template is one mistake.
func (l *loading) once(faults []schema.Fault) []schema.Fault {
	type place struct {
		file, message string
		line, column  int
		severity      schema.Severity
	}
	object := func(f schema.Fault) bool {
		kind, _, _ := strings.Cut(f.Path, ".")
		return l.kinds[kind]
	}
	first := map[place]int{}
	more := map[int]int{}
	out := faults[:0]
	for _, f := range faults {
		k := place{f.File, f.Message, f.Line, f.Column, f.Severity}
		i, seen := first[k]
		switch {
		case !seen || f.Line == 0:
			first[k] = len(out)
			out = append(out, f)
		case object(f) && object(out[i]):
			more[i]++
		case object(f):
			out[i] = f // names the object rather than what it takes from
		}
	}
	for i, n := range more {
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
