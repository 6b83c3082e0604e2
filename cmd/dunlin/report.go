package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// commitTries is how often a branch that others move meanwhile is built upon again.
const commitTries = 5

// factsRoom is about how many bytes of facts one commit carries.
const factsRoom = 24 << 20

func (a *app) reportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report",
		Short: "The signed reports of the fleet, on a branch of Git",
		Example: `  dunlin report verify --repo infra-policy
  sudo dunlin report commit --repo /srv/infra-policy.git`,
		Args: groupArgs,
		RunE: a.needsCommand,
	}
	cmd.AddCommand(a.reportVerifyCommand(), a.reportCommitCommand())
	return cmd
}

// reportFlags are what both commands share.
type reportFlags struct{ repo, branch, policy string }

func (f *reportFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.repo, "repo", "", "the Git repository with the branch of reports: a bare one or a work tree")
	cmd.Flags().StringVar(&f.branch, "branch", "", "the branch of reports (default fleet.reports.branch of the policy, else reports)")
	cmd.Flags().StringVar(&f.policy, "policy", "", "where the policy with the roster is, if elsewhere: a folder of files or a bare Git repository")
}

// reports is a branch of reports, and the policy that says who may be on it.
type reports struct {
	repo   schema.Repo
	keys   map[string]ed25519.PublicKey
	policy string // where the roster is from, for people
	branch string
}

// openReports reads the policy: of the repository itself the commit that is checked out, or the usual branch where that
// is none with a policy.
func (a *app) openReports(ctx context.Context, f reportFlags) (reports, error) {
	var r reports
	if f.repo == "" {
		return r, usageError{errors.New("--repo is missing: name the Git repository with the branch of reports (--repo . in a clone of it)")}
	}
	tree, from, err := policyTree(f)
	if err != nil {
		return r, err
	}
	repo, faults, err := load.Child(loadOptions())(ctx, tree)
	if err != nil {
		return r, fmt.Errorf("read the roster: %w", err)
	}
	if schema.Refused(faults) {
		return r, a.localError(ctx, &agent.FaultsError{Commit: tree.Commit, Faults: faults})
	}
	r = reports{repo: repo, branch: f.branch, policy: from}
	if r.branch == "" {
		r.branch = repo.Fleet.Reports.Branch
	}
	if r.branch == "" {
		r.branch = "reports"
	}
	if r.keys, err = report.Keys(repo.Roster); err != nil {
		return r, fmt.Errorf("read the roster: %w", err)
	}
	return r, nil
}

func policyTree(f reportFlags) (gitrepo.Tree, string, error) {
	if f.policy != "" {
		tree, err := gitrepo.Open(f.policy)
		if err != nil {
			return tree, "", exitWith{code: exitError, err: err, hint: "--policy names a folder with policy files, or a bare Git repository"}
		}
		return tree, f.policy, nil
	}
	// A clone may stand on the reports themselves, as one does that a pipeline made for them.
	for _, ref := range []string{"HEAD", "refs/heads/main", "refs/remotes/origin/HEAD", "refs/remotes/origin/main"} {
		tree, _, err := gitrepo.OpenRef(f.repo, ref)
		if errors.Is(err, gitrepo.ErrNoBranch) {
			continue
		}
		if err != nil {
			return tree, "", repositoryError(err)
		}
		if _, err := fs.Lstat(tree.FS, "fleet.cue"); err == nil {
			return tree, fmt.Sprintf("%s (%s)", ref, tree.Commit[:12]), nil
		}
	}
	return gitrepo.Tree{}, "", exitWith{code: exitError, err: fmt.Errorf("%q has no policy at HEAD or main, so there is no roster to check signatures with", f.repo),
		hint: "fetch the policy's branch, or name the policy with --policy"}
}

func repositoryError(err error) error {
	if errors.Is(err, gitrepo.ErrNoRepository) || errors.Is(err, fs.ErrNotExist) {
		return exitWith{code: exitError, err: err, hint: "name a bare Git repository or a clone with a work tree"}
	}
	return err
}

