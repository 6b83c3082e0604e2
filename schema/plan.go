package schema

import (
	"strconv"
	"strings"
	"time"
)

// Node is a machine of the fleet as the signed roster knows it, or one that stands alone.
type Node struct {
	ID   string            `json:"id,omitempty"` // empty where it stands alone
	Name string            `json:"name"`
	Tags map[string]string `json:"tags,omitempty"`
	OS   string            `json:"os,omitempty"` // ID of os-release, windows or macos
	// Alone marks a node that no roster names: only targets by all and os can mean it.
	Alone bool `json:"alone,omitempty"`
}

// Node is the roster line as targets see it.
func (l RosterLine) Node() Node { return Node{ID: l.ID, Name: l.Name, Tags: l.Tags, OS: l.OS} }

// Plan is what one node should be and do at one instant, decided from values alone.
type Plan struct {
	Node Node      `json:"node"`
	At   time.Time `json:"at"`
	// Resources is in the order in which they are made right.
	Resources []Resource `json:"resources,omitempty"`
	// Restart has, by policy, the services restarted when something of it changed.
	Restart  map[string][]string `json:"restart,omitempty"`
	Patching Patching            `json:"patching"`
	Warnings []string            `json:"warnings,omitempty"`
}

// Patching is a node held against its patch baseline.
type Patching struct {
	Baseline string   `json:"baseline,omitempty"`
	Position Position `json:"position"`
	Because  string   `json:"because,omitempty"` // why this baseline: "group web", "default baseline of DEBIAN ..."
	// Problem says why the node could not be judged; then all else is empty.
	Problem   string    `json:"problem,omitempty"`
	Judgement Judgement `json:"judgement"`
	// MaxRemovals is how many packages an install may remove beyond what it replaces.
	MaxRemovals int `json:"maxRemovals,omitempty"`
	// Opening is the window that is open now and installs; nil where none is.
	Opening *Opening `json:"opening,omitempty"`
	// Next is the next opening of a window that installs; nil where none will.
	Next *Opening `json:"next,omitempty"`
}

// Opening is one time that a window is open, with the task that installs in it.
type Opening struct {
	Window       string    `json:"window"`
	Task         string    `json:"task"`
	Position     Position  `json:"position"`
	Start        time.Time `json:"start"`
	End          time.Time `json:"end"`
	NoNewWork    time.Time `json:"noNewWork"`    // End less the cutoff
	RebootOption string    `json:"rebootOption"` // RebootIfNeeded or NoReboot
}

// JoinPath writes the path of a field as faults and Positions spell it: labels of letters, digits,
// `_` and `-` as they are, others quoted, and indexes, given as "[0]", without a dot.
func JoinPath(labels ...string) string {
	return string(AppendPath(nil, labels...))
}

// AppendPath appends labels to a path as JoinPath writes it; an empty b begins one.
func AppendPath(b []byte, labels ...string) []byte {
	for _, l := range labels {
		if strings.HasPrefix(l, "[") && strings.HasSuffix(l, "]") {
			b = append(b, l...)
			continue
		}
		if len(b) > 0 {
			b = append(b, '.')
		}
		if plainLabel(l) {
			b = append(b, l...)
		} else {
			b = strconv.AppendQuote(b, l)
		}
	}
	return b
}

func plainLabel(l string) bool {
	for i := range len(l) {
		if c := l[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return l != ""
}
