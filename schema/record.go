package schema

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// MaxRecordBody bounds the body of a record in bytes.
const MaxRecordBody = 64 << 10

// maxRecordKey bounds the key of a record in bytes.
const maxRecordKey = 128

// RecordKind says what a record's body is.
type RecordKind string

// The kinds of records that this build publishes.
const (
	RecordHead   RecordKind = "head"   // HeadRecord, by nodes that read the remote
	RecordState  RecordKind = "state"  // StateRecord, how the node fares
	RecordReport RecordKind = "report" // the node's signed line of the reports branch
	// RecordStatement is a StatementRecord, by nodes that read the remote.
	RecordStatement RecordKind = "statement"
	// RecordJoin is a JoinRecord, by nodes that hosts have asked to be let in.
	RecordJoin RecordKind = "join"
	// RecordSeen is a SeenRecord; its key, a small number, tells those of one node apart.
	RecordSeen RecordKind = "seen"
	// RecordCatalog is a CatalogRecord: which newer versions the node knows.
	RecordCatalog RecordKind = "catalog"
	// RecordAddress is an AddressRecord, where the node is reached.
	RecordAddress RecordKind = "address"
)

// Record is one fact that a node tells about itself. Its owner alone writes it, and of two with the same node,
// kind and key the one with the higher (Boot, Seq) stands; so merging needs no coordination.
type Record struct {
	Node string     `json:"node"` // id of the roster
	Kind RecordKind `json:"kind"`
	Key  string     `json:"key,omitempty"` // tells records of one kind apart
	Boot uint64     `json:"boot"`          // rises with every start of the owner
	Seq  uint64     `json:"seq"`           // rises with every record of one start
	Body []byte     `json:"body"`          // canonical JSON, at most MaxRecordBody
	Sig  []byte     `json:"sig"`           // ed25519 over Message
}

// Newer reports whether r stands where both are the same node's record of one kind and key.
func (r Record) Newer(than Record) bool {
	if r.Boot != than.Boot {
		return r.Boot > than.Boot
	}
	return r.Seq > than.Seq
}

// Message is what the owner signs: every field behind its length, so that no two records have the same message.
func (r Record) Message() []byte {
	b := append([]byte(nil), "dunlin-record/v1\n"...)
	for _, s := range []string{r.Node, string(r.Kind), r.Key} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	b = binary.BigEndian.AppendUint64(b, r.Boot)
	b = binary.BigEndian.AppendUint64(b, r.Seq)
	return append(b, r.Body...)
}

// Verify fails for a record that is malformed, too large, or not signed by key, or whose node is not key's.
func (r Record) Verify(key ed25519.PublicKey) error {
	switch {
	case len(r.Body) > MaxRecordBody:
		return fmt.Errorf("record %q of %q: %d bytes are more than %d", r.Kind, r.Node, len(r.Body), MaxRecordBody)
	case len(r.Key) > maxRecordKey || len(r.Kind) > maxRecordKey:
		return fmt.Errorf("record of %q: its kind or key is longer than %d bytes", r.Node, maxRecordKey)
	case len(key) != ed25519.PublicKeySize || NodeID(key) != r.Node:
		return fmt.Errorf("record %q of %q: not that node's key", r.Kind, r.Node)
	case !json.Valid(r.Body):
		return fmt.Errorf("record %q of %q: its body is not JSON", r.Kind, r.Node)
	case !ed25519.Verify(key, r.Message(), r.Sig):
		return fmt.Errorf("record %q of %q: %w", r.Kind, r.Node, ErrBadSignature)
	}
	return nil
}

// ErrBadSignature is wrapped where a signature does not belong to what it came with.
var ErrBadSignature = errors.New("its signature is wrong")

// ErrTooFast is wrapped where a node says more in a short time than the others take of one; they take it later.
var ErrTooFast = errors.New("more in a short time than a node may say")

// NodeID is a node's id: the first 26 characters of the lower-case base32 of SHA-256 of its signing key.
func NodeID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:]))[:26]
}

// HeadRecord is what a node saw on the remote.
type HeadRecord struct {
	Commit string `json:"commit"`          // head of the policy branch, hex
	Error  string `json:"error,omitempty"` // why the remote could not be read; Commit is then the last one seen
}

// StatementRecord is what people have signed beside commits, as the remote has it: each a text that proves itself.
type StatementRecord struct {
	Approvals []string `json:"approvals,omitempty"`
	Heartbeat string   `json:"heartbeat,omitempty"`
}

