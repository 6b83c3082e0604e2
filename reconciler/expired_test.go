package reconciler

import (
	"strings"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestExpired(t *testing.T) {
	at := func(s string) time.Time {
		t.Helper()
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	due, end := at("2026-06-01T00:00:00Z"), at("2026-12-31T00:00:00Z")
	window := schema.Window{Schedule: "cron(0 2 ? * SUN *)", Timezone: "UTC", Duration: "3h", Cutoff: "0h", Enabled: true, End: &end}
	off := window
	off.Enabled = false
	once := schema.Window{Schedule: "at(2026-06-01T00:00:00)", Timezone: "UTC", Duration: "3h", Cutoff: "0h", Enabled: true}
	repo := schema.Repo{
		Exceptions:  map[string]schema.Exception{"x": {Until: due}},
		Parameters:  map[string]schema.Parameter{"/a": {Policies: &schema.ParameterPolicies{Expires: &due}}, "/b": {}},
		Activations: map[string]schema.Activation{"a": {Expires: at("2026-07-01T00:00:00Z")}},
		Windows:     map[string]schema.Window{"w": window, "off": off, "once": once},
		Positions: map[string]schema.Position{
			"exception.x.until": {File: "e.cue", Line: 2, Column: 3}, `parameter."/a".policies.expires`: {File: "p.cue", Line: 4, Column: 5},
			"activation.a.expires": {File: "a.cue", Line: 6, Column: 7}, "window.w.end": {File: "w.cue", Line: 8, Column: 9}, "window.once.schedule": {File: "w.cue", Line: 10, Column: 11},
		},
	}
	for _, tt := range []struct{ name, now, want string }{
		{"the moment before it ends an exception holds", "2026-05-31T23:59:59Z", "a.cue:6:7: warning: activation.a.expires: 2026-07-01T00:00:00Z is more than 30 days ahead, the most that an activation lasts\n"},
		{"the moment it ends it does not", "2026-06-01T00:00:00Z", "e.cue:2:3: warning: exception.x.until: 2026-06-01T00:00:00Z has passed: it excuses nothing any more; take it out\n" +
			"p.cue:4:5: warning: parameter.\"/a\".policies.expires: 2026-06-01T00:00:00Z has passed: nobody can read it any more\n"},
		{"an opening that lasts counts", "2026-06-01T02:59:59Z", "e.cue:2:3: warning: exception.x.until: 2026-06-01T00:00:00Z has passed: it excuses nothing any more; take it out\n" +
			"p.cue:4:5: warning: parameter.\"/a\".policies.expires: 2026-06-01T00:00:00Z has passed: nobody can read it any more\n"},
		{"a window is over after its last opening, not at its end", "2026-12-28T00:00:00Z", "e.cue:2:3: warning: exception.x.until: 2026-06-01T00:00:00Z has passed: it excuses nothing any more; take it out\n" +
			"p.cue:4:5: warning: parameter.\"/a\".policies.expires: 2026-06-01T00:00:00Z has passed: nobody can read it any more\n" +
			"w.cue:8:9: warning: window.w.end: it does not open any more: no start of cron(0 2 ? * SUN *) is left before that\n" +
			"w.cue:10:11: warning: window.once.schedule: at(2026-06-01T00:00:00) has passed: it does not open any more\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got strings.Builder
			for _, f := range Expired(repo, at(tt.now)) {
				got.WriteString(f.String() + "\n")
			}
			if got.String() != tt.want {
				t.Errorf("warnings:\n%swant:\n%s", got.String(), tt.want)
			}
		})
	}
}
