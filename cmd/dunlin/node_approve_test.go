package main

import (
	"errors"
	"testing"

	"github.com/dunlin-dev/dunlin/agent/trust"
)

func TestAHostThatWasInIsNotCountedAmongThoseWhoAsk(t *testing.T) {
	all := []asking{}
	for _, p := range []trust.Proof{{ID: "aaaa1", Name: "web-1"}, {ID: "aaaa2", Name: "web-1"}, {ID: "bbbb1", Name: "db-1"}, {ID: "bbbb2", Name: "db-1"}, {ID: "cccc1", Name: "old"}, {ID: "cccc2", Name: "old"}} {
		all = append(all, asking{join: trust.Join{Proof: p}})
	}
	known := func(id string) bool { return id == "aaaa1" || id[0] == 'c' }
	for _, tt := range []struct {
		word, want string
		code       int
	}{
		{"web-1", "aaaa2", 0},
		{"aaaa", "aaaa2", 0},
		{"aaaa1", "aaaa1", 0}, // who is named alone is refused for what it is
		{"old", "cccc2", 0},
		{"db-1", "", exitError},
		{"bbbb1", "bbbb1", 0},
		{"wob-1", "", exitNoMatch},
	} {
		got, err := chooseAsking(all, []string{tt.word}, known)
		var said exitWith
		if errors.As(err, &said); said.code != tt.code {
			t.Errorf("%q: %v, want exit %d", tt.word, err, tt.code)
		}
		if tt.want != "" && (len(got) != 1 || got[0].join.Proof.ID != tt.want) {
			t.Errorf("%q = %v, want %s", tt.word, got, tt.want)
		}
	}
}
