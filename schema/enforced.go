package schema

import "strings"

import "slices"

// A Limit is a field or kind that a build does not implement, or implements for some values only. What limits, delays
// or forbids something the loader refuses: a limit is enforced or refused, never ignored. What is merely Idle it warns of.
type Limit struct {
	// Path names the field or kind as definitions do; `*` stands for any name: "window.*.tasks.*.maxErrors".
	Path string
	// Allowed are the values that mean "no limit", which every build enforces; empty refuses the field itself.
	Allowed []string
	// Hint is what to write instead; empty where there is nothing to do but wait for a newer build.
	Hint string
	// Idle is for what limits nothing and does nothing yet: it is allowed, and Repo.Idle names it.
	Idle bool
	// Says is the fault's message where "not enforced by this version" would not be the right word.
	Says string
}

// Status says in words what the build makes of the field or kind, for people who read of it.
func (l Limit) Status() string {
	switch {
	case l.Idle && len(l.Allowed) > 0:
		return "other than " + strings.Join(l.Allowed, ", ") + ": does nothing yet in this version"
	case l.Idle:
		return "does nothing yet in this version"
	case l.Says != "":
		return l.Says
	case len(l.Allowed) > 0:
		return "this version takes only " + strings.Join(l.Allowed, ", ")
	}
	return "refused: not enforced by this version"
}

// EnforcedAll is the table of a build that implements every limit; tests of the language pass it.
func EnforcedAll() []Limit { return nil }

// NotEnforced is the table of this build.
func NotEnforced() []Limit {
	return []Limit{
		{Path: "fleet.rollout"},
		{Path: "fleet.witnesses"},
		{Path: "fleet.minAgent"},
		{Path: "window.*.tasks.*.document", Allowed: []string{RunPatchBaseline}, Says: "window tasks of this version run " + RunPatchBaseline + " only"},
		{Path: "window.*.tasks.*.maxConcurrency", Allowed: []string{"100%"}, Hint: `write maxConcurrency: "100%"`},
		{Path: "window.*.tasks.*.maxErrors", Allowed: []string{"100%"}, Hint: `write maxErrors: "100%"`},
		{Path: "window.*.tasks.*.cutoffBehavior", Allowed: []string{"CONTINUE_TASK"}, Hint: `write cutoffBehavior: "CONTINUE_TASK" or leave it out`},
		{Path: "window.*.tasks.*.parameters.SnapshotId"},
		{Path: "window.*.tasks.*.parameters.InstallOverrideList"},
		{Path: "window.*.tasks.*.parameters.BaselineOverride"},
		{Path: "policy.*.window"},
		{Path: "policy.*.disruption"},
		{Path: "policy.*.checks"},
		{Path: "policy.*.registry"},
		{Path: LimitOperatingSystem, Allowed: []string{string(Debian), string(Ubuntu)}, Says: "not judged by this version, which knows DEBIAN and UBUNTU"},
		{Path: "baseline.*.sources"},
		{Path: "guardrail"},
		{Path: "exception"},
		{Path: "calendar"},
		{Path: "association"},

		{Path: "fleet.sync.branch", Allowed: []string{"main"}, Idle: true, Hint: "repo.branch of each host's agent.cue says which branch it follows"},
		{Path: "fleet.runs", Idle: true},
		{Path: "window.*.tasks.*.output", Idle: true},
		{Path: "window.*.tasks.*.notify", Idle: true},
		{Path: "window.*.tasks.*.parameters.AssociationId", Idle: true},
		{Path: "document", Idle: true},
		{Path: "grant", Idle: true}, // nobody can use one yet
		{Path: "sink", Idle: true},
		{Path: "rule", Idle: true},
	}
}

// LimitOperatingSystem is where the systems stand that a build can judge.
const LimitOperatingSystem = "baseline.*.operatingSystem"

// Refuses reports whether limits refuse a value at a path that they name.
func Refuses(limits []Limit, path, value string) bool {
	return slices.ContainsFunc(limits, func(l Limit) bool { return l.Path == path && !l.Idle && !slices.Contains(l.Allowed, value) })
}
