package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/dunlin-dev/dunlin/agent/journal"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
)

// maxSource is how large a file of the commit may be that hosts are given, in bytes.
const maxSource = 1 << 20

// Reconcile takes this host to what the repository in dir says, once, and accounts for it. node names a line of the
// roster; empty means a host that stands alone. A dry run looks, writes nothing and needs no root.
//
// The account is also returned with an error that ended the pass early. It fails with a *FaultsError for a
// policy that is refused, and with a *host.LockedError while another program works with the state folder.
func (l Local) Reconcile(ctx context.Context, dir, node string, dryRun bool) (schema.Account, error) {
	account := schema.Account{Changes: []schema.Change{}, Compliance: schema.NonCompliant}
	if !dryRun {
		unlock, err := l.lock("dunlin reconcile")
		if err != nil {
			return account, err
		}
		defer unlock()
		l.remember = true
	}
	defer l.foresee(ctx)()
	policy, err := l.Policy(ctx, dir, !dryRun)
	if err != nil {
		return account, err
	}
	account.Commit = policy.Commit
	for _, w := range policy.Warnings {
		l.tell("warning: %s", w)
	}
	n, err := l.Node(policy, node)
	if err != nil {
		return account, err
	}
	var j *journal.Journal
	if !dryRun {
		if j, err = journal.Open(filepath.Join(l.State, "journal"), l.Now); err != nil {
			return account, err
		}
		defer func() { _ = j.Close() }()
		if j.SetAside != "" {
			l.tell("warning: the journal was damaged and is kept as %s: restarts that an earlier pass owed are not known; restart what serves changed files", j.SetAside)
		}
		// A transaction that an earlier pass began is over before anything is judged.
		if err := l.Packages.Settle(ctx); err != nil {
			return account, err
		}
	}
	plan, err := l.PlanAgain(ctx, policy, n, !dryRun)
	if err != nil {
		return account, err
	}
	if !dryRun && plan.Patching.Opening != nil && l.Ceiling.Packages {
		if plan, err = l.refreshed(ctx, policy, n, plan); err != nil {
			return account, err
		}
	}
	for _, w := range plan.Warnings {
		l.tell("warning: %s", w)
	}
	v := l.vault(policy, n)
	changes, convergeErr := v.converge(ctx, l.pass(policy, plan, j, v), plan)
	account.Changes = append(account.Changes, changes...)
	if p := plan.Patching.Problem; p != "" {
		account.Changes = append(account.Changes, schema.Change{Resource: allPatches, Action: schema.Upgrade, Result: schema.Failed, Reason: p})
	}
	if convergeErr != nil {
		return account, convergeErr
	}
	return account, l.verdict(ctx, policy, n, plan, &account)
}

// foresee has the package manager read its database while the policy is read and judged. The caller waits for it at
// the end.
func (l Local) foresee(ctx context.Context) (wait func()) {
	p, can := l.Packages.(interface{ Foresee(context.Context) })
	if !can {
		return func() {}
	}
	var wg sync.WaitGroup
	wg.Go(func() { p.Foresee(ctx) })
	return wg.Wait
}

// pass is one go at the plan; without a journal it only looks.
func (l Local) pass(policy Policy, plan schema.Plan, j *journal.Journal, v *vault) reconciler.Pass {
	p := reconciler.Pass{
		Commit:   policy.Commit,
		Kinds:    reconciler.Kinds(l.Host, l.Packages, policy.Repo, plan, reconciler.KindOptions{Content: content(policy.Files), Secrets: v, Protected: l.Protected}),
		Ceiling:  l.Ceiling,
		Progress: l.Progress,
	}
	if j != nil {
		p.Journal = j
	}
	return p
}

// allPatches is the resource of a change that tells why no patch could be judged.
const allPatches = "patch:*"

