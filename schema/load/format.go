package load

import (
	"bytes"
	"fmt"
	slash "path"
	"slices"
	"strings"

	"cuelang.org/go/cue/format"
	"cuelang.org/go/cue/parser"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// maxBrackets bounds the nesting of a file that is formatted in this process.
const maxBrackets = 500

// Formats reports whether a file of a repository has a layout of its own: .cue
// files but those that cue itself keeps, and the roster. Documents in JSON and
// YAML belong to those who wrote them.
func Formats(name string) bool {
	switch slash.Ext(name) {
	case ".cue":
		return !strings.HasPrefix(name, "cue.mod/") && ignored(name) == ""
	case ".jsonl":
		return slash.Dir(name) == "nodes"
	}
	return false
}

// Format lays a file of a repository out: CUE as `cue fmt` does, the roster as
// canonical JSON, a node a line, sorted by id. It does not look at what the file
// means. A file that cannot be read has faults and no text.
func Format(name string, text []byte) ([]byte, []schema.Fault) {
	r := &report{}
	if len(text) > tree.MaxFile {
		r.faultAt(name, 0, 0, "", fmt.Sprintf("%d bytes; a file that is evaluated has at most %d", len(text), tree.MaxFile))
		return nil, r.faults
	}
	var out []byte
	if slash.Ext(name) == ".jsonl" {
		out = r.formatRoster(name, text)
	} else {
		out = r.formatCUE(name, text)
	}
	if len(r.faults) > 0 {
		return nil, r.faults
	}
	return out, nil
}

func (r *report) formatCUE(name string, text []byte) []byte {
	if line, ok := tooDeep(text); ok {
		r.faultAt(name, line, 1, "", fmt.Sprintf("nested more than %d deep", maxBrackets))
		return nil
	}
	// What comes out is laid out until nothing changes, so that a second run finds nothing to do.
	for range 4 {
		f, err := parser.ParseFile(name, text, parser.ParseComments)
		if err != nil {
			r.syntax(name, text, err)
			return nil
		}
		out, err := format.Node(f)
		if err != nil {
			r.faultAt(name, 0, 0, "", "cannot be laid out: "+err.Error())
			return nil
		}
		if bytes.Equal(out, text) {
			break
		}
		text = out
	}
	return text
}

// tooDeep finds the line where more brackets are open than any person writes. Those in texts and comments are counted as
// well: it guards the parser, and judges nothing.
func tooDeep(text []byte) (int, bool) {
	depth, line := 0, 1
	for _, c := range text {
		switch c {
		case '\n':
			line++
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth = max(depth-1, 0)
		}
		if depth > maxBrackets {
			return line, true
		}
	}
	return 0, false
}

func (r *report) formatRoster(name string, text []byte) []byte {
	type entry struct {
		id   string
		line []byte
	}
	var all []entry
	for i, line := range bytes.Split(text, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		v, err := parseJSON(line)
		switch {
		case err != nil:
			r.faultAt(name, i+1, 1, "", "not a line of JSON: "+err.Error())
			continue
		case v.get("id") == nil || v.get("id").k != kString:
			r.faultAt(name, i+1, 1, "id", "required; 26 letters a-z and digits 2-7")
			continue
		}
		all = append(all, entry{v.get("id").s, append(v.json(nil), '\n')})
	}
	slices.SortStableFunc(all, func(a, b entry) int { return strings.Compare(a.id, b.id) })
	var out []byte
	for _, e := range all {
		out = append(out, e.line...)
	}
	return out
}
