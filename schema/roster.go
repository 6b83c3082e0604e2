package schema

import "time"

// RosterLine is one node of the fleet, as nodes/<first 2 of id>.jsonl has it.
type RosterLine struct {
	ID    string            `json:"id"` // first 26 characters of the lower-case base32 of SHA-256 of the signing key
	Name  string            `json:"name"`
	Tags  map[string]string `json:"tags" fields:"..50" each:"..256"`
	OS    string            `json:"os"` // ID of os-release, windows or macos
	Keys  RosterKeys        `json:"keys"`
	State NodeState         `json:"state"`
	Added time.Time         `json:"added"`
}

// RosterKeys are a node's public keys.
type RosterKeys struct {
	Sign string `json:"sign"` // ssh-ed25519 line without comment
	Age  string `json:"age"`
	TLS  string `json:"tls"` // hex SHA-256 of the SubjectPublicKeyInfo
}

// NodeState is a node's standing in the roster.
type NodeState string

const (
	NodeActive  NodeState = "active"
	NodePending NodeState = "pending"
	NodeRetired NodeState = "retired"
)

// Words are the states that there are.
func (NodeState) Words() []string { return words(NodeActive, NodePending, NodeRetired) }
