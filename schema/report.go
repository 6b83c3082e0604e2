package schema

import "time"

// ReportPrefix comes before a report line in what its node signs.
const ReportPrefix = "dunlin-report/v1\n"

// ReportLine is a node's line on the reports branch; it is written as canonical JSON (RFC 8785).
type ReportLine struct {
	V          int                   `json:"v" bound:"1..1"`
	Fleet      string                `json:"fleet"`
	Node       string                `json:"node"`
	Rev        uint64                `json:"rev" bound:"1.."` // durable; rises by one when another field changed
	Since      time.Time             `json:"since"`           // instant of that change
	Commit     string                `json:"commit"`
	Compliance map[string]Compliance `json:"compliance"` // by type
	Counts     map[string]int        `json:"counts" each:"0.."`
	Facts      string                `json:"facts"` // SHA-256 of the facts file, hex
	Sig        string                `json:"sig"`   // base64 of ed25519 over ReportPrefix and the line without sig
}

// NodeStatus is a node as others see it.
type NodeStatus string

const (
	Online         NodeStatus = "Online"
	ConnectionLost NodeStatus = "ConnectionLost"
	Pending        NodeStatus = "Pending"  // not active in the roster, or never heard of
	CloneConflict  NodeStatus = "Conflict" // two hosts have its key
	Retired        NodeStatus = "Retired"
)

// NodeView is one node as `dunlin nodes` lists it.
type NodeView struct {
	Name     string     `json:"name"`
	ID       string     `json:"id"`
	Status   NodeStatus `json:"status"`
	LastSeen time.Time  `json:"lastSeen,omitzero"` // zero: never heard of since this agent started
	Commit   string     `json:"commit"`            // in force there; empty: not known

	State      NodeState         `json:"state"` // in the roster
	OS         string            `json:"os,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"` // of the roster
	Compliance Compliance        `json:"compliance"`     // over all types; of a node that is not Online what it said last
	Refused    string            `json:"refused,omitempty"`
	Problem    string            `json:"problem,omitempty"` // why it starts nothing
	Remote     string            `json:"remote,omitempty"`  // what is wrong with the remote there
	Agent      string            `json:"agent,omitempty"`   // version of its program
}

// NodeCompliance is a node's compliance of one type as `dunlin compliance` lists it.
type NodeCompliance struct {
	Node  string           `json:"node"` // name
	Type  string           `json:"type"`
	State Compliance       `json:"state"`
	Items []ComplianceItem `json:"items"`
	More  int              `json:"more,omitempty"`  // how many items are left out
	Stale bool             `json:"stale,omitempty"` // the node is not Online: this is what it said last

	Status   NodeStatus `json:"status"`
	LastSeen time.Time  `json:"lastSeen,omitzero"`
}

// FleetStatus is the fleet as one agent sees it.
type FleetStatus struct {
	Node     string          `json:"node"` // name of the node that answers; empty where the roster has it not
	ID       string          `json:"id"`
	Fleet    string          `json:"fleet,omitempty"`
	At       time.Time       `json:"at,omitzero"`    // now, by that node's clock
	Commit   string          `json:"commit"`         // in force on the node that answers
	Since    time.Time       `json:"since,omitzero"` // when it came into force there
	Holds    int             `json:"holds"`          // active nodes on which Commit is in force, as they said last
	Refused  []RefusedCommit `json:"refused"`        // at most 8, those of most nodes
	Trust    *TrustStatus    `json:"trust,omitempty"`
	Remote   RemoteStatus    `json:"remote"`
	Reporter ReporterStatus  `json:"reporter"`
	Nodes    map[string]int  `json:"nodes"` // by NodeStatus
	// Compliance counts active nodes by their verdict; Stale of them are not Online, and this is what they said last.
	Compliance map[Compliance]int `json:"compliance"`
	Stale      int                `json:"stale,omitempty"`
	// Unwell are active nodes that are not Online or tell of a problem, at most 8; More were left out.
	Unwell   []NodeView `json:"unwell,omitempty"`
	More     int        `json:"more,omitempty"`
	Problems []string   `json:"problems,omitempty"` // of the node that answers
	// Network is what this node refused others; nil where it is alone.
	Network *NetworkRefusals `json:"network,omitempty"`
	// Idle names kinds and fields that the policy in force has and for which the program of that node does nothing yet.
	Idle []string `json:"idle,omitempty"`
	// Due are parameters of the policy in force that people should look at, at most 64.
	Due []ParameterDue `json:"due,omitempty"`
}

// TrustStatus is whose word a node believes.
type TrustStatus struct {
	Anchor    string    `json:"anchor,omitempty"`   // commit that trust starts from; empty: whoever can push is believed
	Verified  string    `json:"verified,omitempty"` // the newest commit that the right people agreed to, step by step from there
	Freshness Duration  `json:"freshness,omitempty"`
	Heartbeat time.Time `json:"heartbeat,omitzero"` // of the newest that counts
	Stale     string    `json:"stale,omitempty"`    // why no new commit is taken until there is a newer one
	Withheld  string    `json:"withheld,omitempty"` // what a heartbeat names that this node cannot get; nothing is refused for that
}

// NetworkRefusals counts what a node did not take of others, or not do for them, since its agent started. Where nobody
// attacks and no address has changed, nearly all are 0.
type NetworkRefusals struct {
	Unverified uint64   `json:"unverified"`       // packets and connections to addresses that no node has signed
	Malformed  uint64   `json:"malformed"`        // packets and streams that no member sends
	TooMany    uint64   `json:"tooMany"`          // questions and packets beyond what one address may send
	Unknown    uint64   `json:"unknown"`          // what gossip said of names that are not in the roster
	Claims     uint64   `json:"claims"`           // addresses that are not what their node has signed
	Deaths     uint64   `json:"deaths"`           // nodes that gossip said are gone and that answered
	Slowed     uint64   `json:"slowed"`           // times that a node had to wait because it sent or took too much
	Cuts       uint64   `json:"cuts"`             // times that a node was cut off for a while
	CutOff     []string `json:"cutOff,omitempty"` // names of those that are cut off now
}

// RemoteStatus is how an agent and its Git remote get on.
type RemoteStatus struct {
	URL      string    `json:"url"` // without credentials
	Head     string    `json:"head,omitempty"`
	LastRead time.Time `json:"lastRead,omitzero"` // by this node itself
	Error    string    `json:"error,omitempty"`
	Retry    time.Time `json:"retry,omitzero"`
	// Readers are the names of the nodes whose turn it is to ask; the others are told by them.
	Readers []string `json:"readers,omitempty"`
}

// ReporterStatus is who writes reports.
type ReporterStatus struct {
	Elected  []string  `json:"elected"`           // names
	LastPush time.Time `json:"lastPush,omitzero"` // by the node that answers
	Waiting  *int      `json:"waiting,omitempty"` // lines that are not on the branch yet; nil: only the first elected knows
	Error    string    `json:"error,omitempty"`
}
