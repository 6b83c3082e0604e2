package schema

import "time"

// Explanation says of one resource or patch of a node what it should be, who says so and where, and how it is.
type Explanation struct {
	Node     string    `json:"node"`
	Item     string    `json:"item"`
	State    string    `json:"state"` // a resource's or a patch's
	Want     string    `json:"want"`
	Got      string    `json:"got"`
	Reason   string    `json:"reason"`
	Policy   string    `json:"policy,omitempty"`
	Baseline string    `json:"baseline,omitempty"`
	Because  string    `json:"because,omitempty"` // why this baseline
	Rule     int       `json:"rule,omitempty"`    // approval rule of the baseline that decided, from 1
	Mode     Mode      `json:"mode,omitempty"`
	Severity Level     `json:"severity,omitempty"`
	Position *Position `json:"position,omitempty"` // nil for what is shipped
	Patch    *Patch    `json:"patch,omitempty"`
	Window   *Opening  `json:"window,omitempty"` // open now, or the next one
	Action   Action    `json:"action,omitempty"`
	Restart  []string  `json:"restart,omitempty"` // services restarted after a change

	// Told says that State and Reason are what the node said of itself, not what was looked at now.
	Told     bool      `json:"told,omitempty"`
	LastSeen time.Time `json:"lastSeen,omitzero"` // of a node that told and is not Online
	Unknown  string    `json:"unknown,omitempty"` // what cannot be known here, and where to ask
}
