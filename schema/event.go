package schema

// Sink is where events and notices go (SSM §13).
type Sink struct {
	Note
	URL    string `json:"url"`                             // https, or exec:///path of a program of the host
	Secret string `json:"secret,omitempty" runes:"..1011"` // path of the parameter that holds its credential
}

// Rule answers events. At least one of Run and Notify is given.
type Rule struct {
	Note
	Description string      `json:"description,omitempty" runes:"1..1024"`
	When        EventFilter `json:"when"`
	Run         *RuleRun    `json:"run,omitempty"`
	Notify      []string    `json:"notify,omitempty" items:"1.."` // names of sinks
}

// RuleRun is the document that a rule starts.
type RuleRun struct {
	Document       string    `json:"document"`
	Parameters     Arguments `json:"parameters,omitempty"`
	Targets        *Targets  `json:"targets,omitempty"` // nil: the node that the event is about
	MaxConcurrency string    `json:"maxConcurrency" default:"50"`
	MaxErrors      string    `json:"maxErrors" default:"0"`
}

// EventFilter selects events: every given field must hold, any value of a field will do.
type EventFilter struct {
	Type     []string `json:"type" items:"1.."` // noun.verb, or noun.* for all of a noun
	Severity []Level  `json:"severity,omitempty" items:"1.."`
	Status   []string `json:"status,omitempty" items:"1.." each:"1.."`
	Targets  *Targets `json:"targets,omitempty"`
}
