package load

import (
	"testing"
	"testing/fstest"

	"github.com/dunlin-dev/dunlin/schema/load/tree"
)

// What an object itself knows of its places is what a search of the text finds.
func TestPartsStandWhereTheTextHasThem(t *testing.T) {
	m := estate(200, 3)
	m["policies/odd.cue"] = &fstest.MapFile{Data: []byte(`package fleet

_base: {targets: all: true, services: {ssh: running: true, cron: enabled: true}, blockedPorts: [{port: 23}]}
_ports: [{port: 21}, {port: 25}]
_more: packages: {curl: {}, "a-b": {}}
_name: "x"
policy: {
	"odd-1": _base & {
		services: cron: running: true
		services: {"ssh": enabled: true, nginx: running: true}
	}
	"odd-2": (_base & {severity: "LOW"})
	"odd-3": {severity: "LOW"} & _base
	"odd-4": {services: ssh: running: true} & {_base, services: at: running: false}
	"odd-5": {targets: all: true, blockedPorts: _ports, packages: _more.packages & {wget: {}}}
	"odd-6": {
		targets: all: true
		packages: {"\(_name)": {}, (_name+"y"): {}, z: {}}
		blockedPorts: [for p in _ports {p}, {port: 80}]
	}
	"odd-7": {_base, packages: {bash: {}}}
	"odd-8": {targets: all: true, blockedPorts: [{port: 80}, {port: _ports[0].port}]}
	"odd-9": {targets: all: true, packages: p: {}}
	"odd-9": packages: q: {}
}
`)}
	tr, err := tree.Read(m)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLoading(Options{}, tr, how{batch: batchSize})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.judge(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.decode()
	if len(l.faults) > 0 {
		t.Fatal(l.faults)
	}
	known := 0
	for _, o := range l.list {
		for _, k := range l.table {
			if k.name != o.key.kind {
				continue
			}
			for _, field := range append(k.lists, k.maps...) {
				n := o.read().get(field)
				if n == nil {
					continue
				}
				for i := range n.kids {
					s := seg{item: i}
					if n.k == kStruct {
						s = seg{n.keys[i], -1}
					}
					p := append(o.key.path().field(field), s)
					if got, want := l.repo.Positions[p.String()], l.labelPos(o, p); got != want {
						t.Errorf("%v is noted at %v, and found at %v", p, got, want)
					}
					if part := o.parts().get(field).step(s); part != nil && part.off != 0 && !o.settled {
						known++
					}
				}
			}
		}
	}
	if known < 200 {
		t.Errorf("%d parts of objects that take from others are known", known)
	}
}