func (a *app) reportVerifyCommand() *cobra.Command {
	var f reportFlags
	cmd := &cobra.Command{
		Use:   "verify --repo DIR",
		Short: "Check every signature on the branch of reports",
		Long: `Check every line on the branch of reports: that it has the one form that a line has, stands
in its shard and once, is of this fleet, and is signed with the key that the roster has
for its node; the same for lines kept as conflicts and for records of sightings, and that
each facts file and catalog has the digest in its name. A line of a node that is not in the roster is bad: a line holds no
key, so nobody can tell who wrote it. Keep the roster lines of nodes that are gone, with
"state":"retired", and what they said stays verifiable.

The roster is that of the policy in DIR: of HEAD, or of main where HEAD has no policy.
Work tree files do not count. The branch is the local one, else that of origin. Nothing
is fetched and nothing is changed.

Exit status: 0 all lines are good; 4 some are not; 1 it could not be checked; 3 the policy
has faults.`,
		Example: `  dunlin report verify --repo infra-policy
  dunlin report verify --repo /srv/infra-policy.git -o json | jq '.bad[]'
  dunlin report verify --repo reports.git --policy infra-policy`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := a.openReports(cmd.Context(), f)
			if err != nil {
				return err
			}
			tree, ref, err := gitrepo.OpenRef(f.repo, "refs/heads/"+r.branch, "refs/remotes/origin/"+r.branch)
			if errors.Is(err, gitrepo.ErrNoBranch) {
				return exitWith{code: exitError, err: fmt.Errorf("%q has no branch %q, nor has its origin", f.repo, r.branch),
					hint: fmt.Sprintf("fetch it (git fetch origin %s), or name another with --branch; a fleet that has not reported yet has none", r.branch)}
			}
			if err != nil {
				return repositoryError(err)
			}
			lines, bad, err := report.Verify(
				func(path string) ([]byte, error) { return readReported(tree.FS, path) },
				func(dir string) ([]string, error) { return report.Names(tree.FS, dir) },
				r.repo.Fleet.Name, r.keys)
			if err != nil {
				return fmt.Errorf("verify %s (%s): %w", strings.TrimPrefix(ref, "refs/"), tree.Commit[:12], err)
			}
			return a.printVerified(r, tree.Commit, ref, lines, bad)
		},
	}
	f.add(cmd)
	return cmd
}

// maxReported bounds what is read of one file of the branch, in bytes; none that is sound has so many.
const maxReported = 32 << 20

// readReported reads a file as report.Verify asks for it.
func readReported(fsys fs.FS, path string) ([]byte, error) {
	info, err := fs.Lstat(fsys, path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxReported {
		return nil, fmt.Errorf("%q: %w", path, report.ErrNoFile)
	}
	return fs.ReadFile(fsys, path)
}

func (a *app) printVerified(r reports, commit, ref string, lines int, faults []report.Bad) error {
	if a.json() {
		if err := a.printJSON(struct {
			Lines int          `json:"lines"`
			Bad   []report.Bad `json:"bad"`
		}{lines, append([]report.Bad{}, faults...)}); err != nil {
			return err
		}
	} else {
		l := lookOf(a.out)
		names := map[string]string{}
		for _, n := range r.repo.Roster {
			names[n.ID] = n.Name
		}
		for _, b := range faults {
			at := b.File
			if b.Line > 0 {
				at = fmt.Sprintf("%s:%d", at, b.Line)
			}
			who := b.Node
			if n := names[b.Node]; n != "" {
				who = n
			}
			parts := []string{at, who, b.Problem}
			fmt.Fprintf(a.out, "%s bad: %s\n", l.symbol(bad), printable(strings.Join(nonEmpty(parts), ": ")))
		}
		where := fmt.Sprintf("%s (%s), roster of %s", strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), "refs/remotes/"), commit[:12], r.policy)
		if len(faults) == 0 {
			fmt.Fprintf(a.out, "%s verified: %s of fleet %s on %s\n", l.symbol(good), counted(lines, "line"), printable(r.repo.Fleet.Name), printable(where))
		} else {
			fmt.Fprintf(a.out, "%s not verified: %s in %s on %s\n", l.symbol(bad), counted(len(faults), "fault"), counted(lines, "line"), printable(where))
		}
	}
	if len(faults) > 0 {
		return exitWith{code: exitNotTrusted}
	}
	return nil
}

// nonEmpty are the texts that say something.
func nonEmpty(texts []string) []string {
	var out []string
	for _, t := range texts {
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}

func (a *app) reportCommitCommand() *cobra.Command {
	var f reportFlags
	var at socketFlags
	cmd := &cobra.Command{
		Use:   "commit --repo DIR",
		Short: "Write what this host's agent knows to the branch of reports",
		Long: `Take the lines, facts and sightings of all nodes that this host's agent knows, merge them into the
branch of reports in DIR, and commit. It does what an elected reporter does, for fleets
of which no node may push: a pipeline or a person runs it and pushes. Every line is
checked against the roster of the policy in DIR first; one that its node has not signed is
left out. A branch that says all of it already gets no commit.

Only the branch in DIR is moved, and nothing is pushed: git -C DIR push origin reports.
The agent answers root and its own user.

Exit status: 0 done, also without anything new; 4 some lines were left out; 5 no agent
answers; 1 it could not be written; 3 the policy has faults.`,
		Example: `  git clone --bare ssh://git@git.example.org/infra-policy.git && cd infra-policy.git
  sudo dunlin report commit --repo . && git push origin reports`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			socket, err := at.path()
			if err != nil {
				return err
			}
			r, err := a.openReports(cmd.Context(), f)
			if err != nil {
				return err
			}
			done, err := a.commitReports(cmd.Context(), f, r, api.Dial(socket))
			if err != nil {
				return socketError(err)
			}
			return a.printReportCommit(f, r, done)
		},
	}
	f.add(cmd)
	at.add(cmd)
	return cmd
}

