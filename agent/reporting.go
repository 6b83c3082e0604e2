package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// electedReporters is how many nodes write reports; the second is for when the first does not.
	electedReporters = 2
	// standIns is how many are asked at most, in their order, to take the place of those that cannot write: where none of
	// them can, all of the fleet would ask the remote in vain.
	standIns = 6
	// gather is how long a reporter waits for others' lines once one has changed, so that one push carries many.
	gather = 2 * time.Second
	// settle is how long after its start a node believes that others, which it has not heard yet, are there and may write,
	// and waits for the lines of all: a fleet that starts together must not push together, and a reporter that starts anew
	// must not write that it has not heard of the others.
	settle = 20 * time.Second
	// pushTries is how often a rejected push is tried again at once, upon what the branch has become.
	pushTries = 5
	// checkReports is after how many intervals the branch is looked at though nothing has changed here.
	checkReports = 10
	// gatherFacts bounds how long others are asked for their facts before one push, factsRoom how many bytes of them it
	// carries; where more wait, the next push follows after moreFacts.
	gatherFacts = 30 * time.Second
	factsRoom   = 4 << 20
	moreFacts   = 10 * time.Second
	// silence is how long a node that gave no facts is not asked again; it doubles up to silenceMost. The lines of all others
	// wait meanwhile, so that one which never answers must cost them little.
	silence     = 5 * time.Second
	silenceMost = 10 * time.Minute
	// reportsRef is the branch as this node has read or written it last.
	reportsRef = "refs/dunlin/reports"
)

// ReportsRemote is how the branch of reports is read and pushed; *gitrepo.Store satisfies it.
type ReportsRemote interface {
	Fetch(ctx context.Context, branch string, refs ...string) (string, error)
	Push(ctx context.Context, branch, commit, old string) error
}

// reporter writes the reports branch while this node is elected.
type reporter struct {
	a       *Agent
	started time.Time
	own     gitrepo.Remote // of the policy, with the credential for reports
	allowed string         // where else the credential may go, as the host's own file says

	opened gitrepo.Remote // what the store is of
	store  *gitrepo.Store
	remote ReportsRemote
	shared atomic.Pointer[gitrepo.Store] // store, for other goroutines
	facts  map[string]string             // objects of the branch that were seen to be the facts of a digest
	silent map[string]silentNode         // nodes that gave no facts when they were asked last
	seen   string                        // the branch when it was last looked at in this run
	// cataloged names what the catalogs were made of that the branch has.
	cataloged string
	told      string // what a page said last that was written for its own sake by a node that sees few others
	broken    int    // failures in a row that are not the remote's
}

func newReporter(a *Agent, credential string) *reporter {
	c := a.o.Config
	r := gitrepo.Remote{URL: c.Repo.URL, CredentialFile: c.Repo.CredentialFile, KnownHosts: c.Repo.KnownHosts, CAFile: c.Repo.CAFile, Tip: true}
	if credential != "" {
		r.CredentialFile = credential
	}
	return &reporter{a: a, own: r, allowed: c.Reports.Remote, facts: map[string]string{}, silent: map[string]silentNode{}}
}

// settling says that others may not have been heard yet.
func (r *reporter) settling() bool { return r.a.cluster != nil && time.Since(r.started) < settle }

// hasAll reports whether this node has a line of each active one.
func (r *reporter) hasAll() bool {
	lines := r.a.lineRevisions()
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	for id := range r.a.pins {
		if lines[id] == 0 {
			return false
		}
	}
	return true
}

// interval is the least time between two pushes.
func (r *reporter) interval() time.Duration {
	d := r.a.fleet().Reports.Interval.Std()
	if d <= 0 {
		return 5 * time.Minute
	}
	return d
}

// agenda is when a reporter does what.
type agenda struct {
	changed time.Time // when something changed that is not on the branch; zero: nothing has
	looked  time.Time // when the branch was last looked at
	after   time.Time // nothing is pushed before that
}

// next is when the node of that rank is to look at the branch. The first reporter is quick, the second gives it time.
func (g agenda) next(now time.Time, rank int, interval time.Duration) time.Time {
	if rank < 0 {
		return now.Add(checkReports * interval)
	}
	at := g.looked.Add(checkReports * interval)
	if !g.changed.IsZero() {
		at = g.changed.Add(gather + time.Duration(rank)*(interval+10*gather))
	}
	if at.Before(g.after) {
		at = g.after
	}
	return at
}

