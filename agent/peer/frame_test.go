package peer

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestFramesComeBack(t *testing.T) {
	r := schema.Record{Node: "n", Kind: "head", Key: "", Boot: 1 << 40, Seq: 7, Body: []byte(`{"a":1}`), Sig: []byte("sig")}
	d := strings.Repeat("0a", 16)
	got, err := unpackRecords(packRecord(packRecord(nil, d, r), d, r))
	if diff := cmp.Diff([]named{{d, r}, {d, r}}, got, cmp.AllowUnexported(named{})); diff != "" || err != nil {
		t.Errorf("records: %v\n%s", err, diff)
	}
	ds := []string{d, strings.Repeat("f", 32)}
	if got, err := unpackDigests(packDigests(append(ds, "no digest"))); err != nil || !slices.Equal(got, ds) {
		t.Errorf("digests: %q, %v", got, err)
	}
	big := schema.Record{Node: "n", Body: make([]byte, schema.MaxRecordBody+1)}
	if b := packRecord(nil, d, big); len(b) != 0 {
		t.Errorf("a record that nobody takes is packed: %d bytes", len(b))
	}
	most := schema.Record{Node: strings.Repeat("n", maxName), Kind: schema.RecordKind(strings.Repeat("n", maxName)), Key: strings.Repeat("n", maxName),
		Sig: make([]byte, maxName), Body: make([]byte, schema.MaxRecordBody)}
	if n := packRecords + len(packRecord(nil, d, most)); n > maxRecords {
		t.Errorf("a frame can have %d bytes, more than %d", n, maxRecords)
	}
}

// Whatever a peer sends, reading it neither panics nor allocates much, and what was read is written the same.
func FuzzFrame(f *testing.F) {
	d := strings.Repeat("0a", 16)
	f.Add(frame(frameOffer, packDigests([]string{d})))
	f.Add(frame(frameRoot, make([]byte, 32)))
	f.Add(frame(frameRecords, packRecord(nil, d, schema.Record{Node: "n", Kind: "k", Body: []byte("{}"), Sig: []byte("s")})))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, payload, err := readFrame(bytes.NewReader(b))
		if err != nil {
			return
		}
		if most, _, ok := k.limit(); !ok || len(payload) > most {
			t.Fatalf("a frame of kind %d and %d bytes", k, len(payload))
		}
		if again := frame(k, payload); !bytes.Equal(again, b[:len(again)]) {
			t.Fatal("a frame does not come back")
		}
		switch k {
		case frameOffer, frameWant:
			if ds, err := unpackDigests(payload); err == nil && !bytes.Equal(packDigests(ds), payload) {
				t.Fatal("digests do not come back")
			}
		case frameRecords:
			if rs, err := unpackRecords(payload); err == nil {
				var again []byte
				for _, r := range rs {
					again = packRecord(again, r.digest, r.record)
				}
				if !bytes.Equal(again, payload) {
					t.Fatal("records do not come back")
				}
			}
		}
	})
}
