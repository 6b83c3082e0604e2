package trust

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestFresh(t *testing.T) {
	r := newGitRepo(t, "alice", "clock")
	f := schema.Fleet{Name: "acme", Freshness: "1h", Signers: r.signers("alice=policy", "clock=beat"),
		Roles: map[string]schema.Role{"root": {Paths: rootPaths()}, "policy": {Paths: []string{"**"}}, "beat": {}}}
	head := strings.Repeat("a", 40)
	at := r.clock
	beat := func(who, fleet string) []byte {
		h := Heartbeat{V: 1, Fleet: fleet, Head: head, Time: at.Format(time.RFC3339)}
		h.Sig = r.sign(who, NamespaceHeartbeat, h.Message())
		return h.Encode()
	}
	good := beat("clock", "acme")
	for _, tt := range []struct {
		name string
		text []byte
		now  time.Time
		want string // words of the refusal; empty where it is fresh
	}{
		{"an hour old to the second", good, at.Add(time.Hour), ""},
		{"a second older", good, at.Add(time.Hour + time.Second), "the newest heartbeat is of 2026-01-01T12:00:00Z"},
		{"a clock that is 5 minutes behind", good, at.Add(-MaxAhead), ""},
		{"a clock that is further behind", good, at.Add(-MaxAhead - time.Second), "in the future"},
		{"none", nil, at, "there is no heartbeat"},
		{"nonsense", []byte("{}"), at, "does not count"},
		{"of who may only change policies", beat("alice", "acme"), at, "no role that gives them"},
		{"of another fleet", beat("clock", "other"), at, `for the fleet "other"`},
		{"with a byte changed", []byte(strings.Replace(string(good), "12:00:00", "12:00:01", 1)), at, "does not count"},
	} {
		err := Fresh(f, tt.text, head, tt.now)
		if r := (*Refusal)(nil); tt.want == "" && err != nil || tt.want != "" && (!errors.As(err, &r) || r.Kind != Stale || r.Commit != head || !strings.Contains(r.Reason, tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	f.Freshness = ""
	if err := Fresh(f, nil, head, at); err != nil {
		t.Errorf("a fleet that asks for none: %v", err)
	}
}
