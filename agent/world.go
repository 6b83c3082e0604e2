package agent

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/schema"
)

// world is what an agent knows, guarded by Agent.mu. Values are replaced and never changed.
type world struct {
	unlock func()

	policy   *Policy // in force; nil before the first
	roster   map[string]schema.RosterLine
	pins     map[string]string
	keysOf   map[string]ed25519.PublicKey
	refused  *schema.RefusedCommit // the newest, nil once a later commit is in force
	pushes   map[string]pushed     // the newest of each neighbour
	passedOn string                // commit that was pushed to neighbours last
	kept     keptPack
	clockAt  time.Time // when the clock was last held against others
	remote   schema.RemoteStatus

	account    schema.Account
	plan       schema.Plan
	patching   schema.Patching // of the last judgement
	facts      string          // digest of the facts file
	factsStamp string          // of the packages that it is of
	catalog    schema.CatalogRecord

	online   map[string]bool // by id
	lastSeen map[string]time.Time
	problems map[string]string // by what found it
	report   schema.ReporterStatus
	written  map[string]uint64 // revisions of the lines on the reports branch as this node wrote or found them, by id
	// standing is the line that the reports branch has of a node; nil where this node has not read the branch.
	standing func(node string) (schema.ReportLine, error)
	// twins are lines of two hosts with one key, by its node: the last two of one revision. twinLooked is when such lines
	// were looked at last.
	twins      map[string][2]schema.ReportLine
	twinLooked map[string]time.Time
	stood      bool // this node's counter knows what the branch has of it

	since time.Time // when the policy came into force

	pin pin // the anchor and what was verified since; none where the remote is believed
	// freshness is what was seen last of the newest heartbeat; its anchor is not kept here.
	freshness schema.TrustStatus
	// unjudged are approvals that the remote had of steps that come after one which is not agreed to yet.
	unjudged []string
	agreed   []string // approvals that this node found on the remote, newest first
	// beatSeen is the heartbeat that the remote had last, beatJudged the verified commit by which it was judged last.
	beatSeen, beatJudged string
	counted              string // the heartbeat that is kept counts; with the commit by which

	ring keyRing // gossip keys

	hintedHead string // the newest head that was told by a hint, ours or others'
}

// use puts a policy into force for all who ask, the roster with it. since is when that was first so, zero where it is not known.
func (a *Agent) use(p Policy, since time.Time) {
	roster := make(map[string]schema.RosterLine, len(p.Repo.Roster))
	pins := make(map[string]string, len(p.Repo.Roster))
	keys := make(map[string]ed25519.PublicKey, len(p.Repo.Roster))
	a.mu.Lock()
	lines, had := a.roster, a.keysOf
	a.mu.Unlock()
	for _, l := range p.Repo.Roster {
		roster[l.ID] = l
		if l.State != schema.NodeActive {
			continue
		}
		key, ok := had[l.ID] // most lines say what they said before, and reading ten thousand keys takes a while
		if !ok || lines[l.ID].Keys.Sign != l.Keys.Sign {
			if key, ok = signingKey(l); !ok {
				continue
			}
		}
		pins[l.ID], keys[l.ID] = l.Keys.TLS, key
	}
	a.mu.Lock()
	a.policy, a.roster, a.pins, a.keysOf, a.since = &p, roster, pins, keys, since
	_, listed := pins[a.keys.ID()]
	for id, push := range a.pushes {
		if _, active := pins[id]; !active || push.commit == p.Commit {
			delete(a.pushes, id)
		}
	}
	a.mu.Unlock()
	own, named := roster[a.keys.ID()]
	switch {
	case listed && own.Keys.TLS == a.keys.TLSPin():
		a.problem("roster", "")
	case listed:
		a.problem("roster", "the roster has another TLS key for this host, so other nodes accept no stream of it: commit the line that `dunlin node line` prints")
	case named && own.State == schema.NodeRetired:
		a.problem("roster", "this host is retired in the roster, so nothing is enforced here: to be a node again it moves its folder of keys away and joins anew")
	case named:
		a.problem("roster", fmt.Sprintf("this host is %s in the roster, so nothing is enforced here: set its line to active to change that", own.State))
	default:
		a.problem("roster", "this host is not an active node of the roster, so nothing is enforced here: after dunlin join let it in with dunlin node approve, else commit the line that `dunlin node line` prints")
	}
	a.unenforced(p.Repo.Fleet)
	a.records.Forget()
	if a.cluster != nil {
		a.cluster.Roster()
	}
	a.settleJoins()
	a.keysDue.raise()
	a.membership()
	a.heads.raise()
	a.reports.raise()
}

