package load

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAgentConfigInThreeForms(t *testing.T) {
	for name, text := range map[string]string{
		"agent.cue":  "repo: url: \"https://git.example.org/p.git\"\ntrust: \"unsigned\"\nceiling: {\n\tpackages: false\n\tfiles: deny: [\"/etc/ssh/**\"]\n}\n",
		"agent.json": `{"repo": {"url": "https://git.example.org/p.git"}, "trust": "unsigned", "ceiling": {"packages": false, "files": {"deny": ["/etc/ssh/**"]}}}`,
		"agent.yaml": "repo:\n  url: https://git.example.org/p.git\ntrust: unsigned\nceiling:\n  packages: false\n  files:\n    deny: [/etc/ssh/**]\n",
	} {
		c, faults := AgentConfig(name, []byte(text))
		if len(faults) > 0 {
			t.Errorf("%s: %v", name, faults)
			continue
		}
		if c.Ceiling.Packages || !c.Ceiling.Reboots || c.State != "/var/lib/dunlin" || c.Peer.Bind != "0.0.0.0:7951" ||
			c.Ceiling.Files == nil || !cmp.Equal(c.Ceiling.Files.Deny, []string{"/etc/ssh/**"}) {
			t.Errorf("%s: %+v", name, c)
		}
		if p := c.Ceiling.Positions["ceiling.packages"]; p.Line == 0 || name == "agent.cue" && p.Line != 4 {
			t.Errorf("%s: ceiling.packages stands at %+v", name, p)
		}
	}
}

func TestAWrongAgentConfigIsPlaced(t *testing.T) {
	const head = "repo: url: \"https://git.example.org/p.git\"\ntrust: \"unsigned\"\n"
	for text, want := range map[string]string{
		head + "ceiling: pakages: false\n":               "agent.cue:3:10: ceiling.pakages: no such field",
		head + "ceiling: packages: \"no\"\n":             "ceiling.packages: \"no\" is text",
		head + "gossip: {join: []}\n":                    "gossip.keyFile: required",
		"trust: \"unsigned\"\n":                          "agent.cue:1:1: repo: required",
		"repo: url: \"https://git.example.org/p.git\"\n": "agent.cue:1:1: trust: required",
		head + "state: \"relative\"\n":                   "agent.cue:3:8: state:",
		head + "state: {\n":                              "agent.cue:3:8: { is not closed",
		head + "trust: \"signed\"\n":                     "trust",
		"import \"strings\"\n" + head:                    "may not import",
		head + "ceiling: packages: ceiling.packages\n":   "ceiling.packages",
	} {
		_, faults := AgentConfig("agent.cue", []byte(text))
		if len(faults) == 0 || !strings.Contains(faults[0].String(), want) {
			t.Errorf("%q: %v, want %q", text, faults, want)
		}
	}
}

func FuzzAgentConfig(f *testing.F) {
	f.Add("agent.cue", "repo: url: \"https://x/y\"\ntrust: \"unsigned\"\n")
	f.Add("agent.yaml", "a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, name, text string) {
		_, _ = AgentConfig(name, []byte(text)) // an error is fine, a panic is not
	})
}
