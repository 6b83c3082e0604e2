package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

func (a *app) trustCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Who may change what and run what, and whether a history is theirs",
		Long: `Who may change what in a policy repository, who may run what on which nodes, and whether each
commit is what the right people want.
Hosts whose own file says trust: {anchor: "<commit>"} put nothing else into force; see
docs/trust.md.`,
		Example: `  dunlin trust list
  dunlin trust verify v1..main
  dunlin trust anchor
  dunlin trust can alice --document AWS-RunShellScript --param commands=uptime --target all`,
		Args: groupArgs,
		RunE: a.needsCommand,
	}
	cmd.AddCommand(a.trustListCommand(), a.trustVerifyCommand(), a.trustAnchorCommand(), a.trustAddCommand(), a.trustRevokeCommand(), a.heartbeatCommand(),
		a.trustGrantsCommand(), a.trustCanCommand())
	return cmd
}

// trusted is a repository as package trust reads it.
type trusted struct {
	dir string
	src agent.TrustSource
}

func openTrusted(dir string) (trusted, error) {
	top := dir
	for { // a clone may be asked of from any folder in it
		if _, err := gitrepo.GitDir(top); !errors.Is(err, gitrepo.ErrNoRepository) {
			break
		}
		up := filepath.Join(top, "..")
		one, err1 := filepath.Abs(top)
		two, err2 := filepath.Abs(up)
		if err1 != nil || err2 != nil || one == two {
			top = dir
			break
		}
		top = up
	}
	src, err := gitrepo.OpenSource(top)
	if err != nil {
		return trusted{}, repositoryError(err)
	}
	return trusted{top, agent.TrustSource{Source: src, Fleets: agent.NewFleets(load.Child(loadOptions()))}}, nil
}

// commit is the full name of a revision.
func (t trusted) commit(rev string) (string, error) {
	tree, err := gitrepo.OpenRevision(t.dir, rev)
	if err != nil && rev == "HEAD" {
		return "", exitWith{code: exitError, err: err, hint: "it has no commit yet: git add -A && git commit -S makes the first"}
	}
	if err != nil {
		return "", exitWith{code: exitError, err: err, hint: "name a branch, a tag or a commit such as HEAD~1 that is here; git fetch brings what is not"}
	}
	return tree.Commit, nil
}

// fetchApprovals is how approvals come into a clone: git fetch brings none by itself.
const fetchApprovals = "approvals count where this clone has them, and git fetch alone brings none: git fetch origin 'refs/dunlin/*:refs/dunlin/*'"

// notTrusted gives a refusal its exit code.
func notTrusted(err error) error {
	if r := (*trust.Refusal)(nil); errors.As(err, &r) {
		hint := ""
		if r.Kind == trust.NotAgreed {
			hint = fetchApprovals
		}
		return exitWith{code: exitNotTrusted, err: err, hint: hint}
	}
	if errors.Is(err, gitrepo.ErrNotHere) {
		return exitWith{code: exitError, err: err, hint: "the clone is not whole: git fetch --unshallow, or clone it without --depth and --filter; or begin at a commit that is here: dunlin trust verify FROM..TO, dunlin trust anchor --from FROM"}
	}
	return err
}

type signerView struct {
	Name  string    `json:"name"`
	Roles []string  `json:"roles"`
	Keys  []keyView `json:"keys"`
}

type keyView struct {
	Type        string `json:"type"`
	Fingerprint string `json:"fingerprint"`
	Key         string `json:"key"`
}

type roleView struct {
	Name      string   `json:"name"`
	Threshold int      `json:"threshold"`
	Paths     []string `json:"paths"`
	People    []string `json:"people"`
}

func (a *app) trustListCommand() *cobra.Command {
	var repo string
	cmd := &cobra.Command{
		Use:   "list [REV]",
		Short: "People, keys, roles and thresholds",
		Long: `Print who may change what, as fleet.cue of a commit says (default HEAD): people with their
keys and roles, and roles with their paths and how many people must agree.`,
		Example: `  dunlin trust list
  dunlin trust list origin/main -o json | jq -r '.signers[].name'`,
		Args: maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := openTrusted(repo)
			if err != nil {
				return err
			}
			commit, err := t.commit(first(args, "HEAD"))
			if err != nil {
				return err
			}
			fleet, err := t.src.Fleet(cmd.Context(), commit)
			if r := (*trust.Refusal)(nil); errors.As(err, &r) {
				return exitWith{code: exitFaults, err: fmt.Errorf("commit %s: %s", commit[:12], r.Reason), hint: "dunlin validate names each fault"}
			}
			if err != nil {
				return notTrusted(err)
			}
			return a.printTrust(commit, fleet)
		},
	}
	cmd.Flags().StringVar(&repo, "repo", ".", "a clone or a bare repository")
	return cmd
}

func first(args []string, or string) string {
	if len(args) > 0 {
		return args[0]
	}
	return or
}

