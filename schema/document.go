package schema

// Document says what a command does, in the shapes of SSM §3: schema 2.2 and 2.0 have MainSteps, 1.2 has RuntimeConfig.
// As a file or an object it has at most 64 KiB.
type Document struct {
	Note
	SchemaVersion SchemaVersion                `json:"schemaVersion"`
	Description   string                       `json:"description,omitempty"`
	Parameters    map[string]DocumentParameter `json:"parameters,omitempty"`                 // by name, ^[A-Za-z0-9]+$
	MainSteps     []Step                       `json:"mainSteps,omitempty" items:"1.."`      // in the order in which they run; empty in 1.2
	RuntimeConfig map[string]Plugin            `json:"runtimeConfig,omitempty" fields:"1.."` // of schema 1.2, by action; runs in no order
}

// SchemaVersion is the form of a document (SSM §3.2).
type SchemaVersion string

const (
	Schema22 SchemaVersion = "2.2"
	Schema20 SchemaVersion = "2.0"
	Schema12 SchemaVersion = "1.2"
)

// Words are the forms of documents that agents know.
func (SchemaVersion) Words() []string { return words(Schema22, Schema20, Schema12) }

// DocumentParameter declares a parameter of a document (SSM §3.3). Bounds are inclusive, 0..2147483647; nil is none.
type DocumentParameter struct {
	Type              ParameterType     `json:"type"`
	Description       string            `json:"description,omitempty"`
	Default           JSON              `json:"default,omitempty"` // of the type; empty: the caller must give it
	AllowedValues     []JSON            `json:"allowedValues,omitempty" items:"1.."`
	AllowedPattern    string            `json:"allowedPattern,omitempty"` // RE2 that the whole value matches; of a list, each item
	DisplayType       DisplayType       `json:"displayType,omitempty"`
	MinItems          *int              `json:"minItems,omitempty" bound:"0..2147483647"` // of lists and maps
	MaxItems          *int              `json:"maxItems,omitempty" bound:"0..2147483647"`
	MinChars          *int              `json:"minChars,omitempty" bound:"0..2147483647"` // of texts; of a list, each item
	MaxChars          *int              `json:"maxChars,omitempty" bound:"0..2147483647"`
	InterpolationType InterpolationType `json:"interpolationType,omitempty"` // empty: ENV_VAR
}

// ParameterType is the type of a document's parameter (SSM §3.3). Callers give String, StringList and StringMap only.
type ParameterType string

const (
	TypeString     ParameterType = "String"
	TypeStringList ParameterType = "StringList"
	TypeInteger    ParameterType = "Integer"
	TypeBoolean    ParameterType = "Boolean"
	TypeStringMap  ParameterType = "StringMap"
	TypeMapList    ParameterType = "MapList"
)

// Words are the types that there are.
func (ParameterType) Words() []string {
	return words(TypeString, TypeStringList, TypeInteger, TypeBoolean, TypeStringMap, TypeMapList)
}

// DisplayType is how a form would ask for a parameter; nothing here reads it (SSM §3.3).
type DisplayType string

// Words are the ways that SSM has.
func (DisplayType) Words() []string { return []string{"textfield", "textarea"} }

// InterpolationType is how a parameter's value reaches a script (SSM §3.5).
type InterpolationType string

const (
	InterpolateEnv  InterpolationType = "ENV_VAR" // as the environment variable SSM_<name>, which a script reads where it has {{ name }}
	InterpolateText InterpolationType = "TEXT"    // pasted into the script, as SSM does: only with care
)

// Words are the ways that there are.
func (InterpolationType) Words() []string { return words(InterpolateEnv, InterpolateText) }

// Step is one step of a document of schema 2.x (SSM §3.2). Flow control (onFailure, onSuccess, finallyStep, timeoutSeconds)
// sits in Inputs (SSM §3.8).
type Step struct {
	Action       string        `json:"action"` // one of Actions, with or without aws:
	Name         string        `json:"name" runes:"1..128"`
	Description  string        `json:"description,omitempty"`
	Precondition *Precondition `json:"precondition,omitempty"` // nil: always (SSM §3.7)
	ReadOnly     bool          `json:"readOnly" default:"false"`
	Inputs       JSON          `json:"inputs"` // an object whose fields depend on the action
}

// Precondition lets a step run only where two texts are equal, after their placeholders are filled in; platformType
// stands for Linux, Windows or MacOS (SSM §3.7).
type Precondition struct {
	StringEquals []string `json:"StringEquals" items:"2..2"`
}

// Plugin is what an action of schema 1.2 is given (SSM §3.2).
type Plugin struct {
	Settings    JSON   `json:"settings,omitempty"`
	Properties  JSON   `json:"properties"` // an object, or a list of them
	Description string `json:"description,omitempty"`
}

// Actions are the actions of steps that agents know, without the prefix aws: (SSM §3.9).
func Actions() []string {
	return []string{"runShellScript", "runPowerShellScript", "runDocument", "downloadContent", "configurePackage", "softwareInventory",
		"psModule", "refreshAssociation", "dunlin:patch"}
}
