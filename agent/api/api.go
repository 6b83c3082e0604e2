// Package api is how the command line asks the agent of its own host: a Unix
// socket that only root and the agent's own user may use.
//
// It is a few JSON answers over HTTP. Who calls is known from the kernel's
// peer credentials and not from what the caller says, and the client checks
// in the same way who serves before it believes an answer. An answer is what
// the agent knows at that instant; nothing here reaches other hosts by itself.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/dunlin-dev/dunlin/schema"
)

// MaxAnswer bounds one answer in bytes: the compliance of a thousand nodes with all their items is a sixth of it.
const MaxAnswer = 64 << 20

// Errors that callers tell apart. All cross the socket.
var (
	// ErrUnreachable is wrapped where no agent answers on the socket.
	ErrUnreachable = errors.New("no agent answers")
	// ErrDenied is wrapped where the caller, or the owner of a socket, is neither root nor the same user.
	ErrDenied = errors.New("not allowed")
	// ErrInUse is wrapped where another agent answers on the socket.
	ErrInUse = errors.New("another agent answers there")
	// ErrNoNode is wrapped where no node has the name asked for.
	ErrNoNode = errors.New("no such node")
	// ErrNodeUnreachable is wrapped where the node asked for did not answer this host's agent.
	ErrNodeUnreachable = errors.New("the node does not answer")
	// ErrNoMatch is wrapped where targets mean no node.
	ErrNoMatch = errors.New("no node matches")
	// ErrNoItem is wrapped where nothing of the name asked for is managed on a node.
	ErrNoItem = errors.New("nothing manages it")
	// ErrNoPolicy is wrapped where no commit is in force yet.
	ErrNoPolicy = errors.New("no commit is in force on this host yet")
	// ErrNoFacts is wrapped where an agent does not hold the facts asked for.
	ErrNoFacts = errors.New("no such facts here")
)

// Line is a node's line of the reports branch as this agent holds it.
type Line struct {
	Name   string            `json:"name"`
	Status schema.NodeStatus `json:"status"`
	Line   []byte            `json:"line"` // canonical JSON, signed by the node; base64 on the socket, so that no byte changes
}

// Explained is why a node is as it is, as one agent knows it.
type Explained struct {
	Node     string            `json:"node"` // name
	Status   schema.NodeStatus `json:"status"`
	LastSeen time.Time         `json:"lastSeen,omitzero"`
	Problem  string            `json:"problem,omitempty"` // that the node tells of
	Commit   string            `json:"commit"`            // in force on the node; empty: not known
	Here     string            `json:"here"`              // in force on the node that answers: places are of it
	// Own says that the host was looked at now; else all that is known is what the node told.
	Own     bool                 `json:"own"`
	Types   []Verdict            `json:"types"`
	Managed int                  `json:"managed"` // resources that policies want on the node
	Items   []schema.Explanation `json:"items"`
	More    int                  `json:"more,omitempty"` // items left out
}

// Verdict is a node's compliance of one type.
type Verdict struct {
	Type  string            `json:"type"`
	State schema.Compliance `json:"state"`
}

// Backend is what an agent answers with. Its methods may be called at the same
// time, and give values that nobody changes afterwards.
type Backend interface {
	// Status is the fleet as this agent sees it.
	Status() schema.FleetStatus
	// Nodes are all of the roster, and those that are known without it, by name.
	Nodes() []schema.NodeView
	// Compliance has each active node and type, by node and type. A node that said nothing yet is UNSPECIFIED_DATA.
	Compliance() []schema.NodeCompliance
	// Select gives the names of the nodes that targets mean, written as on the command line. Errors wrap ErrNoMatch or
	// ErrNoPolicy where they are not about how targets are written.
	Select(targets []string) (map[string]bool, error)
	// Explain says why a node, by name or id, is as it is; "" is this host. Without an item it gives what counts against
	// the node, with all also what is well. Errors wrap ErrNoNode, ErrNoItem or ErrNoPolicy.
	Explain(ctx context.Context, node, item string, all bool) (Explained, error)
	// Scan holds this host against its baseline under the commit in force. The error wraps ErrNoPolicy where there is none.
	Scan(ctx context.Context) (schema.Patching, error)
	// Inventory asks a node, by name or id, for SSM inventory types; none named means all. Errors wrap ErrNoNode
	// or ErrNodeUnreachable.
	Inventory(ctx context.Context, node string, types []string) (map[string]json.RawMessage, error)
	// Sync reads the remote now and says how that went. What the remote answered is in the status, not in the error.
	Sync(ctx context.Context) (schema.RemoteStatus, error)
	// Account is that of the last pass on this host.
	Account() schema.Account
	// Lines are all report lines that this agent holds, by name.
	Lines() []Line
	// Facts is a facts file by its SHA-256 in hex, as a report line names it. The error wraps ErrNoFacts.
	Facts(ctx context.Context, digest string) ([]byte, error)
	// ArchiveRecords are what nodes have signed of archives: what they saw there, and which newer versions they know.
	ArchiveRecords() []schema.Record
	// Joins are the hosts that ask to be let in, each a line as nodes/joins has it, by id.
	Joins() []string
}

// codes are the names of errors on the socket.
var codes = []struct {
	name   string
	status int
	err    error
}{
	{"denied", 403, ErrDenied},
	{"no-node", 404, ErrNoNode},
	{"no-match", 404, ErrNoMatch},
	{"no-item", 404, ErrNoItem},
	{"no-policy", 409, ErrNoPolicy},
	{"no-facts", 404, ErrNoFacts},
	{"node-unreachable", 504, ErrNodeUnreachable},
}

// failure is an error on the socket.
type failure struct {
	Error string `json:"error"`
	Code  string `json:"code,omitempty"`
}
