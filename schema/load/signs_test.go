package load

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema/load/signs"
)

// Every pattern of the definitions that is read sign by sign says of a text what package regexp says of it.
func TestPatternsAreReadAsRegularExpressions(t *testing.T) {
	defs, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]bool{`^[a-c]{2}x[0-9]*yz$`: true, `^é+[^a]?$`: true, `^a$`: true, `^[a-z]{3,}$`: true, `^ab?$`: true, `^(?i:a)b$`: true, `^a|b$`: true, `^a*a*$`: true, "^[\uFFFD]+$": true}
	seen := map[*shape]bool{}
	var visit func(*shape)
	visit = func(s *shape) {
		if s == nil || seen[s] {
			return
		}
		seen[s] = true
		for _, p := range s.patterns {
			sources[p.source] = true
		}
		visit(s.elem)
		for _, list := range [][]*shape{s.tuple, s.alts, s.guarded} {
			for _, x := range list {
				visit(x)
			}
		}
		for _, f := range s.fields {
			visit(f.s)
		}
		for _, l := range s.labels {
			visit(l.key)
			visit(l.val)
		}
	}
	for _, s := range defs {
		visit(s)
	}
	r := rand.New(rand.NewPCG(3, 4))
	quick := 0
	runes := []rune("aabczAZ019._-/:@+ é\u0301\n\x00\uFFFD#\\x")
	for source := range sources {
		s, ok := signs.Of(source)
		if !ok {
			continue
		}
		quick++
		re := regexp.MustCompile(source)
		check := func(text string) {
			if got, want := s.Match(text), re.MatchString(text); got != want {
				t.Fatalf("%s: %q: %v, regexp says %v", source, text, got, want)
			}
		}
		for _, n := range []int{0, 1, 2, 3, 63, 64, 65, 127, 128, 129, 252, 253, 254, 255, 256, 257} {
			for _, c := range []string{"a", "Z", "0", "é", "\xff", "-", "/"} {
				check(strings.Repeat(c, n))
				check("a" + strings.Repeat(c, n))
				check(strings.Repeat(c, n) + "\n")
			}
		}
		for range 500 {
			var b strings.Builder
			for range r.IntN(12) {
				if r.IntN(40) == 0 {
					b.WriteByte(0xff)
				}
				b.WriteRune(runes[r.IntN(len(runes))])
			}
			check(b.String())
		}
	}
	t.Logf("%d of %d", quick, len(sources))
	if quick < len(sources)/3 {
		t.Errorf("only %d of %d patterns are read sign by sign", quick, len(sources))
	}
}