// run writes reports as they change, and looks now and then whether the branch still says what this node knows.
func (r *reporter) run(ctx context.Context) error {
	a := r.a
	r.started = time.Now()
	pacer := gitrepo.NewPacer(r.interval(), a.o.Random)
	g := agenda{changed: r.started, looked: r.started}
	due := r.started.Add(gather)
	timer := time.NewTimer(gather)
	defer timer.Stop()
	soon := gather
	for {
		a.pulses.idle("report")
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return nil
		case <-a.reports:
			now := time.Now()
			if g.changed.IsZero() {
				g.changed = now
			}
			if at := now.Add(soon); at.Before(due) {
				due = at
			}
			continue
		case <-timer.C:
		}
		a.pulses.busy("report")
		now, rank, interval := time.Now(), r.rank(), r.interval()
		if soon = gather; rank < 0 && !r.settling() {
			soon = 10 * gather // to be elected is all that it waits for
		}
		due = g.next(now, rank, interval)
		if end := r.started.Add(settle); r.settling() && (rank < 0 && end.Before(due) || rank >= 0 && !r.hasAll()) {
			due = end
		}
		if due.After(now) {
			continue
		}
		did, err := r.write(ctx, rank)
		if ctx.Err() != nil {
			return nil
		}
		r.tell(err, did.pushed)
		now = time.Now()
		switch {
		case err != nil:
			if g.changed.IsZero() {
				g.changed = now
			}
			if g.after = pacer.Next(now, err); host.DiskFull(err) && g.after.After(now.Add(roomRetry)) {
				g.after = now.Add(roomRetry)
			}
		default:
			pacer = gitrepo.NewPacer(interval, a.o.Random)
			g = agenda{looked: now.Add(a.jitter(interval))}
			if did.later || did.left > 0 {
				g.changed = now
			}
			switch {
			case did.pushed && did.left > 0:
				g.after = now.Add(min(moreFacts, interval))
			case did.pushed || did.left > 0:
				g.after = now.Add(interval)
			}
		}
		due = g.next(now, r.rank(), interval)
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
	remote := r.own
	if remote.Branch = f.Branch; remote.Branch == "" {
		remote.Branch = "reports"
	}
	if f.Remote != "" {
		if !gitrepo.SameServer(f.Remote, r.own.URL) && !gitrepo.SameServer(f.Remote, r.allowed) {
			return fmt.Errorf("%w: fleet.reports.remote is not on the server of this host's repo.url, and a commit alone does not send its credential elsewhere: allow it in the host's own file with reports: remote: %q",
				gitrepo.ErrAuth, clip(redactedURL(f.Remote)))
		}
		remote.URL = f.Remote
	}
	if remote.URL == r.own.URL && remote.Branch == r.a.branch() {
		return fmt.Errorf("reports would be written to %q, the branch of the policy: name another in fleet.reports.branch", remote.Branch)
	}
	if r.store != nil && r.opened == remote {
		return nil
	}
	s, err := gitrepo.OpenStore(r.folder(), remote)
	if err != nil {
		return err
	}
	r.store, r.opened, r.remote, r.seen = s, remote, s, ""
	r.shared.Store(s)
	if r.a.o.Reports != nil {
		r.remote = r.a.o.Reports(s)
	}
	return nil
}

func (r *reporter) folder() string { return filepath.Join(r.a.o.Config.State, reportStore) }

// mend begins the store anew where it fails twice in a row for what is no remote's fault, nor a full disk's: all that it
// holds is on the branch, too.
func (r *reporter) mend(ctx context.Context, err error) {
	for _, theirs := range []error{gitrepo.ErrUnreachable, gitrepo.ErrUnknownHost, gitrepo.ErrAuth, gitrepo.ErrNoBranch, gitrepo.ErrTooLarge, gitrepo.ErrRejected} {
		if errors.Is(err, theirs) {
			r.broken = 0
			return
		}
	}
	if ctx.Err() != nil || err == nil || errors.Is(err, context.DeadlineExceeded) || host.DiskFull(err) {
		r.broken = 0
		return
	}
	if r.broken++; r.broken < 2 {
		return
	}
	r.broken, r.store = 0, nil
	r.a.log().Warn("the store of reports is begun anew", "error", one(err))
	if err := os.RemoveAll(r.folder()); err != nil {
		r.a.log().Warn("the store of reports is not removed", "error", one(err))
	}
}

