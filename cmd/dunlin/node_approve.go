package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// joinFlags are where those who ask to be let in are known.
type joinFlags struct {
	proofs  []string
	remote  string
	noFetch bool
	socketFlags
}

func (f *joinFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.proofs, "proof", nil, "a file with a proof as dunlin join prints it, - for standard input")
	cmd.Flags().StringVar(&f.remote, "remote", "origin", "the remote where hosts leave proofs")
	cmd.Flags().BoolVar(&f.noFetch, "no-fetch", false, "take the proofs that the clone has, and ask no remote")
	f.socketFlags.add(cmd)
}

// asking is a host that asks to be let in.
type asking struct {
	join trust.Join
	by   []string // where it was found: proof, git, agent
}

// joins gathers who asks, from files, from the references of the clone and its remote, and from this host's agent.
func (a *app) joins(ctx context.Context, p *policyFolder, f joinFlags) ([]asking, error) {
	found := map[string]*asking{}
	take := func(text []byte, by string) error {
		j, err := trust.ParseJoin([]byte(strings.TrimSpace(string(text))))
		if err != nil {
			proof, e := trust.ParseProof([]byte(strings.TrimSpace(string(text))))
			if e != nil {
				return err
			}
			j = trust.Join{Proof: proof}
		}
		had := found[j.Proof.ID]
		if had == nil {
			found[j.Proof.ID] = &asking{join: j, by: []string{by}}
			return nil
		}
		if !slices.Contains(had.by, by) {
			had.by = append(had.by, by)
		}
		// What a member has seen says more; else the newer one stands.
		if had.join.Seen == nil && (j.Seen != nil || j.Proof.At > had.join.Proof.At) {
			had.join = j
		}
		return nil
	}
	for _, path := range f.proofs {
		var text []byte
		var err error
		if path == "-" {
			text, err = io.ReadAll(io.LimitReader(a.in, trust.MaxJoin+2))
		} else {
			text, err = readSmall(path, trust.MaxJoin+2)
		}
		if err == nil {
			err = take(text, "proof")
		}
		if err != nil {
			return nil, exitWith{code: exitError, err: fmt.Errorf("--proof %q: %w", path, cause(err)), hint: "name the file with the one line that dunlin join --print wrote"}
		}
	}
	g := git{dir: p.dir}
	if _, err := g.run(ctx, nil, "rev-parse", "--git-dir"); err == nil {
		if !f.noFetch {
			if _, err := g.run(ctx, nil, "config", "--get", "remote."+f.remote+".url"); err == nil {
				if _, err := g.run(ctx, nil, "fetch", "--quiet", "--prune", "--no-tags", f.remote, "+"+gitrepo.JoinRef+"*:"+gitrepo.JoinRef+"*"); err != nil {
					a.note(fmt.Sprintf("proofs in the repository are not looked for: %s", err), "")
				}
			}
		}
		refs, err := g.run(ctx, nil, "for-each-ref", "--format=%(objectname) %(objectsize) %(objecttype) %(refname)", "--count=100000", gitrepo.JoinRef)
		if err != nil {
			return nil, err
		}
		left := 10_000
		for line := range strings.Lines(refs) {
			var id, kind, ref string
			var size int
			if _, err := fmt.Sscan(line, &id, &size, &kind, &ref); err != nil || size > trust.MaxJoin || kind != "blob" || !matches(`^[a-z2-7]{26}$`, strings.TrimPrefix(ref, gitrepo.JoinRef)) {
				continue // anybody may leave what they like
			}
			if left--; left < 0 {
				break
			}
			text, err := g.run(ctx, nil, "cat-file", "blob", id)
			if err != nil {
				return nil, err
			}
			// One under another name is taken out by nobody, and would be told of for ever.
			if proof, err := trust.ParseProof([]byte(text)); err == nil && ref == gitrepo.JoinRef+proof.ID {
				if _, inGit := proof.InGit(); inGit {
					_ = take([]byte(text), "git")
				}
			}
		}
	}
	for _, text := range a.agentJoins(ctx, f.socketFlags) {
		_ = take([]byte(text), "agent") // an agent has read it
	}
	var out []asking
	for _, id := range slices.Sorted(maps.Keys(found)) {
		out = append(out, *found[id])
	}
	slices.SortStableFunc(out, func(x, y asking) int { return cmp.Compare(x.join.Proof.At, y.join.Proof.At) })
	return out, nil
}

