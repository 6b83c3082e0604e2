package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/peer"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// Enrolment is a host that asks to be let into a fleet.
type Enrolment struct {
	Config     schema.AgentConfig // that the host will have
	Keys       identity.Keys
	Evaluate   load.Func
	Activation string
	Code       ed25519.PrivateKey
	Name, OS   string
	Tags       map[string]string // that it asks for
	Members    []string          // addresses of peer servers, asked in turn
	ByHand     bool              // give the proof back, and leave it nowhere
	Dial       func(ctx context.Context, addr string) (net.Conn, error)
	Now        func() time.Time
}

// Asked is what became of it.
type Asked struct {
	Fleet  string
	Commit string // the newest of the branch, which is trusted
	ID     string
	// Member is the node that took the proof; empty where none did. Left is that the Git repository has it. Why is what went
	// wrong on the way, and what members said that refused.
	Member string
	Left   bool
	Proof  string // the text, for somebody to hand over where neither is so
	Why    []error
	In     bool // the roster has the host already
	// Taken says which node has the name or a key that the host asks with; empty where none has. A person may give it another
	// name, a machine lets it in no more.
	Taken string
}

// alsoLeftWithin bounds how long a proof that a member has taken may take to be left in the repository too.
const alsoLeftWithin = 30 * time.Second

// Ask reads the repository, sees that people have signed it since the anchor, and asks a member. It leaves the proof in the
// repository too, or where no member takes it there alone, unless the activation is for some networks. The error is a *trust.JoinRefusal where the code lets nobody in, or no longer.
func (e Enrolment) Ask(ctx context.Context) (a Asked, err error) {
	remote := gitrepo.Remote{URL: e.Config.Repo.URL, Branch: e.Config.Repo.Branch, CredentialFile: e.Config.Repo.CredentialFile,
		KnownHosts: e.Config.Repo.KnownHosts, CAFile: e.Config.Repo.CAFile, Since: e.Config.Trust.Anchor}
	if remote.Branch == "" {
		remote.Branch = "main"
	}
	store, err := gitrepo.OpenStore(filepath.Join(e.Config.State, policyStore), remote)
	if err != nil {
		return a, err
	}
	if a.Commit, err = store.FetchWhole(ctx, remote.Branch); err != nil {
		return a, err
	}
	src := TrustSource{store.Source(), NewFleets(e.Evaluate)}
	if anchor := e.Config.Trust.Anchor; anchor != "" {
		if err := verifyRemote(ctx, store, src, anchor, a.Commit, e.Now()); err != nil {
			return a, err
		}
	}
	fleet, err := src.Fleet(ctx, a.Commit)
	if err != nil {
		return a, err
	}
	acts, err := src.Activations(ctx, a.Commit)
	if err != nil {
		return a, err
	}
	tree, err := treeOf(src, a.Commit)
	if err != nil {
		return a, err
	}
	roll, err := trust.ReadRoll(src, tree)
	if err != nil {
		return a, err
	}
	a.Fleet, a.ID = fleet.Name, e.Keys.ID()
	if _, a.In = roll.Member(a.ID); a.In {
		return a, nil
	}
	line := e.Keys.Line(e.Name, e.OS, nil, e.Now())
	if r := (*trust.JoinRefusal)(nil); errors.As(roll.Free(e.Name, line.Keys), &r) {
		a.Taken = r.Reason
	}
	prove := func(channel string) (trust.Proof, error) {
		p := trust.Proof{Fleet: fleet.Name, Activation: e.Activation, Channel: channel, At: e.Now().UTC().Truncate(time.Second).Format(time.RFC3339),
			ID: a.ID, Name: e.Name, OS: e.OS, Tags: e.Tags, Keys: line.Keys}.Sign(e.Keys.Sign, e.Code)
		_, err := trust.ParseProof(p.Encode()) // what others would refuse is found out here
		return p, err
	}
	inGit, err := prove(trust.GitChannel(a.Commit))
	if err != nil {
		return a, err
	}
	// Nobody need be asked what the repository says already.
	if err := roll.Gate(fleet.Name, acts, e.Now()).Judge(trust.Join{Proof: inGit}); err != nil {
		if r := (*trust.JoinRefusal)(nil); !errors.As(err, &r) || r.Kind != trust.JoinNetwork || len(e.Members) == 0 {
			return a, err
		}
	}
	if e.ByHand {
		a.Proof = string(inGit.Encode())
		return a, nil
	}
	var refused *trust.JoinRefusal
	for _, addr := range e.Members {
		who, err := e.askMember(ctx, addr, roll.Pins(), func(exporter []byte) ([]byte, error) {
			p, err := prove(trust.TLSChannel(exporter))
			return p.Encode(), err
		})
		if err == nil {
			a.Member = who
			break
		}
		// What one member says is its word alone, and the repository says that the code is good: others are asked. What the
		// repository cannot tell, or not yet, stands where nobody says otherwise.
		r := (*trust.JoinRefusal)(nil)
		if errors.As(err, &r) {
			switch {
			case r.Kind != trust.JoinNetwork && r.Kind != trust.JoinTime && r.Kind != trust.JoinLimit:
			case refused == nil:
				refused = r
			}
			err = fmt.Errorf("ask %q: node %s refuses: %s: %.200q", addr, who, r.Kind, r.Reason)
		}
		a.Why = append(a.Why, err)
	}
	networks := len(acts[e.Activation].Networks) > 0
	switch {
	case a.Member != "" && networks:
		return a, nil
	case a.Member != "":
		// The member may forget it, or want to: the repository has it too, where this host may push there.
		ctx, cancel := context.WithTimeout(ctx, alsoLeftWithin)
		defer cancel()
		a.Left = store.PushStatement(ctx, gitrepo.JoinRef+a.ID, inGit.Encode()) == nil
		return a, nil
	case refused != nil:
		return a, refused
	case networks:
		return a, errors.Join(append(a.Why, &trust.JoinRefusal{Kind: trust.JoinNetwork,
			Reason: "the activation is for some networks alone, so a member must see where this host is, and none could be asked"})...)
	}
	a.Proof = string(inGit.Encode())
	if err := store.PushStatement(ctx, gitrepo.JoinRef+a.ID, inGit.Encode()); err != nil {
		a.Why = append(a.Why, err)
		return a, nil
	}
	a.Left = true
	return a, nil
}

