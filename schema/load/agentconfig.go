package load

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strconv"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	cueerrors "cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/parser"
	cuejson "cuelang.org/go/encoding/json"
	"cuelang.org/go/encoding/yaml"

	"github.com/dunlin-dev/dunlin/schema"
)

// maxConfig bounds the host's own file in bytes.
const maxConfig = 1 << 20

// AgentConfig reads the host's own configuration, CUE, or JSON or YAML by the ending of its name. Its author is the
// host's administrator: it is evaluated in this process. Imports are not allowed. With faults the configuration
// must not be used: a ceiling that is not understood allows nothing.
func AgentConfig(name string, b []byte) (schema.AgentConfig, []schema.Fault) {
	var c schema.AgentConfig
	r := report{}
	fail := func(pos schema.Position, path, msg string) (schema.AgentConfig, []schema.Fault) {
		r.faultAt(name, pos.Line, pos.Column, path, msg)
		return c, r.faults
	}
	if len(b) > maxConfig {
		return fail(schema.Position{}, "", "larger than 1 MiB")
	}
	file, err := parseConfig(name, b)
	if err != nil {
		if ext := filepath.Ext(name); ext == ".yaml" || ext == ".yml" {
			p := position(cueerrors.Errors(err)[0].Position())
			r.faultAt(name, p.Line, p.Column, "", "not YAML: "+plainSentence(err.Error()))
		} else {
			r.syntax(name, b, err)
		}
		return c, r.faults
	}
	for _, d := range file.Decls {
		if im, ok := d.(*ast.ImportDecl); ok {
			return fail(position(im.Pos()), "", "this file may not import anything")
		}
	}
	v := newContext().BuildFile(file)
	if err := v.Validate(cue.Concrete(true)); err != nil {
		for _, e := range cueerrors.Errors(err) {
			message, pos := errorWords(e, nil)
			p := position(pos)
			r.faultAt(name, p.Line, p.Column, joined(e.Path()), message)
		}
		return c, r.faults
	}
	defs, err := definitions()
	if err != nil {
		return fail(schema.Position{}, "", err.Error())
	}
	shape, data := defs["#AgentConfig"], concrete(v, 0)
	check := checker{defs: defs}
	check.check(shape, data, nil)
	for _, m := range check.found {
		p := configPlace(v, m)
		r.faultAt(name, p.Line, p.Column, m.path.String(), m.message)
	}
	if len(r.faults) > 0 {
		return c, schema.SortFaults(r.faults)
	}
	check.fill(shape, data)
	if err := json.Unmarshal(data.json(nil), &c); err != nil {
		return fail(schema.Position{}, "", err.Error())
	}
	c.Ceiling.Positions = map[string]schema.Position{}
	ceiling := v.LookupPath(cue.ParsePath("ceiling"))
	note := func(key string, x cue.Value) {
		if x.Exists() {
			c.Ceiling.Positions[key] = position(x.Pos())
		}
	}
	for _, f := range []string{"documents", "packages", "reboots", "runs", "sessions"} {
		note("ceiling."+f, ceiling.LookupPath(cue.ParsePath(f)))
	}
	if c.Ceiling.Files != nil {
		for i := range c.Ceiling.Files.Deny {
			note("ceiling.files.deny["+strconv.Itoa(i)+"]", ceiling.LookupPath(cue.MakePath(cue.Str("files"), cue.Str("deny"), cue.Index(i))))
		}
	}
	return c, nil
}

func parseConfig(name string, b []byte) (*ast.File, error) {
	switch filepath.Ext(name) {
	case ".json":
		x, err := cuejson.Extract(name, b)
		if err != nil {
			return nil, err
		}
		return &ast.File{Filename: name, Decls: []ast.Decl{&ast.EmbedDecl{Expr: x}}}, nil
	case ".yaml", ".yml":
		return yaml.Extract(name, b)
	}
	return parser.ParseFile(name, b)
}

// configPlace is where a mistake stands: at its value, or at the nearest thing around it that is there.
func configPlace(v cue.Value, m mistake) schema.Position {
	if m.at != nil {
		return *m.at
	}
	where := slices.Clone(m.where)
	for ; ; where = where[:len(where)-1] {
		var sel []cue.Selector
		for _, s := range where {
			if s.item >= 0 {
				sel = append(sel, cue.Index(s.item))
			} else {
				sel = append(sel, cue.Str(s.name))
			}
		}
		if x := v.LookupPath(cue.MakePath(sel...)); x.Exists() && x.Pos().IsValid() {
			if f, ok := x.Source().(*ast.Field); ok && !m.label && len(where) == len(m.where) {
				return position(f.Value.Pos())
			}
			return position(x.Pos())
		}
		if len(where) == 0 {
			return schema.Position{Line: 1, Column: 1}
		}
	}
}

// joined is a path of CUE's in our spelling.
func joined(steps []string) string {
	for i, s := range steps {
		if u, err := strconv.Unquote(s); err == nil {
			steps[i] = u
		}
	}
	return schema.JoinPath(steps...)
}
