package schema

import "time"

// Association keeps a document applied to its targets (SSM State Manager, §6).
type Association struct {
	Note
	Description             string    `json:"description,omitempty" runes:"1..1024"`
	Document                string    `json:"document"`
	Parameters              Arguments `json:"parameters,omitempty"`
	Targets                 Targets   `json:"targets"`
	Schedule                string    `json:"schedule,omitempty" runes:"..256"` // cron(...), rate(...) or at(...); empty: when it, its document or a parameter it reads changes
	Timezone                string    `json:"timezone" default:"UTC"`           // an IANA name
	Offset                  int       `json:"offset,omitempty" bound:"1..6"`    // days after each cron occurrence; 0 is none
	ApplyOnlyAtCronInterval bool      `json:"applyOnlyAtCronInterval" default:"false"`
	MaxConcurrency          string    `json:"maxConcurrency" default:"100%"` // nodes at once: a count or a percentage of the targets
	MaxErrors               string    `json:"maxErrors" default:"100%"`      // failures tolerated: a count or a percentage of the targets
	ComplianceSeverity      Level     `json:"complianceSeverity" default:"UNSPECIFIED" except:"INFORMATIONAL"`
	Calendars               []string  `json:"calendars,omitempty" items:"1.."` // names; runs only while all of them are OPEN
	Window                  string    `json:"window,omitempty"`                // runs only while it is open
	Output                  *Output   `json:"output,omitempty"`
	Notify                  []string  `json:"notify,omitempty" items:"1.."` // names of sinks
}

// Calendar opens or closes change for a while (SSM Change Calendar, §6.4).
type Calendar struct {
	Note
	Description string          `json:"description,omitempty" runes:"1..1024"`
	Default     CalendarState   `json:"default" default:"OPEN"` // outside the events; during an event it is the other one
	Events      []CalendarEvent `json:"events,omitempty"`
}

// CalendarEvent is a stretch of time, from Start until just before End.
type CalendarEvent struct {
	Start   time.Time `json:"start"`
	End     time.Time `json:"end"`
	Summary string    `json:"summary" runes:"1.."`
}

// CalendarState is whether a calendar lets things run (SSM CalendarState).
type CalendarState string

const (
	CalendarOpen   CalendarState = "OPEN"
	CalendarClosed CalendarState = "CLOSED"
)

// Words are the states that there are.
func (CalendarState) Words() []string { return words(CalendarOpen, CalendarClosed) }

// Output is where whole outputs go, below URL/execution/node/step (SSM §4.6).
type Output struct {
	URL string `json:"url"` // file, https, s3, gs or azblob
}
