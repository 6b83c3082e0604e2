package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
)

// signFlags are how a statement is signed and where it goes.
type signFlags struct {
	repo, key, remote string
	local             bool
}

func (f *signFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.repo, "repo", ".", "a clone")
	cmd.Flags().StringVar(&f.key, "key", "", "the key that signs, private or public with the private one in ssh-agent (default: git's user.signingkey)")
	cmd.Flags().StringVar(&f.remote, "remote", "origin", "where to push it")
	cmd.Flags().BoolVar(&f.local, "no-push", false, "keep it in the clone")
}

func (a *app) approveCommand() *cobra.Command {
	var f signFlags
	var base string
	var yes bool
	cmd := &cobra.Command{
		Use:   "approve [REV]",
		Short: "Agree to a change of the policy",
		Long: `Agree to what a commit makes of the branch that it goes to, and push that agreement to the
repository: REV (default HEAD) of a pull request, however the forge then merges it (merge,
squash or rebase), or a commit of the branch that too few have signed.

What is signed is the tree of REV upon --base, the newest commit of the branch that REV goes
to (default: that of the remote's main branch; where REV is on it already, REV's parent). REV
must hold all of --base, as after git rebase: else the merge would make another tree, and
hosts would not count the agreement. What is approved is shown first. Where no role of yours owns
a path, your agreement counts for nothing there: that is said, and which roles must still agree.
Where it counts nowhere you are asked once more before it is pushed, or warned with --yes. That
knows of approvals which are in the clone or, without --no-push, at the remote, and of REV's own
signature if it is right upon --base; whose word rests on that signature is said, since a squash
or a rebase by the forge loses it.

ssh-keygen signs, as for git commit -S: the private key stays in its file, in ssh-agent or on
its security key. git's user.signingkey and gpg.ssh.program are heeded.

Exit status: 0 agreed; 4 the key is nobody's who may sign; 1 something else went wrong.`,
		Example: `  git fetch && git checkout their-branch && dunlin approve
  dunlin approve origin/their-branch --yes
  dunlin approve --key ~/.ssh/id_ed25519_sk`,
		Args: maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.approve(cmd.Context(), f, first(args, "HEAD"), base, yes)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&base, "base", "", "the commit that the change goes upon")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func (a *app) approve(ctx context.Context, f signFlags, rev, base string, yes bool) error {
	if !f.local {
		git{dir: f.repo}.fetchApprovals(ctx, f.remote, rev)
	}
	t, err := openTrusted(f.repo)
	if err != nil {
		return err
	}
	commit, err := t.commit(rev)
	if err != nil {
		return err
	}
	g := git{dir: t.dir}
	if base == "" {
		base, err = g.goesUpon(ctx, f.remote, commit)
	} else {
		base, err = t.commit(base)
	}
	if err != nil {
		return err
	}
	if _, err := g.run(ctx, nil, "merge-base", "--is-ancestor", base, commit); err != nil {
		return exitWith{code: exitError, err: fmt.Errorf("%s does not hold all of %s, so a merge would make another tree than the one you see", commit[:12], base[:12]),
			hint: "let the branch be rebased onto it, or merge it into the branch, and approve what comes of that"}
	}
	c, err := t.parse(commit)
	if err != nil {
		return err
	}
	b, err := t.parse(base)
	if err != nil {
		return err
	}
	fleet, err := t.src.Fleet(ctx, base)
	if err != nil {
		return notTrusted(err)
	}
	paths, err := t.src.Changed(ctx, b.Tree, c.Tree)
	if err != nil {
		return notTrusted(err)
	}
	slices.Sort(paths)
	show := a.out
	if a.json() {
		show = a.err
	}
	subject, err := g.run(ctx, nil, "log", "-1", "--format=%an: %s", commit)
	if err != nil {
		return err
	}
	fmt.Fprintf(show, "%s  %s\nupon %s it changes %s of the fleet %s:\n", commit[:12], printable(subject), base[:12], counted(len(paths), "path"), printable(fleet.Name))
	for _, p := range paths {
		fmt.Fprintf(show, "  %s  (%s)\n", printable(p), printable(strings.Join(trust.Owners(fleet.Roles, p), ", ")))
	}
	fmt.Fprintf(show, "git diff %s %s shows it\n", base[:12], commit[:12])
	if !yes {
		if err := a.ask("agree to this?"); err != nil {
			return err
		}
	}
	s := trust.Approval{V: 1, Fleet: fleet.Name, Base: base, Tree: c.Tree}
	if s.Sig, err = g.sign(ctx, f.key, trust.NamespaceApproval, s.Message()); err != nil {
		return err
	}
	who, err := s.By(fleet)
	if err != nil {
		return exitWith{code: exitNotTrusted, err: err, hint: "dunlin trust list " + base[:12] + " says whose keys count; --key names another"}
	}
	counts := t.countsFor(ctx, fleet, who, b, c, paths)
	if main, err := g.mainOf(ctx, f.remote); err == nil {
		if _, err := g.run(ctx, nil, "merge-base", "--is-ancestor", commit, main); err == nil {
			counts.BySignature = []string{} // it is on the branch as it is
		}
	}
	for _, line := range counts.text(who) {
		a.tell(line)
	}
	if counts.Nowhere && !yes {
		if err := a.ask("push it all the same?"); err != nil {
			return err
		}
	}
	ref := gitrepo.ApprovalsRef + c.Tree + "/" + who
	if err := g.publish(ctx, f, ref, s.Encode()); err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(struct {
			Person string `json:"person"`
			Commit string `json:"commit"`
			Base   string `json:"base"`
			Tree   string `json:"tree"`
			Ref    string `json:"ref"`
			Pushed bool   `json:"pushed"`
			approvalCounts
		}{who, commit, base, c.Tree, ref, !f.local, counts})
	}
	where := "pushed to " + f.remote
	if f.local {
		where = "kept in this clone: git push " + f.remote + " " + ref
	}
	fmt.Fprintf(a.out, "%s %s agrees to %s upon %s; %s\n", lookOf(a.out).symbol(good), printable(who), commit[:12], base[:12], where)
	return nil
}

