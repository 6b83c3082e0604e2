package load

import "slices"

// What the judgement of an object looks at beside the object itself is noted while the whole repository is judged: a later
// commit that changes one file needs to judge anew only what that file makes, and what looks at it. docs/loader.md says
// how a part of a repository is judged by itself, and why that is right.

// exists before a kind says that only whether there is such an object was asked, not what it says.
const exists = "?"

// What else is looked at, in the place of a kind.
const (
	lookFile   = "file"   // a file that a policy gives to hosts: that it is there, and its size
	lookRoster = "roster" // who is in the roster
)

// look is that the judgement of one object looked at another thing.
type look struct{ of, at objKey }

// look notes what is looked at for the object that is judged.
func (l *loading) look(at objKey) {
	if l.looked == nil || l.judging.kind == "" || at == l.judging || at.kind == "fleet" {
		return
	}
	l.looked[look{l.judging, at}] = true
}

// object is an object other than the one that is judged; nil where there is none. Every rule that reads what another object
// says gets it here.
func (l *loading) object(kind, name string) *object {
	if kind != "fleet" {
		l.look(objKey{kind, name})
	}
	o := l.objects[objKey{kind, name}]
	if o == nil && l.part != nil && name != "" && !l.comesWithProgram(kind, name) {
		l.doubtPart(kind + " " + name + " is not in the part")
	}
	return o
}

// comesWithProgram reports whether the shipped library has an object.
func (l *loading) comesWithProgram(kind, name string) bool {
	switch kind {
	case "baseline":
		_, judged := l.repo.Shipped[name]
		_, other := l.notJudged[name]
		return judged || other
	case "document":
		_, ok := l.repo.ShippedDocuments[name]
		return ok
	}
	return false
}

// looks are what the judgement of each object looked at, sorted, by the object.
func (l *loading) looks() map[string][]string {
	out := map[string][]string{}
	for k := range l.looked {
		of := k.of.text()
		out[of] = append(out[of], k.at.text())
	}
	for _, list := range out {
		slices.Sort(list)
	}
	return out
}

// text is a key as one word and a name.
func (k objKey) text() string { return k.kind + " " + k.name }
