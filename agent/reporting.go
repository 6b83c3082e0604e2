package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// electedReporters is how many nodes write reports; the second is for when the first does not.
	electedReporters = 2
	// gather is how long a reporter waits for others' lines once one has changed, so that one push carries many.
	gather = 2 * time.Second
	// pushTries is how often a rejected push is tried again at once, upon what the branch has become.
	pushTries = 5
)

// reporter writes the reports branch while this node is elected.
type reporter struct {
	a      *Agent
	remote gitrepo.Remote
	store  *gitrepo.Store
	branch string
}

func newReporter(a *Agent, credential string) *reporter {
	c := a.o.Config
	r := gitrepo.Remote{URL: c.Repo.URL, CredentialFile: c.Repo.CredentialFile, KnownHosts: c.Repo.KnownHosts, CAFile: c.Repo.CAFile}
	if credential != "" {
		r.CredentialFile = credential
	}
	return &reporter{a: a, remote: r}
}

// reporters are the elected nodes. Those that may report are known from their records. The caller holds mu.
func (a *Agent) reporters(states map[string]schema.StateRecord) []string {
	var may []string
	for id := range a.pins {
		if id == a.keys.ID() && a.reporter != nil || id != a.keys.ID() && a.online[id] && states[id].Reporter {
			may = append(may, id)
		}
	}
	name := ""
	if a.policy != nil {
		name = a.policy.Repo.Fleet.Name
	}
	may = ranked("report "+name, may)
	return may[:min(len(may), electedReporters)]
}

// rank is this node's place among the reporters, -1 where it is none.
func (r *reporter) rank() int {
	states := r.a.states()
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	return slices.Index(r.a.reporters(states), r.a.keys.ID())
}

// interval is the least time between two pushes.
func (r *reporter) interval() time.Duration {
	d, err := time.ParseDuration(r.a.fleet().Reports.Interval)
	if err != nil || d <= 0 {
		return 5 * time.Minute
	}
	return d
}

// run writes reports as they change, and looks now and then whether the branch still says what this node knows.
func (r *reporter) run(ctx context.Context) error {
	a := r.a
	pacer := gitrepo.NewPacer(r.interval(), a.o.Random)
	timer := time.NewTimer(gather)
	defer timer.Stop()
	due := time.Now().Add(gather)
	var last time.Time
	for {
		a.pulses.idle("report")
		select {
		case <-ctx.Done():
			return nil
		case <-a.reports:
			// The first reporter is quick, the second gives it time.
			next := time.Now().Add(gather)
			if rank := r.rank(); rank > 0 {
				next = next.Add(time.Duration(rank)*r.interval() + 10*gather)
			}
			if min := last.Add(r.interval()); next.Before(min) && !last.IsZero() {
				next = min
			}
			if next.Before(due) && pacer.Failures() == 0 {
				due = next
				timer.Reset(time.Until(due))
			}
			continue
		case <-timer.C:
		}
		a.pulses.busy("report")
		var err error
		pushed := false
		if rank := r.rank(); rank >= 0 {
			pushed, err = r.write(ctx)
		}
		if pushed {
			last = time.Now()
		}
		if ctx.Err() != nil {
			return nil
		}
		r.tell(err, pushed)
		if err != nil {
			due = pacer.Next(time.Now(), err)
		} else {
			pacer = gitrepo.NewPacer(r.interval(), a.o.Random)
			due = time.Now().Add(10*r.interval() + a.jitter(r.interval()))
		}
		timer.Reset(time.Until(due))
	}
}

// tell takes note of how reporting goes.
func (r *reporter) tell(err error, pushed bool) {
	a := r.a
	a.mu.Lock()
	was := a.report.Error
	a.report.Error = one(err)
	if pushed {
		a.report.LastPush = a.now().UTC()
	}
	a.mu.Unlock()
	text := one(err)
	if text != "" && text != was {
		a.log().Warn("reports are not written", "error", text)
	}
	if text != was {
		a.publishState()
	}
}

// open gives the store of the reports branch.
func (r *reporter) open() error {
	f := r.a.fleet().Reports
	branch, remote := f.Branch, r.remote
	if branch == "" {
		branch = "reports"
	}
	if f.Remote != "" {
		remote.URL = f.Remote
	}
	remote.Branch = branch
	if r.store != nil && r.branch == branch && r.remote.URL == remote.URL {
		return nil
	}
	s, err := gitrepo.OpenStore(filepath.Join(r.a.o.Config.State, reportStore), remote)
	if err != nil {
		return err
	}
	r.store, r.branch, r.remote = s, branch, remote
	return nil
}

// write brings the branch up to what this node knows. It reports whether something was pushed.
func (r *reporter) write(ctx context.Context) (pushed bool, err error) {
	p, _, ok := r.a.inForce()
	if !ok || p.Repo.Fleet.Name == "" {
		return false, nil
	}
	if err := r.open(); err != nil {
		return false, err
	}
	for try := 0; ; try++ {
		r.a.pulses.busy("report")
		pushed, err = r.once(ctx, p.Repo.Fleet.Name)
		if !errors.Is(err, gitrepo.ErrRejected) || try == pushTries {
			return pushed, err
		}
		// Another reporter was quicker, or the remote will not: what it has now is read, and merged again.
		if !sleep(ctx, r.a.jitter(time.Second<<try)) {
			return false, ctx.Err()
		}
	}
}