// approvalCounts is what an agreement is good for.
type approvalCounts struct {
	Nowhere bool         `json:"countsNowhere"`
	InVain  []string     `json:"inVain"` // paths that no role of the person owns
	Lacking []trust.Lack `json:"lacking"`
	// BySignature are people who are needed and have signed the commit and approved nothing: a squash or a rebase loses their word.
	BySignature []string `json:"bySignature"`
}

// countsFor says what an approval that somebody has signed is good for, beside what others have, as far as this clone knows.
func (t trusted) countsFor(ctx context.Context, fleet schema.Fleet, who string, base, c trust.Commit, paths []string) approvalCounts {
	agreed, err := trust.Agreed(ctx, t.src, fleet, base, c)
	if err != nil {
		agreed = nil // it is told all the same what this agreement is good for
	}
	agreed = append(agreed, who)
	slices.Sort(agreed)
	agreed = slices.Compact(agreed)
	v := approvalCounts{InVain: trust.InVain(fleet, who, paths), Lacking: trust.Lacking(fleet, paths, agreed), BySignature: []string{}}
	unsigned := c
	unsigned.Parents = nil // then only approvals count
	if approved, err := trust.Agreed(ctx, t.src, fleet, base, unsigned); err == nil {
		approved = append(approved, who)
		if len(trust.Lacking(fleet, paths, approved)) > len(v.Lacking) {
			v.BySignature = slices.DeleteFunc(slices.Clone(agreed), func(name string) bool { return slices.Contains(approved, name) })
		}
	}
	v.Nowhere = len(v.InVain) == len(paths)
	if len(paths) == 0 { // it counts where a role of theirs owns what no other does
		v.Nowhere = slices.ContainsFunc(v.Lacking, func(l trust.Lack) bool { return !slices.Contains(l.Agreed, who) })
	}
	if slices.Contains(paths, "fleet.cue") {
		if after, err := t.src.Fleet(ctx, c.ID); err == nil && trust.BecomesRoot(fleet, after, who) {
			v.Nowhere = false // the new root must agree, too
		}
	}
	return v
}

// text is that in lines; none where the agreement counts for all and nobody else is needed.
func (v approvalCounts) text(who string) []string {
	var out []string
	if v.Nowhere {
		out = append(out, fmt.Sprintf("warning: the agreement of %s counts for nothing: no role of theirs owns what changes", who))
	} else if len(v.InVain) > 0 {
		out = append(out, fmt.Sprintf("warning: the agreement of %s counts for nothing for %s, which no role of theirs owns", who, listed(v.InVain, 8)))
	}
	for _, l := range v.Lacking {
		who, have := "nobody has it", ""
		if len(l.People) > 0 {
			who = listed(l.People, 8)
		}
		if len(l.Agreed) > 0 {
			have = ", beside " + listed(l.Agreed, 8)
		}
		what := "it"
		if len(l.Paths) > 0 {
			what = listed(l.Paths, 4)
		}
		out = append(out, fmt.Sprintf("the role %s must still agree to %s: %d more of %s%s", l.Role, what, l.Threshold-len(l.Agreed), who, have))
	}
	if len(v.BySignature) > 0 {
		out = append(out, fmt.Sprintf("the signature of %s on the commit counts where it is merged as it is; before a squash or a rebase they run dunlin approve, too", listed(v.BySignature, 8)))
	}
	return out
}

