package record_test

import (
	"encoding/json"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

// FuzzRecord gives a store records that others made of real ones, as JSON from a peer. Nothing stands that its owner has not
// signed, what stands is whole, and nobody's own record is replaced by what comes from elsewhere.
func FuzzRecord(f *testing.F) {
	fleet := newFleet(3)
	made := []schema.Record{fleet.record(1, "", 3, 3, `{"a":1}`), fleet.record(1, "k", 3, 4, `{"a":2}`), fleet.record(2, "", 1, 1, `[]`), fleet.record(2, "", 2, 1, `{}`)}
	signed := map[string]bool{}
	for i, r := range made {
		signed[string(r.Message())] = true
		mixed := r
		mixed.Sig = made[(i+1)%len(made)].Sig
		other := r
		other.Node = fleet.ids[(i+1)%3]
		raised := r
		raised.Seq, raised.Boot = 1<<40, 1<<60
		moved := r
		moved.Key, moved.Kind = string(r.Kind), schema.RecordKind(r.Key)
		for _, r := range []schema.Record{r, mixed, other, raised, moved, {Node: fleet.ids[0], Kind: schema.RecordState, Boot: 9, Seq: 9, Body: []byte("{}"), Sig: r.Sig}} {
			b, err := json.Marshal([]schema.Record{r, made[0]})
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Add([]byte(`[{}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got []schema.Record
		if json.Unmarshal(b, &got) != nil {
			return
		}
		s := fleet.store(0, 7)
		if _, err := s.Publish(schema.RecordState, "", "own"); err != nil {
			t.Fatal(err)
		}
		own := s.Digests()
		for _, r := range got {
			fresh, err := s.Put(r)
			key, known := fleet.public(r.Node)
			if fresh && (err != nil || !known || r.Verify(key) != nil || !signed[string(r.Message())]) {
				t.Fatalf("Put(%+v) = %v, %v", r, fresh, err)
			}
		}
		for _, r := range s.Get(s.Digests()) {
			key, known := fleet.public(r.Node)
			if !known || r.Verify(key) != nil || r.Node != fleet.ids[0] && !signed[string(r.Message())] {
				t.Fatalf("it holds %+v", r)
			}
		}
		if len(s.Get(own)) != 1 {
			t.Fatal("its own record is gone")
		}
	})
}
