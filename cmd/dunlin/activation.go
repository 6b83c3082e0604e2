package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/dunlin-dev/dunlin/agent/secret"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// maxActivation is how long an activation may last (SSM API 2014-11-06, CreateActivation).
const maxActivation = 30 * 24 * time.Hour

func (a *app) activationCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "activation",
		Short: "Codes with which hosts ask to be let in",
		Long: `Codes with which new hosts ask to be let into the fleet: for a while, for so many hosts, with the tags
that they will have. See docs/enrolment.md.`,
		Example: `  dunlin activation create --tags role=web --limit 10 --expires 24h
  dunlin activation list
  dunlin activation revoke act-7q2m9c`,
		Args: groupArgs,
		RunE: a.needsCommand,
	}
	cmd.AddCommand(a.activationCreateCommand(), a.activationListCommand(), a.activationRevokeCommand())
	return cmd
}

type activationFlags struct {
	repo, expires, by, description, peer, url string
	tags, networks                            []string
	limit                                     int
}

func (a *app) activationCreateCommand() *cobra.Command {
	var f activationFlags
	cmd := &cobra.Command{
		Use:   "create [NAME]",
		Short: "Make a code, and write its public half into the policy repository",
		Long: `Write activations/NAME.cue into the work tree and print the code, which is its private half: once, and it is
kept nowhere. NAME is made up where it is not given. Nothing is committed: hosts can ask with the code
once the people with the role root have agreed to the commit that has the file.

Whoever holds the code may ask for as many hosts as --limit says until --expires; they are let in by
dunlin node approve, or by a machine whose role names the activation. Each has the tags given here.
Give the code to installers by a way that is not the repository.

The anchor that is printed is the newest commit whose history people have signed: it tells a host whom to
believe, and is no secret.`,
		Example: `  dunlin activation create --tags role=web
  dunlin activation create dc1 --tags role=web --tags site=fra --limit 100 --expires 7d --network 10.0.0.0/8
  dunlin activation create --tags role=web --peer 10.0.0.5:7951 -o json`,
		Args: maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.createActivation(cmd.Context(), first(args, ""), f)
		},
	}
	cmd.Flags().StringVar(&f.repo, "repo", "", repoAround)
	cmd.Flags().StringArrayVar(&f.tags, "tags", nil, "a tag of the nodes")
	cmd.Flags().IntVar(&f.limit, "limit", 1, "how many nodes may enrol with it, 1 to 1000")
	cmd.Flags().StringVar(&f.expires, "expires", "24h", "for how long, at most 30d")
	cmd.Flags().StringArrayVar(&f.networks, "network", nil, "where hosts may come from, such as 10.0.0.0/8 (default anywhere)")
	cmd.Flags().StringVar(&f.by, "by", "", "who makes it (default: git's user.name)")
	cmd.Flags().StringVar(&f.description, "description", "", "what it is for")
	cmd.Flags().StringVar(&f.peer, "peer", "", "the peer server of a node that hosts may ask, for the line that is printed")
	cmd.Flags().StringVar(&f.url, "url", "", "how hosts reach the policy repository: for the line that is printed (default: the remote origin)")
	return cmd
}

// activationView is what is printed of a new activation.
type activationView struct {
	ID      string            `json:"id"`
	Code    string            `json:"code"`
	Anchor  string            `json:"anchor"`
	File    string            `json:"file"`
	Expires string            `json:"expires"`
	Limit   int               `json:"limit"`
	Tags    map[string]string `json:"tags"`
	Join    string            `json:"join"`
}

