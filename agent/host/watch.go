package host

// Watched is what an agent wants to hear of at once.
type Watched struct {
	Files    []string // absolute paths of managed files
	Units    []string // names of managed units
	Ports    bool     // the firewall table that is ours
	Packages bool     // the package database
	Log      func(text string)
}

// Drift says that something may have changed on the host; whether it did is for a look to say.
type Drift struct {
	Resource string // "file:/etc/motd", "service:telnet.socket", "port:"; empty where it is not known, or for packages
	Who      string // "nft (pid 123)"; empty where nobody was seen
}
