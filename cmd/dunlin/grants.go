package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/reconciler/grant"
	"github.com/dunlin-dev/dunlin/reconciler/target"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// readPolicy evaluates a folder or bare repository, or one of its commits.
func (a *app) readPolicy(ctx context.Context, dir, rev string) (schema.Repo, error) {
	tree, err := openRevision(dir, rev)
	if err != nil {
		return schema.Repo{}, err
	}
	repo, faults, err := load.Child(loadOptions())(ctx, tree)
	if err != nil {
		return schema.Repo{}, fmt.Errorf("evaluate policy: %w", err)
	}
	if schema.Refused(faults) {
		return schema.Repo{}, a.localError(ctx, &agent.FaultsError{Commit: tree.Commit, Faults: faults})
	}
	return repo, nil
}

// policyFlags name the policy that is asked.
type policyFlags struct{ repo, rev string }

func (f *policyFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.repo, "repo", ".", "the policy: a folder of files or a bare Git repository")
	cmd.Flags().StringVar(&f.rev, "rev", "", "a commit, branch or tag of its Git repository instead of its files")
}

// grantView is a grant with the nodes that it means now.
type grantView struct {
	Name        string        `json:"name"`
	Description string        `json:"description,omitempty"`
	Who         []string      `json:"who"`
	Run         *runGrantView `json:"run,omitempty"`
	Session     *sessionView  `json:"session,omitempty"`
}

type runGrantView struct {
	Documents      []string          `json:"documents"`
	Nodes          []string          `json:"nodes"`
	Targets        schema.Targets    `json:"targets"`
	MaxConcurrency string            `json:"maxConcurrency,omitempty"`
	Parameters     map[string]string `json:"parameters,omitempty"`
}

type sessionView struct {
	Kinds       []schema.SessionKind `json:"kinds"`
	Nodes       []string             `json:"nodes"`
	Targets     schema.Targets       `json:"targets"`
	RunAs       string               `json:"runAs"`
	Ports       []int                `json:"ports,omitempty"`
	MaxDuration schema.Duration      `json:"maxDuration"`
}

func (a *app) trustGrantsCommand() *cobra.Command {
	var f policyFlags
	cmd := &cobra.Command{
		Use:   "grants [WHO]",
		Short: "Who may run what where, and open which sessions",
		Long: `List the grants of a policy: who may give runs of which documents to which nodes, with which
limits, and who may open sessions. WHO lists one person's. Nothing else gives such a right:
roles say who may change files, and whoever may change grants/ (root, unless fleet.cue says
otherwise) can give themselves a grant.`,
		Example: `  dunlin trust grants
  dunlin trust grants alice
  dunlin trust grants --repo /srv/git/policy.git -o json | jq -r '.[] | select(.run) | .who[]'`,
		Args: maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			repo, err := a.readPolicy(cmd.Context(), f.repo, f.rev)
			if err != nil {
				return err
			}
			who := first(args, "")
			if _, known := repo.Fleet.Signers[who]; who != "" && !known {
				return noSigner(repo, who)
			}
			return a.printGrants(repo, who)
		},
	}
	f.add(cmd)
	return cmd
}

func noSigner(repo schema.Repo, who string) error {
	names := slices.Sorted(maps.Keys(repo.Fleet.Signers))
	return exitWith{code: exitNotTrusted, err: fmt.Errorf("%q is no signer of this fleet", who), hint: signersHint(names)}
}

// signersHint names those who are there.
func signersHint(names []string) string {
	if len(names) == 0 {
		return "fleet.signers names nobody yet; dunlin trust add NAME --key FILE.pub --role root --role policy names the first"
	}
	return "fleet.signers has " + listed(names, 8)
}

