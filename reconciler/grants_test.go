package reconciler

import (
	"testing"

	"github.com/dunlin-dev/dunlin/reconciler/grant"
	"github.com/dunlin-dev/dunlin/schema"
)

// Whole runs and sessions, with the roster, groups and targets as they are in a commit.
func TestMayRunAndOpen(t *testing.T) {
	line := func(name, role string, state schema.NodeState) schema.RosterLine {
		return schema.RosterLine{ID: "id-" + name, Name: name, OS: "debian", Tags: map[string]string{"role": role}, State: state}
	}
	in := func(group string) schema.Targets {
		return schema.Targets{Selection: schema.Selection{ResourceGroups: []string{group}}}
	}
	web := in("web")
	repo := schema.Repo{
		Fleet:          schema.Fleet{Signers: map[string]schema.Signer{"alice": {}, "bob": {}}},
		Roster:         []schema.RosterLine{line("web-1", "web", schema.NodeActive), line("web-2", "web", schema.NodeRetired), line("db-1", "db", schema.NodeActive), line("web-3", "web", schema.NodePending)},
		ResourceGroups: map[string]schema.ResourceGroup{"web": {Targets: schema.Targets{Selection: schema.Selection{Tags: map[string]schema.Texts{"role": {"web"}}}}}},
		Documents:      map[string]schema.Document{"d": {}},
		Grants: map[string]schema.Grant{"web": {Who: []string{"alice"}, Run: &schema.GrantRun{Documents: []string{"d"}, Targets: web},
			Sessions: []schema.SessionKind{"shell"}, Targets: &web, RunAs: "deploy", MaxDuration: "1h"}},
	}
	run := schema.Run{Document: "d", Targets: web, MaxConcurrency: "1"}
	nodes, v := MayRun(repo, "alice", run)
	if len(nodes) != 1 || nodes[0].Name != "web-1" || v.Grant != "web" {
		t.Errorf("MayRun = %v, %s", nodes, v)
	}
	run.Targets = schema.Targets{All: true}
	if nodes, v := MayRun(repo, "alice", run); len(nodes) != 2 || v.Allowed() || v.String() != "not allowed: grant web: db-1 is not among its nodes" {
		t.Errorf("MayRun of all = %v, %s", nodes, v)
	}
	run.Targets = in("nowhere")
	if nodes, v := MayRun(repo, "alice", run); len(nodes) != 0 || v.Allowed() {
		t.Errorf("MayRun of a group that is not there = %v, %s", nodes, v)
	}
	shell := grant.Session{Kind: schema.SessionShell}
	if open, v := MayOpen(repo, "alice", shell, repo.Roster[0].Node()); !v.Allowed() || open.RunAs != "deploy" {
		t.Errorf("MayOpen = %+v, %s", open, v)
	}
	if _, v := MayOpen(repo, "alice", shell, repo.Roster[2].Node()); v.Allowed() {
		t.Errorf("MayOpen on another node: %s", v)
	}
	if _, v := MayOpen(repo, "bob", shell, repo.Roster[0].Node()); v.Allowed() {
		t.Errorf("MayOpen of another person: %s", v)
	}
}

// The host's own file stands above every grant.
func TestCeilingOfRunsAndSessions(t *testing.T) {
	with := func(change func(*Ceiling)) Ceiling {
		c := NoCeiling()
		c.File = "/etc/dunlin/agent.cue"
		c.Positions = map[string]schema.Position{"ceiling.documents": {Line: 7}}
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name     string
		c        Ceiling
		document string
		want     string
	}{
		{"no ceiling", NoCeiling(), "d", ""},
		{"no runs", with(func(c *Ceiling) { c.Runs = false }), "d", "this host does not allow it: /etc/dunlin/agent.cue: ceiling.runs is false"},
		{"no runs, though the document is named", with(func(c *Ceiling) { c.Runs, c.Documents = false, []string{"*"} }), "d", "this host does not allow it: /etc/dunlin/agent.cue: ceiling.runs is false"},
		{"a document that is named", with(func(c *Ceiling) { c.Documents = []string{"x", "AWS-Run*"} }), "AWS-RunPatchBaseline", ""},
		{"one that is not", with(func(c *Ceiling) { c.Documents = []string{"AWS-Run*"} }), "my-AWS-Run", `this host does not allow it: /etc/dunlin/agent.cue:7: ceiling.documents is without "my-AWS-Run"`},
		{"none at all", with(func(c *Ceiling) { c.Documents = []string{} }), "d", `this host does not allow it: /etc/dunlin/agent.cue:7: ceiling.documents is without "d"`},
		{"a glob that is none", with(func(c *Ceiling) { c.Documents = []string{"["} }), "[", `this host does not allow it: /etc/dunlin/agent.cue:7: ceiling.documents is without "["`},
	} {
		if got := tt.c.DeniesRun(tt.document); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if got := NoCeiling().DeniesSession(); got != "" {
		t.Errorf("no ceiling: %q", got)
	}
	if got := with(func(c *Ceiling) { c.Sessions = false }).DeniesSession(); got != "this host does not allow it: /etc/dunlin/agent.cue: ceiling.sessions is false" {
		t.Errorf("no sessions: %q", got)
	}
}
