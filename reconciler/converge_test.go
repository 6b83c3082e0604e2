package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dunlin-dev/dunlin/schema"
)

// fakeKind holds values by resource key; a resource wants the text of its Sysctl.
type fakeKind struct {
	got      map[string]string
	stuck    map[string]bool  // Apply succeeds and changes nothing
	fails    map[string]error // Apply's error
	checks   int
	restarts []string
	crash    func(string) // called before each effect
}

func (k *fakeKind) Check(_ context.Context, rs []schema.Resource) []schema.Checked {
	k.checks++
	out := make([]schema.Checked, len(rs))
	for i, r := range rs {
		if got := k.got[r.Key]; got != *r.Sysctl {
			out[i].Drift = schema.Drift{{Action: schema.Update, Want: *r.Sysctl, Got: got}}
		}
	}
	return out
}

func (k *fakeKind) Apply(_ context.Context, rs []schema.Resource) []error {
	errs := make([]error, len(rs))
	for i, r := range rs {
		if errs[i] = k.fails[r.Key]; errs[i] == nil && !k.stuck[r.Key] {
			if k.crash != nil {
				k.crash(r.Key)
			}
			k.got[r.Key] = *r.Sysctl
		}
	}
	return errs
}

func (k *fakeKind) Restart(_ context.Context, name string) error {
	k.restarts = append(k.restarts, name)
	return k.fails[name]
}

// fakeJournal keeps what the real one keeps on disk.
type fakeJournal struct {
	owed []schema.Intent
	full bool
}

func (j *fakeJournal) Intend(_ string, in []schema.Intent) (func([]schema.Result) error, error) {
	if j.full {
		return nil, errors.New("write journal: no space left on device")
	}
	j.owed = append(j.owed, in...)
	return func([]schema.Result) error {
		for _, i := range in {
			k := slices.Index(j.owed, i)
			j.owed = slices.Delete(j.owed, k, k+1)
		}
		return nil
	}, nil
}
func (j *fakeJournal) Owed() []schema.Intent { return slices.Clone(j.owed) }
func (j *fakeJournal) Settle(resource string, a schema.Action, _ schema.Result) error {
	j.owed = slices.DeleteFunc(j.owed, func(i schema.Intent) bool { return i.Resource == resource && i.Action == a })
	return nil
}

func want(key, value string, more ...func(*schema.Resource)) schema.Resource {
	r := schema.Resource{Kind: schema.KindSysctl, Key: key, Policy: "p", Mode: schema.Enforce, Sysctl: &value}
	for _, f := range more {
		f(&r)
	}
	return r
}

func results(cs []schema.Change) string {
	var out []string
	for _, c := range cs {
		out = append(out, fmt.Sprintf("%s %s %s", c.Resource, c.Action, c.Result))
	}
	return strings.Join(out, "\n")
}

func pass(k *fakeKind, j Journal) Pass {
	return Pass{Kinds: map[schema.Kind]Kind{schema.KindSysctl: k, schema.KindService: k}, Journal: j, Ceiling: NoCeiling()}
}