// did is what came of a look at the branch.
type did struct {
	pushed bool
	later  bool // there is something to write, and another reporter writes
	left   int  // facts files that are still to be written
}

// write brings the branch up to what this node knows.
func (r *reporter) write(ctx context.Context, rank int) (d did, err error) {
	p, _, ok := r.a.inForce()
	if !ok || p.Repo.Fleet.Name == "" {
		return did{}, nil
	}
	defer func() { r.mend(ctx, err) }()
	if err := r.open(); err != nil {
		return did{}, err
	}
	for try := 0; ; try++ {
		r.a.pulses.busy("report")
		d, err = r.once(ctx, p.Repo.Fleet.Name, rank)
		if !errors.Is(err, gitrepo.ErrRejected) || try == pushTries {
			return d, err
		}
		// Another reporter was quicker, or the remote will not: what it has now is read, and merged again.
		if !sleep(ctx, r.a.jitter(time.Second<<try)) {
			return did{}, ctx.Err()
		}
	}
}

func (r *reporter) once(ctx context.Context, fleet string, rank int) (did, error) {
	a := r.a
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	head, err := r.remote.Fetch(ctx, r.opened.Branch)
	switch {
	case errors.Is(err, gitrepo.ErrNoBranch):
		head = ""
	case err != nil:
		return did{}, err
	}
	moved := head != r.seen
	r.seen = head
	before, err := r.lost(ctx, head)
	if err != nil {
		return did{}, err
	}
	if err := r.goOn(head); err != nil {
		return did{}, err
	}
	if moved {
		if err := r.readSeen(head); err != nil {
			return did{}, err
		}
	}
	nodes := r.nodes()
	c := ReportsCommit{Store: r.store, Head: head, Before: before, Fleet: fleet, Nodes: nodes, Room: factsRoom, Known: r.facts, Now: a.now()}
	asking, stop := context.WithTimeout(ctx, gatherFacts)
	c.Facts = func(n report.Node) ([]byte, error) { return r.factsFor(asking, n) }
	c.Seen = a.records.Of(schema.RecordSeen)
	catalogs, err := r.catalogs(asking, head, nodes)
	if err != nil {
		stop()
		return did{}, err
	}
	c.Renew, c.Catalogs = catalogs.changed, catalogs.all
	files, message, left, err := c.build()
	stop()
	if err != nil {
		return did{}, err
	}
	if catalogs.changed && !catalogs.partial && !anyCatalog(files) {
		r.cataloged = catalogs.key
	}
	maps.DeleteFunc(r.silent, func(id string, s silentNode) bool { return time.Since(s.until) > silenceMost })
	maps.DeleteFunc(r.facts, func(digest, _ string) bool {
		return !slices.ContainsFunc(nodes, func(n report.Node) bool { return n.Line.Facts == digest })
	})
	view := narrow(nodes)
	if view == "" || !onlyPages(files) {
		r.told = ""
	}
	// Two parts of a fleet that do not see each other would write the page in turn for as long as they are apart: the lesser
	// one says once how it sees the fleet.
	if len(files) == 0 || view != "" && view == r.told || head == "" && !hasLine(nodes) {
		r.known(head)
		r.written(nodes)
		return did{left: left}, nil
	}
	if rank > 0 && moved {
		// Who is first writes, as the branch shows. What it leaves out for a whole turn of its own is written here.
		if before == "" {
			r.known(head)
		}
		return did{later: true}, nil
	}
	commit, err := c.commit(files, message)
	if err != nil {
		return did{}, err
	}
	if commit == head {
		r.known(head)
		r.written(nodes)
		return did{left: left}, nil
	}
	if err := r.remote.Push(ctx, r.opened.Branch, commit, head); err != nil {
		return did{}, err
	}
	r.seen, r.told = commit, view
	r.known(commit)
	r.written(nodes)
	a.log().Info("reports written", "commit", commit, "files", len(files))
	if err := r.store.Repack(); err != nil {
		a.log().Warn("report store is not repacked", "error", one(err))
	}
	return did{pushed: true, left: left}, nil
}

// lost gives the commit that the branch was at when this node last looked, if what it is now does not follow on that:
// somebody removed the branch, or put it back.
func (r *reporter) lost(ctx context.Context, head string) (before string, err error) {
	before, err = r.store.Ref(reportsRef)
	if err != nil || before == "" || before == head || !r.store.Has(before) {
		return "", err
	}
	if head != "" {
		follows, err := r.store.Descends(ctx, head, before)
		if err != nil || follows {
			return "", err
		}
	}
	r.a.log().Warn("the reports branch does not follow on what it was; what it had of this fleet's nodes is written again", "was", before, "is", head)
	return before, nil
}

