package load

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// anyValue is a value of any kind, with all that a node can hold.
func anyValue(r *rand.Rand, depth int) *value {
	n := &value{k: 1 << r.IntN(9)}
	if r.IntN(4) > 0 {
		n.off, n.val = int32(r.IntN(1<<20)), int32(r.IntN(1<<20))
	}
	texts := []string{"", "x", "é\u2028\x00", strings.Repeat("long", 200)}
	parts := []int{0, 1, 3, 16, 17, 40}[r.IntN(6)]
	if depth > 3 {
		parts = 0
	}
	switch n.k {
	case kString, kFloat:
		n.s = texts[r.IntN(len(texts))]
	case kInt:
		n.i, n.s = []int64{0, 1, -1, math.MaxInt64, math.MinInt64}[r.IntN(5)], texts[r.IntN(2)]
	case kBool:
		n.b = r.IntN(2) == 0
	case kList:
		for range parts {
			n.kids = append(n.kids, anyValue(r, depth+1))
		}
	case kStruct:
		for i := range parts {
			n.set(texts[r.IntN(3)]+strconv.Itoa(i), anyValue(r, depth+1))
		}
	}
	return n
}

// sameNodes reports whether two values are the same in every node; of lists nil and empty are one.
func sameNodes(a, b *value) bool {
	return a.k == b.k && a.b == b.b && a.off == b.off && a.val == b.val && a.s == b.s && a.i == b.i && slices.Equal(a.keys, b.keys) &&
		reflect.DeepEqual(a.index, b.index) && slices.EqualFunc(a.kids, b.kids, sameNodes)
}

func TestPackedValuesAreWhatTheyWere(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var p packer
	for range 2000 {
		n := anyValue(r, 0)
		kept := p.pack(n)
		got, copied := kept.value(), n.clone()
		if !sameNodes(got, n) || !sameNodes(copied, n) {
			t.Fatalf("%s comes back as %s, and cloned as %s", n.json(nil), got.json(nil), copied.json(nil))
		}
		// Each can be changed without the others.
		for _, c := range []*value{got, copied} {
			var change func(n *value)
			change = func(n *value) {
				for _, kid := range n.kids {
					change(kid)
				}
				if n.k == kStruct {
					n.set("added", &value{k: kNull})
				}
				n.s += "changed"
			}
			change(c)
			if !sameNodes(kept.value(), n) {
				t.Fatal("a change of one value reaches another")
			}
		}
	}
	if packed("").value() != nil {
		t.Error("nothing unpacks to something")
	}
}

// A value that many look at is not unpacked for each of them.
func TestManyLooksKeepAValue(t *testing.T) {
	o := &object{packed: pack(&value{k: kString, s: "x"})}
	first := o.read()
	for range maxLooks {
		o.read()
	}
	if a, b := o.read(), o.read(); a != b || a == first || !sameNodes(a, first) || o.packed != "" {
		t.Errorf("%p and %p after %d looks", a, b, o.looks)
	}
	if o.pack(); !o.accepted() || o.value != nil || !sameNodes(o.read(), first) {
		t.Error("a value is lost as it is packed")
	}
}
