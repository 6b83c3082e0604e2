package schema

// Fleet is `fleet.cue`: who may change what, how commits roll out and where reports go.
type Fleet struct {
	Note
	Name      string            `json:"name"`
	Signers   map[string]Signer `json:"signers,omitempty"` // people by name
	Roles     map[string]Role   `json:"roles" default:"{\"policy\":{\"paths\":[\"**\"],\"threshold\":1},\"root\":{\"paths\":[\"fleet.cue\",\"schema.cue\",\"cue.mod/**\",\"nodes/**\",\"activations/**\",\"grants/**\",\"guardrails/**\"],\"threshold\":1}}"`
	Sync      FleetSync         `json:"sync" default:"{}"`
	Reports   FleetReports      `json:"reports" default:"{}"`
	Runs      FleetRuns         `json:"runs" default:"{}"`
	Rollout   *Rollout          `json:"rollout,omitempty"`                 // nil: every node adopts a commit at once
	Witnesses []string          `json:"witnesses,omitempty" items:"3..15"` // nodes that vouch for skipped ones, an odd number
	Freshness Duration          `json:"freshness,omitempty"`               // age of the newest heartbeat beyond which new commits and runs are refused; empty: any
	MinAgent  string            `json:"minAgent,omitempty"`                // oldest version of the program that may judge the repository
	Recovery  []string          `json:"recovery,omitempty"`                // age recipients that every secret is also encrypted to
}

// Signer is a person who may sign commits, approvals and runs.
type Signer struct {
	Keys  []string `json:"keys" items:"1.."`  // ssh-ed25519 or sk-ssh-ed25519@openssh.com lines
	Roles []string `json:"roles" items:"1.."` // names in fleet.roles
}

// Role may change the paths that its globs match.
type Role struct {
	Paths       []string `json:"paths"`                               // from the root of the repository, ** spans folders; none: heartbeats only
	Threshold   int      `json:"threshold" default:"1" bound:"1..20"` // distinct people that must agree
	Activations []string `json:"activations,omitempty"`               // with these: may only add roster lines with the tags of one of them
}

// FleetSync is how the policy is fetched.
type FleetSync struct {
	Branch   string   `json:"branch" default:"main"`
	Interval Duration `json:"interval" default:"15s"`              // at least 1s
	Fetchers int      `json:"fetchers" default:"3" bound:"1..100"` // nodes that poll the remote
}

// FleetReports is how nodes report into Git.
type FleetReports struct {
	Branch    string   `json:"branch" default:"reports"`
	Remote    string   `json:"remote,omitempty" runes:"1.."` // empty: the remote of the policy
	Reporters *Targets `json:"reporters,omitempty"`          // nil: all that hold a credential
	Interval  Duration `json:"interval" default:"5m"`        // at least 1s
	Facts     string   `json:"facts" default:"full" words:"full none"`
}

// FleetRuns is where commands are found.
type FleetRuns struct {
	Branch string   `json:"branch" default:"runs"`
	Remote string   `json:"remote,omitempty" runes:"1.."` // empty: the remote of the policy
	Keep   Duration `json:"keep" default:"30d"`           // finished runs older than this may be removed
}

// Rollout is how a commit reaches nodes in steps.
type Rollout struct {
	Waves     []string `json:"waves" items:"1.."` // nodes that have a commit after each step, counts or percentages; the last is 100%
	Soak      Duration `json:"soak"`              // quiet time before the next wave
	MaxErrors string   `json:"maxErrors"`         // nodes that may fail before it stops
}
