package schema

import "time"

// Run is a command given once (SSM SendCommand, §4): YYYY/MM/<id>.json on the branch of runs, canonical JSON, never changed.
// Who signs it signs every limit in it, so nothing has a default.
type Run struct {
	V                int       `json:"v" bound:"1..1"`
	Fleet            string    `json:"fleet"`
	Policy           string    `json:"policy"` // commit from which documents, parameters, groups and the roster are read
	Document         string    `json:"document"`
	Parameters       Arguments `json:"parameters"`
	Targets          Targets   `json:"targets"`
	MaxConcurrency   string    `json:"maxConcurrency"`
	MaxErrors        string    `json:"maxErrors"`
	ErrorMode        ErrorMode `json:"errorMode"`
	DeliveryTimeout  Duration  `json:"deliveryTimeout"`  // 30s..30d; a node that has not started by then never will
	ExecutionTimeout Duration  `json:"executionTimeout"` // 5s..2d
	Created          time.Time `json:"created"`
	RequestedBy      string    `json:"requestedBy" runes:"1.."`
	Comment          string    `json:"comment,omitempty" runes:"..100"`
	Output           *Output   `json:"output,omitempty"`
	Notify           []string  `json:"notify,omitempty" items:"1.."`
	Sig              string    `json:"sig"` // armoured SSHSIG over the canonical JSON without it, namespace run@dunlin
}

// ErrorMode is how strictly a run keeps maxErrors while several nodes work.
type ErrorMode string

const (
	SoftErrors   ErrorMode = "soft"   // failures never exceed maxErrors and maxConcurrency together, as in SSM
	StrictErrors ErrorMode = "strict" // failures never exceed maxErrors by more than one
)

// Words are the modes that there are.
func (ErrorMode) Words() []string { return words(SoftErrors, StrictErrors) }
