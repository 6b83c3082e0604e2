package schema

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Policy is desired state of nodes.
type Policy struct {
	Note
	Description  string                   `json:"description,omitempty" runes:"1..1024"`
	Targets      Targets                  `json:"targets"`
	Mode         Mode                     `json:"mode" default:"enforce"`
	Severity     Level                    `json:"severity" default:"UNSPECIFIED" except:"INFORMATIONAL"`
	Window       string                   `json:"window,omitempty"` // changes wait for it; drift of what was right is corrected at once even then
	Disruption   *Disruption              `json:"disruption,omitempty"`
	AllowLockout bool                     `json:"allowLockout" default:"false"` // lets blocks cover ports that carry the fleet itself
	BlockedPorts []BlockedPort            `json:"blockedPorts,omitempty" items:"..1000"`
	Packages     map[string]Package       `json:"packages,omitempty"`
	Services     map[string]Service       `json:"services,omitempty"`
	Files        map[string]File          `json:"files,omitempty"`
	Sysctls      map[string]string        `json:"sysctls,omitempty"`
	Users        map[string]User          `json:"users,omitempty"`
	Registry     map[string]RegistryValue `json:"registry,omitempty"` // by full path of a value; Windows only
	Checks       map[string]Check         `json:"checks,omitempty"`
	OnChange     *OnChange                `json:"onChange,omitempty"`
}

// OnChange names services restarted when something in the policy changed.
type OnChange struct {
	Restart []string `json:"restart" items:"1.."`
}

// Disruption bounds how many of a policy's targets are down at once for any cause of ours.
type Disruption struct {
	MaxUnavailable string `json:"maxUnavailable"` // a count or a percentage of the targets
}

// Check is a document whose exit code is the verdict.
type Check struct {
	Document   string    `json:"document"`
	Parameters Arguments `json:"parameters,omitempty"`
}

// State says whether a thing should be there.
type State string

const (
	Present State = "present"
	Absent  State = "absent"
)

// Words are the states that there are.
func (State) Words() []string { return words(Present, Absent) }

// BlockedPort is traffic a host must not pass.
type BlockedPort struct {
	Port      PortRange `json:"port"`
	Protocol  string    `json:"protocol" default:"tcp" words:"tcp udp"`
	From      string    `json:"from" default:"any"` // the other side: any or a network
	Direction string    `json:"direction" default:"in" words:"in out"`
}

// Key is the block as resources name it: `in/tcp/23/any`, `in/udp/6000-6063/10.0.0.0/8`.
// Networks are masked, so that two spellings of one network are one resource.
func (b BlockedPort) Key() string {
	from := b.From
	if p, err := netip.ParsePrefix(from); err == nil {
		from = p.Masked().String()
	}
	return b.Direction + "/" + b.Protocol + "/" + b.Port.String() + "/" + from
}

// PortRange is one port or a range of them, 1..65535, First <= Last.
type PortRange struct{ First, Last uint16 }

// String is "23" or "6000-6063".
func (p PortRange) String() string {
	if p.First == p.Last {
		return strconv.Itoa(int(p.First))
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// ParsePortRange reads "23" or "6000-6063".
func ParsePortRange(s string) (PortRange, error) {
	first, last, ranged := strings.Cut(s, "-")
	if !ranged {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	if errA != nil || errB != nil || a == 0 || b < a {
		return PortRange{}, fmt.Errorf("%q is not a port from 1 to 65535 or a range such as \"8000-8100\"", s)
	}
	return PortRange{uint16(a), uint16(b)}, nil
}

// MarshalJSON writes a number for one port and a text for a range, as people write them.
func (p PortRange) MarshalJSON() ([]byte, error) {
	if p.First == p.Last {
		return json.Marshal(p.First)
	}
	return json.Marshal(p.String())
}

// UnmarshalJSON takes a number or a text.
func (p *PortRange) UnmarshalJSON(b []byte) error {
	v, err := ParsePortRange(strings.Trim(string(b), `"`))
	if err == nil {
		*p = v
	}
	return err
}

// Package is a package that should or should not be there. With no version it is never upgraded by a policy.
type Package struct {
	State   State  `json:"state" default:"present"`
	Version string `json:"version,omitempty" runes:"1.."`
}

// Service is a unit of the service manager. A nil field is left alone.
type Service struct {
	Running *bool `json:"running,omitempty"`
	Enabled *bool `json:"enabled,omitempty"`
}

// File is a regular file. Content, Source and ContentFrom are alternatives; with none of them, only mode and owner are kept.
// An empty Mode, Owner or Group is left alone on an existing file; a new one gets 0644, root, root. Made of a SecureString,
// its mode is 0600 where none is given.
type File struct {
	State       State        `json:"state" default:"present"`
	Content     *string      `json:"content,omitempty"`
	Source      string       `json:"source,omitempty" runes:"1.."` // a path in the same commit
	ContentFrom *ContentFrom `json:"contentFrom,omitempty"`
	Mode        string       `json:"mode,omitempty"` // four octal digits
	Owner       string       `json:"owner,omitempty" runes:"1.."`
	Group       string       `json:"group,omitempty" runes:"1.."`
}

// ContentFrom names where a file's content is, when it is not in the policy.
type ContentFrom struct {
	Parameter string `json:"parameter" runes:"..1011"` // path
}

// RegistryValue is a value of the Windows registry.
type RegistryValue struct {
	State State        `json:"state" default:"present"`
	Type  RegistryType `json:"type" default:"REG_SZ"`
	Data  JSON         `json:"data,omitempty"` // a text, a whole number or a list of texts, as the type asks
}

// RegistryType is the type of a registry value.
type RegistryType string

const (
	RegSZ       RegistryType = "REG_SZ"
	RegExpandSZ RegistryType = "REG_EXPAND_SZ"
	RegDword    RegistryType = "REG_DWORD"
	RegQword    RegistryType = "REG_QWORD"
	RegMultiSZ  RegistryType = "REG_MULTI_SZ"
	RegBinary   RegistryType = "REG_BINARY"
)

// Words are the types that there are.
func (RegistryType) Words() []string {
	return words(RegSZ, RegExpandSZ, RegDword, RegQword, RegMultiSZ, RegBinary)
}

// User is a local account.
type User struct {
	State  State    `json:"state" default:"present"`
	UID    *uint32  `json:"uid,omitempty" bound:"0..4294967294"`
	Shell  string   `json:"shell,omitempty"`
	Groups []string `json:"groups,omitempty"` // supplementary groups it is at least in
	Home   string   `json:"home,omitempty"`
}