// ask waits for a person's yes.
func (a *app) ask(question string) error {
	f, ok := a.in.(*os.File)
	if info, err := f.Stat(); !ok || err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return exitWith{code: exitUsage, err: fmt.Errorf("%s nobody can be asked: standard input is not a terminal", question), hint: "look at what is named above, and give the same command with --yes"}
	}
	a.flush()
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	line, _ := bufio.NewReader(f).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return exitWith{code: exitError, err: errors.New("not agreed, so nothing is changed")}
	}
	return nil
}

func (t trusted) parse(id string) (trust.Commit, error) {
	raw, err := t.src.Commit(id)
	if err != nil {
		return trust.Commit{}, notTrusted(err)
	}
	c, err := trust.ParseCommit(id, raw)
	if err != nil {
		return c, exitWith{code: exitNotTrusted, err: err}
	}
	return c, nil
}

func (a *app) heartbeatCommand() *cobra.Command {
	var f signFlags
	cmd := &cobra.Command{
		Use:   "heartbeat [REV]",
		Short: "Say that a commit is the newest now",
		Long: `Sign that REV (default: the remote's main branch as this clone has it, else HEAD) is the newest commit
now, and push that to refs/dunlin/heartbeat. A fleet with fleet.freshness takes no new commit
when the newest heartbeat is older than that: who holds back what is new is found out so.

The key is that of a role with paths: [], which can do nothing else, so it may lie on a
machine that runs this every hour, a CI job for instance.`,
		Example: `  git fetch && dunlin trust heartbeat --key heartbeat_ed25519`,
		Args:    maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			t, err := openTrusted(f.repo)
			if err != nil {
				return err
			}
			g := git{dir: t.dir}
			rev := first(args, "")
			if rev == "" {
				if rev, err = g.mainOf(ctx, f.remote); err != nil {
					rev = "HEAD"
				}
			}
			head, err := t.commit(rev)
			if err != nil {
				return err
			}
			fleet, err := t.src.Fleet(ctx, head)
			if err != nil {
				return notTrusted(err)
			}
			h := trust.Heartbeat{V: 1, Fleet: fleet.Name, Head: head, Time: a.now().UTC().Format(time.RFC3339)}
			if h.Sig, err = g.sign(ctx, f.key, trust.NamespaceHeartbeat, h.Message()); err != nil {
				return err
			}
			who, err := h.By(fleet)
			if err != nil {
				return exitWith{code: exitNotTrusted, err: err, hint: "dunlin trust list says whose keys count; --key names another"}
			}
			if err := g.publish(ctx, f, gitrepo.HeartbeatRef, h.Encode()); err != nil {
				return err
			}
			if a.json() {
				return a.printJSON(struct {
					Person string `json:"person"`
					Head   string `json:"head"`
					Time   string `json:"time"`
				}{who, head, h.Time})
			}
			fmt.Fprintf(a.out, "%s %s says that %s is the newest at %s\n", lookOf(a.out).symbol(good), printable(who), head[:12], h.Time)
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

// git is the person's own git, in a clone: it knows their keys, and how to reach the remote. Hooks run where it commits, and where it
// pushes that: those of core.hooksPath may be what somebody has pushed who is to be judged.
type git struct{ dir string }

func (g git) run(ctx context.Context, in []byte, args ...string) (string, error) {
	options := []string{"-C", g.dir}
	if !slices.Contains(args, "commit") && (args[0] != "push" || slices.Contains(args, "--no-verify")) {
		options = append(options, "-c", "core.hooksPath="+os.DevNull)
	}
	cmd := exec.CommandContext(ctx, "git", append(options, args...)...)
	cmd.Stdin = bytes.NewReader(in)
	cmd.Env = append(os.Environ(), "LANGUAGE=en") // some complaints are told apart by their words
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", exitWith{code: exitError, err: errors.New("git is not installed"), hint: "it is needed to sign and to push; verifying needs it not"}
		}
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(complaint.String()))
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// fetchApprovals brings what others have approved of a revision's tree, if the remote can be asked: a push tells who cannot.
func (g git) fetchApprovals(ctx context.Context, remote, rev string) {
	tree, err := g.run(ctx, nil, "rev-parse", "--verify", "--quiet", rev+"^{tree}")
	if err != nil {
		return
	}
	of := gitrepo.ApprovalsRef + tree + "/*"
	_, _ = g.run(ctx, nil, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", remote, "+"+of+":"+of)
}

// mainOf is the newest commit of the remote's main branch that the clone knows.
func (g git) mainOf(ctx context.Context, remote string) (string, error) {
	for _, name := range []string{"HEAD", "main", "master"} {
		if id, err := g.run(ctx, nil, "rev-parse", "--verify", "--quiet", "refs/remotes/"+remote+"/"+name+"^{commit}"); err == nil {
			return id, nil
		}
	}
	return "", exitWith{code: exitError, err: fmt.Errorf("the clone knows no main branch of %s", remote), hint: "git fetch, or name the commit that the change goes upon with --base"}
}

// goesUpon is the commit that a change goes upon.
func (g git) goesUpon(ctx context.Context, remote, commit string) (string, error) {
	main, err := g.mainOf(ctx, remote)
	if err != nil {
		return "", err
	}
	if _, err := g.run(ctx, nil, "merge-base", "--is-ancestor", commit, main); err == nil { // it is there already
		return g.run(ctx, nil, "rev-parse", "--verify", commit+"^1")
	}
	return main, nil
}

// sign lets ssh-keygen sign, as git does for commits: this program never sees a private key.
func (g git) sign(ctx context.Context, key, namespace string, message []byte) (string, error) {
	none := func(why string) error {
		return exitWith{code: exitError, err: errors.New(why), hint: "git config user.signingkey ~/.ssh/id_ed25519.pub, or --key FILE"}
	}
	if key == "" {
		var err error
		if key, err = g.run(ctx, nil, "config", "--get", "user.signingkey"); err != nil || key == "" {
			return "", none("no key to sign with: git has no user.signingkey here")
		}
	}
	program := "ssh-keygen"
	if p, err := g.run(ctx, nil, "config", "--get", "gpg.ssh.program"); err == nil && p != "" {
		program = p
	}
	args := []string{"-Y", "sign", "-n", namespace}
	literal, is := strings.CutPrefix(key, "key::")
	switch {
	case is, strings.HasPrefix(key, "ssh-"), strings.HasPrefix(key, "sk-ssh-"): // the key itself; its private half is in ssh-agent
		f, err := os.CreateTemp("", "dunlin-key-*.pub")
		if err != nil {
			return "", fmt.Errorf("sign: %w", err)
		}
		defer func() { _ = os.Remove(f.Name()) }()
		_, err = f.WriteString(strings.TrimSpace(literal) + "\n")
		if err = errors.Join(err, f.Close()); err != nil {
			return "", fmt.Errorf("sign: %w", err)
		}
		args = append(args, "-U", "-f", f.Name())
	default:
		if rest, ok := strings.CutPrefix(key, "~/"); ok {
			if home, err := os.UserHomeDir(); err == nil {
				key = filepath.Join(home, rest)
			}
		}
		if _, err := os.Stat(key); err != nil {
			return "", none(fmt.Sprintf("no key to sign with: %q: %v", key, cause(err)))
		}
		args = append(args, "-f", key)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = bytes.NewReader(message)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", exitWith{code: exitError, err: fmt.Errorf("%s: %w: %s", filepath.Base(program), err, strings.TrimSpace(complaint.String())), hint: "is the key in ssh-agent (ssh-add -l), or its security key plugged in?"}
	}
	return out.String(), nil
}

// publish puts a statement under its reference, in the clone and on the remote.
func (g git) publish(ctx context.Context, f signFlags, ref string, text []byte) error {
	id, err := g.run(ctx, text, "hash-object", "-w", "--stdin")
	if err != nil {
		return err
	}
	if _, err := g.run(ctx, nil, "update-ref", ref, id); err != nil {
		return err
	}
	if f.local {
		return nil
	}
	if _, err := g.run(ctx, nil, "push", "--quiet", "--force", "--no-verify", f.remote, id+":"+ref); err != nil {
		return exitWith{code: exitError, err: err, hint: "the forge must let you push below refs/dunlin/; see docs/trust.md, and --no-push keeps it in the clone"}
	}
	return nil
}
