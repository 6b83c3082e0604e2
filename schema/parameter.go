package schema

import (
	"strconv"
	"time"
)

// Parameter is a value that documents and policies read (SSM Parameter Store, §10.1). Its name is a path.
type Parameter struct {
	Note
	Type           StoredType                  `json:"type"`
	Description    string                      `json:"description,omitempty" runes:"1..1024"`
	AllowedPattern string                      `json:"allowedPattern,omitempty" runes:"1..1024"` // RE2 that each plain value matches as a whole
	Versions       map[string]ParameterVersion `json:"versions" fields:"1..100"`                 // by number from 1; the highest is the current one
	Policies       *ParameterPolicies          `json:"policies,omitempty"`
	Readers        *Targets                    `json:"readers,omitempty"` // nodes that can decrypt it; given for a SecureString only
}

// Current is the number of the current version and the version itself; 0 where there is none.
func (p Parameter) Current() (int, ParameterVersion) {
	last := 0
	for name := range p.Versions {
		if n, err := strconv.Atoi(name); err == nil {
			last = max(last, n)
		}
	}
	return last, p.Versions[strconv.Itoa(last)]
}

// StoredType is the type of a parameter (SSM §10.1).
type StoredType string

const (
	StoredString       StoredType = "String"
	StoredStringList   StoredType = "StringList"   // items separated by commas
	StoredSecureString StoredType = "SecureString" // encrypted to its readers
)

// Words are the types that there are.
func (StoredType) Words() []string { return words(StoredString, StoredStringList, StoredSecureString) }

// ParameterVersion is one value of a parameter.
type ParameterVersion struct {
	Value  string   `json:"value"` // 1..8192 bytes; of a SecureString armoured age
	Labels []string `json:"labels,omitempty" items:"..10"`
	// Created is when it was written; nil where that is not said. NoChangeNotifyAfter counts from the current version's.
	Created *time.Time `json:"created,omitempty"`
	// Recipients are the age keys that a SecureString is encrypted to, which age itself does not show; none where that is not said.
	Recipients []string `json:"recipients,omitempty" items:"1..10000"`
}

// ParameterPolicies say when a parameter goes, and when people are told (SSM §10.1).
type ParameterPolicies struct {
	Expires             *time.Time `json:"expires,omitempty"` // gone after it; nil: never
	NotifyBefore        Duration   `json:"notifyBefore,omitempty"`
	NoChangeNotifyAfter Duration   `json:"noChangeNotifyAfter,omitempty"`
}

// ParameterDue is a parameter that people should look at.
type ParameterDue struct {
	Parameter string    `json:"parameter"`
	What      Dueness   `json:"what"`
	At        time.Time `json:"at"`                // when it goes or went, or when it was last changed
	Version   string    `json:"version,omitempty"` // that was not changed since
}

// Dueness is why people should look at a parameter.
type Dueness string

const (
	ParameterExpired   Dueness = "expired"   // nobody can read it any more
	ParameterExpires   Dueness = "expires"   // it goes soon
	ParameterUnchanged Dueness = "unchanged" // for longer than wanted
)

// Words are the reasons that there are.
func (Dueness) Words() []string {
	return words(ParameterExpired, ParameterExpires, ParameterUnchanged)
}

// String says it for people.
func (d ParameterDue) String() string {
	at := d.At.UTC().Format(time.RFC3339)
	switch d.What {
	case ParameterExpired:
		return d.Parameter + " expired at " + at + ": nobody can read it any more"
	case ParameterExpires:
		return d.Parameter + " expires at " + at
	}
	return d.Parameter + " was last changed at " + at
}
