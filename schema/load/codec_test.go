package load

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// Every type that Repo is made of has a code: a new kind of type must get one.
func TestEveryTypeHasACode(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var visit func(reflect.Type)
	visit = func(x reflect.Type) {
		if seen[x] || x == reflect.TypeFor[time.Time]() {
			return
		}
		seen[x] = true
		switch x.Kind() {
		case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint16, reflect.Uint32:
		case reflect.Pointer, reflect.Slice:
			visit(x.Elem())
		case reflect.Map:
			if x.Key().Kind() != reflect.String {
				t.Errorf("%s has keys that are no texts", x)
			}
			visit(x.Elem())
		case reflect.Struct:
			for i := range x.NumField() {
				if !x.Field(i).IsExported() {
					t.Errorf("%s.%s is not exported", x, x.Field(i).Name)
				}
				visit(x.Field(i).Type)
			}
		default:
			t.Errorf("%s has no code", x)
		}
	}
	visit(reflect.TypeFor[cached]())
}

func TestEncodeKeepsEverything(t *testing.T) {
	m := generated(100)
	m["w.cue"] = files("-- w.cue --\nwindow: w: {" + window + ", start: \"2026-12-01T00:00:00+02:00\"}\n")["w.cue"]
	repo, faults, err := thisBuild()(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	faults = append(faults, schema.Fault{File: "a", Message: "b"})
	b := Encode(repo, faults)
	gotRepo, gotFaults, err := Decode(bytes.NewReader(b), int64(len(b)))
	if err != nil || !reflect.DeepEqual(gotFaults, faults) {
		t.Fatalf("Decode = %v, %v", gotFaults, err)
	}
	start := repo.Windows["w"].Start
	if got := gotRepo.Windows["w"].Start; !got.Equal(*start) || got.Format(time.RFC3339) != start.Format(time.RFC3339) {
		t.Errorf("start = %v, want %v", got, start)
	}
	*gotRepo.Windows["w"].Start = *start // equal instants, other pointers to zones
	if !reflect.DeepEqual(gotRepo, repo) {
		t.Error("Decode(Encode(repo)) is another repo")
	}
	for i := range b {
		c := append([]byte(nil), b...)
		c[i] ^= 1
		if _, _, err := Decode(bytes.NewReader(c), int64(len(c))); !errors.Is(err, ErrCache) {
			t.Fatalf("a changed byte %d is not noticed: %v", i, err)
		}
	}
	for _, n := range []int{0, 10, int(headSize) - 1, int(headSize), len(b) - 1} {
		for _, size := range []int{n, len(b)} {
			if _, _, err := Decode(bytes.NewReader(b[:n]), int64(size)); !errors.Is(err, ErrCache) {
				t.Fatalf("%d bytes that should be %d: %v", n, size, err)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(cached{Repo: schema.Repo{Objects: 1, Roster: []schema.RosterLine{{ID: "a"}}}})[headSize:])
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 4096 {
			return
		}
		d := &decoder{s: string(body)}
		var c cached
		_ = d.read(reflect.ValueOf(&c).Elem()) // an error is fine, a panic is not
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{170, 1000} { // about 1,000 resources, and 1,000 objects
		repo, _, err := thisBuild()(b.Context(), generated(n))
		if err != nil {
			b.Fatal(err)
		}
		kept := Encode(repo, nil)
		resources := 0
		for _, p := range repo.Policies {
			resources += len(p.BlockedPorts) + len(p.Files) + len(p.Packages) + len(p.Services) + len(p.Sysctls) + len(p.Users)
		}
		b.Run(fmt.Sprintf("resources=%d", resources), func(b *testing.B) {
			b.SetBytes(int64(len(kept)))
			for b.Loop() {
				if _, _, err := Decode(bytes.NewReader(kept), int64(len(kept))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDigest(b *testing.B) {
	m := generated(1000)
	for b.Loop() {
		if _, err := Digest(m); err != nil {
			b.Fatal(err)
		}
	}
}