func (a *app) printGrants(repo schema.Repo, who string) error {
	views := []grantView{}
	for _, name := range slices.Sorted(maps.Keys(repo.Grants)) {
		g := repo.Grants[name]
		if who != "" && !slices.Contains(g.Who, who) {
			continue
		}
		v := grantView{Name: name, Description: g.Description, Who: g.Who}
		if r := g.Run; r != nil {
			v.Run = &runGrantView{r.Documents, names(reconciler.Targeted(repo, r.Targets)), r.Targets, r.MaxConcurrency, r.Parameters}
		}
		if len(g.Sessions) > 0 && g.Targets != nil {
			v.Session = &sessionView{g.Sessions, names(reconciler.Targeted(repo, *g.Targets)), *g.Targets, g.RunAs, g.Ports, g.MaxDuration}
		}
		views = append(views, v)
	}
	if a.json() {
		return a.printJSON(views)
	}
	p := a.newPage()
	t := grid{head: []string{"GRANT", "WHO", "MAY", "ON", "WITHIN"}, wraps: true}
	for _, v := range views {
		name, people := v.Name, strings.Join(v.Who, ", ")
		if r := v.Run; r != nil {
			t.add(plain(name), plain(people), plain("run "+strings.Join(r.Documents, ", ")), plain(where(r.Targets, r.Nodes)), plain(runLimits(*r)))
			name, people = "", ""
		}
		if s := v.Session; s != nil {
			t.add(plain(name), plain(people), plain("open "+wordsOf(s.Kinds)+" as "+s.RunAs), plain(where(s.Targets, s.Nodes)), plain(sessionLimits(*s)))
		}
	}
	t.write(p.w, p.look, p.width)
	switch {
	case len(views) > 0:
	case who != "":
		fmt.Fprintf(p.w, "no grant lets %s run anything or open sessions\n", printable(who))
	default:
		fmt.Fprintln(p.w, "nobody may run anything or open sessions: there are no grants; dunlin new grant NAME --who WHO begins one")
	}
	return p.w.Flush()
}

// names are those of nodes, in their order.
func names(nodes []schema.Node) []string {
	out := []string{}
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	slices.Sort(out)
	return out
}

// where says which nodes targets mean, as the command line writes them, and how many that are.
func where(t schema.Targets, nodes []string) string {
	text := "targets"
	if words, ok := target.Format(t); ok {
		text = strings.Join(words, " ")
	}
	return text + " (" + counted(len(nodes), "node") + ")"
}

func wordsOf[T ~string](words []T) string {
	var out []string
	for _, w := range words {
		out = append(out, string(w))
	}
	return strings.Join(out, ", ")
}

func runLimits(r runGrantView) string {
	var out []string
	if r.MaxConcurrency != "" {
		out = append(out, r.MaxConcurrency+" at once")
	}
	for _, name := range slices.Sorted(maps.Keys(r.Parameters)) {
		out = append(out, name+" ~ "+r.Parameters[name])
	}
	return strings.Join(out, "; ")
}

func sessionLimits(s sessionView) string {
	var out []string
	if len(s.Ports) > 0 {
		var ports []string
		for _, p := range s.Ports {
			ports = append(ports, strconv.Itoa(p))
		}
		out = append(out, "port "+strings.Join(ports, ", "))
	}
	return strings.Join(append(out, "at most "+string(s.MaxDuration)), "; ")
}

// canFlags are what somebody would like to do.
type canFlags struct {
	policyFlags
	targets            targetFlags
	document, most     string
	params             []string
	session, as, lasts string
	port               int
	config             string
}

func (a *app) trustCanCommand() *cobra.Command {
	var f canFlags
	cmd := &cobra.Command{
		Use:   "can WHO {--document D | --session KIND} --target T",
		Short: "Ask whether somebody may give a run or open a session, and why not",
		Long: `Say whether WHO, a name of fleet.signers, may give a run of a document, with such parameters, to
such nodes, or open a session there. It is decided as every node decides it for itself: one
grant of that person must cover the document, each node, how many at once and each parameter
that it limits, or the run is refused whole. What is asked for is not done.

A parameter that is given several times is a list. What a run leaves out takes the document's
default, which a grant that limits it must allow, too. Without --max-concurrency the run asks
for one node at once. --config asks whether a host's own file forbids it, whatever grants say.

Exit status: 0 allowed; 4 not allowed; 9 no node matches; 3 the policy has faults.`,
		Example: `  dunlin trust can alice --document AWS-RunShellScript --param 'commands=systemctl restart nginx' --target tag:role=web
  dunlin trust can bob --document restart-service --param Service=nginx --target all --max-concurrency 10% -o json
  dunlin trust can alice --session forward --port 5432 --target node=db-1
  dunlin trust can alice --session shell --target node=db-1 --config /etc/dunlin/agent.cue`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.can(cmd.Context(), args[0], f) },
	}
	f.policyFlags.add(cmd)
	cmd.Flags().StringArrayVar((*[]string)(&f.targets), "target", nil, `the nodes: tag:role=web,api, os=debian, node=web-1, group=edge, resourceGroup=eu or all; "!" in front excludes; repeat for "and"`)
	cmd.Flags().StringVar(&f.document, "document", "", "the document of a run")
	cmd.Flags().StringArrayVar(&f.params, "param", nil, "a parameter of it; the same name again makes a list")
	cmd.Flags().StringVar(&f.most, "max-concurrency", "1", "how many nodes at once the run asks for: a count or a percentage")
	cmd.Flags().StringVar(&f.session, "session", "", "a session: shell, forward or exec")
	cmd.Flags().StringVar(&f.as, "run-as", "", "the user of the host that the session is to have (default the grant's)")
	cmd.Flags().IntVar(&f.port, "port", 0, "the port that a forward goes to")
	cmd.Flags().StringVar(&f.lasts, "duration", "", "how long the session is to last (default as long as the grant allows)")
	cmd.Flags().StringVar(&f.config, "config", "", "a host's own file, whose ceiling stands above every grant")
	return cmd
}

