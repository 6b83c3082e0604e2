package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

func (a *app) paramGetCommand() *cobra.Command {
	var repo string
	var keys keyFlags
	var reveal bool
	cmd := &cobra.Command{
		Use:   "get NAME[:VERSION|:LABEL]",
		Short: "Print the value of a parameter",
		Long: `Print the value of a parameter: its current version, or the one with that number or label.
Of a SecureString only its name is printed; with --reveal the value, opened with the key of
this host (as root), if it is one of the readers, or with a key of fleet.recovery.
A parameter that has expired has no value, as for nodes.

It is read from the work tree around this folder; where there is none, as root on a node, from
the commit that is in force there. --repo names a work tree, or a bare repository, whose HEAD
counts. Which commit it was is told on standard error, and with -o json as commit.

Exit status: 0; 4 the secret is not encrypted to the key; 9 there is no such parameter,
version or label, or it has expired.`,
		Example: `  dunlin param get /prod/web/port
  dunlin param get /prod/web/port:3
  sudo dunlin param get /prod/db/password --reveal          # on a node that may read it
  dunlin param get /prod/web/port --repo /srv/git/policy.git
  dunlin param get /prod/db/password:prod --reveal --identity recovery-key.txt`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.paramGet(cmd.Context(), args[0], repo, keys, reveal)
		},
	}
	addReadRepo(cmd, &repo)
	keys.add(cmd)
	cmd.Flags().BoolVar(&reveal, "reveal", false, "print the value of a SecureString")
	return cmd
}

func (a *app) paramGet(ctx context.Context, arg, repo string, flags keyFlags, reveal bool) error {
	name, selector, _ := strings.Cut(strings.TrimSpace(arg), ":")
	if err := secret.Guard(); err != nil {
		return err
	}
	t, err := a.readParams(ctx, repo, flags)
	if err != nil {
		return err
	}
	defer t.close()
	p, err := t.get(name)
	if err != nil {
		return err
	}
	if e := p.Policies; e != nil && e.Expires != nil && !a.now().Before(*e.Expires) {
		return exitWith{code: exitNoMatch, err: fmt.Errorf("%s expired at %s", name, e.Expires.UTC().Format(time.RFC3339)), hint: "give it a new value and a later date: dunlin param put " + safe.Shell(name) + " --expires 90d"}
	}
	number, v, err := choose(name, p, selector)
	if err != nil {
		return err
	}
	value := v.Value
	if p.Type == schema.StoredSecureString {
		value = ""
		if reveal {
			keys, err := flags.open()
			if err != nil {
				return err
			}
			s, err := t.openVersion(name, number, v, keys)
			if err != nil {
				return err
			}
			defer s.Wipe()
			value = string(s.Reveal())
		}
	}
	if a.json() {
		out := struct {
			Parameter string            `json:"parameter"`
			Type      schema.StoredType `json:"type"`
			Version   int               `json:"version"`
			Labels    []string          `json:"labels"`
			Created   *time.Time        `json:"created,omitempty"`
			Commit    string            `json:"commit,omitempty"` // that was read; none of the files of a work tree
			Value     *string           `json:"value,omitempty"`
		}{name, p.Type, atoi(number), append([]string{}, v.Labels...), v.Created, t.commit, nil}
		if value != "" {
			out.Value = &value
		}
		return a.printJSON(out)
	}
	if t.commit != "" {
		fmt.Fprintln(a.err, printable(t.where))
	}
	if value == "" {
		fmt.Fprintf(a.out, "[secret %s@%s]\n", printable(name), number)
		fmt.Fprintln(a.err, "hint: --reveal prints the value")
		return nil
	}
	if lookOf(a.out).terminal {
		if value = onTerminal(value); p.Type != schema.StoredSecureString {
			value = printable(value)
		}
	}
	if !strings.HasSuffix(value, "\n") {
		value += "\n"
	}
	if _, err := fmt.Fprint(a.out, value); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// onTerminal is a value of several lines, maybe, that says nothing to the terminal: anybody can encrypt one to a node.
func onTerminal(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || r == '\t' || safe.Shown(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(safe.Escape(r))
		}
	}
	return b.String()
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// listedParam is a parameter as param list prints it.
type listedParam struct {
	Parameter   string                `json:"parameter"`
	Type        schema.StoredType     `json:"type"`
	Version     int                   `json:"version"`
	Labels      map[string]int        `json:"labels"` // to the version that has it
	Created     *time.Time            `json:"created,omitempty"`
	Expires     *time.Time            `json:"expires,omitempty"`
	Description string                `json:"description,omitempty"`
	Readers     []string              `json:"readers,omitempty"`
	Stale       bool                  `json:"stale"` // not encrypted to its readers of today
	Due         []schema.ParameterDue `json:"due"`
	Commit      string                `json:"commit,omitempty"` // that was read; none of the files of a work tree
}

func (a *app) paramListCommand() *cobra.Command {
	var repo, label string
	var host keyFlags
	var kind string
	var due bool
	cmd := &cobra.Command{
		Use:   "list [PATH]",
		Short: "List parameters, with what expires or is due",
		Long: `List the parameters at or below PATH (default all): type, current version, labels, when the
current version was written, and what people should look at: what has expired or will within
its notifyBefore, what was not changed for longer than its noChangeNotifyAfter, and secrets
that are not encrypted to their readers of today. Values are never printed.

They are those of the work tree around this folder; where there is none, as root on a node,
those of the commit in force there, which is named. --repo takes a bare repository, too.`,
		Example: `  dunlin param list
  dunlin param list /prod/db --label prod
  dunlin param list --due -o json | jq -r '.[].parameter'`,
		Args: maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.readParams(cmd.Context(), repo, host)
			if err != nil {
				return err
			}
			defer t.close()
			path := ""
			if len(args) > 0 {
				path = strings.TrimSuffix(strings.TrimSpace(args[0]), "/")
			}
			if kind != "" && !slices.Contains(schema.StoredString.Words(), kind) {
				return usageError{fmt.Errorf("--type %q is not one of %s", kind, strings.Join(schema.StoredString.Words(), ", "))}
			}
			all := a.listParams(t, path)
			all = slices.DeleteFunc(all, func(p listedParam) bool {
				_, labelled := p.Labels[label]
				return due && len(p.Due) == 0 && !p.Stale || label != "" && !labelled || kind != "" && string(p.Type) != kind
			})
			if a.json() {
				return a.printJSON(append([]listedParam{}, all...))
			}
			if len(all) == 0 {
				return a.noParams(t, due)
			}
			return a.printParams(t, all)
		},
	}
	addReadRepo(cmd, &repo)
	host.addHost(cmd)
	cmd.Flags().StringVar(&label, "label", "", "only parameters of which a version has this label")
	cmd.Flags().StringVar(&kind, "type", "", "only parameters of this type")
	cmd.Flags().BoolVar(&due, "due", false, "only parameters that people should look at")
	return cmd
}

