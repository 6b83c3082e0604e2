package schema

// Baseline says which patches the nodes of one operating system should have (SSM PatchBaseline, API 2014-11-06).
type Baseline struct {
	OperatingSystem                          OperatingSystem     `json:"operatingSystem"`
	Description                              string              `json:"description,omitempty"`
	Default                                  bool                `json:"default"`
	GlobalFilters                            map[string][]string `json:"globalFilters,omitempty"`
	ApprovalRules                            []ApprovalRule      `json:"approvalRules,omitempty"`
	ApprovedPatches                          []string            `json:"approvedPatches,omitempty"`
	ApprovedPatchesComplianceLevel           Level               `json:"approvedPatchesComplianceLevel"`
	ApprovedPatchesEnableNonSecurity         bool                `json:"approvedPatchesEnableNonSecurity"`
	RejectedPatches                          []string            `json:"rejectedPatches,omitempty"`
	RejectedPatchesAction                    RejectedAction      `json:"rejectedPatchesAction"`
	Sources                                  []PatchSource       `json:"sources,omitempty"`
	AvailableSecurityUpdatesComplianceStatus Compliance          `json:"availableSecurityUpdatesComplianceStatus,omitempty"`
	MaxRemovals                              int                 `json:"maxRemovals"` // packages an install may remove beyond what it replaces
	ReleaseDates                             string              `json:"releaseDates"`
}

// RejectedAction says what a rejection means for a package that another one needs.
type RejectedAction string

const (
	AllowAsDependency RejectedAction = "ALLOW_AS_DEPENDENCY"
	BlockRejected     RejectedAction = "BLOCK"
)

// ApprovalRule approves what passes its filters once it is old enough. Exactly one of the two dates is given.
type ApprovalRule struct {
	Filters           map[string][]string `json:"filters"`
	ApproveAfterDays  *int                `json:"approveAfterDays,omitempty"` // 0..360 days since release
	ApproveUntilDate  string              `json:"approveUntilDate,omitempty"` // a day in UTC, inclusive
	ComplianceLevel   Level               `json:"complianceLevel"`
	EnableNonSecurity bool                `json:"enableNonSecurity"`
}

// PatchSource is a package repository used instead of the host's own while patching.
type PatchSource struct {
	Name          string   `json:"name"`
	Products      []string `json:"products"`
	Configuration string   `json:"configuration"`
}
