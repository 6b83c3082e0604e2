package load

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load/codec"
	"github.com/dunlin-dev/dunlin/schema/load/tree"
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
	m := generated(40)
	m["w.cue"] = files("-- w.cue --\nwindow: w: {" + window + ", start: \"2026-12-01T00:00:00+02:00\"}\n")["w.cue"]
	repo, faults, err := thisBuild()(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	faults = append(faults, schema.Fault{File: "a", Message: "b"})
	const of = "git-0123"
	b := kept(t, Evaluated{Repo: repo, Faults: faults, Known: &Known{Files: 3, Looks: map[string][]string{"policy x": {"group y"}}}}, of)
	again, err := Decode(bytes.NewReader(b), int64(len(b)), of)
	gotRepo := again.Repo
	if err != nil || !reflect.DeepEqual(again.Faults, faults) || again.Known == nil || again.Known.Looks["policy x"][0] != "group y" {
		t.Fatalf("Decode = %v, %v, %v", again.Faults, again.Known, err)
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
		if _, err := Decode(bytes.NewReader(c), int64(len(c)), of); !errors.Is(err, ErrCache) {
			t.Fatalf("a changed byte %d is not noticed: %v", i, err)
		}
	}
	for _, n := range []int{0, 10, int(headSize) - 1, int(headSize), int(headSize) + 31, int(headSize) + 32, len(b) - 32, len(b) - 1} {
		for _, size := range []int{n, len(b)} {
			if _, err := Decode(bytes.NewReader(b[:n]), int64(size), of); !errors.Is(err, ErrCache) {
				t.Fatalf("%d bytes that should be %d: %v", n, size, err)
			}
		}
	}
	if _, err := Decode(bytes.NewReader(append(b, b...)), int64(2*len(b)), of); !errors.Is(err, ErrCache) {
		t.Fatalf("twice the same: %v", err)
	}
	// What was kept of other files under this name, and what another build kept.
	for _, other := range []string{"", "git-0124", of + " "} {
		if _, err := Decode(bytes.NewReader(b), int64(len(b)), other); !errors.Is(err, ErrCache) {
			t.Fatalf("of %q: %v", other, err)
		}
	}
	if programName() == "" {
		t.Error("this program has no name to tell it from others")
	}
}

// kept is an evaluated repository as it is kept.
func kept(t testing.TB, e Evaluated, of string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Encode(&b, e, of); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func FuzzDecode(f *testing.F) {
	f.Add(codec.Append(nil, cached{Repo: schema.Repo{Objects: 1, Roster: []schema.RosterLine{{ID: "a"}}}}))
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 4096 {
			return
		}
		_, _ = codec.Read[cached](string(body)) // an error is fine, a panic is not
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{170, 1000} { // about 1,000 resources, and 1,000 objects
		repo, _, err := thisBuild()(b.Context(), generated(n))
		if err != nil {
			b.Fatal(err)
		}
		kept := kept(b, Evaluated{Repo: repo}, "")
		resources := 0
		for _, p := range repo.Policies {
			resources += len(p.BlockedPorts) + len(p.Files) + len(p.Packages) + len(p.Services) + len(p.Sysctls) + len(p.Users)
		}
		b.Run(fmt.Sprintf("resources=%d", resources), func(b *testing.B) {
			b.SetBytes(int64(len(kept)))
			for b.Loop() {
				if _, err := Decode(bytes.NewReader(kept), int64(len(kept)), ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDigest(b *testing.B) {
	m := generated(1000)
	for b.Loop() {
		if _, err := tree.Digest(m); err != nil {
			b.Fatal(err)
		}
	}
}
