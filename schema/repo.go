package schema

// Repo is what a policy repository says at one commit: its objects with their
// defaults filled in, the roster, and where each thing stands in its author's
// files. It is valid: every reference resolves, every schedule can fire.
type Repo struct {
	Fleet          Fleet                    `json:"fleet"`
	Baselines      map[string]Baseline      `json:"baseline,omitempty"`
	Groups         map[string]Group         `json:"group,omitempty"`
	ResourceGroups map[string]ResourceGroup `json:"resourceGroup,omitempty"`
	Windows        map[string]Window        `json:"window,omitempty"`
	Policies       map[string]Policy        `json:"policy,omitempty"`

	// Shipped has the baselines that come with the program, under SSM's names; they are not the
	// repository's own and Objects does not count them.
	Shipped map[string]Baseline `json:"shipped,omitempty"`

	// Roster has the lines of nodes/*.jsonl, sorted by id.
	Roster []RosterLine `json:"roster,omitempty"`
	// Blobs has the files that a policy's files take as their source, by path in the repository.
	Blobs map[string]Blob `json:"blobs,omitempty"`
	// Positions has the place of every object, approval rule, task and resource, by
	// path as faults write it: `baseline.web.approvalRules[0]`, `policy.x.files."/etc/motd"`.
	Positions map[string]Position `json:"positions,omitempty"`
	// Idle names kinds of which the repository has objects and for which this build does nothing yet.
	Idle []string `json:"idle,omitempty"`
	// Objects is the number of objects of all kinds.
	Objects int `json:"objects"`
}

// Blob is a file of the commit that hosts are given.
type Blob struct {
	SHA256 string `json:"sha256"` // lower-case hex
	Size   int64  `json:"size"`   // bytes
}

// Position is a place in a repository file: path from the root with slashes, line and column from 1.
type Position struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

// Fleet is `fleet.cue`.
type Fleet struct {
	Name    string       `json:"name"`
	Sync    FleetSync    `json:"sync"`
	Reports FleetReports `json:"reports"`
}

// FleetSync is how the policy is fetched.
type FleetSync struct {
	Branch   string `json:"branch"`
	Interval string `json:"interval"` // duration, at least 1s
	Fetchers int    `json:"fetchers"` // nodes that poll the remote
}

// FleetReports is how nodes report into Git.
type FleetReports struct {
	Branch    string   `json:"branch"`
	Remote    string   `json:"remote,omitempty"`    // empty: the remote of the policy
	Reporters *Targets `json:"reporters,omitempty"` // nil: all that hold a credential
	Interval  string   `json:"interval"`
	Facts     string   `json:"facts"` // full or none
}

// Group is a patch group: which baselines its nodes follow (SSM patch group).
type Group struct {
	Description string   `json:"description,omitempty"`
	Targets     *Targets `json:"targets,omitempty"` // nil: the nodes whose tag PatchGroup is the group's name
	Baselines   []string `json:"baselines"`         // at most one per operating system
}

// ResourceGroup names a selection for use in other targets.
type ResourceGroup struct {
	Description string  `json:"description,omitempty"`
	Targets     Targets `json:"targets"`
}