func readSmall(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("more than %d bytes", most)
	}
	return b, err
}

// agentThere reports whether an agent of this host can be asked.
func (a *app) agentThere(f socketFlags) bool {
	path, err := f.path()
	if err == nil {
		_, err = os.Stat(path)
	}
	return err == nil
}

// agentJoins is who asks as the agent of this host knows; nothing where none runs, or this user may not ask it.
func (a *app) agentJoins(ctx context.Context, f socketFlags) []string {
	path, err := f.path()
	if err != nil {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, quickAnswer)
	defer cancel()
	joins, err := api.Dial(path).Joins(ctx)
	if err != nil {
		a.note(fmt.Sprintf("the agent of this host does not say who asks: %s", err), "")
	}
	return joins
}

// porch is what joins are judged by in a work tree.
type porch struct {
	fleet schema.Fleet
	acts  map[string]schema.Activation
	roll  *trust.Roll
	known func(commit string) bool // a commit that the history in front of HEAD has
}

func (e *rosterEdit) porch(ctx context.Context) (*porch, error) {
	repo, faults, err := load.Child(loadOptions())(ctx, e.p.root.FS())
	if err != nil {
		return nil, fmt.Errorf("read the repository: %w", err)
	}
	for _, f := range faults {
		if f.Severity != schema.SeverityWarning && (strings.HasPrefix(f.Path, "activation") || f.Path == "fleet" || strings.HasPrefix(f.Path, "fleet.")) {
			return nil, exitWith{code: exitFaults, err: errors.New(f.String()), hint: "dunlin validate; nothing was changed"}
		}
	}
	roll, err := trust.ReadRoll(treeRoster{e}, "")
	if err != nil {
		return nil, err
	}
	g := git{dir: e.p.dir}
	return &porch{fleet: repo.Fleet, acts: repo.Activations, roll: roll, known: func(commit string) bool {
		_, err := g.run(ctx, nil, "merge-base", "--is-ancestor", commit, "HEAD")
		return err == nil
	}}, nil
}

// judge says whether a host may be let in.
func (p *porch) judge(j trust.Join, now time.Time) error {
	if err := p.roll.Gate(p.fleet.Name, p.acts, now).Judge(j); err != nil {
		return err
	}
	if base, inGit := j.Proof.InGit(); inGit && !p.known(base) {
		return &trust.JoinRefusal{Kind: trust.JoinReplay, Reason: fmt.Sprintf("the proof is for commit %s, which is not in this history: it was made for another, or git pull brings it", base[:12])}
	}
	return nil
}

type approveFlags struct {
	rosterFlags
	joinFlags
	all, yes   bool
	name       string
	tags       []string
	auto, once bool
	every      string
	anchor     string
}

