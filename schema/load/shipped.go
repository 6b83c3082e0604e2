package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"sync"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/parser"

	"github.com/dunlin-dev/dunlin/policies"
	"github.com/dunlin-dev/dunlin/schema"
)

// patchingFolder is the shipped package that has the baselines.
const patchingFolder = "patching"

// Shipped gives the baselines that come with the program, by name. It evaluates their CUE in this
// process, once: the text is the program's own, small, and held against the definitions by a test. The
// map is the caller's.
func Shipped() (map[string]schema.Baseline, error) {
	b, err := shippedBaselines()
	if err != nil {
		return nil, fmt.Errorf("read the shipped baselines: %w", err)
	}
	var out map[string]schema.Baseline
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil {
		return nil, fmt.Errorf("read the shipped baselines: %w", err)
	}
	return out, nil
}

// shippedBaselines keeps the evaluated text, not the values, which callers may change.
var shippedBaselines = sync.OnceValues(func() ([]byte, error) {
	v, err := shippedPackage(newContext(), patchingFolder)
	if err != nil {
		return nil, err
	}
	return v.LookupPath(cue.ParsePath("baseline")).MarshalJSON()
})

// shippedPackage evaluates one folder of the shipped library. Its files import nothing.
func shippedPackage(ctx *cue.Context, folder string) (cue.Value, error) {
	inst := build.NewContext().NewInstance(folder, nil)
	names, err := fs.Glob(policies.Files, folder+"/*.cue")
	if err != nil {
		return cue.Value{}, err
	}
	for _, name := range names {
		text, err := policies.Files.ReadFile(name)
		if err != nil {
			return cue.Value{}, err
		}
		f, err := parser.ParseFile(name, text)
		if err != nil {
			return cue.Value{}, err
		}
		if err := inst.AddSyntax(f); err != nil {
			return cue.Value{}, err
		}
	}
	if err := inst.Complete(); err != nil {
		return cue.Value{}, err
	}
	v := ctx.BuildInstance(inst)
	return v, v.Validate(cue.Concrete(true))
}
