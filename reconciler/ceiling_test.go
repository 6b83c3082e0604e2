package reconciler

import (
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
		c.Files = &struct {
			Deny []string `json:"deny"`
		}{[]string{glob}}
		got := c.Denies(schema.Resource{Kind: schema.KindFile, Key: "/etc/motd"})
		if (got != "") != denied {
			t.Errorf("%q: %q, denied should be %v", glob, got, denied)
		}
		if denied && !strings.Contains(got, "ceiling.files.deny[0]") {
			t.Errorf("%q: the reason does not name its line: %q", glob, got)
		}
	}
}