// refreshed reads the archives' lists anew, as an install inside its window does first, and plans again. Where the
// package manager cannot be made ready that is the problem of patching, and all else goes on.
func (l Local) refreshed(ctx context.Context, policy Policy, n schema.Node, before schema.Plan) (schema.Plan, error) {
	l.tell("refreshing package lists")
	done, err := l.Packages.Prepare(ctx, true)
	if ctx.Err() != nil {
		return before, fmt.Errorf("prepare the package manager: %w", ctx.Err())
	}
	if err != nil {
		before.Patching = schema.Patching{Problem: fmt.Sprintf("prepare the package manager: %v", err)}
		before.Resources = slices.DeleteFunc(before.Resources, func(r schema.Resource) bool { return r.Kind == schema.KindPatch })
		return before, nil
	}
	for _, w := range done.Warnings {
		l.tell("warning: %s", w)
	}
	return l.Plan(ctx, policy, n)
}

// verdict judges the host by looking again: compliant is who has nothing that differs, and no patch that counts against it.
// Patches that were tried get the words of the second judgement.
func (l Local) verdict(ctx context.Context, policy Policy, n schema.Node, plan schema.Plan, account *schema.Account) error {
	judgement := plan.Patching.Judgement
	if installed(account.Changes) {
		again, err := l.Plan(ctx, policy, n)
		if err != nil {
			return err
		}
		judgement = again.Patching.Judgement
		if p := again.Patching.Problem; p != "" && plan.Patching.Problem == "" {
			account.Changes = append(account.Changes, schema.Change{Resource: allPatches, Action: schema.Upgrade, Result: schema.Failed, Reason: p})
		}
	}
	account.Compliance = schema.Compliant
	if judgement.Compliance == schema.NonCompliant {
		account.Compliance = schema.NonCompliant
	}
	for _, p := range judgement.Patches {
		switch p.State {
		case schema.InstalledPendingReboot, schema.InstalledRejected:
			account.Unwell = append(account.Unwell, p)
		}
	}
	for _, c := range account.Changes {
		if c.Result != schema.Changed {
			account.Compliance = schema.NonCompliant
		}
	}
	return nil
}

// installed reports whether packages may have changed in this pass.
func installed(cs []schema.Change) bool {
	for _, c := range cs {
		if c.Resource == allPatches {
			continue
		}
		switch c.Action {
		case schema.Install, schema.Upgrade, schema.Remove:
			if c.Result == schema.Changed || c.Result == schema.Failed {
				return true
			}
		}
	}
	return false
}

// Scan holds this host against its baseline and changes nothing of it. It fails where the history of installs may
// not be read: without it a patch that waits for a reboot would be called installed.
func (l Local) Scan(ctx context.Context, dir, node string) (schema.Patching, error) {
	if _, err := l.LastInstalls(); errors.Is(err, fs.ErrPermission) {
		return schema.Patching{}, err
	}
	// What is evaluated is kept only where there is a state folder already, and it is ours.
	info, err := os.Stat(l.State)
	policy, err := l.Policy(ctx, dir, err == nil && info.IsDir() && os.Geteuid() == 0)
	if err != nil {
		return schema.Patching{}, err
	}
	n, err := l.Node(policy, node)
	if err != nil {
		return schema.Patching{}, err
	}
	if datesFirstSeen(policy.Repo) && os.Geteuid() == 0 {
		// While an agent works with the state folder, it remembers what is seen.
		if unlock, err := l.lock("dunlin scan"); err == nil {
			defer unlock()
			l.remember = true
		}
	}
	plan, err := l.Plan(ctx, policy, n)
	return plan.Patching, err
}

// content reads files of the commit, at most 1 MiB each.
func content(files fs.FS) func(string) ([]byte, error) {
	return func(source string) ([]byte, error) {
		info, err := fs.Stat(files, source)
		if err != nil {
			return nil, fmt.Errorf("read source %q of the policy: %w", source, err)
		}
		if info.Size() > maxSource {
			return nil, fmt.Errorf("read source %q of the policy: %d bytes are more than %d", source, info.Size(), maxSource)
		}
		return fs.ReadFile(files, source)
	}
}