// askMember asks one member. The error is a *trust.JoinRefusal where it said no.
func (e Enrolment) askMember(ctx context.Context, addr string, pins map[string]string, proof func([]byte) ([]byte, error)) (who string, err error) {
	who, status, answer, err := peer.Ask(ctx, addr, e.Keys.TLS, pins, e.Dial, proof)
	if err != nil {
		return who, err
	}
	if status == http.StatusAccepted {
		return who, nil
	}
	kind, reason, ok := strings.Cut(answer, ": ")
	if !ok || status != http.StatusForbidden {
		return who, fmt.Errorf("ask %q: node %s answers %d: %.200q", addr, who, status, answer)
	}
	return who, &trust.JoinRefusal{Kind: trust.JoinKind(kind), Reason: reason}
}

// maxApprovalFetches is how often approvals are fetched, each time as many as are in one go.
const maxApprovalFetches = 64

// verifyRemote verifies a commit that was just fetched, with the approvals that the remote has of the steps to it. They are
// kept nowhere: the agent takes them for itself, once it has judged them.
func verifyRemote(ctx context.Context, store *gitrepo.Store, src TrustSource, anchor, commit string, now time.Time) error {
	with := approvedSource{TrustSource: src, found: map[string][][]byte{}}
	var trees []string
	for id := commit; id != anchor && len(trees) < trust.MaxSteps && ctx.Err() == nil; {
		raw, err := src.Commit(id)
		if err != nil {
			break // what is wrong with it is said below
		}
		c, err := trust.ParseCommit(id, raw)
		if err != nil {
			break
		}
		trees = append(trees, c.Tree)
		if len(c.Parents) == 0 {
			break
		}
		id = c.Parents[0]
	}
	var unread error
	for range maxApprovalFetches {
		got, err := store.FetchStatements(ctx, trees)
		if unread = err; err != nil || len(got.Approvals) == 0 {
			break
		}
		for tree, texts := range got.Approvals {
			with.found[tree] = append(with.found[tree], texts...)
		}
	}
	if _, err := trust.Verify(ctx, with, anchor, commit, now); err != nil {
		return errors.Join(err, unread)
	}
	return nil
}

// approvedSource is a source with approvals that are not in its store.
type approvedSource struct {
	TrustSource
	found map[string][][]byte // by tree
}

// Approvals are those of the store, and the others.
func (s approvedSource) Approvals(tree string) ([][]byte, error) {
	kept, err := s.TrustSource.Approvals(tree)
	return append(kept, s.found[tree]...), err
}

// treeOf is the tree of a commit.
func treeOf(src TrustSource, commit string) (string, error) {
	raw, err := src.Commit(commit)
	if err != nil {
		return "", err
	}
	c, err := trust.ParseCommit(commit, raw)
	return c.Tree, err
}