// SeenRecord is what a node has seen in archives, and when: its share of the fleet's own dates (releaseDates "firstSeen").
type SeenRecord struct {
	Archives map[string]SeenArchive `json:"archives"` // by Origin/Label/Codename/component
}

// SeenArchive is what a node has seen in one archive.
type SeenArchive struct {
	First time.Time `json:"first"` // when it looked there first, in whole seconds
	// Seen are versions, each "source version", by the instant at which the node saw them first (RFC 3339, UTC, whole
	// seconds). What it saw at First may have been there for long.
	Seen map[string][]string `json:"seen"`
}

// CatalogRecord names the newer versions that a node knows, for the reports branch.
type CatalogRecord struct {
	Archives   string `json:"archives"`   // SHA-256 of the list of archives that its package manager reads, in hex
	Candidates string `json:"candidates"` // SHA-256 of the file of candidates, in hex
}

// AddressRecord is where a node says that it is reached: one address of each sort.
type AddressRecord struct {
	Gossip netip.AddrPort `json:"gossip"` // UDP and TCP
	Peer   netip.AddrPort `json:"peer"`   // TCP
}

// Check fails for addresses that no node can be reached at alone, and for one of the host itself unless all of the
// fleet are on one host, as here is.
func (a AddressRecord) Check(here netip.Addr) error {
	for what, at := range map[string]netip.AddrPort{"gossip": a.Gossip, "peer": a.Peer} {
		ip := at.Addr()
		switch {
		case !at.IsValid() || at.Port() == 0:
			return fmt.Errorf("%s address %q has no address or port", what, at)
		case ip.Is4In6() || ip.Zone() != "":
			return fmt.Errorf("%s address %q has a zone, or is one of IPv4 in another form", what, at)
		case ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || ip.Is4() && ip.As4()[0] == 0:
			return fmt.Errorf("%s address %q is no host's own", what, at)
		case ip.IsLinkLocalUnicast():
			return fmt.Errorf("%s address %q means another host on each link", what, at)
		case ip.IsLoopback() && !here.IsLoopback():
			return fmt.Errorf("%s address %q means the host that reads it", what, at)
		}
	}
	return nil
}

// JoinRecord is hosts that have asked a node to be let in: each a line that proves itself, as nodes/joins has it.
type JoinRecord struct {
	Joins []string `json:"joins"`
}

// StateRecord is how a node fares.
type StateRecord struct {
	Name     string         `json:"name"`
	Commit   string         `json:"commit"`            // in force
	Refused  *RefusedCommit `json:"refused,omitempty"` // newest that was refused; nil since a later one is in force
	Remote   string         `json:"remote,omitempty"`  // what is wrong with the remote, empty where nothing is
	Reporter bool           `json:"reporter,omitempty"`
	// ReportFails says that a reporter could not write when it last tried, so that the next takes its place.
	ReportFails bool             `json:"reportFails,omitempty"`
	Types       []TypeCompliance `json:"types"`
	Agent       string           `json:"agent"`             // version of its program
	Problem     string           `json:"problem,omitempty"` // why it starts nothing: clock, identity, disk
	// Clone says that another host answers to its key.
	Clone bool `json:"clone,omitempty"`
	// Start is random, of each start: two hosts that are copies of each other say different things.
	Start string `json:"start,omitempty"`
	// Above is the start, other than its own, under which the same key told something that was newer than what this start had
	// told. Who reads its own start there knows that another host with its key is alive.
	Above string `json:"above,omitempty"`
}

// TypeCompliance is a node's compliance of one type, with the items that are not compliant (at most 64).
type TypeCompliance struct {
	Type  string           `json:"type"` // Patch, Association, Policy, Custom:x
	State Compliance       `json:"state"`
	Items []ComplianceItem `json:"items"`
	More  int              `json:"more,omitempty"` // how many items are left out
}

// ComplianceItem is one patch or resource that counts against a node.
type ComplianceItem struct {
	ID     string `json:"id"`    // tb-lib.amd64, file:/etc/motd
	State  string `json:"state"` // Missing, NonCompliant, Waiting ...
	Reason string `json:"reason,omitempty"`
}

// RefusedCommit is a commit that did not take hold.
type RefusedCommit struct {
	Commit string  `json:"commit"`
	Reason string  `json:"reason,omitempty"` // where it has no faults: not trusted, force-push, too large
	Kind   string  `json:"kind,omitempty"`   // where it is not trusted: malformed, rewind, not agreed, wrong time, too far, stale, fork
	Faults []Fault `json:"faults"`           // at most 8
	Nodes  int     `json:"nodes,omitempty"`  // in a FleetStatus: how many nodes refuse it
}