func (a *app) listParams(t *paramTree, path string) []listedParam {
	repo := t.repo
	due := map[string][]schema.ParameterDue{}
	for _, d := range reconciler.Due(repo, a.now()) {
		due[d.Parameter] = append(due[d.Parameter], d)
	}
	var out []listedParam
	for _, name := range slices.Sorted(maps.Keys(repo.Parameters)) {
		if path != "" && name != path && !strings.HasPrefix(name, path+"/") {
			continue
		}
		p := repo.Parameters[name]
		number, v := p.Current()
		l := listedParam{Parameter: name, Type: p.Type, Version: number, Labels: map[string]int{}, Created: v.Created, Description: p.Description,
			Stale: reconciler.SealingOf(repo, p, v).Stale(), Due: append([]schema.ParameterDue{}, due[name]...), Commit: t.commit}
		if p.Policies != nil {
			l.Expires = p.Policies.Expires
		}
		for n, v := range p.Versions {
			for _, label := range v.Labels {
				l.Labels[label] = atoi(n)
			}
		}
		if p.Type == schema.StoredSecureString {
			for _, line := range reconciler.Readers(repo, p) {
				l.Readers = append(l.Readers, line.Name)
			}
		}
		out = append(out, l)
	}
	return out
}

// noParams says why a list of them is empty.
func (a *app) noParams(t *paramTree, due bool) error {
	p := a.newPage()
	all := len(t.repo.Parameters)
	switch {
	case all == 0:
		p.fact(attention, "parameters", "none yet; dunlin param put NAME VALUE --type String writes one")
	case due:
		p.fact(good, "parameters", "none is expired, due or to be encrypted anew")
	default:
		p.fact(attention, "parameters", fmt.Sprintf("none of %d is meant; dunlin param list shows all", all))
	}
	return t.foot(p)
}

