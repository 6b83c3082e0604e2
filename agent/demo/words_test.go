package demo

import (
	"slices"
	"strings"
	"testing"

	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/schema"
)

func TestHostsThatAreAlikeShareARow(t *testing.T) {
	nodes := []*simulated.Node{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}
	rows := alike(nodes, func(n *simulated.Node) (Mark, string) {
		switch n.Name {
		case "b":
			return Bad, "same"
		case "c":
			return Good, "other"
		}
		return Good, "same"
	})
	want := []string{"a d", "b", "c"}
	if len(rows) != len(want) {
		t.Fatalf("rows %+v", rows)
	}
	for i, r := range rows {
		if got := strings.Join(r.Nodes, " "); got != want[i] {
			t.Errorf("row %d is of %q, want %q", i, got, want[i])
		}
	}
}

func TestChangesAreToldInAFewWords(t *testing.T) {
	changes := []schema.Change{
		{Resource: "file:/etc/motd", Action: schema.Update},
		{Resource: "service:telnet.socket", Action: schema.Disable},
		{Resource: "sysctl:net.ipv4.conf.all.accept_redirects", Action: schema.Update, Want: "0"},
		{Resource: "patch:openssl.amd64", Action: schema.Upgrade},
		{Resource: "package:telnetd", Action: schema.Remove},
		{Resource: "port:in/tcp/23/any", Action: schema.Block},
		{Resource: "user:deploy", Action: schema.Create},
	}
	for done, want := range map[bool][]string{
		false: {"close port 23", "write /etc/motd", "disable telnet.socket", "set accept_redirects=0", "remove telnetd", "create deploy"},
		true:  {"closed port 23", "wrote /etc/motd", "disabled telnet.socket", "set accept_redirects=0", "removed telnetd", "create deploy"},
	} {
		got, patches := phrases(changes, done)
		if !slices.Equal(got, want) || patches != 1 {
			t.Errorf("phrases(done %v) = %q, %d; want %q and 1 patch", done, got, patches, want)
		}
	}
}

func TestAVerdictTellsWhatCountsAgainstAHost(t *testing.T) {
	states := func(patch, policy schema.Compliance) map[string]schema.Compliance {
		return map[string]schema.Compliance{"Patch": patch, "Policy": policy}
	}
	for _, tt := range []struct {
		line schema.ReportLine
		mark Mark
		text string
	}{
		{schema.ReportLine{Compliance: states(schema.Compliant, schema.Compliant), Counts: map[string]int{"InstalledCount": 1}}, Good, "COMPLIANT: policy kept, 1 security update installed"},
		{schema.ReportLine{Compliance: states(schema.NonCompliant, schema.Compliant), Counts: map[string]int{"MissingCount": 2}}, Bad, "NON_COMPLIANT: policy kept, 2 security updates missing"},
		{schema.ReportLine{Compliance: states(schema.Compliant, schema.NonCompliant)}, Bad, "NON_COMPLIANT: policy not kept"},
		{schema.ReportLine{}, Attention, "UNSPECIFIED_DATA: it has told nothing yet"},
	} {
		if mark, text := verdict(tt.line); mark != tt.mark || text != tt.text {
			t.Errorf("verdict(%v) = %q, %q; want %q, %q", tt.line.Compliance, mark, text, tt.mark, tt.text)
		}
	}
}
