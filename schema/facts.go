package schema

import "time"

// Facts is what a host says about itself (LANGUAGE "Facts"). What is missing is empty.
type Facts struct {
	V             int             `json:"v" bound:"1..1"`
	Node          string          `json:"node"`
	At            time.Time       `json:"at,omitzero"`
	OS            OSFacts         `json:"os"`
	Arch          string          `json:"arch"` // the package manager's own word, "amd64"
	Installed     []PackageFact   `json:"installed"`
	Candidates    []PackageFact   `json:"candidates"` // all newer versions the package manager knows, oldest first within a package
	PendingReboot PendingReboot   `json:"pendingReboot"`
	LastInstall   []LastInstall   `json:"lastInstall"`
	Updates       []WindowsUpdate `json:"updates,omitempty"` // Windows
}

// OSFacts is a host's operating system.
type OSFacts struct {
	ID              string          `json:"id"`        // ID of os-release
	VersionID       string          `json:"versionId"` // VERSION_ID of os-release
	OperatingSystem OperatingSystem `json:"operatingSystem"`
	Product         string          `json:"product"` // SSM's product word, "Debian12"
}

// PackageFact is one version of a package: installed, or a candidate.
// Version, Arch, Source and SourceVersion are the package manager's own strings, epoch included.
type PackageFact struct {
	Name          string     `json:"name"`
	Version       string     `json:"version"`
	Arch          string     `json:"arch"`
	Source        string     `json:"source,omitempty"`
	SourceVersion string     `json:"sourceVersion,omitempty"`
	Held          bool       `json:"held,omitempty" default:"false" only:"#Installed"`
	Origins       []Origin   `json:"origins,omitempty"`
	Priority      string     `json:"priority,omitempty"`
	Section       string     `json:"section,omitempty"`
	Phased        *int       `json:"phased,omitempty" default:"100" bound:"0..100" only:"#Candidate"` // percentage of hosts that the publisher offers it to; nil is 100
	Released      time.Time  `json:"released,omitzero"`
	Advisories    []Advisory `json:"advisories,omitempty"`
	FirstSeen     time.Time  `json:"firstSeen,omitzero" only:"#Candidate"`
}

// ID is the identity of a patch on Linux: `name.arch`.
func (p PackageFact) ID() string { return p.Name + "." + p.Arch }

// Title is `name.arch:version`.
func (p PackageFact) Title() string { return p.Name + "." + p.Arch + ":" + p.Version }

// Origin is the archive a version comes from, as its Release file says.
type Origin struct {
	Origin    string `json:"origin,omitempty"`
	Label     string `json:"label,omitempty"`
	Suite     string `json:"suite,omitempty"`
	Codename  string `json:"codename,omitempty"`
	Component string `json:"component,omitempty"`
	Site      string `json:"site,omitempty"`
	Trusted   bool   `json:"trusted" default:"false"` // the archive's signature was checked by the package manager
}

// Advisory is a publisher's notice about a version.
type Advisory struct {
	ID       string    `json:"id,omitempty"`
	Type     string    `json:"type,omitempty"`
	Severity string    `json:"severity,omitempty"`
	Issued   time.Time `json:"issued,omitzero"`
	Updated  time.Time `json:"updated,omitzero"`
	CVEs     []string  `json:"cves,omitempty"`
}

// PendingReboot says whether the host asks for a reboot, and which packages asked.
type PendingReboot struct {
	Is       bool     `json:"is" default:"false"`
	Packages []string `json:"packages"`
}

// WindowsUpdate is what the update agent of Windows says of one update.
type WindowsUpdate struct {
	KB             string    `json:"kb,omitempty"` // its number, with KB
	Title          string    `json:"title,omitempty"`
	Classification string    `json:"classification,omitempty"` // SecurityUpdates, CriticalUpdates ...
	Severity       string    `json:"severity,omitempty"`       // Microsoft's: Critical, Important, Moderate, Low
	Products       []string  `json:"products,omitempty"`
	ProductFamily  string    `json:"productFamily,omitempty"`
	PatchSet       string    `json:"patchSet,omitempty"` // OS or APPLICATION
	Released       time.Time `json:"released,omitzero"`
	Installed      bool      `json:"installed" default:"false"`
	Superseded     bool      `json:"superseded" default:"false"` // a later update has everything of it
	PendingReboot  bool      `json:"pendingReboot" default:"false"`
}

// LastInstall is what became of one patch when Dunlin last installed it.
type LastInstall struct {
	Name    string    `json:"name"`
	Arch    string    `json:"arch"`
	Version string    `json:"version"`
	At      time.Time `json:"at"`
	Outcome string    `json:"outcome" words:"installed failed"`
	Reason  string    `json:"-"` // the package manager's own words of a failure; kept on the host
}
