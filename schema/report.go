package schema

import "time"

// ReportPrefix comes before a report line in what its node signs.
const ReportPrefix = "dunlin-report/v1\n"

// ReportLine is a node's line on the reports branch; it is written as canonical JSON (RFC 8785).
type ReportLine struct {
	V          int                   `json:"v"` // 1
	Fleet      string                `json:"fleet"`
	Node       string                `json:"node"`
	Rev        uint64                `json:"rev"`   // durable; rises by one when another field changed
	Since      time.Time             `json:"since"` // instant of that change
	Commit     string                `json:"commit"`
	Compliance map[string]Compliance `json:"compliance"` // by type
	Counts     map[string]int        `json:"counts"`
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
}

// NodeCompliance is a node's compliance of one type as `dunlin compliance` lists it.
type NodeCompliance struct {
	Node  string           `json:"node"` // name
	Type  string           `json:"type"`
	State Compliance       `json:"state"`
	Items []ComplianceItem `json:"items"`
	Stale bool             `json:"stale,omitempty"` // the node is not Online: this is what it said last
}

// FleetStatus is the fleet as one agent sees it.
type FleetStatus struct {
	Node     string          `json:"node"` // name of the node that answers
	ID       string          `json:"id"`
	Commit   string          `json:"commit"` // in force on the node that answers
	Refused  []RefusedCommit `json:"refused"`
	Remote   RemoteStatus    `json:"remote"`
	Reporter ReporterStatus  `json:"reporter"`
	Nodes    map[string]int  `json:"nodes"` // by NodeStatus
	Problems []string        `json:"problems,omitempty"`
}

// RemoteStatus is how an agent and its Git remote get on.
type RemoteStatus struct {
	URL      string    `json:"url"` // without credentials
	Head     string    `json:"head,omitempty"`
	LastRead time.Time `json:"lastRead,omitzero"`
	Error    string    `json:"error,omitempty"`
	Retry    time.Time `json:"retry,omitzero"`
}

// ReporterStatus is who writes reports.
type ReporterStatus struct {
	Elected  []string  `json:"elected"` // names
	LastPush time.Time `json:"lastPush,omitzero"`
	Waiting  int       `json:"waiting"` // lines that are not on the branch yet
	Error    string    `json:"error,omitempty"`
}