// A leftOut is a line that the agent holds and that was not written.
type leftOut struct {
	Node    string `json:"node"` // name
	Problem string `json:"problem"`
}

// A reportCommit is what was done.
type reportCommit struct {
	Commit  string `json:"commit"`  // the branch is there now
	Nodes   int    `json:"nodes"`   // that the pages count
	Changed int    `json:"changed"` // files; 0: there is no new commit
	// FactsLeft is how many facts files are not on the branch, because no node that has them answers.
	FactsLeft int       `json:"factsLeft,omitempty"`
	LeftOut   []leftOut `json:"leftOut,omitempty"`
}

// commitReports asks the agent for all it knows and writes it to the branch.
func (a *app) commitReports(ctx context.Context, f reportFlags, r reports, c *api.Client) (reportCommit, error) {
	var done reportCommit
	dir, err := gitrepo.GitDir(f.repo)
	if err != nil {
		return done, repositoryError(err)
	}
	// As root: in a folder of somebody else's, files that are written could be made to lie anywhere.
	if os.Geteuid() == 0 {
		if err := host.Owned(dir); errors.Is(err, host.ErrNotOwned) {
			return done, exitWith{code: exitError, err: fmt.Errorf("the repository is not written as root: %w", err), hint: "use a clone that belongs to root"}
		}
	}
	if out, err := gitrepo.CheckedOut(f.repo, r.branch); err != nil {
		return done, err
	} else if out {
		return done, exitWith{code: exitError, err: fmt.Errorf("the branch %q is checked out in %q", r.branch, f.repo), hint: "switch to another branch (git switch main), or use a bare clone"}
	}
	lines, err := c.Lines(ctx)
	if err != nil {
		return done, err
	}
	views, err := c.Nodes(ctx)
	if err != nil {
		return done, err
	}
	signed := map[string]schema.ReportLine{}
	status := map[string]schema.NodeStatus{}
	for _, v := range views {
		status[v.ID] = v.Status
	}
	for _, one := range lines {
		l, err := report.ParseLine(one.Line)
		if err == nil {
			if key, ok := r.keys[l.Node]; !ok {
				err = errors.New("the roster has no such node")
			} else if l, err = report.VerifyLine(one.Line, key); err == nil && l.Fleet != r.repo.Fleet.Name {
				err = fmt.Errorf("it is of the fleet %q", l.Fleet)
			}
		}
		if err != nil {
			done.LeftOut = append(done.LeftOut, leftOut{one.Name, err.Error()})
			continue
		}
		signed[l.Node] = l
	}
	seen, told, err := r.records(ctx, c)
	if err != nil {
		return done, err
	}
	store, err := gitrepo.OpenStore(dir, gitrepo.Remote{})
	if err != nil {
		return done, err
	}
	facts := func(n report.Node) ([]byte, error) { return c.Facts(ctx, n.Line.Facts) }
	left := -1 // facts files, by the last commit
	for try := 1; ; try++ {
		nodes := report.Known(r.repo.Roster, signed, status, r.keys)
		done.Nodes = 0
		for _, n := range nodes {
			if n.Status != schema.Retired {
				done.Nodes++
			}
		}
		at, head, err := heads(ctx, store, r.branch)
		if err != nil {
			return done, err
		}
		if err := noPolicy(store, head, r.branch); err != nil {
			return done, err
		}
		var changed int
		done.Commit, changed, done.FactsLeft, err = agent.ReportsCommit{Store: store, Head: head, Fleet: r.repo.Fleet.Name, Nodes: nodes,
			Facts: facts, Room: factsRoom, Seen: seen, Renew: true, Now: time.Now(),
			Catalogs: report.Catalogs(nodes, told, func(digest string) ([]byte, error) { return checkedFacts(ctx, c, digest) })}.Make()
		if err != nil || done.Commit == at {
			return done, err
		}
		err = store.MoveRef("refs/heads/"+r.branch, done.Commit, at)
		switch {
		case err == nil:
			done.Changed += changed
			if done.FactsLeft == 0 || done.FactsLeft == left {
				return done, nil
			}
			left, try = done.FactsLeft, 0 // they had no room in one commit
		case !errors.Is(err, gitrepo.ErrRejected) || try == commitTries:
			return done, err
		}
	}
}

