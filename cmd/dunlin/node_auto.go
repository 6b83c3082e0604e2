package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
)

// gate is a machine with an enrolment key.
type gate struct {
	a      *app
	f      approveFlags
	p      *policyFolder
	branch string
	told   map[string]string // refusals that were told of, by id
}

// autoApprove lets in who may be let in, until ctx ends or once.
func (a *app) autoApprove(ctx context.Context, f approveFlags) error {
	every, err := schema.ParseDuration(f.every)
	if err != nil || every < time.Second {
		return usageError{fmt.Errorf("--every %q is not a duration of at least 1s", f.every)}
	}
	p, err := findPolicy(f.repo)
	if err != nil {
		return err
	}
	defer p.root.Close()
	g := gate{a: a, f: f, p: p, told: map[string]string{}}
	for {
		n, err := g.look(ctx)
		switch {
		case f.once:
			if err == nil && n == 0 && !a.json() {
				fmt.Fprintln(a.out, "nobody asks who may be let in")
			}
			return err
		case ctx.Err() != nil:
			return nil
		case err != nil:
			a.note(err.Error(), "")
			a.flush()
		}
		t := time.NewTimer(every)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// look lets in who asks now. Where another machine was faster it begins anew upon what that has pushed.
func (g *gate) look(ctx context.Context) (n int, err error) {
	for range 8 {
		n, again, err := g.once(ctx)
		if err != nil || !again {
			return n, err
		}
	}
	return 0, errors.New("others push all the time; nobody was let in")
}

func (g *gate) once(ctx context.Context) (n int, again bool, err error) {
	own := git{dir: g.p.dir}
	if dirty, err := own.run(ctx, nil, "status", "--porcelain"); err != nil || dirty != "" {
		return 0, false, errors.Join(err, exitWith{code: exitError, err: fmt.Errorf("%s has changes of its own", g.p.dir), hint: "--auto works in a clone that is its own: git stash, or git clone another"})
	}
	if g.branch == "" {
		if g.branch, err = own.run(ctx, nil, "rev-parse", "--abbrev-ref", "HEAD"); err != nil || g.branch == "HEAD" {
			return 0, false, exitWith{code: exitError, err: errors.New("the clone has no branch checked out"), hint: "git checkout main"}
		}
	}
	if _, err := own.run(ctx, nil, "fetch", "--quiet", "--no-tags", g.f.remote, g.branch); err != nil {
		return 0, false, err
	}
	// What it commits goes upon what people have signed, and nothing else is looked at.
	if _, err := own.run(ctx, nil, "reset", "--quiet", "--hard", "FETCH_HEAD"); err != nil {
		return 0, false, err
	}
	// After the branch, so that no commit of it is older than what was agreed to upon it.
	if _, err := own.run(ctx, nil, "fetch", "--quiet", "--no-tags", g.f.remote, "+"+gitrepo.ApprovalsRef+"*:"+gitrepo.ApprovalsRef+"*"); err != nil {
		return 0, false, err
	}
	t, err := openTrusted(g.p.dir)
	if err != nil {
		return 0, false, err
	}
	head, err := t.commit("HEAD")
	if err != nil {
		return 0, false, err
	}
	from := g.f.anchor
	if from == "" {
		from, err = t.firstSigned(ctx, head)
	}
	if err != nil {
		return 0, false, err
	}
	if _, err := trust.Verify(ctx, t.src, from, head, g.a.now()); err != nil {
		return 0, false, notTrusted(err)
	}
	fleet, err := t.src.Fleet(ctx, head)
	if err != nil {
		return 0, false, notTrusted(err)
	}
	may, err := g.activations(ctx, fleet)
	if err != nil {
		return 0, false, err
	}
	e := &rosterEdit{p: g.p, texts: map[string][]byte{}}
	all, err := g.a.joins(ctx, g.p, g.f.joinFlags)
	if err != nil {
		return 0, false, err
	}
	porch, err := e.porch(ctx)
	if err != nil {
		return 0, false, err
	}
	var lines []schema.RosterLine
	var names, done []string
	for _, x := range all {
		p := x.join.Proof
		if porch.roll.Known(p.ID) {
			if slices.Contains(x.by, "git") {
				done = append(done, p.ID)
			}
			continue
		}
		if !slices.Contains(may, p.Activation) {
			continue // somebody else's
		}
		var l schema.RosterLine
		if act := porch.acts[p.Activation]; !trust.Gives(act, p) {
			err = &trust.JoinRefusal{Kind: trust.JoinTags, Reason: "it asks for tags that the activation does not give: somebody of root may approve it"}
		} else {
			l, err = e.letIn(porch, x.join, "", nil, g.a.now())
		}
		if r := (*trust.JoinRefusal)(nil); errors.As(err, &r) {
			if g.told[p.ID] != r.Reason {
				g.told[p.ID] = r.Reason
				g.a.note(fmt.Sprintf("%s (%s) is not let in: %s: %s", p.Name, p.ID, r.Kind, r.Reason), "")
				g.a.flush()
			}
			if forGood(r) && slices.Contains(x.by, "git") {
				done = append(done, p.ID)
			}
			continue
		}
		if err != nil {
			return 0, false, err
		}
		lines, names = append(lines, l), append(names, l.Name)
		if len(lines) == 200 {
			break // the rest at the next look
		}
	}
	if len(lines) == 0 {
		removeProofs(ctx, own, g.f.remote, done)
		return 0, false, nil
	}
	c, err := e.commit(ctx, rosterFlags{}, "nodes: let in "+listed(names, 5), lines)
	if err != nil {
		return 0, false, err
	}
	if c.Commit == "" {
		return 0, false, exitWith{code: exitError, err: errors.New("nothing was committed"), hint: "git config commit.gpgsign true, gpg.format ssh and user.signingkey say how this machine signs"}
	}
	// Nobody takes a commit that is not right, and the branch would stand still: better to find out here.
	if err := g.verify(ctx, head); err != nil {
		return 0, false, err
	}
	if _, err := own.run(ctx, nil, "push", "--quiet", "--no-verify", g.f.remote, "HEAD:refs/heads/"+g.branch); err != nil {
		if now, e := own.run(ctx, nil, "ls-remote", g.f.remote, "refs/heads/"+g.branch); e == nil && !strings.HasPrefix(now, head) {
			return 0, true, nil
		}
		return 0, false, exitWith{code: exitError, err: err, hint: "the forge must let this machine's credential push to " + g.branch}
	}
	c.Pushed = true
	removeProofs(ctx, own, g.f.remote, done) // what was refused for want of room is so by what was pushed
	return len(lines), false, g.a.printRosterChange(c)
}

// verify fails where a host would not take what was committed here.
func (g *gate) verify(ctx context.Context, from string) error {
	t, err := openTrusted(g.p.dir)
	if err != nil {
		return err
	}
	head, err := t.commit("HEAD")
	if err != nil {
		return err
	}
	if _, err := trust.Verify(ctx, t.src, from, head, g.a.now()); err != nil {
		return notTrusted(err)
	}
	return nil
}

// activations are those that the roles of this machine's key name.
func (g *gate) activations(ctx context.Context, fleet schema.Fleet) ([]string, error) {
	line, err := g.signingKey(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, s := range fleet.Signers {
		if !slices.ContainsFunc(s.Keys, func(k string) bool { return sameKey(k, line) }) {
			continue
		}
		for _, role := range s.Roles {
			out = append(out, fleet.Roles[role].Activations...)
		}
	}
	if len(out) == 0 {
		return nil, exitWith{code: exitNotTrusted, err: errors.New("no role of this machine's signing key has activations"), hint: `fleet: roles: enrol: {paths: ["nodes/**"], activations: ["act-..."]}, and fleet: signers: gate: {keys: ["ssh-ed25519 ..."], roles: ["enrol"]}`}
	}
	return out, nil
}

// signingKey is the public key that git signs with here.
func (g *gate) signingKey(ctx context.Context) (string, error) {
	own := git{dir: g.p.dir}
	key, err := own.run(ctx, nil, "config", "--type=path", "--get", "user.signingkey")
	if err != nil || key == "" {
		return "", exitWith{code: exitError, err: errors.New("git has no user.signingkey here"), hint: "git config user.signingkey FILE"}
	}
	key = strings.TrimPrefix(key, "key::")
	if strings.HasPrefix(key, "ssh-") || strings.HasPrefix(key, "sk-ssh-") {
		return key, nil
	}
	b, err := readSmall(strings.TrimSuffix(key, ".pub")+".pub", 16<<10)
	if err != nil {
		return "", exitWith{code: exitError, err: fmt.Errorf("read the public half of git's user.signingkey: %w", err), hint: "ssh-keygen -y -f KEY > KEY.pub"}
	}
	return strings.TrimSpace(string(b)), nil
}

func sameKey(a, b string) bool {
	x, _, _, _, err1 := ssh.ParseAuthorizedKey([]byte(a))
	y, _, _, _, err2 := ssh.ParseAuthorizedKey([]byte(b))
	return err1 == nil && err2 == nil && string(x.Marshal()) == string(y.Marshal())
}
