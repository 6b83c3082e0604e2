package schema

import "time"

// Window is when change may happen (SSM maintenance window).
type Window struct {
	Description string          `json:"description,omitempty"`
	Schedule    string          `json:"schedule"`         // cron(...), rate(...) or at(...)
	Timezone    string          `json:"timezone"`         // an IANA name
	Offset      int             `json:"offset,omitempty"` // days after each cron occurrence, 1..6; 0 is none
	Start       *time.Time      `json:"start,omitempty"`
	End         *time.Time      `json:"end,omitempty"`
	Duration    Duration        `json:"duration"` // 1h..24h
	Cutoff      Duration        `json:"cutoff"`
	Enabled     bool            `json:"enabled"`
	Targets     Targets         `json:"targets"`
	Tasks       map[string]Task `json:"tasks,omitempty"`
}

// Task is one document run in a window.
type Task struct {
	Document       string           `json:"document"`
	Parameters     map[string]Texts `json:"parameters,omitempty"`
	Priority       int              `json:"priority"`          // lower first
	Targets        *Targets         `json:"targets,omitempty"` // nil: the window's
	MaxConcurrency string           `json:"maxConcurrency"`
	MaxErrors      string           `json:"maxErrors"`
	CutoffBehavior string           `json:"cutoffBehavior"`
}

// RunPatchBaseline is the document that scans and installs patches (SSM AWS-RunPatchBaseline).
const RunPatchBaseline = "AWS-RunPatchBaseline"
