package agent

import (
	"context"
	"errors"
	"io/fs"
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
	known  map[string]bool // facts that the branch has
}

func newReporter(a *Agent, credential string) *reporter {
	c := a.o.Config
	r := gitrepo.Remote{URL: c.Repo.URL, CredentialFile: c.Repo.CredentialFile, KnownHosts: c.Repo.KnownHosts, CAFile: c.Repo.CAFile}
	if credential != "" {
		r.CredentialFile = credential
	}
	return &reporter{a: a, remote: r, known: map[string]bool{}}
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
	if text := one(err); text != "" && text != was {
		a.log().Warn("reports are not written", "error", text)
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
	old := func(path string) ([]byte, error) {
		if head == "" {
			return nil, fs.ErrNotExist
		}
		return r.store.Read(head, path)
	}
	now := a.now()
	files, message, err := report.Build(old, fleet, r.nodes(ctx, old), now)
	if err != nil || len(files) == 0 {
		r.waiting(0, err)
		return false, err
	}
	commit, err := r.store.Commit(gitrepo.Change{Parent: head, Files: files, Message: message,
		Author: "dunlin", Email: "dunlin@" + fleet + ".invalid", When: now})
	if err != nil {
		return false, err
	}
	if err := r.store.Push(ctx, r.branch, commit, head); err != nil {
		return false, err
	}
	r.waiting(0, nil)
	a.log().Info("reports written", "commit", commit, "files", len(files))
	if err := r.store.SetRef("refs/dunlin/reports", commit); err != nil {
		a.log().Warn("reports' commit is not kept", "error", one(err))
	} else if err := r.store.Repack(); err != nil {
		a.log().Warn("report store is not repacked", "error", one(err))
	}
	return true, nil
}

func (r *reporter) waiting(n int, err error) {
	if err != nil {
		return
	}
	r.a.mu.Lock()
	r.a.report.Waiting = n
	r.a.mu.Unlock()
}

// nodes are all of the roster with the lines that this node holds, and the facts that the branch has not.
func (r *reporter) nodes(ctx context.Context, old func(string) ([]byte, error)) []report.Node {
	a := r.a
	lines := map[string]schema.ReportLine{}
	for _, rec := range a.records.Of(schema.RecordReport) {
		if l, ok := decode[schema.ReportLine](rec); ok && l.Node == rec.Node {
			lines[rec.Node] = l
		}
	}
	states := a.states()
	a.mu.Lock()
	var out []report.Node
	for id, l := range a.roster {
		if l.State == schema.NodeRetired {
			continue
		}
		_, heard := states[id]
		n := report.Node{Line: lines[id], Name: l.Name, Status: a.statusOf(l, heard), Key: a.keysOf[id]}
		if n.Line.Rev == 0 {
			n.Line = schema.ReportLine{Node: id}
		}
		out = append(out, n)
	}
	a.mu.Unlock()
	slices.SortFunc(out, func(x, y report.Node) int {
		if x.Line.Node < y.Line.Node {
			return -1
		}
		return 1
	})
	for i := range out {
		digest := out[i].Line.Facts
		if !isDigest(digest) || r.known[digest] {
			continue
		}
		if _, err := old("facts/" + digest[:2] + "/" + digest + ".json"); err == nil {
			r.known[digest] = true
			continue
		}
		b, err := a.factsOf(ctx, out[i].Line.Node, digest)
		if err != nil {
			a.log().Warn("facts of a node are not here yet", "node", out[i].Name, "error", one(err))
			continue
		}
		out[i].Facts = b
	}
	return out
}
