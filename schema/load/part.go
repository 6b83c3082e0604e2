package load

import (
	"context"
	"fmt"
	"io"
	slash "path"
	"slices"
	"strings"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// A part of a repository is some of its files: those that a commit has changed, and what must be seen to judge what they
// make, and what looks at that. It is judged twice by the code that judges a whole repository, as the files were and as they
// are. Whatever speaks against it, an error as well as a doubt, is left to the whole.

// partChange is a part of a repository before and after some of its files were changed, as it crosses to the child, which
// trusts none of it.
type partChange struct {
	Changed  []string          // paths, sorted
	Before   map[string]string // what was in those that are evaluated
	After    map[string]string // and what is in them now
	Common   map[string]string // files that are as they were
	Was      map[string]int64  // sizes of files that are not evaluated
	Is       map[string]int64
	Context  []string // objects of Common that are looked at
	Subjects []string // and those that are judged anew
	Roster   []schema.RosterLine
	Nodes    int // in the rest of the roster, which is Roster or is not given
}

// verdict is what came of a change. With a doubt the rest says nothing.
type verdict struct {
	Doubt string
	Was   side
	Is    side
	// IdleKinds do nothing yet; which of their objects is the first is told by who has them all.
	IdleKinds []string
}

// side is what a part says.
type side struct {
	Repo     schema.Repo // objects of changed files, and their places
	Keys     []string    // of these
	Warnings []schema.Fault
	Sources  []string
	Looks    map[string][]string // of these and the subjects
	Tried    int
	Asked    int
}

// part is what a loading knows of it.
type part struct {
	c     *partChange
	own   map[objKey]bool // made by changed files
	keep  map[string]bool // objects, as texts: the context and the subjects
	judge map[string]bool // subjects
	paths map[string]bool // changed
}

// changed reports whether a changed file makes an object.
func (p *part) changed(k objKey) bool { return p.own[k] }

// judges reports whether an object is judged. Of a whole repository every one is.
func (p *part) judges(k objKey) bool { return p == nil || p.own[k] || p.judge[k.text()] }

// withoutRoster reports whether there is a roster that the part was not given.
func (p *part) withoutRoster() bool { return p != nil && p.c.Nodes != len(p.c.Roster) }

func (l *loading) doubtPart(why string) { l.doubts = append(l.doubts, why) }

// beginLooks is where a goroutine's part of the objects notes what they look at.
func (l *loading) beginLooks() map[look]bool {
	if l.looked == nil {
		return nil
	}
	return map[look]bool{}
}

// judgeChange judges both sides.
func judgeChange(ctx context.Context, o Options, c *partChange) (*verdict, error) {
	v := &verdict{}
	for _, x := range o.Limits {
		if x.Idle && !strings.Contains(x.Path, ".") {
			v.IdleKinds = append(v.IdleKinds, x.Path)
		}
	}
	for _, s := range []struct {
		files map[string]string
		sizes map[string]int64
		to    *side
	}{{c.Before, c.Was, &v.Was}, {c.After, c.Is, &v.Is}} {
		doubt, err := judgePart(ctx, o, c, s.files, s.sizes, s.to)
		if err != nil {
			return nil, err
		}
		if doubt != "" {
			return &verdict{Doubt: doubt}, nil
		}
	}
	return v, nil
}

func judgePart(ctx context.Context, o Options, c *partChange, files map[string]string, sizes map[string]int64, out *side) (doubt string, err error) {
	t := &tree.Tree{Content: map[string][]byte{}, Size: map[string]int64{}}
	for _, in := range []map[string]string{c.Common, files} {
		for name, text := range in {
			if at := tree.Hidden([]byte(text)); at >= 0 {
				return name + " turns writing around", nil
			}
			t.Content[name], t.Size[name] = []byte(text), int64(len(text))
		}
	}
	for name, n := range sizes {
		t.Size[name] = n
	}
	l, err := newLoading(o, t, how{batch: batchSize})
	if err != nil {
		return "", err
	}
	l.looked = map[look]bool{}
	l.part = &part{c: c, own: map[objKey]bool{}, keep: map[string]bool{}, judge: map[string]bool{}, paths: map[string]bool{}}
	for _, list := range [][]string{c.Context, c.Subjects} {
		for _, k := range list {
			l.part.keep[k] = true
		}
	}
	for _, k := range c.Subjects {
		l.part.judge[k] = true
	}
	for _, name := range c.Changed {
		l.part.paths[name] = true
	}
	l.readShipped()
	if err := l.judge(ctx); err != nil {
		return "", err
	}
	if len(l.doubts) > 0 {
		return l.doubts[0], nil
	}
	for k, o := range l.objects {
		// A warning says by its path whose it is, and the path of a long name is shortened.
		if l.part.judges(k) && (len(k.name) > maxPartName || !isASCII(k.name) || readable(k.name, maxPartName) != k.name) {
			return "the name of " + o.key.path().String() + " is not short and plain", nil
		}
	}
	for k := range l.part.own {
		if l.objects[k] == nil {
			return k.text() + " is not there", nil
		}
	}
	l.decode()
	l.rules()
	l.roster()
	own := l.repo.Roster
	if !l.part.withoutRoster() {
		l.repo.Roster = slices.Concat(c.Roster, own)
		slices.SortFunc(l.repo.Roster, func(a, b schema.RosterLine) int { return strings.Compare(a.ID, b.ID) })
	}
	l.rosterLinks()
	l.repo.Roster = own
	if len(l.doubts) > 0 {
		return l.doubts[0], nil
	}
	return l.partSays(out), nil
}

// partSays takes what a part says of the objects of changed files, and of subjects; or gives what refuses it.
func (l *loading) partSays(out *side) (doubt string) {
	var told []schema.Fault
	for _, f := range l.faults {
		if f.Severity != schema.SeverityWarning {
			return f.String()
		}
		if k, _, ok := objectIn(f.Path); ok && l.kinds[k.kind] {
			if !l.part.judges(k) {
				continue
			}
		} else if !l.part.paths[f.File] {
			continue
		}
		told = append(told, f)
	}
	out.Warnings = l.once(schema.SortFaults(told))
	out.Repo = l.repo
	out.Repo.Fleet, out.Repo.Shipped, out.Repo.ShippedDocuments, out.Repo.Idle = schema.Fleet{}, nil, nil, nil
	for name := range out.Repo.Documents {
		if !l.part.changed(objKey{"document", name}) {
			delete(out.Repo.Documents, name)
		}
	}
	for k := range l.part.own {
		out.Keys = append(out.Keys, k.text())
	}
	slices.Sort(out.Keys)
	out.Repo.Objects = len(out.Keys)
	for name := range l.sources {
		out.Sources = append(out.Sources, name)
	}
	slices.Sort(out.Sources)
	out.Looks = map[string][]string{}
	for of, at := range l.looks() {
		if k := keyOf(of); l.part.judges(k) {
			out.Looks[of] = at
		}
	}
	out.Tried, out.Asked = l.tried, l.asked
	return ""
}

// cutToPart takes out of the files what a part does not look at, and sees whether it can be judged by itself at all.
func (l *loading) cutToPart() {
	p := l.part
	fit := func(f *source) string {
		switch {
		case f.tree == nil || f.broken || f.pkg != "fleet":
			return "is no part of package fleet"
		case f.rest || len(f.touches) > 0:
			return "says more than whole objects"
		}
		for range f.tree.ImportSpecs() {
			return "imports something"
		}
		return ""
	}
	seen := map[string]bool{}
	for _, f := range l.files {
		if !p.paths[f.name] {
			f.frags = slices.DeleteFunc(f.frags, func(fr *fragment) bool { return !p.keep[fr.key.text()] })
			continue
		}
		seen[f.name] = true
		if why := fit(f); why != "" {
			l.doubtPart(f.name + " " + why)
			return
		}
		for _, fr := range f.frags {
			if fr.key.kind == "fleet" || p.keep[fr.key.text()] && !p.judge[fr.key.text()] || p.own[fr.key] {
				l.doubtPart(fr.key.text() + " is written in more than one place")
			}
			p.own[fr.key] = true
		}
	}
	for name := range l.tree.Content {
		switch {
		case p.paths[name] && slash.Ext(name) == ".cue" && !seen[name]:
			l.doubtPart(name + " is not read")
		case p.paths[name] && slash.Dir(name) == strings.TrimSuffix(documentFolder, "/") && slash.Ext(name) != ".cue":
			p.own[objKey{"document", strings.TrimSuffix(slash.Base(name), slash.Ext(name))}] = true
		}
	}
}

// stillPart sees that what CUE is asked of a part is what it is asked of the whole: nothing that the folders of the part see
// makes objects or looks at them, and no object of it looks at others but fleet.
func (l *loading) stillPart() {
	for _, d := range l.folders {
		if slices.ContainsFunc(d.chain, l.active) || slices.ContainsFunc(d.chain, func(f *source) bool { return len(f.touches) > 0 }) {
			l.doubtPart("something in " + d.dir + "/ or above makes objects or looks at them")
			return
		}
		for _, o := range d.order {
			if o.key.kind != "fleet" && len(o.frags) != 1 && l.part.changed(o.key) {
				l.doubtPart(o.key.text() + " is written in more than one place")
			}
			for _, fr := range o.frags {
				for name := range fr.uses {
					if name == "self" || name == "__self" || l.kinds[name] && name != "fleet" {
						l.doubtPart(o.key.text() + " takes something from other objects")
						return
					}
				}
			}
		}
	}
}

// readChange reads what crosses to the child.
func readChange(r io.Reader) (*partChange, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxPartBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read change: %w", err)
	}
	if len(b) > maxPartBytes {
		return nil, fmt.Errorf("read change: more than %d bytes", maxPartBytes)
	}
	return decodeAs[partChange](changeMagic, b)
}

// What a change and a verdict begin with.
const (
	changeMagic  = "dunlin change 1\n"
	verdictMagic = "dunlin verdict 1\n"
)

// maxPartName bounds the name of an object that is judged as a part, in bytes.
const maxPartName = 60

// maxPartBytes bounds a part as it crosses to the child, the roster included.
const maxPartBytes = 32 << 20