func (a *app) printTrust(commit string, f schema.Fleet) error {
	signers, roles := []signerView{}, []roleView{}
	for _, name := range slices.Sorted(maps.Keys(f.Signers)) {
		s := signerView{Name: name, Roles: f.Signers[name].Roles, Keys: []keyView{}}
		for _, line := range f.Signers[name].Keys {
			k := keyView{Key: line}
			if pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil {
				k.Type, k.Fingerprint = pub.Type(), ssh.FingerprintSHA256(pub)
			}
			s.Keys = append(s.Keys, k)
		}
		signers = append(signers, s)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Roles)) {
		r := roleView{Name: name, Threshold: max(f.Roles[name].Threshold, 1), Paths: f.Roles[name].Paths, People: []string{}}
		for _, s := range signers {
			if slices.Contains(s.Roles, name) {
				r.People = append(r.People, s.Name)
			}
		}
		roles = append(roles, r)
	}
	if a.json() {
		return a.printJSON(struct {
			Fleet     string       `json:"fleet"`
			Commit    string       `json:"commit"`
			Freshness string       `json:"freshness,omitempty"`
			Signers   []signerView `json:"signers"`
			Roles     []roleView   `json:"roles"`
		}{f.Name, commit, string(f.Freshness), signers, roles})
	}
	fmt.Fprintf(a.out, "fleet %s at %s\n\n", printable(f.Name), commit[:12])
	if len(signers) == 0 {
		fmt.Fprintln(a.out, "nobody: fleet.signers names no people, so no change can be agreed to (dunlin trust add)")
	}
	for _, s := range signers {
		fmt.Fprintf(a.out, "%s  %s\n", printable(s.Name), printable(strings.Join(s.Roles, ", ")))
		for _, k := range s.Keys {
			fmt.Fprintf(a.out, "    %s %s\n", printable(k.Type), k.Fingerprint)
		}
	}
	fmt.Fprintln(a.out)
	for _, r := range roles {
		paths := strings.Join(r.Paths, " ")
		if len(r.Paths) == 0 {
			paths = "heartbeats only"
		}
		fmt.Fprintf(a.out, "role %s: %d of %s  %s\n", printable(r.Name), r.Threshold, printable(orWord(listed(r.People, 8), "nobody")), printable(paths))
	}
	if f.Freshness != "" {
		fmt.Fprintf(a.out, "freshness %s: without a heartbeat as new as that, new commits are refused\n", f.Freshness)
	}
	return nil
}

type stepView struct {
	Commit string              `json:"commit"`
	Paths  int                 `json:"paths"`
	Agreed map[string][]string `json:"agreed"` // people by role
}

func (a *app) trustVerifyCommand() *cobra.Command {
	var repo, anchor string
	cmd := &cobra.Command{
		Use:   "verify [FROM..TO]",
		Short: "Check that each commit is what the right people want",
		Long: `Follow the first-parent line from FROM, which is trusted, to TO, and check each step as every
host does: the commit in the one form that Git writes, and each path that differs agreed to
by enough people of every role that owns it. Who agreed for which role is printed. The
default is the first commit of HEAD that names people, to HEAD; --anchor says where to begin.

It works offline, in a clone or a bare repository. Approvals (dunlin approve) count where
the clone has them: git fetch origin 'refs/dunlin/*:refs/dunlin/*'.

Exit status: 0 all is trusted; 4 something is not; 1 it could not be checked.`,
		Example: `  dunlin trust verify
  dunlin trust verify 3f2a9c1..origin/main
  dunlin trust verify --repo /srv/policy.git --anchor 3f2a9c1d... -o json`,
		Args: maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := openTrusted(repo)
			if err != nil {
				return err
			}
			from, to := anchor, "HEAD"
			if len(args) > 0 {
				before, after, both := strings.Cut(args[0], "..")
				if strings.HasPrefix(after, ".") {
					return usageError{fmt.Errorf("%q: a range has two dots", args[0])}
				}
				switch {
				case both && anchor != "" && before != "":
					return usageError{errors.New("--anchor and the beginning of a range are both given; give one")}
				case both:
					to = after
					if before != "" {
						from = before
					}
				default:
					to = args[0]
				}
				if to == "" {
					to = "HEAD"
				}
			}
			return a.verifyTrust(cmd.Context(), t, from, to)
		},
	}
	cmd.Flags().StringVar(&repo, "repo", ".", "a clone or a bare repository")
	cmd.Flags().StringVar(&anchor, "anchor", "", "the commit that is trusted: that of the hosts' own files")
	return cmd
}

