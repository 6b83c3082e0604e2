package schema

import "time"

// PackageRef names a package of a host, and often a version of it.
type PackageRef struct {
	Name    string `json:"name"`
	Arch    string `json:"arch,omitempty"`    // the package manager's word; empty or "all" means the host's own architecture
	Version string `json:"version,omitempty"` // empty: any, or the package manager's choice
	Source  string `json:"source,omitempty"`  // packages of one source are tried together
}

// String is "name", "name.arch" or "name.arch:version".
func (p PackageRef) String() string {
	s := p.Name
	if p.Arch != "" {
		s += "." + p.Arch
	}
	if p.Version != "" {
		s += ":" + p.Version
	}
	return s
}

// PackageStatus is a package as the package manager's own database has it, half-installed ones included.
type PackageStatus struct {
	Name      string
	Arch      string
	Version   string
	State     string // the package manager's word; PackageInstalled is the only one that is well
	Held      bool
	Essential bool // removal breaks the host
	Reinstall bool // the package manager wants it unpacked again before anything else
}

// PackageInstalled is the state of a package that is wholly there (dpkg's word).
const PackageInstalled = "installed"

// Gone reports whether nothing of the package is left but, maybe, its configuration.
func (p PackageStatus) Gone() bool { return p.State == "not-installed" || p.State == "config-files" }

// FindPackage returns the package of list that ref means, whatever its version. Packages of the
// host's own architecture stand first in list; those that are gone are not found.
func FindPackage(list []PackageStatus, ref PackageRef) (PackageStatus, bool) {
	for _, st := range list {
		if st.Name == ref.Name && !st.Gone() && SameArch(st.Arch, ref.Arch) {
			return st, true
		}
	}
	return PackageStatus{}, false
}

// SameArch reports whether two words for an architecture may mean the same package: one may move
// between "all" and the host's own, and an empty word means either.
func SameArch(a, b string) bool {
	return a == b || a == "all" || b == "all" || a == "" || b == ""
}

// Transaction is a change of packages that is wanted as a whole.
type Transaction struct {
	Install []PackageRef `json:"install,omitempty"`
	Remove  []PackageRef `json:"remove,omitempty"`
	// Mend asks for what the package manager needs to get out of a half-installed state, and for nothing else.
	Mend bool `json:"mend,omitempty"`
	// MaxRemovals is how many packages may go that are neither asked for in Remove nor replaced by a new one.
	MaxRemovals int `json:"maxRemovals,omitempty"`
	// Removals says that the simulation that was allowed removes packages; without it the package
	// manager is told to remove none.
	Removals bool `json:"removals,omitempty"`
}

// Simulation is what the package manager says it would do, in its order.
type Simulation struct {
	Steps []SimulatedStep
}

// SimulatedStep is one package of a Simulation.
type SimulatedStep struct {
	Action Action // Install, Upgrade (also to an older version) or Remove
	Name   string
	Arch   string
	Old    string // empty where it was not installed
	New    string // empty where it goes
	// ReplacedBy names the package that takes over what this removed one gave; empty for none.
	ReplacedBy string
}

// SimulationError says that the package manager cannot do what was asked.
type SimulationError struct {
	Words    string   // the package manager's own
	Packages []string // names that its words blame; may be empty
}

func (e *SimulationError) Error() string { return e.Words }

// Prepared is what a host did, or found, before a transaction.
type Prepared struct {
	// Broken lists packages that are half-installed and that configuring once more did not mend.
	Broken []PackageStatus
	// Warnings are failures that do not stop the transaction: an archive that could not be reached.
	Warnings []string
}

// TransactionResult is what the package manager said while it did a Transaction. What became of the
// packages is told by looking at them, not by this.
type TransactionResult struct {
	ID      string    `json:"id"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended"`
	// Words has the package manager's own words about packages that failed, by name.
	Words map[string]string `json:"words,omitempty"`
	// Failure is why the transaction as a whole did not end well; empty where it did.
	Failure string `json:"failure,omitempty"`
	// Final says that trying the rest again would end the same way: no space, deadline.
	Final bool   `json:"final,omitempty"`
	Log   string `json:"log,omitempty"` // path of the whole output
}
