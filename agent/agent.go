// Package agent is where effects meet decisions: it opens a policy repository,
// observes the host, asks reconciler what should be, and takes the host there.
//
// Local does this once, for one host and one repository. Everything it touches
// comes from outside as a value, so that tests and the demo run the same code
// on simulated hosts.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/inventory"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/reconciler/kind/port"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// Packages is the package manager as a pass needs it.
type Packages interface {
	reconciler.Packages
	// Prepare settles what is under way or half done, and with refresh reads the archives' lists anew.
	Prepare(ctx context.Context, refresh bool) (schema.Prepared, error)
	// Settle waits for a transaction that an earlier pass began.
	Settle(ctx context.Context) error
}

// Local takes this host to what a repository says.
type Local struct {
	State    string // folder of journal and caches
	Root     string // where the host's files are read, "/"
	Evaluate load.Func
	// Judge evaluates in place of Evaluate, and changes by themselves; nil: every commit is evaluated whole.
	Judge    *load.Judge
	Host     reconciler.Host
	Packages Packages
	// LastInstalls reads what became of the latest installs.
	LastInstalls func() ([]schema.LastInstall, error)
	Ceiling      reconciler.Ceiling
	Protected    []port.Protection
	Now          func() time.Time
	// Secrets are what is known of secrets from one pass to the next; nil looks at each anew.
	Secrets *Secrets
	// Progress is told what happens, a line for people at a time; nil tells nobody.
	Progress func(reconciler.Step)

	seen     *seen // of the agent that this is a part of
	remember bool  // what is seen in archives is written down; with seen its own word counts
}

func (l Local) tell(format string, args ...any) {
	if l.Progress != nil {
		l.Progress(reconciler.Step{Doing: fmt.Sprintf(format, args...)})
	}
}

// lockFile is the state folder's one lock.
const lockFile = "lock"

// lock makes the state folder where it is missing and takes its lock.
func (l Local) lock(who string) (unlock func(), err error) {
	// Who could write there could say what was evaluated, judged and done; who could read, what is not theirs.
	if err := host.StateFolder(l.State, lockFile); err != nil {
		if errors.Is(err, host.ErrNotOwned) {
			return nil, fmt.Errorf("state folder is not used: %w", err)
		}
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	return host.Lock(filepath.Join(l.State, lockFile), who)
}

// facts observes the host's packages. A host that has no package manager which this build knows, or one
// whose data cannot be read, is not an error of the pass: problem says why it cannot be judged.
// archives are those that it has lists of.
func (l Local) facts(ctx context.Context, node schema.Node) (f schema.Facts, archives []schema.Origin, problem string, err error) {
	last, err := l.LastInstalls()
	if err != nil {
		// What is lost are explanations: which patch failed, and which waits for a reboot.
		l.tell("warning: %s: patches that failed or wait for a reboot are not told%s", err, asRoot(err))
	}
	f, patches, err := inventory.ReadFacts(ctx, inventory.Options{Root: l.Root}, inventory.Known{Node: node.ID, At: l.Now(), LastInstall: last})
	if err != nil {
		if ctx.Err() != nil {
			return f, nil, "", err
		}
		problem = err.Error()
		if hint := inventory.Hint(err); hint != "" {
			problem += " (" + hint + ")"
		}
		return f, nil, problem, nil
	}
	for _, w := range patches.Warnings {
		l.tell("warning: %s", w)
	}
	return f, patches.Archives, "", nil
}

// asRoot is the remedy where only root may read.
func asRoot(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return " (run it as root)"
	}
	return ""
}

// Plan says what the node should be now, from its policy and from what its host is.
func (l Local) Plan(ctx context.Context, p Policy, node schema.Node) (schema.Plan, error) {
	f, archives, problem, err := l.facts(ctx, node)
	if err != nil {
		return schema.Plan{}, err
	}
	l.date(p, node, &f, archives)
	return l.plan(p, node, f, problem), nil
}

func (l Local) plan(p Policy, node schema.Node, f schema.Facts, problem string) schema.Plan {
	return reconciler.Plan(reconciler.Inputs{
		Repo: p.Repo, Node: node, Facts: f, FactsProblem: problem, Now: l.Now(), Compare: inventory.CompareVersions,
	})
}

// Node finds which node this host is: the roster's line of that name or id; with no name the line with this host's key,
// and without one a node that stands alone.
func (l Local) Node(p Policy, name string) (schema.Node, error) {
	if name == "" && len(p.Repo.Roster) > 0 {
		id, ok, err := l.hostID()
		switch {
		case errors.Is(err, fs.ErrPermission):
			l.tell("warning: only root may read this host's key, so it is taken for a host that stands alone: run it as root, or say --node")
		case err != nil:
			// As another node it would open ports again that this one has blocked.
			return schema.Node{}, err
		case ok && slices.ContainsFunc(p.Repo.Roster, func(line schema.RosterLine) bool { return line.ID == id }):
			name = id
		}
	}
	hostname, err := os.Hostname()
	if err != nil {
		return schema.Node{}, fmt.Errorf("read host name: %w", err)
	}
	system, err := inventory.ReadOS(l.Root)
	if err != nil {
		l.tell("warning: %s", err)
	}
	return reconciler.Find(p.Repo, name, hostname, system.ID)
}