func TestConvergeSaysWhatBecameOfEachResource(t *testing.T) {
	k := &fakeKind{
		got:   map[string]string{"right": "1"},
		stuck: map[string]bool{"stuck": true},
		fails: map[string]error{"broken": errors.New("read-only file system")},
	}
	plan := schema.Plan{Resources: []schema.Resource{
		want("right", "1"), want("drifted", "1"), want("stuck", "1"), want("broken", "1"),
		want("audited", "1", func(r *schema.Resource) { r.Mode = schema.Audit }),
		want("early", "1", func(r *schema.Resource) { r.Wait = "window sun opens 2026-11-29T02:00:00Z" }),
		want("contested", "1", func(r *schema.Resource) { r.Contested = "policy a and policy b want different things" }),
	}}
	got, err := pass(k, &fakeJournal{}).Converge(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	wantText := `sysctl:contested update Conflict
sysctl:audited update WouldChange
sysctl:early update Waiting
sysctl:drifted update Changed
sysctl:stuck update Failed
sysctl:broken update Failed`
	if diff := cmp.Diff(wantText, results(got)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"right": "1", "drifted": "1"}, k.got); diff != "" {
		t.Errorf("host (-want +got):\n%s", diff)
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	k := &fakeKind{got: map[string]string{}}
	got, err := pass(k, nil).Converge(t.Context(), schema.Plan{
		Resources: []schema.Resource{want("a", "1")}, Restart: map[string][]string{"p": {"nginx"}},
	})
	if err != nil || results(got) != "sysctl:a update WouldChange\nservice:nginx restart WouldChange" || len(k.got) != 0 || len(k.restarts) != 0 {
		t.Errorf("dry run = %v, %v; host %v, restarts %v", got, err, k.got, k.restarts)
	}
}

func TestNothingIsDoneThatCannotBeWrittenDown(t *testing.T) {
	k := &fakeKind{got: map[string]string{}}
	_, err := pass(k, &fakeJournal{full: true}).Converge(t.Context(), schema.Plan{Resources: []schema.Resource{want("a", "1")}})
	if err == nil || !strings.Contains(err.Error(), "no space left") || len(k.got) != 0 {
		t.Errorf("Converge with a full disk = %v, host %v", err, k.got)
	}
}

func TestAServiceRestartsOnceWhenItsPolicyChanged(t *testing.T) {
	k := &fakeKind{got: map[string]string{}}
	plan := schema.Plan{
		Resources: []schema.Resource{want("a", "1"), want("b", "1")},
		Restart:   map[string][]string{"p": {"nginx"}, "other": {"sshd"}},
	}
	j := &fakeJournal{}
	if _, err := pass(k, j).Converge(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	if _, err := pass(k, j).Converge(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(k.restarts, []string{"nginx"}) || len(j.owed) != 0 {
		t.Errorf("restarts %v, owed %v; want nginx once and nothing owed", k.restarts, j.owed)
	}
}

func TestARestartIsOwedAcrossACrashAndAFailure(t *testing.T) {
	k := &fakeKind{got: map[string]string{}, crash: func(string) {}}
	plan := schema.Plan{Resources: []schema.Resource{want("a", "1")}, Restart: map[string][]string{"p": {"nginx"}}}
	j := &fakeJournal{}
	// The power goes right after the effect.
	k.crash = func(key string) { k.got[key] = "1"; panic("power cut") }
	func() {
		defer func() { _ = recover() }()
		_, _ = pass(k, j).Converge(t.Context(), plan)
	}()
	k.crash = nil
	k.fails = map[string]error{"nginx": errors.New("job failed")}
	got, err := pass(k, j).Converge(t.Context(), plan)
	if err != nil || results(got) != "service:nginx restart Failed" {
		t.Errorf("pass after the crash = %q, %v; want a failed restart", results(got), err)
	}
	k.fails = nil
	leaves := pass(k, j)
	leaves.LeaveOwed = true
	got, err = leaves.Converge(t.Context(), plan)
	if err != nil || len(got) != 0 || len(j.owed) != 1 {
		t.Errorf("a pass that leaves what is owed = %q, %v, owed %v; want nothing done and the restart still owed", results(got), err, j.owed)
	}
	got, err = pass(k, j).Converge(t.Context(), plan)
	if err != nil || results(got) != "service:nginx restart Changed" || len(j.owed) != 0 {
		t.Errorf("third pass = %q, %v, owed %v; want the restart made good", results(got), err, j.owed)
	}
}

func TestAPassThatLeavesWhatIsOwedStillRestartsForItsOwnChanges(t *testing.T) {
	k := &fakeKind{got: map[string]string{}}
	j := &fakeJournal{owed: []schema.Intent{{Resource: "service:nginx", Action: schema.Restart, Policy: "p"}, {Resource: "service:other", Action: schema.Restart, Policy: "q"}}}
	p := pass(k, j)
	p.LeaveOwed = true
	plan := schema.Plan{Resources: []schema.Resource{want("a", "1")}, Restart: map[string][]string{"p": {"nginx"}, "q": {"other"}}}
	if _, err := p.Converge(t.Context(), plan); err != nil || !slices.Equal(k.restarts, []string{"nginx"}) || len(j.owed) != 1 || j.owed[0].Resource != "service:other" {
		t.Errorf("restarts %v, owed %v, %v; want nginx restarted and other owed", k.restarts, j.owed, err)
	}
}

func TestNothingIsOwedWhenNoPolicyAsksAnyMore(t *testing.T) {
	k := &fakeKind{got: map[string]string{}}
	j := &fakeJournal{owed: []schema.Intent{{Resource: "service:gone", Action: schema.Restart, Policy: "p"}}}
	if _, err := pass(k, j).Converge(t.Context(), schema.Plan{}); err != nil || len(j.owed) != 0 || len(k.restarts) != 0 {
		t.Errorf("owed %v, restarts %v, %v; want neither", j.owed, k.restarts, err)
	}
}

func TestTheHostsCeilingWinsAndNamesItsLine(t *testing.T) {
	c := NoCeiling()
	c.File = "/etc/dunlin/agent.cue"
	c.Packages = false
	c.Files = &schema.CeilingFiles{Deny: []string{"/etc/ssh/**", "/home", "/etc/*.conf"}}
	c.Positions = map[string]schema.Position{"ceiling.packages": {Line: 7, Column: 3}}
	for _, tt := range []struct {
		kind   schema.Kind
		key    string
		denied string
	}{
		{schema.KindPackage, "telnetd", "/etc/dunlin/agent.cue:7: ceiling.packages is false"},
		{schema.KindPatch, "tb-lib.amd64", "/etc/dunlin/agent.cue:7: ceiling.packages is false"},
		{schema.KindFile, "/etc/ssh/sshd_config", `ceiling.files.deny[0] is "/etc/ssh/**"`},
		{schema.KindFile, "/etc/ssh/a/b", `ceiling.files.deny[0]`},
		{schema.KindFile, "/etc/ssh/../ssh/x", `ceiling.files.deny[0]`},
		{schema.KindFile, "/home/a/.profile", `ceiling.files.deny[1]`},
		{schema.KindFile, "/etc/a.conf", `ceiling.files.deny[2]`},
		{schema.KindFile, "/etc/d/a.conf", ""},
		{schema.KindFile, "/homework", ""},
		{schema.KindSysctl, "net.ipv4.ip_forward", ""},
	} {
		got := c.Denies(schema.Resource{Kind: tt.kind, Key: tt.key})
		if (got == "") != (tt.denied == "") || !strings.Contains(got, tt.denied) {
			t.Errorf("Denies(%s:%s) = %q, want %q", tt.kind, tt.key, got, tt.denied)
		}
	}
	if got := NoCeiling().Denies(schema.Resource{Kind: schema.KindFile, Key: "/etc/ssh/x"}); got != "" {
		t.Errorf("without a ceiling: %q", got)
	}
}

func TestWhereTwoPoliciesDifferNothingIsApplied(t *testing.T) {
	p := func(mode schema.Mode, content string) schema.Policy {
		return schema.Policy{Mode: mode, Severity: schema.Low, Files: map[string]schema.File{"/etc/motd": {State: schema.Present, Content: &content}},
			Services: map[string]schema.Service{"nginx": {}}}
	}
	repo := schema.Repo{
		Policies: map[string]schema.Policy{"a": p(schema.Audit, "x"), "b": p(schema.Enforce, "x"), "c": p(schema.Enforce, "y"),
			"d": {Mode: schema.Enforce, Severity: schema.High, Services: map[string]schema.Service{"nginx.service": {}}}},
		Positions: map[string]schema.Position{
			`policy.a.files."/etc/motd"`: {File: "a.cue", Line: 3, Column: 1}, `policy.c.files."/etc/motd"`: {File: "c.cue", Line: 9, Column: 1},
		},
	}
	got := resources(repo, []string{"b", "a"})
	if len(got) != 2 || got[0].Mode != schema.Enforce || got[0].Policy != "b" || got[0].Contested != "" {
		t.Errorf("the same wanted twice: %+v; want one resource that enforces", got)
	}
	got = resources(repo, []string{"a", "c"})
	if w := `policy a (a.cue:3) and policy c (c.cue:9) want different things`; got[0].Contested != w {
		t.Errorf("Contested = %q, want %q", got[0].Contested, w)
	}
	got = resources(repo, []string{"a", "d"})
	if len(got) != 2 || got[1].Policy != "d" || got[1].Severity != schema.High {
		t.Errorf("nginx and nginx.service: %+v; want one service of the higher severity", got)
	}
}

// provisional is a kind whose effects must be confirmed.
type provisional struct {
	*fakeKind
	err error
}

func (p provisional) Confirm(context.Context, []schema.Resource) error { return p.err }

func TestWhatCannotBeConfirmedIsRevertedOnlyIfItCutsOffItsAuthor(t *testing.T) {
	for _, tt := range []struct {
		name               string
		reachable, confirm error
		want               string
	}{
		{"confirmed", nil, nil, "sysctl:a update Changed "},
		{"nobody is reached", errors.New("no peer"), nil, "sysctl:a update Reverted not confirmed, so the kernel drops it: no peer"},
		{"somebody removed it", nil, errors.New("no longer in force"), "sysctl:a update Failed not confirmed: no longer in force"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := &fakeKind{got: map[string]string{}}
			p := pass(k, &fakeJournal{})
			p.Kinds[schema.KindSysctl] = provisional{k, tt.confirm}
			p.Reachable = func(context.Context) error { return tt.reachable }
			got, err := p.Converge(t.Context(), schema.Plan{Resources: []schema.Resource{want("a", "1")}})
			if err != nil || results(got)+" "+got[0].Reason != tt.want {
				t.Errorf("changes %+v, %v; want %q", got, err, tt.want)
			}
		})
	}
}
