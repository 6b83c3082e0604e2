package reconciler

import (
	"slices"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/schema"
)

func TestNoPolicyWritesWhatIsDunlinsOwn(t *testing.T) {
	c := NoCeiling()
	c.Own = []string{"/etc/dunlin", "/var/lib/dunlin", "/opt/host.cue"}
	for path, denied := range map[string]bool{
		"/etc/dunlin/agent.cue": true, "/etc/dunlin": true, "/var/lib/dunlin/journal/journal": true, "/var/lib/dunlin/lock": true,
		"/etc/./dunlin//agent.cue": true, "/opt/host.cue": true,
		"/etc/dunlin.conf": false, "/var/lib/dunlin2/x": false, "/etc/motd": false,
	} {
		got := c.Denies(schema.Resource{Kind: schema.KindFile, Key: path})
		if (got != "") != denied {
			t.Errorf("%s: %q, denied should be %v", path, got, denied)
		}
	}
}

func TestAGlobThatCouldMatchNothingDeniesEverything(t *testing.T) {
	for glob, denied := range map[string]bool{
		"etc/ssh": true, "": true, "*.conf": true, "./etc": true, "/etc/[ssh": true, "/usr/[": true,
		"/etc/./motd": true, "/etc//": true, "**/motd": true, "**": true,
		"/ETC/**": false, "/etc/ssh": false, "/etc/mot": false, `C:\Acme\motd`: false,
	} {
		c := NoCeiling()
		c.File = "/etc/dunlin/agent.cue"
		c.Files = &schema.CeilingFiles{Deny: []string{glob}}
		got := c.Denies(schema.Resource{Kind: schema.KindFile, Key: "/etc/motd"})
		if (got != "") != denied {
			t.Errorf("%q: %q, denied should be %v", glob, got, denied)
		}
		if denied && !strings.Contains(got, "ceiling.files.deny[0]") {
			t.Errorf("%q: the reason does not name its line: %q", glob, got)
		}
	}
}

func TestNoPolicyEndsDunlinItself(t *testing.T) {
	c := NoCeiling()
	c.OwnUnit, c.OwnPackage = "dunlin.service", "dunlin"
	yes, no := true, false
	service := func(key string, s *schema.Service) schema.Resource {
		return schema.Resource{Kind: schema.KindService, Key: key, Service: s}
	}
	pkg := func(key string, state schema.State) schema.Resource {
		return schema.Resource{Kind: schema.KindPackage, Key: key, Package: &schema.Package{State: state}}
	}
	for name, tt := range map[string]struct {
		res    schema.Resource
		denied bool
	}{
		"stop":             {service("dunlin", &schema.Service{Running: &no}), true},
		"stop by its name": {service("dunlin.service", &schema.Service{Running: &no}), true},
		"disable":          {service("dunlin", &schema.Service{Running: &yes, Enabled: &no}), true},
		"restart":          {service("dunlin", nil), true},
		"keep":             {service("dunlin", &schema.Service{Running: &yes, Enabled: &yes}), false},
		"another":          {service("dunlin2", &schema.Service{Running: &no}), false},
		"remove":           {pkg("dunlin", schema.Absent), true},
		"remove by arch":   {pkg("dunlin:amd64", schema.Absent), true},
		"upgrade":          {pkg("dunlin", schema.Present), false},
		"remove another":   {pkg("dunlin-doc", schema.Absent), false},
	} {
		if got := c.Denies(tt.res); (got != "") != tt.denied {
			t.Errorf("%s: %q, denied should be %v", name, got, tt.denied)
		}
	}
}

// An agent that a policy lets restart itself would be restarted again by what the next one finds owed, for ever.
func TestDunlinIsNotRestartedByItself(t *testing.T) {
	k, j := &fakeKind{got: map[string]string{}}, &fakeJournal{}
	p := pass(k, j)
	p.Ceiling.OwnUnit = "dunlin.service"
	plan := schema.Plan{Resources: []schema.Resource{want("a", "1")}, Restart: map[string][]string{"p": {"dunlin", "nginx"}}}
	got, err := p.Converge(t.Context(), plan)
	if err != nil || !slices.Equal(k.restarts, []string{"nginx"}) || len(j.owed) != 0 || !strings.Contains(results(got), "service:dunlin restart Denied") {
		t.Errorf("pass = %q, %v, restarts %v, owed %v; want dunlin denied and nothing owed", results(got), err, k.restarts, j.owed)
	}
}
