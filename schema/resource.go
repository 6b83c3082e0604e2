package schema

// Kind is a kind of resource; it is the first part of a resource's name.
type Kind string

const (
	KindPort    Kind = "port"
	KindFile    Kind = "file"
	KindPackage Kind = "package"
	KindService Kind = "service"
	KindSysctl  Kind = "sysctl"
	KindUser    Kind = "user"
	KindPatch   Kind = "patch"
)

// Resource is one thing a host should have or be. Exactly the field of its kind is set.
type Resource struct {
	Kind Kind   `json:"kind"`
	Key  string `json:"key"` // unique within the kind: "/etc/motd", "in/tcp/23/any"

	Policy   string   `json:"policy,omitempty"`
	Position Position `json:"position"`
	Mode     Mode     `json:"mode"`
	Severity Level    `json:"severity"`
	// AllowLockout lets a block cover ports that carry the fleet or the session in use.
	AllowLockout bool `json:"allowLockout,omitempty"`
	// Contested is why two policies cannot both have their way; such a resource is not applied.
	Contested string `json:"contested,omitempty"`
	// Wait is why a change is not made now although it is wanted; empty lets it be made.
	Wait string `json:"wait,omitempty"`

	Port    *BlockedPort `json:"port,omitempty"`
	File    *File        `json:"file,omitempty"`
	Blob    *Blob        `json:"blob,omitempty"` // of File.Source
	Package *Package     `json:"package,omitempty"`
	Service *Service     `json:"service,omitempty"`
	Sysctl  *string      `json:"sysctl,omitempty"`
	User    *User        `json:"user,omitempty"`
	Patch   *Patch       `json:"patch,omitempty"`
	// Released says that the block of Port is ours, is named by no policy any more, and is to be opened.
	Released bool `json:"released,omitempty"`
}

// Name is how people, reports and `explain` call a resource: "file:/etc/motd".
func (r Resource) Name() string { return string(r.Kind) + ":" + r.Key }

// Difference is one way in which a host differs from what is wanted, and the action that mends it.
type Difference struct {
	Action Action `json:"action"`
	Want   string `json:"want"` // empty for absent
	Got    string `json:"got"`  // empty for absent
}

// Drift is how a host differs from a resource. No differences means the resource is in its desired state.
type Drift []Difference

// Checked is the answer for one resource of a Check: its drift, or why it could not be told.
type Checked struct {
	Drift Drift
	Err   error
}

// Change is one line of a pass's account. Want and Got are empty for absent.
type Change struct {
	Resource string  `json:"resource"`
	Want     string  `json:"want"`
	Got      string  `json:"got"`
	Action   Action  `json:"action"`
	Result   Outcome `json:"result"`
	Reason   string  `json:"reason,omitempty"` // why it failed, waits, was denied; empty for Changed
	Audited  bool    `json:"-"`                // WouldChange of a policy that only audits: no pass changes it
}

// Account is what one pass over a host did: what `dunlin reconcile` prints.
type Account struct {
	Commit     string     `json:"commit"` // empty for a folder
	Changes    []Change   `json:"changes"`
	Compliance Compliance `json:"compliance"`
	// Unwell are patches that count against the host and that no pass can change: it must reboot, or people must act.
	Unwell []Patch `json:"-"`
}
