package schema

// Judgement is a host held against its baseline: what `dunlin baseline judge` and `dunlin scan` print.
type Judgement struct {
	Patches    []Patch    `json:"patches"` // sorted by id
	Counts     Counts     `json:"counts"`
	Compliance Compliance `json:"compliance"`
}

// Patch is the verdict on one package of a host.
type Patch struct {
	ID              string     `json:"id"`    // name.arch
	Title           string     `json:"title"` // name.arch:version, of the version that should be there or is
	State           PatchState `json:"state"`
	Deployment      Deployment `json:"deployment"`
	Classification  string     `json:"classification"` // "Security" or empty on apt
	Severity        string     `json:"severity"`       // the publisher's; priority on apt
	ComplianceLevel Level      `json:"complianceLevel"`
	Reason          string     `json:"reason"`

	// Rule is the index of the approval rule that decided, -1 for none.
	Rule int `json:"-"`
	// Package is the version to install, or the one that is installed.
	Package PackageFact `json:"-"`
}

// Counts are SSM's InstancePatchState counters.
type Counts struct {
	InstalledCount              int `json:"InstalledCount"`
	InstalledOtherCount         int `json:"InstalledOtherCount"`
	InstalledPendingRebootCount int `json:"InstalledPendingRebootCount"`
	InstalledRejectedCount      int `json:"InstalledRejectedCount"`
	MissingCount                int `json:"MissingCount"`
	FailedCount                 int `json:"FailedCount"`
	NotApplicableCount          int `json:"NotApplicableCount"`
	CriticalNonCompliantCount   int `json:"CriticalNonCompliantCount"`
	SecurityNonCompliantCount   int `json:"SecurityNonCompliantCount"`
	OtherNonCompliantCount      int `json:"OtherNonCompliantCount"`
}