func (a *app) nodeApproveCommand() *cobra.Command {
	var f approveFlags
	cmd := &cobra.Command{
		Use:   "approve NODE ... | --proof FILE | --all-pending | --auto",
		Short: "Let hosts in that ask with the code of an activation",
		Long: `Add hosts to the roster of the work tree that have asked to be let in (dunlin join): each with a line, and its proof
below nodes/joins. Who asks is known from proofs in the Git repository, from this host's agent, and from files
(--proof; with one, NODE may be left out). NODE is the name that a host asks for, or its id, or the beginning of one. A proof that is not
good is refused: a code that is wrong, an activation that is over, revoked or full, a host that is or was in the roster.

Proofs in the repository of hosts that are in, and of those that are refused for good (told of once), are taken out of it, where
the work tree has what the remote has and may push there; not with --no-fetch or --no-commit.

The tags are those of the activation; --tags adds to them and changes none, and --name gives another name than the host's own. The change
is committed where git is set to sign (commit.gpgsign), and counts once the role root has agreed to it.

--auto lets in by itself, again and again or with --once, whoever may be let in with the activations of the roles
that this machine's key has: it fetches, commits and pushes in a clone of its own. Its key can do nothing else
(write root and policy out beside it: roles replaces the default ones, see docs/enrolment.md):
  fleet: roles: enrol: {paths: ["nodes/**"], activations: ["act-7q2m9c"]}`,
		Example: `  dunlin node approve web-7
  dunlin node approve k3v5n2 --name web-fra-7 --tags site=fra
  dunlin node approve --proof web-7.proof
  dunlin node approve --all-pending --yes --push
  dunlin node approve --auto --repo /srv/gate/policy --every 15s`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case f.auto && (len(args) > 0 || f.all || f.name != "" || len(f.tags) > 0 || f.noCommit):
				return usageError{errors.New("--auto takes who may be let in, as they ask: no NODE, --all-pending, --name, --tags or --no-commit")}
			case f.auto:
				return a.autoApprove(cmd.Context(), f)
			case f.once:
				return usageError{errors.New("--once belongs to --auto")}
			case f.all && len(args) > 0, !f.all && len(args) == 0 && len(f.proofs) != 1:
				return usageError{errors.New("name nodes, or say --all-pending, or give one --proof")}
			case f.name != "" && (f.all || len(args) > 1):
				return usageError{errors.New("--name goes with one node")}
			}
			return a.approveNodes(cmd.Context(), f, args)
		},
	}
	f.rosterFlags.add(cmd)
	f.joinFlags.add(cmd)
	cmd.Flags().BoolVar(&f.all, "all-pending", false, "let in all that may be let in")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	cmd.Flags().StringVar(&f.name, "name", "", "another name than the host's own")
	cmd.Flags().StringArrayVar(&f.tags, "tags", nil, "a tag beside those of the activation")
	cmd.Flags().BoolVar(&f.auto, "auto", false, "let in by itself who may be let in, with an enrolment key")
	cmd.Flags().BoolVar(&f.once, "once", false, "with --auto: look once")
	cmd.Flags().StringVar(&f.every, "every", "15s", "with --auto: how often to look")
	cmd.Flags().StringVar(&f.anchor, "anchor", "", "with --auto: the commit that is trusted (default: the first of the history that names people)")
	return cmd
}

// chooseAsking finds those who ask that a person means. One who is or was in the roster is meant only where nobody else is:
// what it left in the repository stays there until somebody takes it out.
func chooseAsking(all []asking, words []string, known func(id string) bool) ([]asking, error) {
	var out []asking
	for _, w := range words {
		var hits []asking
		var names []string
		for _, x := range all {
			p := x.join.Proof
			names = append(names, p.Name)
			if p.Name == w || p.ID == w || len(w) >= 4 && strings.HasPrefix(p.ID, w) {
				hits = append(hits, x)
			}
		}
		if fresh := slices.DeleteFunc(slices.Clone(hits), func(x asking) bool { return known(x.join.Proof.ID) }); len(fresh) > 0 {
			hits = fresh
		} else if len(hits) > 1 {
			hits = hits[len(hits)-1:] // the last that it was: it is refused for what it is
		}
		switch {
		case len(hits) == 0:
			near := ""
			if n := schema.Nearest(w, names); n != "" {
				near = fmt.Sprintf(" (did you mean %q?)", n)
			}
			return nil, exitWith{code: exitNoMatch, err: fmt.Errorf("nobody asks to be let in as %q%s", w, near), hint: "dunlin node list --pending"}
		case len(hits) > 1:
			return nil, exitWith{code: exitError, err: fmt.Errorf("%d hosts ask to be let in as %q", len(hits), w), hint: "name them by id: dunlin node list --pending; --name tells them apart"}
		}
		out = append(out, hits[0])
	}
	return out, nil
}