func (r *reporter) once(ctx context.Context, fleet string) (pushed bool, err error) {
	a := r.a
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	head, err := r.store.Fetch(ctx, r.branch)
	switch {
	case errors.Is(err, gitrepo.ErrNoBranch):
		head = ""
	case err != nil:
		return false, err
	}
	if err := r.goOn(head); err != nil {
		return false, err
	}
	now := a.now()
	nodes := r.nodes()
	commit, changed, err := CommitReports(r.store, head, fleet, nodes, func(n report.Node) ([]byte, error) {
		b, err := a.factsOf(ctx, n.Line.Node, n.Line.Facts)
		if err != nil {
			a.log().Warn("facts of a node are not here yet", "node", n.Name, "error", one(err))
		}
		return b, err
	}, now)
	if err != nil {
		return false, err
	}
	if commit == head {
		r.written(nodes)
		return false, nil
	}
	if err := r.store.Push(ctx, r.branch, commit, head); err != nil {
		return false, err
	}
	r.written(nodes)
	a.log().Info("reports written", "commit", commit, "files", changed)
	if err := r.store.SetRef("refs/dunlin/reports", commit); err != nil {
		a.log().Warn("reports' commit is not kept", "error", one(err))
	} else if err := r.store.Repack(); err != nil {
		a.log().Warn("report store is not repacked", "error", one(err))
	}
	return true, nil
}

// goOn lets this node's counter, where its file was lost, go on from what the branch has.
func (r *reporter) goOn(head string) error {
	a := r.a
	if !a.revs.Lost() {
		return nil
	}
	var line schema.ReportLine
	if head != "" {
		var err error
		if line, err = report.Standing(func(path string) ([]byte, error) { return r.store.Read(head, path) }, a.keys.ID()); err != nil {
			return err
		}
	}
	rose, err := a.revs.AtLeast(line, a.keys.Public())
	if errors.Is(err, schema.ErrBadSignature) {
		return nil // somebody forged it; it gives way to this node's own
	}
	if rose {
		a.log().Info("report line goes on from the branch", "rev", line.Rev)
		a.publishState()
	}
	return err
}

// written takes note of which lines are on the branch.
func (r *reporter) written(nodes []report.Node) {
	revs := make(map[string]uint64, len(nodes))
	for _, n := range nodes {
		revs[n.Line.Node] = n.Line.Rev
	}
	r.a.mu.Lock()
	r.a.written = revs
	r.a.mu.Unlock()
}

// waiting counts the lines that this node holds and that the branch lacks; nil where it cannot know: another node writes,
// or nothing was written yet. The caller holds mu.
func (a *Agent) waiting(elected []string, lines map[string]uint64) *int {
	if len(elected) == 0 || elected[0] != a.keys.ID() || a.written == nil {
		return nil
	}
	n := 0
	for id, rev := range lines {
		if rev > a.written[id] {
			n++
		}
	}
	return &n
}

// nodes are all of the roster with the lines that this node holds.
func (r *reporter) nodes() []report.Node {
	a := r.a
	lines := map[string]schema.ReportLine{}
	for _, rec := range a.records.Of(schema.RecordReport) {
		if l, ok := decode[schema.ReportLine](rec); ok && l.Node == rec.Node {
			lines[rec.Node] = l
		}
	}
	states := a.states()
	a.mu.Lock()
	defer a.mu.Unlock()
	status := make(map[string]schema.NodeStatus, len(a.roster))
	keys := make(map[string]ed25519.PublicKey, len(a.roster)) // of retired nodes too: what they said stays checked
	for id, l := range a.roster {
		_, heard := states[id]
		status[id] = a.statusOf(l, heard)
		if key, ok := signingKey(l); ok {
			keys[id] = key
		}
	}
	return report.Known(slices.Collect(maps.Values(a.roster)), lines, status, keys)
}

// CommitReports makes the next commit of a reports branch upon head, "" for the first, with what nodes says merged in.
// Where that says nothing new it gives head. changed counts the files that differ. facts gives those of a node that the
// branch lacks. No reference is moved and nothing is pushed.
func CommitReports(store *gitrepo.Store, head, fleet string, nodes []report.Node, facts func(report.Node) ([]byte, error), now time.Time) (commit string, changed int, err error) {
	old := func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	has := func(string) bool { return false }
	if head != "" {
		tree, err := store.Tree(head)
		if err != nil {
			return "", 0, err
		}
		old = func(path string) ([]byte, error) { return fs.ReadFile(tree, path) }
		has = func(path string) bool { _, err := fs.Lstat(tree.FS, path); return err == nil }
	}
	report.AddFacts(nodes, has, facts)
	files, message, err := report.Build(old, fleet, nodes, now)
	if err != nil || len(files) == 0 {
		return head, 0, err
	}
	commit, err = store.Commit(gitrepo.Change{Parent: head, Files: files, Message: message,
		Author: "dunlin", Email: "dunlin@" + fleet + ".invalid", When: now})
	return commit, len(files), err
}
