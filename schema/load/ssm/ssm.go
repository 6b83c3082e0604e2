// Package ssm makes policy of what the command line of AWS prints: documents, patch baselines and maintenance windows
// become CUE as a person would write it.
//
// Nothing is dropped in silence. What has no counterpart stands as a comment where it was and is named in a Note. What a
// service would have filled in, such as the date of a change, goes into the comment above the object. The result may need
// a person's hand; dunlin validate says where.
package ssm

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Input is one file: a value of JSON, several one after the other, or a document in YAML.
type Input struct {
	Name string // as its user names it
	Text []byte
}

// Result is the policy that the inputs make.
type Result struct {
	Files []File
	Notes []Note
}

// File is one file of a policy repository.
type File struct {
	Path string `json:"path"` // from the root of the repository
	Text string `json:"text"` // formatted
}

// Note says what was not taken over as it was.
type Note struct {
	Object  string `json:"object"`         // "document.restart"
	Path    string `json:"path,omitempty"` // in the input: "parameters.Port.label"
	Message string `json:"message"`
}

// String is the line that a person reads.
func (n Note) String() string {
	if n.Path == "" {
		return n.Object + ": " + n.Message
	}
	return n.Object + ": " + n.Path + ": " + n.Message
}

// MaxInput bounds an input in bytes; the largest that AWS prints is a document of 64 KiB, quoted once.
const MaxInput = 1 << 20

// errNothing says that an input has nothing that is looked for.
var errNothing = errors.New("nothing to import")

// making is an import at work.
type making struct {
	objects []*made
	notes   []Note
}

// made is one object of the result.
type made struct {
	kind, name string
	was        string // its name in the input
	value      *node
}

func (m *made) title() string { return m.kind + "." + m.name }

// note says what is not as it was, on standard error and as a comment at the place in the result, which may be nil.
func (m *making) note(o *made, at *node, path, format string, a ...any) {
	n := Note{Object: o.title(), Path: path, Message: fmt.Sprintf(format, a...)}
	if slices.Contains(m.notes, n) {
		return
	}
	m.notes = append(m.notes, n)
	if at == nil {
		at = o.value
	}
	text := n.Message
	if path != "" {
		text = path + ": " + text
	}
	at.comments = append(at.comments, "Import: "+text)
}

// lost notes what is left of an input's value after everything that has a counterpart was taken.
func (m *making) lost(o *made, at *node, path string, left *node) {
	left.unused(path, func(path string, n *node) {
		m.note(o, at, path, "%s has no counterpart and is left out", n.brief())
	})
}

// result writes the objects into files: one an object, in the folder of its kind.
func (m *making) result() (Result, error) {
	r := Result{Notes: m.notes}
	slices.SortStableFunc(m.objects, func(a, b *made) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name)) })
	for i, o := range m.objects {
		if i > 0 && o.kind == m.objects[i-1].kind && o.name == m.objects[i-1].name {
			return r, fmt.Errorf("%s is in the input twice", o.title())
		}
		text, err := write(o)
		if err != nil {
			return r, fmt.Errorf("write %s: %w", o.title(), err)
		}
		r.Files = append(r.Files, File{Path: file(o.kind, o.name), Text: text})
	}
	if len(r.Files) == 0 {
		return r, errNothing
	}
	return r, nil
}

// file is where an object goes in a repository. CUE reads no files whose names end in _test or _tool.
func file(kind, name string) string {
	if strings.HasSuffix(name, "_test") || strings.HasSuffix(name, "_tool") {
		name += "_"
	}
	return kind + "s/" + name + ".cue"
}

// Text is the whole result as one file of a repository.
func (r Result) Text() string {
	const clause = "package fleet\n"
	b := strings.Builder{}
	b.WriteString(clause)
	for _, f := range r.Files {
		b.WriteString(strings.TrimPrefix(f.Text, clause))
	}
	return b.String()
}

// name makes a name of this language of one of SSM's, or says why it cannot.
func (m *making) name(name string) (string, error) {
	short := name
	for _, prefix := range []string{"AWS-", "Amazon", "Dunlin-"} {
		short = strings.TrimPrefix(short, prefix)
	}
	short = strings.TrimLeft(short, "._-")
	ok := short != "" && len(short) <= 63
	for _, c := range []byte(short) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-", c) >= 0)
	}
	if !ok {
		return "", fmt.Errorf("%q cannot be the name of an object: at most 63 letters, digits, \".\", \"_\" and \"-\", starting with a letter or digit; give another one with --name", name)
	}
	return short, nil
}

// renamed notes a name that had to change.
func (m *making) renamed(o *made, was string) {
	if was != o.name {
		m.note(o, nil, "", "was called %q", was)
	}
}