func (a *app) createActivation(ctx context.Context, name string, f activationFlags) error {
	tags, err := parseTags(f.tags)
	if err != nil {
		return err
	}
	lasts, err := schema.ParseDuration(f.expires)
	switch {
	case err != nil:
		return usageError{fmt.Errorf("--expires: %w", err)}
	case lasts < time.Minute || lasts > maxActivation:
		return usageError{fmt.Errorf("--expires %s is not between 1m and 30d", f.expires)}
	case f.limit < 1 || f.limit > 1000:
		return usageError{fmt.Errorf("--limit %d is not between 1 and 1000", f.limit)}
	}
	for _, n := range f.networks {
		if p, err := netip.ParsePrefix(n); err != nil || p.Addr().Is4In6() {
			return usageError{fmt.Errorf("--network %q is not a network such as 10.0.0.0/8 or 2001:db8::/32", n)}
		}
	}
	if f.peer != "" {
		if host, port, err := net.SplitHostPort(f.peer); err != nil || host == "" || port == "" {
			return usageError{fmt.Errorf("--peer %q is not HOST:PORT", f.peer)}
		}
	}
	if name == "" {
		name = "act-" + newWord(6)
	}
	if err := load.CheckName("activation", name); err != nil {
		return usageError{err}
	}
	p, err := findPolicy(f.repo)
	if err != nil {
		return err
	}
	defer p.root.Close()
	file := objectFile("activation", name)
	if _, err := p.untaken(ctx, "activation", name, file, false); err != nil {
		return err
	}
	if enrolled, err := p.enrolledWith(name); err != nil || enrolled > 0 {
		return exitWith{code: exitError, err: fmt.Errorf("new activation: %d nodes have enrolled with one of the name %q already", enrolled, name), hint: "choose another name"}
	}
	g := git{dir: p.dir}
	if f.by == "" {
		if f.by, err = g.run(ctx, nil, "config", "--get", "user.name"); err != nil || f.by == "" {
			return usageError{errors.New("git has no user.name here: say who makes it with --by NAME")}
		}
	}
	if f.url == "" {
		if url, err := g.run(ctx, nil, "config", "--get", "remote.origin.url"); err == nil {
			f.url = withoutSecret(url)
		}
	}
	anchor, note, why := a.newestAnchor(ctx, p.dir)
	if err := secret.Guard(); err != nil {
		return err
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make the code: %w", err)
	}
	expires := a.now().UTC().Add(lasts).Truncate(time.Second)
	text, err := activationText(name, pub, expires, f, tags)
	if err != nil {
		return err
	}
	if err := p.write(file, text, 0o666); err != nil {
		return err
	}
	if err := p.refusesActivation(ctx, name); err != nil {
		_ = p.root.Remove(filepath.FromSlash(file))
		return err
	}
	v := activationView{ID: name, Code: trust.FormatCode(key), Anchor: anchor, File: p.show(file), Expires: expires.Format(time.RFC3339), Limit: f.limit, Tags: tags}
	v.Join = "sudo dunlin join --repo " + safe.Shell(orWord(f.url, "URL")) + " --activation " + safe.Shell(name) + " --code-file -"
	if errors.Is(why, errNoPeople) {
		v.Join += " --unsigned"
	} else { // a host is told to believe anything nowhere but where nobody signs
		v.Join += " --anchor " + orWord(anchor, "COMMIT")
	}
	if overSSH(f.url) {
		v.Join += " --credential-file /etc/dunlin/repo.key --known-hosts /etc/dunlin/known_hosts"
	}
	if f.peer != "" {
		v.Join += " --peer " + safe.Shell(f.peer)
	}
	switch {
	case errors.Is(why, errNoPeople):
		a.note("no anchor: "+why.Error(), "")
	case why != nil:
		a.note("no anchor: "+why.Error(), "once that is mended dunlin trust anchor prints the commit")
	}
	if note != "" {
		a.note("the anchor is not the newest commit: "+note, "")
	}
	if a.json() {
		return a.printJSON(v)
	}
	l := lookOf(a.out)
	fmt.Fprintf(a.out, "%s %s: %s%s, until %s\n\n", l.symbol(good), printable(v.File), counted(f.limit, "node"), tagsText(tags), v.Expires)
	fmt.Fprintf(a.out, "  id      %s\n  code    %s\n", name, v.Code)
	if anchor != "" {
		fmt.Fprintf(a.out, "  anchor  %s\n", anchor)
	}
	fmt.Fprintf(a.out, "\nThe code is shown once and is kept nowhere.\n\nnext: git add %s && git commit -S -m \"activation %s\", which the role root must agree to, and push it\nthen, on each host, which asks for the code:\n\n  %s\n",
		printable(safe.Shell(file)), printable(name), printable(v.Join))
	if overSSH(f.url) {
		fmt.Fprint(a.out, "\nrepo.key is a key without passphrase that may read there, known_hosts what ssh-keyscan prints, compared with the server's key.\n")
	}
	if f.peer == "" {
		fmt.Fprint(a.out, "\nWith --peer HOST:7951 of a node that is in, the host asks that node and is given the gossip key; the first host has no such node: docs/enrolment.md.\n")
	}
	return nil
}

// overSSH reports whether a repository is reached by ssh, which wants a key and the server's.
func overSSH(url string) bool {
	host, _, scp := strings.Cut(url, ":")
	return strings.HasPrefix(url, "ssh://") || scp && !strings.Contains(url, "://") && strings.Contains(host, "@")
}

func orWord(s, or string) string {
	if s == "" {
		return or
	}
	return s
}

// newWord is a random word of letters and digits that are not taken for each other.
func newWord(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))[:n]
}

