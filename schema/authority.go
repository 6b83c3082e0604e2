package schema

import "time"

// Activation lets new nodes enrol (SSM hybrid activation, §1.2). Its code is the private half of PublicKey.
type Activation struct {
	Note
	Description string            `json:"description,omitempty" runes:"1..256"`
	PublicKey   string            `json:"publicKey"`                                 // an ssh-ed25519 line without a comment
	Expires     time.Time         `json:"expires"`                                   // at most 30 days ahead
	Networks    []string          `json:"networks,omitempty"`                        // where a joining host may come from; empty: anywhere
	Limit       int               `json:"limit" default:"1" bound:"1..1000"`         // nodes that may enrol with it
	Tags        map[string]string `json:"tags,omitempty" fields:"..50" each:"..256"` // of the nodes enrolled with it
	CreatedBy   string            `json:"createdBy" runes:"1.."`
}

// Grant lets signers give runs, open sessions, or both (SSM §4, §11).
type Grant struct {
	Note
	Description string        `json:"description,omitempty" runes:"1..1024"`
	Who         []string      `json:"who" items:"1.."` // names of fleet.signers
	Run         *GrantRun     `json:"run,omitempty"`
	Sessions    []SessionKind `json:"sessions,omitempty" items:"1.."`
	Targets     *Targets      `json:"targets,omitempty"` // nodes that a session may reach
	RunAs       string        `json:"runAs,omitempty"`   // user of the host
	Ports       []int         `json:"ports,omitempty" items:"1.." each:"1..65535"`
	MaxDuration Duration      `json:"maxDuration" default:"1h"` // of a session, 1m..24h
}

// GrantRun is what runs a grant covers.
type GrantRun struct {
	Documents      []string          `json:"documents" items:"1.."`
	Targets        Targets           `json:"targets"`
	MaxConcurrency string            `json:"maxConcurrency,omitempty"` // the most that a run may ask for; empty: any
	Parameters     map[string]string `json:"parameters,omitempty"`     // RE2 by parameter, which its whole value must match; of a list, each item
}

// SessionKind is what a session does (SSM §11).
type SessionKind string

const (
	SessionShell   SessionKind = "shell"
	SessionForward SessionKind = "forward"
	SessionExec    SessionKind = "exec"
)

// Words are the kinds that there are.
func (SessionKind) Words() []string { return words(SessionShell, SessionForward, SessionExec) }

// Exception excuses nodes from patches or policies for a while. At least one of Patches, CVEs and Policies is given.
type Exception struct {
	Note
	Targets    Targets   `json:"targets"`
	Patches    []string  `json:"patches,omitempty" items:"1.." each:"1..100"` // names, globs, advisories or KB ids (SSM §7.4)
	CVEs       []string  `json:"cves,omitempty" items:"1.."`
	Policies   []string  `json:"policies,omitempty" items:"1.."`
	Reason     string    `json:"reason" runes:"1..1024"`
	ApprovedBy string    `json:"approvedBy" runes:"1.."`
	Until      time.Time `json:"until"`
}

// Guardrail is what a pull request may not do.
type Guardrail struct {
	Note
	Description string         `json:"description,omitempty" runes:"1..1024"`
	Limit       GuardrailLimit `json:"limit" fields:"1.."`
	Targets     *Targets       `json:"targets,omitempty"` // nil: the fleet
}

// GuardrailLimit bounds the effect of a change: the most nodes. An empty field is no bound.
type GuardrailLimit struct {
	Reboots           Amount `json:"reboots,omitempty"`
	NewlyNonCompliant Amount `json:"newlyNonCompliant,omitempty"`
	NodesChanged      Amount `json:"nodesChanged,omitempty"`
}
