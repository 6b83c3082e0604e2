package load

import (
	"bytes"
	"encoding/base64"
	"fmt"
	slash "path"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/token"
)

// concrete reads a value that CUE has accepted.
func concrete(v cue.Value, depth int) *value {
	if depth > maxDepth {
		return &value{k: kAny}
	}
	// A choice that nobody made is its default: a template's, since the definitions have none of CUE's.
	if d, chosen := v.Default(); chosen {
		v = d
	}
	switch v.Kind() {
	case cue.StructKind:
		n := &value{k: kStruct}
		it, err := v.Fields()
		for err == nil && it.Next() {
			n.set(it.Selector().Unquoted(), concrete(it.Value(), depth+1))
		}
		return n
	case cue.ListKind:
		n := &value{k: kList}
		it, err := v.List()
		for err == nil && it.Next() {
			n.kids = append(n.kids, concrete(it.Value(), depth+1))
		}
		return n
	case cue.BytesKind: // only where anything may stand; as CUE exports it
		b, _ := v.Bytes()
		return &value{k: kString, s: base64.StdEncoding.EncodeToString(b)}
	}
	return scalar(v)
}

func scalar(v cue.Value) *value {
	switch v.Kind() {
	case cue.StringKind:
		s, _ := v.String()
		return &value{k: kString, s: s}
	case cue.IntKind:
		if i, err := v.Int64(); err == nil {
			return &value{k: kInt, i: i}
		}
		b, _ := v.MarshalJSON() // the least of all is one that CUE does not give as Int64
		if i, err := strconv.ParseInt(string(b), 10, 64); err == nil {
			return &value{k: kInt, i: i}
		}
		return &value{k: kFloat, s: string(b)}
	case cue.FloatKind, cue.NumberKind:
		b, _ := v.MarshalJSON()
		return &value{k: kFloat, s: string(b)}
	case cue.BoolKind:
		b, _ := v.Bool()
		return &value{k: kBool, b: b}
	case cue.NullKind:
		return &value{k: kNull}
	case cue.BytesKind:
		return &value{k: kBytes}
	}
	return &value{k: kAny}
}

// take puts what a job found into its folder.
func (l *loading) take(j *job) {
	if j.again {
		l.takeAgain(j)
		return
	}
	l.faults = append(l.faults, j.out.faults...)
	for o, v := range j.out.values {
		o.packed = v
	}
	for _, o := range j.out.computed {
		l.takeComputed(j, o)
	}
	for o, ms := range j.out.bad {
		if o.dropped {
			continue
		}
		o.wrong = true
		for _, m := range ms {
			l.placed(o, m)
		}
	}
	if j.out.failed {
		l.complete = false
		for _, o := range j.objs {
			o.wrong = true
		}
	}
	for i, err := range j.out.general {
		if i == 50 {
			break
		}
		l.general(err, j.files)
	}
}

// takeAgain reports objects that CUE refuses, or sees otherwise, in another place than that where they are judged.
func (l *loading) takeAgain(j *job) {
	for _, o := range j.objs {
		v := j.out.values[o]
		if o.wrong || !o.accepted() || v != "" && (!j.same || bytes.Equal(v.value().json(nil), o.whole().json(nil))) {
			continue
		}
		o.wrong = true
		m := "right by itself, but not with what is said in " + j.folder.dir + "/"
		if j.same {
			m = "a folder above says more of it, by a pattern or the like, which files in " + j.folder.place + " may not see"
		}
		l.fault(o.frags[0].file.name, o.frags[0].label, o.key.path().String(), m)
	}
	for _, o := range j.out.computed {
		there := j.folder.objs[o.key] != nil || slices.ContainsFunc(j.folder.above, func(up *folder) bool { return up.objs[o.key] != nil })
		if !there && o.key.kind != "fleet" {
			file, pos := l.objectPos(o)
			l.fault(file, pos, o.key.path().String(), "a folder above makes it together with what "+j.folder.dir+"/ says; files there see only their own folder and fleet.cue")
		}
	}
}

// takeComputed decides whether an object that a folder sees is its own, and whether it may be there.
func (l *loading) takeComputed(j *job, o *object) {
	d := j.folder
	if !inPlace(o.key.kind, slash.Join(d.dir, "x.cue")) || o.key.kind == "fleet" {
		// Static declarations elsewhere are reported by placement; here is what CUE made.
		if o.key.kind == "fleet" && l.sameFleet(o, j) {
			return
		}
		file, pos := l.objectPos(o)
		m := misplaced(o.key.kind)
		if file == "fleet.cue" && o.key.kind == "fleet" {
			m = "written in no plain way; at the top of the file: fleet: {...}"
		}
		l.fault(file, pos, o.key.path().String(), m)
		l.elsewhere[o.key] = true
		o.wrong, o.dropped = true, true
		return
	}
	for _, up := range d.above {
		if up.objs[o.key] != nil {
			return
		}
	}
	if d.objs[o.key] == nil {
		d.objs[o.key] = o
		d.order = append(d.order, o)
	}
}

// sameFleet reports whether fleet, as a folder sees it, is what fleet.cue alone says.
func (l *loading) sameFleet(o *object, j *job) bool {
	own := j.out.values[o]
	for _, d := range l.folders {
		if f := d.objs[objKey{"fleet", ""}]; d.dir == "." && f != nil {
			return !f.accepted() || own != "" && bytes.Equal(f.whole().json(nil), own.value().json(nil))
		}
	}
	return false
}

// general reports an error of CUE that belongs to no object.
func (l *loading) general(err errors.Error, files []*source) {
	msg, pos := errorWords(err, l)
	name := pos.Filename()
	if strings.HasPrefix(name, schemaPath) {
		name, pos = "", token.NoPos
	}
	p := ""
	form, args := err.Msg()
	if strings.HasPrefix(form, "reference %q not found") && len(args) == 1 {
		for _, f := range files {
			if _, ok := f.topPos(fmt.Sprint(args[0])); ok {
				return // of a kind that does not exist, which has a fault of its own
			}
		}
	}
	if ps := err.Path(); len(ps) == 1 && l.kinds[ps[0]] && strings.HasPrefix(form, "conflicting values") {
		p = ps[0]
		msg = fmt.Sprintf("objects have names: %s: \"some-name\": {...}", p)
	} else if len(ps) > 0 && !l.kinds[ps[0]] {
		p = strings.Join(ps, ".")
	}
	if ps := err.Path(); !pos.IsValid() && len(ps) > 0 {
		for _, f := range l.files {
			if at, ok := f.topPos(ps[0]); ok {
				name, pos = f.name, at
				break
			}
		}
	}
	for i := 0; name == "" && i < len(files); i++ { // it names no place: the first thing that is no plain object
		for _, d := range files[i].tree.Decls {
			if _, field := d.(*ast.Field); !field && files[i].rest && !isPreamble(d) {
				name, pos = files[i].name, d.Pos()
				break
			}
		}
	}
	if name == "" && len(files) > 0 {
		name, pos = files[len(files)-1].name, packagePos(files[len(files)-1].tree)
	}
	l.fault(name, pos, p, msg)
}

func isPreamble(d ast.Decl) bool {
	switch d.(type) {
	case *ast.Package, *ast.ImportDecl, *ast.CommentGroup, *ast.Attribute:
		return true
	}
	return false
}