// withoutSecret is a URL without a password in it.
func withoutSecret(raw string) string {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || scheme == "ssh" {
		return raw
	}
	host, path, _ := strings.Cut(rest, "/")
	if _, h, ok := strings.Cut(host, "@"); ok {
		host = h
	}
	return scheme + "://" + strings.TrimSuffix(host+"/"+path, "/")
}

// newestAnchor is the newest commit of a clone whose history people have signed; why says why there is
// none, and note why it is not the newest of all.
func (a *app) newestAnchor(ctx context.Context, dir string) (anchor, note string, why error) {
	t, err := openTrusted(dir)
	if err != nil {
		return "", "", err
	}
	head, err := t.commit("HEAD")
	if err != nil {
		return "", "", err
	}
	from, err := t.firstSigned(ctx, head)
	if err != nil {
		return "", "", err
	}
	steps, err := trust.Verify(ctx, t.src, from, head, a.now())
	if err == nil {
		return head, "", nil
	}
	r := (*trust.Refusal)(nil)
	if !errors.As(err, &r) {
		return "", "", err
	}
	if note = r.Error(); r.Kind == trust.NotAgreed {
		note += " (" + fetchApprovals + ")"
	}
	if len(steps) > 0 { // what is not agreed to yet comes later
		return steps[len(steps)-1].Commit, note, nil
	}
	return from, note, nil
}

func activationText(name string, pub ed25519.PublicKey, expires time.Time, f activationFlags, tags map[string]string) ([]byte, error) {
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("make the code: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "package fleet\n\nactivation: %s: {\n", cueText(name))
	if f.description != "" {
		fmt.Fprintf(&b, "description: %s\n", cueText(f.description))
	}
	fmt.Fprintf(&b, "publicKey: %s\nexpires: %q\nlimit: %d\n", cueText(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))), expires.Format(time.RFC3339), f.limit)
	if len(f.networks) > 0 {
		var quoted []string
		for _, n := range f.networks {
			quoted = append(quoted, cueText(n))
		}
		fmt.Fprintf(&b, "networks: [%s]\n", strings.Join(quoted, ", "))
	}
	if len(tags) > 0 {
		b.WriteString("tags: {\n")
		for _, k := range slices.Sorted(maps.Keys(tags)) {
			fmt.Fprintf(&b, "%s: %s\n", cueText(k), cueText(tags[k]))
		}
		b.WriteString("}\n")
	}
	fmt.Fprintf(&b, "createdBy: %s\n}\n", cueText(f.by))
	text, faults := load.Format("activation.cue", []byte(b.String()))
	if len(faults) > 0 {
		return nil, fmt.Errorf("new activation: %s", faults[0])
	}
	return text, nil
}

// cueText quotes a text for CUE.
func cueText(s string) string {
	q := strconv.Quote(strings.ToValidUTF8(s, "\uFFFD"))
	return strings.NewReplacer(`\x`, `\u00`).Replace(q)
}

func tagsText(tags map[string]string) string {
	if len(tags) == 0 {
		return " without tags"
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, k+"="+tags[k])
	}
	return " with " + printable(strings.Join(out, ", "))
}

// refusesActivation fails where the repository has faults that concern an activation.
func (p *policyFolder) refusesActivation(ctx context.Context, name string) error {
	repo, faults, err := load.Child(loadOptions())(ctx, p.root.FS())
	if err != nil {
		return fmt.Errorf("read the repository: %w", err)
	}
	for _, f := range faults {
		if f.Severity != schema.SeverityWarning && strings.HasPrefix(f.Path, "activation."+name) {
			return exitWith{code: exitFaults, err: errors.New(f.String()), hint: "nothing was written"}
		}
	}
	if _, ok := repo.Activations[name]; !ok && len(faults) == 0 {
		return fmt.Errorf("the activation %q is not read as it was written", name)
	}
	return nil
}

// enrolledWith is how many nodes have enrolled with an activation.
func (p *policyFolder) enrolledWith(name string) (n int, err error) {
	err = walkFiles(p.root.FS(), trust.JoinsFolder+"/"+name, func(file string) error {
		b, _, err := p.read(file)
		n += bytes.Count(b, []byte("\n"))
		return err
	})
	return n, err
}

