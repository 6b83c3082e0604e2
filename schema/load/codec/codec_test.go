package codec

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

type sample struct {
	Text  string
	Yes   bool
	Count int
	Port  uint16
	At    *time.Time
	List  []string
	Named map[string]sample
	Where map[string]schema.Position
}

func samples() []sample {
	at := time.Date(2026, 3, 29, 2, 30, 0, 5, time.FixedZone("", 3600))
	return []sample{
		{},
		{Text: "é", Yes: true, Count: -1 << 62, Port: 65535, At: &at},
		{List: []string{}, Named: map[string]sample{}, Where: map[string]schema.Position{}},
		{List: []string{"", "b"}, Named: map[string]sample{"b": {Count: 1}, "a": {List: []string{"x"}}}, Where: map[string]schema.Position{"p.q": {File: "a.cue", Line: 3, Column: 12}}},
	}
}

func TestReadGivesWhatWasAppended(t *testing.T) {
	for i, want := range samples() {
		b := Append([]byte("head"), want)
		var w bytes.Buffer
		if err := Write(&w, []byte("head"), want); err != nil || !bytes.Equal(w.Bytes(), b) {
			t.Errorf("%d: Write = %q, %v, want what Append gives, %q", i, w.Bytes(), err, b)
		}
		got, err := Read[sample](string(b[len("head"):]))
		if err != nil {
			t.Errorf("%d: Read = %v", i, err)
			continue
		}
		if want.At != nil {
			if !got.At.Equal(*want.At) || got.At.Format(time.RFC3339Nano) != want.At.Format(time.RFC3339Nano) {
				t.Errorf("%d: the instant is %v, want %v", i, got.At, want.At)
			}
			got.At = want.At // equal instants, other pointers to zones
		}
		if !reflect.DeepEqual(*got, want) { // nil is not empty
			t.Errorf("%d: Read = %#v, want %#v", i, *got, want)
		}
	}
}

func TestReadRefusesWhatEndsTooEarlyOrGoesOn(t *testing.T) {
	b := Append(nil, samples()[3])
	for n := range b {
		if _, err := Read[sample](string(b[:n])); err == nil {
			t.Errorf("%d of %d bytes are read", n, len(b))
		}
	}
	if _, err := Read[sample](string(b) + "\x00"); err == nil {
		t.Error("a byte more is read")
	}
	if _, err := Read[[]string]("\xff\xff\xff\xff\xff\xff\xff\xff\x7f"); err == nil {
		t.Error("a list that says it is larger than what there is of it is read")
	}
}

func TestTypesTellsTypesApart(t *testing.T) {
	type one struct{ A string }
	type other struct{ B string }
	if bytes.Equal(Types[one](), Types[other]()) {
		t.Error("a field of another name makes no other type")
	}
	if !bytes.Equal(Types[sample](), Types[sample]()) {
		t.Error("a type differs from itself")
	}
}

func TestSame(t *testing.T) {
	all := samples()
	for i := range all {
		for j := range all {
			if got := Same(reflect.ValueOf(all[i]), reflect.ValueOf(all[j])); got != (i == j) {
				t.Errorf("Same(%d, %d) = %v", i, j, got)
			}
		}
	}
}
