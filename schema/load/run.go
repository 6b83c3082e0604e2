package load

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	slash "path"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// MaxRun is the largest run file that is read, in bytes: a document's worth, its parameters included (SSM §3.1).
const MaxRun = 64 << 10

// Run reads a file of the branch of runs and holds it against the definitions and, unless repo is nil, against the
// commit that it names: its document, sinks and groups are there, and its parameters are the document's. Who has signed it is
// not looked at (trust.Run), nor whether a grant covers it (reconciler.MayRun); requestedBy is only what people read. name
// is the file's path on the branch, YYYY/MM/<id>.json, or its end. With a fault the Run is empty.
func Run(name string, b []byte, repo *schema.Repo) (schema.Run, []schema.Fault) {
	l := &loading{objects: map[objKey]*object{}, sizes: map[string]int{}}
	if len(b) > MaxRun || len(b) == 0 {
		l.faultAt(name, 1, 1, "", fmt.Sprintf("%d bytes; a run has 1 to %d", len(b), MaxRun))
		return schema.Run{}, l.faults
	}
	defs, err := definitions()
	if err != nil {
		l.faultAt(name, 1, 1, "", err.Error())
		return schema.Run{}, l.faults
	}
	o := &object{key: objKey{kind: runKind}, text: readPlain(name, b, nil)}
	c := &checker{defs: defs}
	if o.text.value != nil {
		c.check(defs["#Run"], o.text.value, nil)
	}
	o.told = append(o.text.found, c.found...)
	for _, m := range o.told {
		l.placed(o, m)
	}
	o.value = o.text.value
	l.run(o, o.value)
	if repo != nil {
		l.runIn(o, o.value, repo)
	}
	if len(l.faults) == 0 {
		l.runForm(o, name, b)
	}
	var run schema.Run
	if len(l.faults) == 0 {
		if err := json.Unmarshal(b, &run); err != nil {
			l.faultAt(name, 1, 1, "", "cannot be read: "+err.Error())
		}
	}
	if len(l.faults) > 0 {
		return schema.Run{}, schema.SortFaults(l.faults)
	}
	return run, nil
}

// run checks what the definitions cannot say of a run by itself.
func (l *loading) run(o *object, n *value) {
	l.instant(o, nil, n, "created")
	const day = 24 * time.Hour
	l.duration(o, nil, n, "deliveryTimeout", 30*time.Second, 30*day, "from 30s to 30d")
	l.duration(o, nil, n, "executionTimeout", 5*time.Second, 2*day, "from 5s to 2d")
	if t := n.get("targets"); t != nil {
		l.targets(o, at("targets"), t)
	}
}

// runForm checks that a file has the one form that a run has, and the name that follows from it.
func (l *loading) runForm(o *object, name string, b []byte) {
	if canonical := o.value.json(nil); !bytes.Equal(canonical, b) {
		at := 0
		for at < len(b) && at < len(canonical) && b[at] == canonical[at] {
			at++
		}
		p := o.text.position(o.text.pos(min(at, len(b)-1)))
		m := "not canonical JSON (RFC 8785): keys sorted, no blanks, nothing escaped without need"
		if at == len(canonical) {
			m = "there is more after the last }; a run has no newline at its end"
		}
		l.faultAt(name, p.Line, p.Column, "", m)
		return
	}
	sum := sha256.Sum256(b)
	id := shortID(sum[:])
	dir, base := slash.Split(name)
	if base != id+".json" {
		l.faultAt(name, 1, 1, "", fmt.Sprintf("the name of a run is the id of what it says, here %s.json: it was changed, or misnamed", id))
		return
	}
	if created, err := time.Parse(time.RFC3339, o.value.str("created")); err == nil && dir != "" {
		if want := created.UTC().Format("2006/01/"); !strings.HasSuffix("/"+dir, "/"+want) {
			l.faultAt(name, 1, 1, "", fmt.Sprintf("created %s, so it belongs in %s", o.value.str("created"), want))
		}
	}
}

// runIn checks a run against the commit that it names.
func (l *loading) runIn(o *object, n *value, repo *schema.Repo) {
	known := func(field, word string, names []string) {
		if text := n.str(field); text != "" && !slices.Contains(names, text) {
			l.wrong(o, at(field), missing("no "+word, text, names))
		}
	}
	if fleet := n.str("fleet"); fleet != "" && fleet != repo.Fleet.Name {
		l.wrong(o, at("fleet"), fmt.Sprintf("%q is not this fleet, which is %q", fleet, repo.Fleet.Name))
	}
	known("document", "document", slices.Concat(slices.Sorted(maps.Keys(repo.Documents)), slices.Sorted(maps.Keys(repo.ShippedDocuments))))
	sinks := slices.Sorted(maps.Keys(repo.Sinks))
	for i, s := range n.get("notify").items() {
		if s.k == kString && !slices.Contains(sinks, s.s) {
			l.wrong(o, at("notify").index(i), missing("no sink", s.s, sinks))
		}
	}
	groups := map[string][]string{"group": slices.Sorted(maps.Keys(repo.Groups)), "resourceGroup": slices.Sorted(maps.Keys(repo.ResourceGroups))}
	for _, p := range []path{at("targets"), at("targets", "exclude")} {
		for _, in := range groupings() {
			for i, v := range o.at(p.field(in.field)).items() {
				if v.k == kString && !slices.Contains(groups[in.kind], v.s) {
					l.wrong(o, p.field(in.field).index(i), missing("no "+in.word, v.s, groups[in.kind]))
				}
			}
		}
	}
	l.repo.Documents, l.repo.ShippedDocuments = repo.Documents, repo.ShippedDocuments
	if document := n.str("document"); document != "" {
		l.given(o, at("parameters"), document, n.get("parameters"))
	}
}
