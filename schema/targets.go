package schema

import (
	"encoding/json"
	"fmt"
)

// Targets select nodes: every given field must hold, any value of a field will do; Exclude wins.
type Targets struct {
	Selection
	All     bool       `json:"all,omitempty" words:"true"`
	Exclude *Selection `json:"exclude,omitempty" fields:"1.."`
}

// Selection is the part of Targets that names nodes (SSM Target).
type Selection struct {
	Tags           map[string]Texts `json:"tags,omitempty" fields:"1..5"`
	Groups         []string         `json:"groups,omitempty" items:"1..50"`         // patch groups
	OS             []string         `json:"os,omitempty" items:"1..50"`             // the roster's os
	Nodes          []string         `json:"nodes,omitempty" items:"1..1000"`        // names or ids
	ResourceGroups []string         `json:"resourceGroups,omitempty" items:"1..50"` // names of resourceGroup objects
}

// Texts is a list of texts; in JSON a single text stands for a list of one.
type Texts []string

// UnmarshalJSON takes a text or a list of texts.
func (t *Texts) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*t = Texts{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return fmt.Errorf("want a text or a list of texts: %w", err)
	}
	*t = many
	return nil
}
