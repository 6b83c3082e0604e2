package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestThePinOnDisk(t *testing.T) {
	one, two := strings.Repeat("1", 40), strings.Repeat("2", 40)
	state := t.TempDir()
	open := func(trust schema.AgentTrust) (pin, string) {
		t.Helper()
		p, problem, err := openPin(state, trust)
		if err != nil {
			t.Fatal(err)
		}
		return p, problem
	}
	if p, problem := open(schema.AgentTrust{Unsigned: true}); p.Anchor != "" || problem != "" {
		t.Errorf("unsigned from the start: %+v, %q", p, problem)
	}
	p, _ := open(schema.AgentTrust{Anchor: one})
	if p.base() != one {
		t.Errorf("base = %q", p.base())
	}
	p.Head = two
	if err := p.write(state); err != nil {
		t.Fatal(err)
	}
	if p, problem := open(schema.AgentTrust{Anchor: one}); p.base() != two || problem != "" {
		t.Errorf("at the next start: %+v, %q", p, problem)
	}
	if p, problem := open(schema.AgentTrust{Unsigned: true}); p.base() != two || !strings.Contains(problem, "goes on to verify") {
		t.Errorf("unsigned afterwards: %+v, %q", p, problem)
	}
	if p, _ := open(schema.AgentTrust{Anchor: two}); p.base() != two || p.Head != "" {
		t.Errorf("another anchor: %+v", p)
	}
	for _, bad := range []string{"", "HEAD", one[:39], strings.ToUpper(strings.Repeat("a", 40))} {
		if _, _, err := openPin(t.TempDir(), schema.AgentTrust{Anchor: bad}); err == nil || !strings.Contains(err.Error(), "full commit hash") {
			t.Errorf("anchor %q: %v", bad, err)
		}
	}
	// A damaged file does not make a host unsigned.
	for _, bad := range []string{"", "{}", "null", `{"v":1,"anchor":"x"}`, `{"v":2,"anchor":"` + one + `"}`} {
		if err := os.WriteFile(filepath.Join(state, anchorFile), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, trust := range []schema.AgentTrust{{Unsigned: true}, {Anchor: one}} {
			if p, _, err := openPin(state, trust); err == nil || !strings.Contains(err.Error(), anchorFile) {
				t.Errorf("%q with %+v: %+v, %v", bad, trust, p, err)
			}
		}
	}
}