func (a *app) approveNodes(ctx context.Context, f approveFlags, words []string) error {
	more, err := parseTags(f.tags)
	if err != nil {
		return err
	}
	var used []string // who is let in by a proof that was left in the repository
	var in *policyFolder
	err = a.editRoster(ctx, f.rosterFlags, func(e *rosterEdit) (string, []schema.RosterLine, error) {
		in = e.p
		all, err := a.joins(ctx, e.p, f.joinFlags)
		if err != nil {
			return "", nil, err
		}
		porch, err := e.porch(ctx)
		if err != nil {
			return "", nil, err
		}
		gone := map[string]bool{}
		if !f.noFetch && !f.noCommit {
			gone = a.collectProofs(ctx, e.p, f.remote, porch, all)
		}
		chosen := all
		switch {
		case f.all:
		case len(words) == 0: // the one whose proof is given
			chosen = slices.DeleteFunc(slices.Clone(all), func(x asking) bool { return !slices.Contains(x.by, "proof") })
		default:
			if chosen, err = chooseAsking(all, words, porch.roll.Known); err != nil {
				x := exitWith{}
				for _, w := range words {
					if l, e := e.find(w); e == nil && errors.As(err, &x) && x.code == exitNoMatch {
						return "", nil, exitWith{code: exitError, err: fmt.Errorf("%s (%s) is in the roster already, and %s", l.Name, l.ID, l.State), hint: "dunlin node list"}
					}
				}
				return "", nil, err
			}
		}
		var lines []schema.RosterLine
		var names []string
		for _, x := range chosen {
			if f.all && (gone[x.join.Proof.ID] || porch.roll.Known(x.join.Proof.ID)) {
				continue // it was told of, or it is in
			}
			l, err := e.letIn(porch, x.join, f.name, more, a.now())
			if r := (*trust.JoinRefusal)(nil); errors.As(err, &r) {
				if f.all {
					a.note(fmt.Sprintf("%s (%s) is not let in: %s", x.join.Proof.Name, x.join.Proof.ID, r.Reason), "")
					continue
				}
				return "", nil, exitWith{code: exitNotTrusted, err: fmt.Errorf("%s (%s) is not let in: %w", x.join.Proof.Name, x.join.Proof.ID, err), hint: hintOfJoin(r.Kind)}
			}
			if err != nil {
				return "", nil, err
			}
			lines, names = append(lines, l), append(names, l.Name)
			if slices.Contains(x.by, "git") {
				used = append(used, l.ID)
			}
		}
		if len(lines) == 0 {
			return "", nil, exitWith{code: exitNoMatch, err: errors.New("nobody asks who may be let in"), hint: "dunlin node list --pending says who asks, and why not"}
		}
		if !f.yes {
			for _, x := range chosen {
				a.tell(x.text())
			}
			if err := a.ask(fmt.Sprintf("let %s in?", counted(len(lines), "node"))); err != nil {
				return "", nil, err
			}
		}
		return "nodes: let in " + listed(names, 5), lines, nil
	})
	if err == nil && f.push && !f.noFetch {
		removeProofs(ctx, git{dir: in.dir}, f.remote, used) // else the next approve does it, once they are in
	}
	return err
}

func hintOfJoin(k trust.JoinKind) string {
	switch k {
	case trust.JoinTaken:
		return "--name gives it another name"
	case trust.JoinReplay:
		return "a host that is to be another node has its keys made anew: remove its folder of keys, and let it join again"
	case trust.JoinExpired, trust.JoinLimit, trust.JoinRevoked:
		return "make another activation (dunlin activation create), and let the host join again"
	}
	return ""
}

// letIn adds one host to the roster.
func (e *rosterEdit) letIn(p *porch, j trust.Join, name string, more map[string]string, now time.Time) (schema.RosterLine, error) {
	proof := j.Proof
	name = orWord(name, proof.Name)
	if !isNodeName(name) || matches(`^[a-z2-7]{26}$`, name) {
		return schema.RosterLine{}, usageError{fmt.Errorf("--name %q has other characters than letters, digits, . _ and -, or the form of an id", name)}
	}
	if err := p.judge(j, now); err != nil {
		return schema.RosterLine{}, err
	}
	if err := p.roll.Free(name, proof.Keys); err != nil {
		return schema.RosterLine{}, err
	}
	tags := maps.Clone(p.acts[proof.Activation].Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	for _, k := range slices.Sorted(maps.Keys(more)) {
		if given, there := tags[k]; there && given != more[k] {
			return schema.RosterLine{}, exitWith{code: exitError, err: fmt.Errorf("--tags %s=%s: the activation %s gives %s=%s, and --tags adds tags and changes none", k, more[k], proof.Activation, k, given),
				hint: "let it in without, and change it then: dunlin node tag"}
		}
	}
	maps.Copy(tags, more)
	line := proof.Line(name, tags, now)
	var l schema.RosterLine
	err := errors.Join(json.Unmarshal(line, &l), e.insert(trust.RosterFile(proof.ID), line), e.insert(trust.JoinFile(proof.Activation, proof.ID), j.Encode()))
	p.roll.Take(proof, name)
	return l, err
}

// text is a line about somebody who asks.
func (x asking) text() string {
	p := x.join.Proof
	from := "left in Git"
	if s := x.join.Seen; s != nil {
		from = "from " + s.From + ", seen by " + s.By[:8]
	} else if _, inGit := p.InGit(); !inGit {
		from = "seen by no member"
	}
	wants := ""
	if len(p.Tags) > 0 {
		wants = ", asks for" + strings.TrimPrefix(tagsText(p.Tags), " with")
	}
	return fmt.Sprintf("%s  %s  %s  %s, at %s, %s%s", p.ID, p.Name, p.OS, p.Activation, p.At, from, wants)
}

type pendingView struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	OS         string            `json:"os"`
	Activation string            `json:"activation"`
	At         string            `json:"at"`
	From       string            `json:"from"` // empty where no member has seen it
	SeenBy     string            `json:"seenBy"`
	Tags       map[string]string `json:"tags"` // that it asks for
	Refused    string            `json:"refused"`
	Reason     string            `json:"reason"`
	Found      []string          `json:"found"`
}