func (a *app) printParams(t *paramTree, all []listedParam) error {
	p := a.newPage()
	now := a.now()
	g := grid{head: []string{"PARAMETER", "TYPE", "VERSION", "WRITTEN", "LABELS", "READERS"}}
	notes := grid{wraps: true}
	for _, l := range all {
		m := good
		for _, d := range l.Due {
			m = attention
			if d.What == schema.ParameterExpired {
				m = bad
			}
			notes.add(marked(m, l.Parameter), plain(dueText(d, now)))
		}
		if l.Stale {
			m = attention
			notes.add(marked(m, l.Parameter), plain("not encrypted to its readers of today: dunlin param rotate "+safe.Shell(l.Parameter)))
		}
		written, readers := "-", "all"
		if l.Created != nil {
			written = span(now.Sub(*l.Created)) + " ago"
		}
		if l.Type == schema.StoredSecureString {
			readers = listed(l.Readers, 3)
			if len(l.Readers) == 0 {
				readers = "none"
			}
		}
		var labels []string
		for _, label := range slices.Sorted(maps.Keys(l.Labels)) {
			labels = append(labels, label+"="+strconv.Itoa(l.Labels[label]))
		}
		g.add(marked(m, l.Parameter), plain(string(l.Type)), plain(strconv.Itoa(l.Version)), plain(written), plain(strings.Join(labels, " ")), plain(readers))
	}
	g.write(p.w, p.look, p.width)
	if len(notes.rows) > 0 {
		p.w.WriteByte('\n')
		notes.write(p.w, p.look, p.width)
	}
	return t.foot(p)
}

// dueText says why people should look at a parameter.
func dueText(d schema.ParameterDue, now time.Time) string {
	at := d.At.UTC().Format(time.RFC3339)
	switch d.What {
	case schema.ParameterExpired:
		return "expired " + span(now.Sub(d.At)) + " ago, at " + at + ": nobody can read it any more"
	case schema.ParameterExpires:
		return "expires in " + span(d.At.Sub(now)) + ", at " + at
	}
	return "not changed for " + span(now.Sub(d.At)) + ", since " + at
}

func (a *app) paramHistoryCommand() *cobra.Command {
	var repo string
	var host keyFlags
	cmd := &cobra.Command{
		Use:   "history NAME",
		Short: "List the versions of a parameter",
		Long: `List the versions of a parameter that are kept, oldest first: when each was written, its
labels, and of a SecureString who can open it, as far as the version says. Values are not
printed. Who changed what, and when, says Git: git log -p parameters/.

They are read where dunlin param get reads them; on a node the commit in force is named.`,
		Example: `  dunlin param history /prod/db/password
  dunlin param history /prod/db/password -o json | jq '.[] | select(.labels != [])'`,
		Args: exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := a.readParams(cmd.Context(), repo, host)
			if err != nil {
				return err
			}
			defer t.close()
			p, err := t.get(strings.TrimSpace(args[0]))
			if err != nil {
				return err
			}
			return a.printHistory(t, p)
		},
	}
	addReadRepo(cmd, &repo)
	host.addHost(cmd)
	return cmd
}

func (a *app) printHistory(t *paramTree, p schema.Parameter) error {
	repo := t.repo
	type version struct {
		Version    int        `json:"version"`
		Created    *time.Time `json:"created,omitempty"`
		Labels     []string   `json:"labels"`
		Recipients []string   `json:"recipients,omitempty"` // names of nodes, places in fleet.recovery, or keys
		Commit     string     `json:"commit,omitempty"`     // that was read; none of the files of a work tree
	}
	names := map[string]string{}
	for _, line := range repo.Roster {
		names[line.Keys.Age] = line.Name
	}
	for i, key := range repo.Fleet.Recovery {
		names[key] = fmt.Sprintf("fleet.recovery[%d]", i)
	}
	out := []version{}
	for _, n := range versionNumbers(p) {
		v := p.Versions[strconv.Itoa(n)]
		one := version{Version: n, Created: v.Created, Labels: append([]string{}, v.Labels...), Commit: t.commit}
		for _, key := range v.Recipients {
			if name := names[key]; name != "" {
				key = name
			}
			one.Recipients = append(one.Recipients, key)
		}
		slices.Sort(one.Recipients)
		out = append(out, one)
	}
	if a.json() {
		return a.printJSON(out)
	}
	page := a.newPage()
	g := grid{head: []string{"VERSION", "WRITTEN", "LABELS", "CAN OPEN IT"}, wraps: true}
	for _, v := range out {
		written := "-"
		if v.Created != nil {
			written = v.Created.UTC().Format(time.RFC3339)
		}
		who := listed(v.Recipients, 6)
		switch {
		case p.Type != schema.StoredSecureString:
			who = "all"
		case len(v.Recipients) == 0:
			who = "it does not say"
		}
		g.add(plain(strconv.Itoa(v.Version)), plain(written), plain(strings.Join(v.Labels, " ")), plain(who))
	}
	g.write(page.w, page.look, page.width)
	return t.foot(page)
}
