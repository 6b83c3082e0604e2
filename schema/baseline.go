package schema

// Baseline says which patches the nodes of one operating system should have (SSM PatchBaseline, API 2014-11-06).
type Baseline struct {
	Note
	OperatingSystem                          OperatingSystem     `json:"operatingSystem"`
	Description                              string              `json:"description,omitempty" runes:"1..1024"`
	Default                                  bool                `json:"default" default:"false"`              // serves nodes that no group gives a baseline; at most one per system
	GlobalFilters                            map[string][]string `json:"globalFilters,omitempty" fields:"..4"` // what a patch must pass before any rule sees it
	ApprovalRules                            []ApprovalRule      `json:"approvalRules,omitempty" items:"..10"`
	ApprovedPatches                          []string            `json:"approvedPatches,omitempty" items:"..50" each:"1..100"`
	ApprovedPatchesComplianceLevel           Level               `json:"approvedPatchesComplianceLevel" default:"UNSPECIFIED"`
	ApprovedPatchesEnableNonSecurity         bool                `json:"approvedPatchesEnableNonSecurity" default:"false"` // Linux only
	RejectedPatches                          []string            `json:"rejectedPatches,omitempty" items:"..50" each:"1..100"`
	RejectedPatchesAction                    RejectedAction      `json:"rejectedPatchesAction" default:"ALLOW_AS_DEPENDENCY"`
	Sources                                  []PatchSource       `json:"sources,omitempty" items:"..20"`                                               // Linux only
	AvailableSecurityUpdatesComplianceStatus Compliance          `json:"availableSecurityUpdatesComplianceStatus,omitempty" except:"UNSPECIFIED_DATA"` // Windows only
	MaxRemovals                              int                 `json:"maxRemovals" default:"0" bound:"0..10000"`                                     // packages an install may remove beyond what it replaces
	ReleaseDates                             ReleaseDates        `json:"releaseDates" default:"publisher"`
}

// ReleaseDates is where a patch's age comes from.
type ReleaseDates string

const (
	DatesOfPublisher ReleaseDates = "publisher"
	DatesFirstSeen   ReleaseDates = "firstSeen" // the fleet's own sightings
)

// Words are the sources that there are.
func (ReleaseDates) Words() []string { return words(DatesOfPublisher, DatesFirstSeen) }

// RejectedAction says what a rejection means for a package that another one needs.
type RejectedAction string

const (
	AllowAsDependency RejectedAction = "ALLOW_AS_DEPENDENCY"
	BlockRejected     RejectedAction = "BLOCK"
)

// Words are the actions that there are.
func (RejectedAction) Words() []string { return words(AllowAsDependency, BlockRejected) }

// ApprovalRule approves what passes its filters once it is old enough. Exactly one of the two dates is given.
type ApprovalRule struct {
	Filters           map[string][]string `json:"filters" fields:"..4"`
	ApproveAfterDays  *int                `json:"approveAfterDays,omitempty" bound:"0..360"` // since release
	ApproveUntilDate  string              `json:"approveUntilDate,omitempty"`                // a day in UTC, inclusive
	ComplianceLevel   Level               `json:"complianceLevel" default:"UNSPECIFIED"`
	EnableNonSecurity bool                `json:"enableNonSecurity" default:"false"` // Linux only
}

// PatchSource is a package repository used instead of the host's own while patching.
type PatchSource struct {
	Name          string   `json:"name"`
	Products      []string `json:"products" items:"1..20" each:"1..128"`
	Configuration string   `json:"configuration" runes:"1..1024"`
}