func (a *app) nodeListCommand() *cobra.Command {
	var repo string
	var pending bool
	var f joinFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "The roster of the work tree, or who asks to be let in",
		Long: `Print the nodes of the roster in the work tree; with --pending the hosts that ask to be let in, and whether they may be.
Who asks is known from proofs in the Git repository, from this host's agent and from files (--proof).`,
		Example: `  dunlin node list
  dunlin node list --pending
  dunlin node list --pending -o json | jq -r '.[] | select(.refused == "") | .name'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := findPolicy(repo)
			if err != nil {
				return err
			}
			defer p.root.Close()
			e := &rosterEdit{p: p, texts: map[string][]byte{}}
			if !pending {
				return a.listRoster(e)
			}
			return a.listPending(cmd.Context(), e, f)
		},
	}
	cmd.Flags().StringVar(&repo, "repo", "", repoAround)
	cmd.Flags().BoolVar(&pending, "pending", false, "who asks to be let in")
	f.add(cmd)
	return cmd
}

func (a *app) listRoster(e *rosterEdit) error {
	nodes, err := e.nodes()
	if err != nil {
		return err
	}
	slices.SortFunc(nodes, func(x, y schema.RosterLine) int { return cmp.Compare(x.Name, y.Name) })
	if a.json() {
		return a.printJSON(append([]schema.RosterLine{}, nodes...))
	}
	for _, n := range nodes {
		fmt.Fprintf(a.out, "%s  %s  %s  %s%s\n", n.ID, printable(n.Name), printable(n.OS), n.State, tagsText(n.Tags))
	}
	if len(nodes) == 0 {
		fmt.Fprintln(a.out, "no nodes; dunlin activation create makes a code with which hosts ask to be let in")
	}
	return nil
}

func (a *app) listPending(ctx context.Context, e *rosterEdit, f joinFlags) error {
	all, err := a.joins(ctx, e.p, f)
	if err != nil {
		return err
	}
	porch, err := e.porch(ctx)
	if err != nil {
		return err
	}
	views := []pendingView{}
	for _, x := range all {
		p := x.join.Proof
		if porch.roll.Known(p.ID) {
			continue // it is in
		}
		v := pendingView{ID: p.ID, Name: p.Name, OS: p.OS, Activation: p.Activation, At: p.At, Tags: p.Tags, Found: x.by}
		if s := x.join.Seen; s != nil {
			v.From, v.SeenBy = s.From, s.By
		}
		err := porch.judge(x.join, a.now())
		if err == nil {
			err = porch.roll.Free(p.Name, p.Keys)
		}
		if r := (*trust.JoinRefusal)(nil); errors.As(err, &r) {
			v.Refused, v.Reason = string(r.Kind), r.Reason
		} else if err != nil {
			return err
		}
		views = append(views, v)
		if !a.json() {
			l := lookOf(a.out)
			mark := l.symbol(good)
			if v.Refused != "" {
				mark = l.symbol(bad)
			}
			fmt.Fprintf(a.out, "%s %s\n", mark, printable(x.text()))
			if v.Refused != "" {
				fmt.Fprintf(a.out, "  %s: %s\n", v.Refused, printable(v.Reason))
			}
		}
	}
	asked := a.agentThere(f.socketFlags)
	if !asked {
		a.note("no agent of this host was asked, which would know whom the nodes have heard: none runs here; ask on a node, or name its socket with --socket", "")
	}
	if a.json() {
		return a.printJSON(views)
	}
	if len(views) == 0 && asked {
		fmt.Fprintln(a.out, "nobody asks to be let in")
	}
	if len(views) == 0 && !asked {
		fmt.Fprintln(a.out, "nobody is known to ask to be let in: the repository has no proof, and no agent was asked")
	}
	return nil
}