// records are what the agent knows that nodes of the roster have signed of archives: what they saw, and by node which newer
// versions they know.
func (r reports) records(ctx context.Context, c *api.Client) (seen []schema.Record, told map[string]schema.CatalogRecord, err error) {
	all, err := c.ArchiveRecords(ctx)
	if err != nil {
		return nil, nil, err
	}
	told = map[string]schema.CatalogRecord{}
	for _, one := range all {
		key, ok := r.keys[one.Node]
		if !ok || one.Verify(key) != nil {
			continue
		}
		switch one.Kind {
		case schema.RecordSeen:
			seen = append(seen, one)
		case schema.RecordCatalog:
			var v schema.CatalogRecord
			if json.Unmarshal(one.Body, &v) == nil {
				told[one.Node] = v
			}
		}
	}
	return seen, told, nil
}

// checkedFacts is a file of the agent's that has the digest it is asked by.
func checkedFacts(ctx context.Context, c *api.Client, digest string) ([]byte, error) {
	b, err := c.Facts(ctx, digest)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != digest {
		return nil, fmt.Errorf("facts %s are damaged: %w", digest, fs.ErrNotExist)
	}
	return b, nil
}

// noPolicy fails for a branch that holds a policy: reports would be written over it.
func noPolicy(store *gitrepo.Store, head, branch string) error {
	if head == "" {
		return nil
	}
	tree, err := store.Tree(head)
	if err != nil {
		return err
	}
	if _, err := fs.Lstat(tree.FS, "fleet.cue"); err == nil {
		return exitWith{code: exitError, err: fmt.Errorf("the branch %q holds a policy", branch), hint: "name the branch of reports with --branch"}
	}
	return nil
}

// heads are where the local branch is and what to build upon: that, or the branch of origin where it is further on.
func heads(ctx context.Context, store *gitrepo.Store, branch string) (at, head string, err error) {
	if at, err = store.Ref("refs/heads/" + branch); err != nil {
		return "", "", err
	}
	origin, err := store.Ref("refs/remotes/origin/" + branch)
	if err != nil || origin == "" || origin == at {
		return at, at, err
	}
	if at == "" {
		return at, origin, nil
	}
	ahead, err := store.Descends(ctx, at, origin)
	if err != nil || ahead {
		return at, at, err
	}
	behind, err := store.Descends(ctx, origin, at)
	if err != nil || behind {
		return at, origin, err
	}
	return "", "", exitWith{code: exitError, err: fmt.Errorf("the branch %q and that of origin have parted", branch),
		hint: fmt.Sprintf("drop the local one, what it says is with the agents still: git branch -f %[1]s origin/%[1]s", branch)}
}

func (a *app) printReportCommit(f reportFlags, r reports, done reportCommit) error {
	if a.json() {
		if err := a.printJSON(done); err != nil {
			return err
		}
	} else {
		l := lookOf(a.out)
		switch {
		case done.Changed == 0:
			fmt.Fprintf(a.out, "%s nothing new: %s already says all that the agent knows of %s\n", l.symbol(good), printable(r.branch), counted(done.Nodes, "node"))
		default:
			fmt.Fprintf(a.out, "%s committed: %s on %s, %s, %s changed\n", l.symbol(good), done.Commit[:12], printable(r.branch), counted(done.Nodes, "node"), counted(done.Changed, "file"))
			if done.FactsLeft > 0 {
				fmt.Fprintf(a.err, "%s %s left: no node that has them answers now\n", lookOf(a.err).symbol(bad), counted(done.FactsLeft, "facts file"))
			}
			fmt.Fprintf(a.out, "to publish it: git -C %s push origin %s\n", printable(f.repo), printable(r.branch))
		}
		for _, o := range done.LeftOut {
			fmt.Fprintf(a.err, "%s left out: %s: %s\n", lookOf(a.err).symbol(bad), printable(o.Node), printable(o.Problem))
		}
	}
	if n := len(done.LeftOut); n > 0 {
		return exitWith{code: exitNotTrusted, err: fmt.Errorf("%s left out: not signed by a node of this roster", counted(n, "line")),
			hint: "a clone that is behind lacks the newest nodes: fetch the policy and try again"}
	}
	return nil
}