func (a *app) verifyTrust(ctx context.Context, t trusted, from, to string) error {
	head, err := t.commit(to)
	if err != nil {
		return err
	}
	guessed := from == ""
	if guessed {
		if from, err = t.firstSigned(ctx, head); err != nil {
			return err
		}
	} else if from, err = t.commit(from); err != nil {
		return err
	}
	steps, verr := trust.Verify(ctx, t.src, from, head, a.now())
	refusal := (*trust.Refusal)(nil)
	if verr != nil && !errors.As(verr, &refusal) {
		return notTrusted(verr)
	}
	views := []stepView{}
	for _, s := range steps {
		views = append(views, stepView{s.Commit, s.Paths, s.Agreed})
	}
	if a.json() {
		type refused struct {
			Commit string `json:"commit"`
			Kind   string `json:"kind"`
			Reason string `json:"reason"`
		}
		var r *refused
		if refusal != nil {
			r = &refused{refusal.Commit, string(refusal.Kind), refusal.Reason}
		}
		err := a.printJSON(struct {
			From    string     `json:"from"`
			To      string     `json:"to"`
			Trusted bool       `json:"trusted"`
			Steps   []stepView `json:"steps"`
			Refused *refused   `json:"refused,omitempty"`
		}{from, head, refusal == nil, views, r})
		if err == nil && refusal != nil {
			return exitWith{code: exitNotTrusted}
		}
		return err
	}
	l := lookOf(a.out)
	note := ""
	if guessed {
		note = "  the first that names people; hosts begin at the anchor of their own files"
	}
	fmt.Fprintf(a.out, "from %s%s\n", from[:12], l.dim(note))
	for _, s := range views {
		var who []string
		for _, role := range slices.Sorted(maps.Keys(s.Agreed)) {
			who = append(who, role+": "+strings.Join(s.Agreed[role], ", "))
		}
		fmt.Fprintf(a.out, "%s %s  %s  %s\n", l.symbol(good), s.Commit[:12], counted(s.Paths, "path"), printable(strings.Join(who, "; ")))
	}
	if refusal != nil {
		fmt.Fprintf(a.out, "%s %s  %s\n", l.symbol(bad), refusal.Commit[:12], printable(string(refusal.Kind)))
		return notTrusted(refusal)
	}
	fmt.Fprintf(a.out, "%s is trusted\n", head[:12])
	return nil
}

// errNoPeople is wrapped where a policy can be read and nobody is to sign it.
var errNoPeople = errors.New("names no people, so nothing says who may change what")

// firstSigned is the oldest commit of the first-parent line back from head, without a gap, whose fleet.cue names people. It
// wraps errNoPeople where that of head names none.
func (t trusted) firstSigned(ctx context.Context, head string) (string, error) {
	found := ""
	for id, n := head, 0; n < trust.MaxSteps; n++ {
		fleet, err := t.src.Fleet(ctx, id)
		if r := (*trust.Refusal)(nil); err != nil && (found == "" || !errors.As(err, &r)) {
			return "", notTrusted(err)
		}
		if err != nil || len(fleet.Signers) == 0 {
			break
		}
		found = id
		raw, err := t.src.Commit(id)
		if err != nil {
			return "", notTrusted(err)
		}
		c, err := trust.ParseCommit(id, raw)
		if err != nil || len(c.Parents) == 0 {
			break
		}
		id = c.Parents[0]
	}
	if found == "" {
		return "", exitWith{code: exitNotTrusted, err: fmt.Errorf("commit %s %w", head[:12], errNoPeople),
			hint: "dunlin trust add NAME --key FILE.pub --role root --role policy names the first"}
	}
	return found, nil
}

func (a *app) trustAnchorCommand() *cobra.Command {
	var repo, from string
	cmd := &cobra.Command{
		Use:   "anchor [REV]",
		Short: "Print the commit that a new host is to trust",
		Long: `Print the full name of a commit that names people (default HEAD) and that a new host can be
given as its anchor: it goes into the host's own file as trust: {anchor: "<commit>"}. The way
to it is verified first, from --from or the first commit that names people; approvals count where
the clone has them, as for dunlin trust verify. The anchor must
reach each host by another way than the repository: your image, your configuration management,
a person. A later anchor spares a new host the history before it.`,
		Example: `  dunlin trust anchor
  dunlin trust anchor origin/main --from 3f2a9c1d`,
		Args: maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := openTrusted(repo)
			if err != nil {
				return err
			}
			commit, err := t.commit(first(args, "HEAD"))
			if err != nil {
				return err
			}
			if from == "" {
				from, err = t.firstSigned(cmd.Context(), commit)
			} else {
				from, err = t.commit(from)
			}
			if err != nil {
				return err
			}
			if _, err := trust.Verify(cmd.Context(), t.src, from, commit, a.now()); err != nil {
				return notTrusted(err)
			}
			if a.json() {
				return a.printJSON(struct {
					Anchor string `json:"anchor"`
					From   string `json:"from"`
				}{commit, from})
			}
			_, err = fmt.Fprintln(a.out, commit)
			return err
		},
	}
	cmd.Flags().StringVar(&repo, "repo", ".", "a clone or a bare repository")
	cmd.Flags().StringVar(&from, "from", "", "the commit that is trusted already")
	return cmd
}
