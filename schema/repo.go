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
	Documents      map[string]Document      `json:"document,omitempty"` // of CUE, JSON and YAML files
	Associations   map[string]Association   `json:"association,omitempty"`
	Calendars      map[string]Calendar      `json:"calendar,omitempty"`
	Parameters     map[string]Parameter     `json:"parameter,omitempty"` // by path
	Activations    map[string]Activation    `json:"activation,omitempty"`
	Grants         map[string]Grant         `json:"grant,omitempty"`
	Exceptions     map[string]Exception     `json:"exception,omitempty"`
	Sinks          map[string]Sink          `json:"sink,omitempty"`
	Rules          map[string]Rule          `json:"rule,omitempty"`
	Guardrails     map[string]Guardrail     `json:"guardrail,omitempty"`

	// Shipped has the baselines that come with the program and that this build can judge by, under SSM's
	// names, ShippedDocuments the documents; they are not the repository's own and Objects does not count them.
	Shipped          map[string]Baseline `json:"shipped,omitempty"`
	ShippedDocuments map[string]Document `json:"shippedDocuments,omitempty"`

	// Roster has the lines of nodes/*.jsonl, sorted by id.
	Roster []RosterLine `json:"roster,omitempty"`
	// Blobs has the files that a policy's files take as their source, by path in the repository.
	Blobs map[string]Blob `json:"blobs,omitempty"`
	// Positions has the place of every object, approval rule, task and resource, by
	// path as faults write it: `baseline.web.approvalRules[0]`, `policy.x.files."/etc/motd"`;
	// and of what a date can make void: `exception.x.until`, `window.x.end`.
	Positions map[string]Position `json:"positions,omitempty"`
	// Idle names kinds and fields ("sink", "window.tasks.output") that the repository has and for which this build does nothing yet.
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

// Group is a patch group: which baselines its nodes follow (SSM patch group).
type Group struct {
	Note
	Description string   `json:"description,omitempty" runes:"1..1024"`
	Targets     *Targets `json:"targets,omitempty"`       // nil: the nodes whose tag PatchGroup is the group's name
	Baselines   []string `json:"baselines" items:"1..20"` // at most one per operating system
}

// ResourceGroup names a selection for use in other targets.
type ResourceGroup struct {
	Note
	Description string  `json:"description,omitempty" runes:"1..1024"`
	Targets     Targets `json:"targets"`
}
