package schema

// OperatingSystem is an SSM operating system of a baseline (PatchBaseline.OperatingSystem, API 2014-11-06), or FEDORA.
type OperatingSystem string

// Words are the systems that a baseline can be for, SSM's before ours.
func (OperatingSystem) Words() []string {
	return []string{"WINDOWS", "AMAZON_LINUX", "AMAZON_LINUX_2", "AMAZON_LINUX_2022", "AMAZON_LINUX_2023", "UBUNTU", "DEBIAN", "RASPBIAN",
		"REDHAT_ENTERPRISE_LINUX", "CENTOS", "ORACLE_LINUX", "ROCKY_LINUX", "ALMA_LINUX", "SUSE", "MACOS", "FEDORA"}
}

// The operating systems that this build can judge.
const (
	Debian OperatingSystem = "DEBIAN"
	Ubuntu OperatingSystem = "UBUNTU"
)

// Mode says whether a policy changes hosts or only reports.
type Mode string

const (
	Enforce Mode = "enforce"
	Audit   Mode = "audit"
)

// Words are the modes that there are.
func (Mode) Words() []string { return words(Enforce, Audit) }

// Level is a compliance level or severity (SSM PatchComplianceLevel).
type Level string

const (
	Critical      Level = "CRITICAL"
	High          Level = "HIGH"
	Medium        Level = "MEDIUM"
	Low           Level = "LOW"
	Informational Level = "INFORMATIONAL"
	Unspecified   Level = "UNSPECIFIED"
)

// Words are the levels, the worst first. Policies and associations have no INFORMATIONAL.
func (Level) Words() []string {
	return words(Critical, High, Medium, Low, Informational, Unspecified)
}

// Rank orders levels: 5 for CRITICAL down to 0 for UNSPECIFIED or an unknown word.
func (l Level) Rank() int {
	switch l {
	case Critical:
		return 5
	case High:
		return 4
	case Medium:
		return 3
	case Low:
		return 2
	case Informational:
		return 1
	}
	return 0
}

// PatchState is the state of one patch on one node (SSM PatchComplianceDataState).
type PatchState string

const (
	Installed               PatchState = "Installed"
	InstalledOther          PatchState = "InstalledOther"
	InstalledRejected       PatchState = "InstalledRejected"
	InstalledPendingReboot  PatchState = "InstalledPendingReboot"
	Missing                 PatchState = "Missing"
	PatchFailed             PatchState = "Failed"
	NotApplicable           PatchState = "NotApplicable"
	AvailableSecurityUpdate PatchState = "AvailableSecurityUpdate"
)

// Deployment is how a baseline regards a patch (SSM PatchDeploymentStatus). Empty where it says nothing.
type Deployment string

const (
	Approved         Deployment = "APPROVED"
	PendingApproval  Deployment = "PENDING_APPROVAL"
	ExplicitApproved Deployment = "EXPLICIT_APPROVED"
	ExplicitRejected Deployment = "EXPLICIT_REJECTED"
)

// Compliance is the verdict on a node or an item.
type Compliance string

const (
	Compliant       Compliance = "COMPLIANT"
	NonCompliant    Compliance = "NON_COMPLIANT"
	UnspecifiedData Compliance = "UNSPECIFIED_DATA" // never reported
)

// Words are the verdicts that there are.
func (Compliance) Words() []string { return words(Compliant, NonCompliant, UnspecifiedData) }

// ResourceState is the status of one resource of a policy on one node.
type ResourceState string

const (
	ResourceCompliant    ResourceState = "Compliant"
	ResourceNonCompliant ResourceState = "NonCompliant"
	ResourceWaiting      ResourceState = "Waiting"
	ResourceFailed       ResourceState = "Failed"
	ResourceConflict     ResourceState = "Conflict"
	ResourceDenied       ResourceState = "Denied"
	ResourceReverted     ResourceState = "Reverted"
)

// Action is what a change does to a resource.
type Action string

const (
	Create  Action = "create"
	Update  Action = "update"
	Delete  Action = "delete"
	Install Action = "install"
	Upgrade Action = "upgrade"
	Remove  Action = "remove"
	Start   Action = "start"
	Stop    Action = "stop"
	Restart Action = "restart"
	Enable  Action = "enable"
	Disable Action = "disable"
	Block   Action = "block"
	Unblock Action = "unblock"
)

// Outcome is what became of a change in one pass.
type Outcome string

const (
	Changed     Outcome = "Changed"
	WouldChange Outcome = "WouldChange"
	Waiting     Outcome = "Waiting"
	Failed      Outcome = "Failed"
	Conflict    Outcome = "Conflict"
	Denied      Outcome = "Denied"
	Reverted    Outcome = "Reverted"
)
