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

// Bounds of a fault's parts, in bytes: what a commit holds must not make its faults unreadable, nor large.
const (
	maxMessage = 1000
	maxPath    = 300
)

func (r *report) add(f schema.Fault) {
	if f.Severity == "" {
		f.Severity = schema.SeverityError
	}
	f.File, f.Path, f.Message = atMost(f.File, maxName), atMost(f.Path, maxPath), atMost(f.Message, maxMessage)
	r.faults = append(r.faults, f)
}

// enough says that more faults than anybody reads are known: what is costly to say need not be said of more.
func (r *report) enough() bool { return len(r.faults) >= maxFaults }

// atMost shortens a text to so many bytes, and says that it has.
func atMost(s string, most int) string {
	if len(s) <= most {
		return s
	}
	const more = "…"
	return strings.ToValidUTF8(s[:most-len(more)], "") + more
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
