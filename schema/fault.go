package schema

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Fault is one mistake in a repository file, placed where its author can mend it.
type Fault struct {
	File     string   `json:"file"`   // relative to the repository root, with slashes
	Line     int      `json:"line"`   // from 1; of what is wrong, or of the struct that lacks something
	Column   int      `json:"column"` // from 1, in bytes
	Path     string   `json:"path"`   // "window.web.cutoff"; empty where no object is concerned
	Message  string   `json:"message"`
	Severity Severity `json:"severity"`
}

// Severity tells a fault, which refuses the commit, from a warning, which does not.
type Severity string

const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// String is the line that a person reads: `file:line:column: path: message`, with
// `warning:` after the place of a warning. Parts that are not known are left out.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if f.Severity == SeverityWarning {
		b.WriteString("warning: ")
	}
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// SortFaults orders by file, line, column, path and message, and drops repeats. It returns the shortened slice.
func SortFaults(fs []Fault) []Fault {
	slices.SortFunc(fs, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(fs)
}

// Refused reports whether any of the faults refuses the commit; warnings do not.
func Refused(fs []Fault) bool {
	return slices.ContainsFunc(fs, func(f Fault) bool { return f.Severity != SeverityWarning })
}