// arguments reads --param flags.
func arguments(params []string) (schema.Arguments, error) {
	out := schema.Arguments{}
	for _, text := range params {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, usageError{fmt.Errorf("--param %q: want name=value", text)}
		}
		a := out[name]
		a.Texts = append(a.Texts, value)
		out[name] = a
	}
	return out, nil
}

// canAnswer is what `can` prints.
type canAnswer struct {
	Who      string      `json:"who"`
	Allowed  bool        `json:"allowed"`
	Document string      `json:"document,omitempty"`
	Session  string      `json:"session,omitempty"`
	Nodes    []string    `json:"nodes"`
	Grants   []canGrant  `json:"grants"` // that allow it: one for a run, of sessions one or more
	Reasons  []canReason `json:"reasons"`
}

type canGrant struct {
	Name  string `json:"name"`
	File  string `json:"file,omitempty"`
	Line  int    `json:"line,omitempty"`
	RunAs string `json:"runAs,omitempty"`       // of a session
	Lasts string `json:"maxDuration,omitempty"` // of a session
}

type canReason struct {
	Grant string `json:"grant,omitempty"`
	Field string `json:"field"`
	Text  string `json:"reason"`
}

func (a *app) can(ctx context.Context, who string, f canFlags) error {
	switch {
	case (f.document == "") == (f.session == ""):
		return usageError{errors.New("name either --document for a run, or --session")}
	case f.document == "" && len(f.params) > 0:
		return usageError{errors.New("--param goes with --document")}
	case f.session == "" && (f.as != "" || f.port != 0 || f.lasts != ""):
		return usageError{errors.New("--run-as, --port and --duration go with --session")}
	case f.session != "" && !slices.Contains(schema.SessionKind("").Words(), f.session):
		return usageError{fmt.Errorf("--session %q is not one of %s%s", f.session, strings.Join(schema.SessionKind("").Words(), ", "), didYouMean(f.session, schema.SessionKind("").Words()))}
	case f.session == string(schema.SessionForward) && f.port == 0:
		return usageError{errors.New("--port is missing: the port of the node that is to be forwarded")}
	case len(f.targets) == 0:
		return usageError{errors.New(`--target is missing: name nodes, or "all"`)}
	}
	t, err := target.Parse(f.targets)
	if err != nil {
		return usageError{err}
	}
	args, err := arguments(f.params)
	if err != nil {
		return err
	}
	var lasts time.Duration
	if f.lasts != "" {
		if lasts, err = schema.ParseDuration(f.lasts); err != nil || lasts == 0 {
			return usageError{fmt.Errorf("--duration %q is not a length of time such as 90m", f.lasts)}
		}
	}
	ceiling := reconciler.NoCeiling()
	if f.config != "" {
		if ceiling, _, err = readConfig(f.config); err != nil {
			return err
		}
	}
	repo, err := a.readPolicy(ctx, f.repo, f.rev)
	if err != nil {
		return err
	}
	if _, known := repo.Fleet.Signers[who]; !known {
		return noSigner(repo, who)
	}
	if f.document != "" && !known(repo, f.document) {
		names := append(slices.Sorted(maps.Keys(repo.Documents)), slices.Sorted(maps.Keys(repo.ShippedDocuments))...)
		return exitWith{code: exitNoMatch, err: fmt.Errorf("no document %q%s", f.document, didYouMean(f.document, names)), hint: "documents/ has the fleet's own; docs/reference names those that are shipped"}
	}
	nodes := reconciler.Targeted(repo, t)
	if len(nodes) == 0 {
		return exitWith{code: exitNoMatch, err: errors.New("no active node of the roster is meant"), hint: "nodes/*.jsonl has the nodes and their tags"}
	}
	got := canAnswer{Who: who, Document: f.document, Session: f.session, Nodes: names(nodes), Grants: []canGrant{}, Reasons: []canReason{}}
	denied := ceiling.DeniesRun(f.document)
	if f.document != "" {
		_, v := reconciler.MayRun(repo, who, schema.Run{Document: f.document, Parameters: args, Targets: t, MaxConcurrency: f.most})
		got.take(repo, v, grant.Opening{})
	} else {
		denied = ceiling.DeniesSession()
		for _, n := range nodes {
			open, v := reconciler.MayOpen(repo, who, grant.Session{Kind: schema.SessionKind(f.session), RunAs: f.as, Port: f.port, Duration: lasts}, n)
			got.take(repo, v, open)
		}
	}
	if denied != "" {
		got.Reasons = append(got.Reasons, canReason{Field: "ceiling", Text: denied})
	}
	if got.Allowed = len(got.Reasons) == 0; !got.Allowed {
		got.Grants = []canGrant{}
	}
	return a.printAnswer(got)
}