// unenforced says what of a fleet's trust nobody enforces on a host that believes the remote.
func (a *Agent) unenforced(f schema.Fleet) {
	if a.pinNow().Anchor != "" {
		return
	}
	text := ""
	if len(f.Signers) > 0 || f.Freshness != "" {
		text = `fleet.cue says who may change what, and this host does not enforce that, because its own file says trust: "unsigned": write trust: {anchor: "<commit>"} there (dunlin trust anchor)`
	}
	a.problem("trust", text)
}

// signingKey reads the key of a roster line; one that is not the line's own id counts as none.
func signingKey(l schema.RosterLine) (ed25519.PublicKey, bool) {
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(l.Keys.Sign))
	if err != nil {
		return nil, false
	}
	c, ok := parsed.(ssh.CryptoPublicKey)
	if !ok {
		return nil, false
	}
	key, ok := c.CryptoPublicKey().(ed25519.PublicKey)
	return key, ok && schema.NodeID(key) == l.ID
}

// signingKey is the key of an active node.
func (a *Agent) signingKey(id string) (ed25519.PublicKey, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key, ok := a.keysOf[id]
	return key, ok
}

// pinned are the TLS keys of the active nodes.
func (a *Agent) pinned() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.pins
}

// inForce is the policy, and this host's line of its roster.
func (a *Agent) inForce() (p Policy, line schema.RosterLine, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.policy == nil {
		return Policy{}, line, false
	}
	line, ok = a.roster[a.keys.ID()]
	return *a.policy, line, ok && line.State == schema.NodeActive
}

// fleet is the fleet as the policy has it, with the defaults of one that there is none of yet.
func (a *Agent) fleet() schema.Fleet {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.policy == nil {
		return schema.Fleet{Sync: schema.FleetSync{Interval: "15s", Fetchers: 3}, Reports: schema.FleetReports{Branch: "reports", Interval: "5m", Facts: "full"}}
	}
	return a.policy.Repo.Fleet
}

// problem says, or with no text takes back, what is wrong with this host's agent.
func (a *Agent) problem(source, text string) {
	if a.note(source, text) {
		a.publishState()
	}
}

// note is problem without telling others; it reports whether that is news.
func (a *Agent) note(source, text string) bool {
	a.mu.Lock()
	was := a.problems[source]
	if text == "" {
		delete(a.problems, source)
	} else {
		a.problems[source] = text
	}
	a.mu.Unlock()
	switch {
	case was == text:
		return false
	case text == "":
		a.log().Info("well again", "what", source)
	default:
		a.log().Warn(text, "what", source)
	}
	return true
}

// problemTexts are all problems, sorted.
func (w *world) problemTexts() []string {
	var out []string
	for _, p := range w.problems {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// redactedURL is a remote without what its URL may hold of credentials.
func redactedURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return raw
	}
	if u.Scheme == "ssh" {
		u.User = url.User(u.User.Username())
	} else {
		u.User = nil
	}
	return u.String()
}

// short is the beginning of a commit, for people.
func short(commit string) string { return commit[:min(12, len(commit))] }

// one is an error as one line. Where there is no room on a disk it names the folder: the file was a temporary one, and with
// another name at each try the same trouble would be news each time.
func one(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if at := (*fs.PathError)(nil); host.DiskFull(err) && errors.As(err, &at) {
		text = strings.ReplaceAll(text, at.Path, filepath.Dir(at.Path))
	}
	return strings.Join(strings.Fields(text), " ")
}
