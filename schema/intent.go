package schema

// An Intent is one effect that a pass is about to make. It is written down and forced to disk before the effect.
type Intent struct {
	Resource string `json:"resource"` // "file:/etc/motd"
	Action   Action `json:"action"`
	Want     string `json:"want,omitempty"`
	Got      string `json:"got,omitempty"`
	Policy   string `json:"policy,omitempty"`
}

// A Result is what became of an intent. An intent without one was cut off: the next pass judges by looking.
type Result struct {
	Outcome Outcome `json:"outcome"`
	Reason  string  `json:"reason,omitempty"`
}