// known reports whether a policy has a document, its own or a shipped one.
func known(repo schema.Repo, document string) bool {
	_, own := repo.Documents[document]
	_, shipped := repo.ShippedDocuments[document]
	return own || shipped
}

// didYouMean is a suggestion behind a name that nothing has; empty where none is near.
func didYouMean(name string, names []string) string {
	if n := schema.Nearest(name, names); n != "" {
		return fmt.Sprintf(" (did you mean %q?)", n)
	}
	return ""
}

// take adds a verdict; what is said of several nodes alike is said once.
func (got *canAnswer) take(repo schema.Repo, v grant.Verdict, open grant.Opening) {
	if v.Allowed() {
		at := repo.Positions[schema.JoinPath("grant", v.Grant)]
		x := canGrant{Name: v.Grant, File: at.File, Line: at.Line, RunAs: open.RunAs}
		if got.Session != "" {
			x.Lasts = open.Duration.String()
		}
		if !slices.Contains(got.Grants, x) {
			got.Grants = append(got.Grants, x)
		}
	}
	for _, r := range v.Why {
		if x := (canReason{r.Grant, r.Field, r.Text}); !slices.Contains(got.Reasons, x) {
			got.Reasons = append(got.Reasons, x)
		}
	}
}

func (a *app) printAnswer(got canAnswer) error {
	what := "run " + got.Document
	if got.Session != "" {
		what = "open a session (" + got.Session + ")"
	}
	where := fmt.Sprintf("on %s: %s", counted(len(got.Nodes), "node"), listed(got.Nodes, 5))
	if a.json() {
		if err := a.printJSON(got); err != nil || got.Allowed {
			return err
		}
		return exitWith{code: exitNotTrusted}
	}
	p := a.newPage()
	if !got.Allowed {
		fmt.Fprintf(p.w, "%s %s may not %s %s\n", p.look.symbol(bad), printable(got.Who), printable(what), printable(where))
		why := grid{indent: 2, wraps: true}
		for _, r := range got.Reasons {
			by := r.Grant
			if by == "" {
				by = r.Field
			}
			why.add(plain(by), plain(r.Text))
		}
		why.write(p.w, p.look, p.width)
		if err := p.w.Flush(); err != nil {
			return err
		}
		return exitWith{code: exitNotTrusted}
	}
	fmt.Fprintf(p.w, "%s %s may %s %s\n", p.look.symbol(good), printable(got.Who), printable(what), printable(where))
	for _, g := range got.Grants {
		by := "by grant " + g.Name
		if g.File != "" {
			by += fmt.Sprintf(" (%s:%d)", g.File, g.Line)
		}
		if got.Session != "" {
			by += fmt.Sprintf(", as %s, for at most %s", g.RunAs, g.Lasts)
		}
		fmt.Fprintf(p.w, "  %s\n", p.look.dim(printable(by)))
	}
	return p.w.Flush()
}