func (a *app) activationListCommand() *cobra.Command {
	var repo string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Activations, and how many nodes have enrolled with each",
		Long: `Print the activations of the policy repository: what each is for, how many nodes have enrolled with it,
and whether hosts can still ask with it.`,
		Example: `  dunlin activation list
  dunlin activation list -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listActivations(cmd.Context(), repo) },
	}
	cmd.Flags().StringVar(&repo, "repo", "", repoAround)
	return cmd
}

type activationLine struct {
	ID       string            `json:"id"`
	State    string            `json:"state"` // open, expired, full
	Enrolled int               `json:"enrolled"`
	Limit    int               `json:"limit"`
	Expires  string            `json:"expires"`
	Tags     map[string]string `json:"tags"`
	Networks []string          `json:"networks"`
	By       string            `json:"createdBy"`
}

func (a *app) listActivations(ctx context.Context, dir string) error {
	p, err := findPolicy(dir)
	if err != nil {
		return err
	}
	defer p.root.Close()
	repo, _, err := load.Child(loadOptions())(ctx, p.root.FS())
	if err != nil {
		return fmt.Errorf("read the repository: %w", err)
	}
	lines := []activationLine{}
	for _, name := range slices.Sorted(maps.Keys(repo.Activations)) {
		act := repo.Activations[name]
		n, err := p.enrolledWith(name)
		if err != nil {
			return err
		}
		l := activationLine{name, "open", n, max(act.Limit, 1), act.Expires.UTC().Format(time.RFC3339), act.Tags, act.Networks, act.CreatedBy}
		switch {
		case !a.now().Before(act.Expires):
			l.State = "expired"
		case n >= l.Limit:
			l.State = "full"
		}
		if l.Tags == nil {
			l.Tags = map[string]string{}
		}
		if l.Networks == nil {
			l.Networks = []string{}
		}
		lines = append(lines, l)
	}
	if a.json() {
		return a.printJSON(lines)
	}
	if len(lines) == 0 {
		fmt.Fprintln(a.out, "no activations; dunlin activation create makes one")
	}
	for _, l := range lines {
		from := ""
		if len(l.Networks) > 0 {
			from = ", from " + strings.Join(l.Networks, ", ")
		}
		fmt.Fprintf(a.out, "%s  %s: %d of %d%s%s, until %s, by %s\n", printable(l.ID), l.State, l.Enrolled, l.Limit, tagsText(l.Tags), printable(from), l.Expires, printable(l.By))
	}
	return nil
}

func (a *app) activationRevokeCommand() *cobra.Command {
	var repo string
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "End an activation",
		Long: `Remove the file of an activation from the work tree. Nothing is committed: from the commit on that lacks it, nobody is
let in with its code. Nodes that have enrolled with it stay; dunlin node retire takes one out.`,
		Example: `  dunlin activation revoke act-7q2m9c`,
		Args:    exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := findPolicy(repo)
			if err != nil {
				return err
			}
			defer p.root.Close()
			return a.revokeActivation(cmd.Context(), p, args[0])
		},
	}
	cmd.Flags().StringVar(&repo, "repo", "", repoAround)
	return cmd
}

func (a *app) revokeActivation(ctx context.Context, p *policyFolder, name string) error {
	all, _, err := load.Child(loadOptions())(ctx, p.root.FS())
	if err != nil {
		return fmt.Errorf("read the repository: %w", err)
	}
	at, ok := all.Positions[load.ObjectPath("activation", name)]
	if !ok {
		near := ""
		if n := schema.Nearest(name, slices.Sorted(maps.Keys(all.Activations))); n != "" {
			near = fmt.Sprintf(" (did you mean %q?)", n)
		}
		return exitWith{code: exitNoMatch, err: fmt.Errorf("no activation %q%s", name, near), hint: "dunlin activation list"}
	}
	for path, other := range all.Positions {
		if own := load.ObjectPath("activation", name); other.File == at.File && path != own && !strings.HasPrefix(path, own+".") && !strings.HasPrefix(path, own+"[") {
			return exitWith{code: exitError, err: fmt.Errorf("%s holds more than the activation %q", p.show(at.File), name), hint: "take it out there by hand"}
		}
	}
	for _, role := range slices.Sorted(maps.Keys(all.Fleet.Roles)) {
		if slices.Contains(all.Fleet.Roles[role].Activations, name) {
			return exitWith{code: exitError, err: fmt.Errorf("the role %q names the activation %q", role, name), hint: "take it out of fleet.roles." + role + ".activations first: both go into one commit, or the policy has a fault"}
		}
	}
	if err := p.plain(at.File); err != nil {
		return err
	}
	if err := p.root.Remove(filepath.FromSlash(at.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %q: %w", p.show(at.File), cause(err))
	}
	if a.json() {
		return a.printJSON(map[string]string{"id": name, "removed": p.show(at.File)})
	}
	fmt.Fprintf(a.out, "%s %s is removed\n\nnext: git commit -S -am \"revoke activation %s\", which the role root must agree to, and push it\n", lookOf(a.out).symbol(good), printable(p.show(at.File)), printable(name))
	return nil
}