// goOn lets this node's counter, where it was lost or is from a backup, go on from what the branch has.
func (r *reporter) goOn(head string) error {
	line, err := standing(r.store, head, r.a.keys.ID())
	if err != nil {
		return err
	}
	return r.a.goOn(line)
}

func standing(store *gitrepo.Store, head, node string) (schema.ReportLine, error) {
	if head == "" {
		return schema.ReportLine{}, nil
	}
	old, err := branchReader(store, head)
	if err != nil {
		return schema.ReportLine{}, err
	}
	return report.Standing(old.read, node)
}

// goOn tells this node's counter which line of it the branch has, and publishes anew where it was behind.
func (a *Agent) goOn(line schema.ReportLine) error {
	rose, err := a.revs.AtLeast(line, a.keys.Public())
	if errors.Is(err, schema.ErrBadSignature) {
		return nil // somebody forged it; it gives way to this node's own
	}
	a.mu.Lock()
	a.stood = a.stood || err == nil
	a.mu.Unlock()
	if rose {
		a.log().Info("report line goes on from the branch", "rev", line.Rev)
		a.publishState()
	}
	return err
}

// factsFor takes a node's facts from where they are: here, or on the node if it can be asked.
func (r *reporter) factsFor(ctx context.Context, n report.Node) ([]byte, error) {
	a := r.a
	if b, err := a.storedFacts(n.Line.Facts); err == nil {
		return b, nil
	}
	if n.Status != schema.Online || n.Line.Node == a.keys.ID() {
		return nil, os.ErrNotExist
	}
	return r.factsFrom(ctx, n.Line.Node, n.Name, n.Line.Facts)
}

// silentNode is one that gave no facts.
type silentNode struct {
	times int
	until time.Time // it is not asked again before that
}

var errSilent = errors.New("it gave none just now")

// factsFrom asks a node for a file of its facts, unless it was asked in vain just now.
func (r *reporter) factsFrom(ctx context.Context, id, name, digest string) ([]byte, error) {
	began := time.Now()
	was := r.silent[id]
	if began.Before(was.until) {
		return nil, errSilent
	}
	b, err := r.a.factsOf(ctx, id, digest)
	// A node that has just started anew is reached by a new stream, once the old one is known to be dead.
	for try := 0; err != nil && try < 2 && time.Since(began) < stalled && sleep(ctx, gather/4); try++ {
		b, err = r.a.factsOf(ctx, id, digest)
	}
	if err == nil {
		delete(r.silent, id)
		return b, nil
	}
	if ctx.Err() != nil {
		return nil, err // that may be others' fault
	}
	r.silent[id] = silentNode{was.times + 1, time.Now().Add(min(silence<<min(was.times, 10), silenceMost))}
	r.a.log().Warn("facts of a node are not here yet", "node", name, "error", one(err))
	return nil, err
}

// narrow is how a node sees the fleet that has lost more of it than it sees; empty where it sees most.
func narrow(nodes []report.Node) string {
	seen, lost := 0, 0
	var view strings.Builder
	for _, n := range nodes {
		switch n.Status {
		case schema.Online:
			seen++
		case schema.ConnectionLost:
			lost++
		}
		view.WriteString(n.Line.Node + " " + string(n.Status) + "\n")
	}
	if lost <= seen {
		return ""
	}
	return view.String()
}

// onlyPages reports whether files has nothing that a node said.
func onlyPages(files map[string][]byte) bool {
	for path := range files {
		if dir, _, _ := strings.Cut(path, "/"); slices.Contains([]string{"nodes", "facts", "catalog", "firstseen", "conflicts.jsonl"}, dir) {
			return false
		}
	}
	return true
}

func hasLine(nodes []report.Node) bool {
	return slices.ContainsFunc(nodes, func(n report.Node) bool { return n.Line.Rev > 0 })
}

// known takes note of where the branch is.
func (r *reporter) known(commit string) {
	if commit != "" {
		if err := r.store.SetRef(reportsRef, commit); err != nil {
			r.a.log().Warn("reports' commit is not kept", "error", one(err))
		}
	}
	store := r.store
	r.a.mu.Lock()
	r.a.standing = func(node string) (schema.ReportLine, error) { return standing(store, commit, node) }
	r.a.mu.Unlock()
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
