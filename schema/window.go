package schema

import "time"

// Window is when change may happen (SSM maintenance window).
type Window struct {
	Note
	Description string          `json:"description,omitempty" runes:"1..1024"`
	Schedule    string          `json:"schedule" runes:"..256"`        // cron(...), rate(...) or at(...)
	Timezone    string          `json:"timezone" default:"UTC"`        // an IANA name
	Offset      int             `json:"offset,omitempty" bound:"1..6"` // days after each cron occurrence; 0 is none
	Start       *time.Time      `json:"start,omitempty"`
	End         *time.Time      `json:"end,omitempty"`
	Duration    Duration        `json:"duration"`            // 1h..24h
	Cutoff      Duration        `json:"cutoff" default:"0h"` // less than Duration; no new work in the last of it
	Enabled     bool            `json:"enabled" default:"true"`
	Targets     Targets         `json:"targets"`
	Tasks       map[string]Task `json:"tasks,omitempty" fields:"..20"`
}

// Task is one document run in a window.
type Task struct {
	Document       string         `json:"document"`
	Parameters     Arguments      `json:"parameters,omitempty"`
	Priority       int            `json:"priority" default:"1" bound:"0.."` // lower first
	Targets        *Targets       `json:"targets,omitempty"`                // nil: the window's
	MaxConcurrency string         `json:"maxConcurrency" default:"50"`      // nodes at once: a count or a percentage of the targets
	MaxErrors      string         `json:"maxErrors" default:"0"`            // failures tolerated: a count or a percentage of the targets
	CutoffBehavior CutoffBehavior `json:"cutoffBehavior" default:"CONTINUE_TASK"`
	Output         *Output        `json:"output,omitempty"`
	Notify         []string       `json:"notify,omitempty" items:"1.."` // names of sinks
}

// CutoffBehavior is what becomes of running work when the cutoff comes (SSM MaintenanceWindowTaskCutoffBehavior).
type CutoffBehavior string

const (
	ContinueTask CutoffBehavior = "CONTINUE_TASK"
	CancelTask   CutoffBehavior = "CANCEL_TASK"
)

// Words are the behaviours that there are.
func (CutoffBehavior) Words() []string { return words(ContinueTask, CancelTask) }

// RunPatchBaseline is the document that scans and installs patches (SSM AWS-RunPatchBaseline).
const RunPatchBaseline = "AWS-RunPatchBaseline"
