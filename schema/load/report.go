package load

import (
	"fmt"

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
