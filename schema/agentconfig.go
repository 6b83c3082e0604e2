package schema

// AgentConfig is the host's own file, /etc/dunlin/agent.cue. This build reads the parts below; the
// definition #AgentConfig holds the rest.
type AgentConfig struct {
	Repo   AgentRepo `json:"repo"`
	State  string    `json:"state"` // folder of keys, journal and caches
	Gossip *struct { // nil: this node is alone
		Bind string `json:"bind"`
	} `json:"gossip,omitempty"`
	Peer    Listen  `json:"peer"`
	HTTP    Listen  `json:"http"`
	Socket  string  `json:"socket"`
	Ceiling Ceiling `json:"ceiling"`
}

// AgentRepo is where the policy comes from.
type AgentRepo struct {
	URL    string `json:"url"`
	Branch string `json:"branch,omitempty"`
}

// Listen is an address that the agent serves on, host:port.
type Listen struct {
	Bind string `json:"bind"`
}

// Ceiling is what no commit can allow on this host.
type Ceiling struct {
	Runs      bool     `json:"runs"`
	Documents []string `json:"documents,omitempty"` // globs; nil is all
	Packages  bool     `json:"packages"`
	Reboots   bool     `json:"reboots"`
	Sessions  bool     `json:"sessions"`
	Files     *struct {
		Deny []string `json:"deny"` // globs of paths
	} `json:"files,omitempty"`

	// Positions has the place of each limit in its file, by path ("ceiling.files.deny[0]").
	Positions map[string]Position `json:"-"`
}
