package schema

import "encoding/json"

// AgentConfig is the host's own file, /etc/dunlin/agent.cue.
type AgentConfig struct {
	Repo    AgentRepo     `json:"repo"`
	Reports *AgentReports `json:"reports,omitempty"` // nil: this node is never elected to report
	Trust   AgentTrust    `json:"trust"`
	State   string        `json:"state" default:"/var/lib/dunlin"` // folder of keys, journal and caches
	Gossip  *AgentGossip  `json:"gossip,omitempty"`                // nil: this node is alone
	Peer    AgentPeer     `json:"peer" default:"{}"`
	HTTP    AgentHTTP     `json:"http" default:"{}"`
	Socket  string        `json:"socket" default:"/run/dunlin/dunlin.sock"`
	Ceiling Ceiling       `json:"ceiling" default:"{}"`
}

// AgentRepo is where the policy comes from.
type AgentRepo struct {
	URL            string `json:"url"`
	Branch         string `json:"branch,omitempty"`
	CredentialFile string `json:"credentialFile,omitempty"`
	KnownHosts     string `json:"knownHosts,omitempty"`
	CAFile         string `json:"caFile,omitempty"`
}

// AgentReports lets a node be elected to write reports.
type AgentReports struct {
	CredentialFile string `json:"credentialFile,omitempty"` // empty: the repository's own
	// Remote is where the credential may go beside the repository's server, if fleet.reports.remote names it.
	Remote string `json:"remote,omitempty"`
}

// AgentTrust is what makes a commit believed.
type AgentTrust struct {
	Unsigned bool   `json:"-"`      // the Git remote is believed
	Anchor   string `json:"anchor"` // the commit that trust starts from
}

// MarshalJSON writes "unsigned" or an object with the anchor.
func (t AgentTrust) MarshalJSON() ([]byte, error) {
	if t.Unsigned {
		return []byte(`"unsigned"`), nil
	}
	type plain AgentTrust
	return json.Marshal(plain(t))
}

// UnmarshalJSON reads "unsigned" or an object with the anchor.
func (t *AgentTrust) UnmarshalJSON(b []byte) error {
	if string(b) == `"unsigned"` {
		*t = AgentTrust{Unsigned: true}
		return nil
	}
	type plain AgentTrust
	return json.Unmarshal(b, (*plain)(t))
}

// AgentGossip is how this node meets the others.
type AgentGossip struct {
	Bind      string   `json:"bind" default:"0.0.0.0:7950"`
	Advertise string   `json:"advertise,omitempty"`
	KeyFile   string   `json:"keyFile"`
	Join      []string `json:"join"`
	// Ask are peer servers of nodes that give this one the gossip key once it is let in, where KeyFile is not there.
	Ask []string `json:"ask,omitempty"`
}

// AgentPeer is where other nodes reach this one.
type AgentPeer struct {
	Bind string `json:"bind" default:"0.0.0.0:7951"` // host:port
}

// AgentHTTP is where metrics and pages are served.
type AgentHTTP struct {
	Bind string `json:"bind" default:"127.0.0.1:7952"` // host:port
}

// Ceiling is what no commit can allow on this host.
type Ceiling struct {
	Runs      bool          `json:"runs" default:"true"`
	Documents []string      `json:"documents,omitempty"` // globs; nil is all, an empty list none
	Packages  bool          `json:"packages" default:"true"`
	Reboots   bool          `json:"reboots" default:"true"`
	Sessions  bool          `json:"sessions" default:"true"`
	Files     *CeilingFiles `json:"files,omitempty"`

	// Positions has the place of each limit in its file, by path ("ceiling.files.deny[0]").
	Positions map[string]Position `json:"-"`
}

// CeilingFiles are paths that no policy may touch.
type CeilingFiles struct {
	Deny []string `json:"deny" items:"1.."` // globs of paths
}
