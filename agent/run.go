package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/peer"
	"github.com/dunlin-dev/dunlin/agent/record"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

// Options are an agent's configuration with all that it touches.
type Options struct {
	Config schema.AgentConfig
	// Local is the host. Its State is Config.State.
	Local Local
	// GossipKey is the key of Config.Gossip, 32 bytes.
	GossipKey []byte
	// Watch tells at once what somebody changed on the host; nil leaves drift to the periodic pass.
	Watch func(context.Context, host.Watched) (<-chan []host.Drift, error)
	// Inventory gives SSM inventory types of this host as JSON; none named means all.
	Inventory func(ctx context.Context, types []string) (map[string][]byte, error)
	// Network carries gossip and the streams between peers.
	Network gossip.Network
	// Reports wraps how the branch of reports is read and pushed, for tests in which that fails; nil leaves it as it is.
	Reports func(ReportsRemote) ReportsRemote
	// Socket is where the command line asks; nil answers nobody.
	Socket  net.Listener
	Version string
	Log     *slog.Logger
	// Random gives numbers in [0,1), for jitter.
	Random func() float64
	// Notify tells the service manager how the agent fares ("READY=1", sd_notify(3)); nil tells nobody.
	Notify func(state string)
	// Watchdog is after how long without a sign of life the service manager ends the agent; 0 is never.
	Watchdog time.Duration
}

// Agent keeps one host as its fleet's policy says, and tells the others how it fares.
type Agent struct {
	o        Options
	keys     identity.Keys
	policies *gitrepo.Store
	records  *record.Store
	cluster  *gossip.Cluster // nil where it is alone
	peers    *peer.Peers     // nil where it is alone
	reporter *reporter       // nil where it is never elected
	revs     *report.Revisions

	passes  signal // a pass is due: a new policy, an order, patches that are done
	heads   signal // what others know of the remote may have changed
	reports signal // a report line may have changed
	syncs   chan chan schema.RemoteStatus
	keeps   signal // there is a policy that is not written down yet
	told    signal // what the service manager is told may have changed
	pulses  pulses
	patches patchLane

	telling sync.Mutex // one tells how this node fares at a time
	looks   sync.Mutex // one look at the host at a time that somebody asked for
	beats   sync.Mutex // one heartbeat is held against the one that is kept at a time

	start        string                 // a random name of this start
	began        time.Time              // when it was
	above        atomic.Pointer[string] // the newest other start under this node's key
	copies       chan netip.AddrPort    // where another host with this node's key may be
	watchAddress bool                   // none that others reach was there when it began
	uncounted    bool                   // nothing may be told yet; of the loop that shares
	members      sync.Mutex             // one look at who is here at a time
	pushCame     signal                 // a neighbour has pushed a commit
	settled      settled                // they came before what is in force, or are forks
	said         refusalSaid            // under mu
	passed       settled                // they were refused, and are considered again where the remote has them again
	answers      *answers
	fleets       *Fleets
	agreedAnew   atomic.Bool // statements of people were found on the remote
	behind       behind      // of the loop that follows the remote
	withheld     withheld    // of the same
	partial      atomic.Bool // objects that it takes to verify are to be had of the remote alone
	wholeFor     string      // the head for which what was left out was asked for last; of the loop that follows the remote
	headLens     lens[schema.HeadRecord]
	stateLens    lens[schema.StateRecord]
	asks         asking // hosts that have asked this node to be let in
	keysDue      signal // the policy may say other gossip keys
	seen         *seen
	stampMu      sync.Mutex
	stampAt      uint64 // version of the records that stampOf is of
	stampOf      string

	mu sync.Mutex
	world
}

// signal wakes one loop; raising it twice before it is heard is raising it once.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// folders and files below the state folder.
const (
	journalFolder = "journal"
	patchJournal  = "journal-patch"
	policyStore   = "policy.git"
	reportStore   = "reports.git"
	factsFolder   = "facts"
)

// New makes an agent and opens all it keeps on disk; nothing is asked of the network. Its lock on the state folder is
// held until Run ends. It fails with a *host.LockedError while another program works with the state folder.
func New(o Options) (a *Agent, err error) {
	unlock, err := o.Local.lock("dunlin agent")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			unlock()
		}
	}()
	a = &Agent{o: o, passes: newSignal(), heads: newSignal(), reports: newSignal(), syncs: make(chan chan schema.RemoteStatus), told: newSignal(), keeps: newSignal()}
	a.unlock = unlock
	a.start, a.began, a.pushCame = rand.Text()[:12], time.Now(), newSignal()
	a.copies = make(chan netip.AddrPort, 1)
	a.answers = newAnswers()
	a.headLens.kind, a.stateLens.kind = schema.RecordHead, schema.RecordState
	a.patches.wake = newSignal()
	if a.o.Local.Secrets == nil {
		a.o.Local.Secrets = &Secrets{}
	}
	state := o.Config.State
	if a.keys, err = identity.Open(state); err != nil {
		return nil, err
	}
	var problem string
	if a.pin, problem, err = openPin(state, o.Config.Trust); err != nil {
		return nil, err
	}
	remote := gitrepo.Remote{URL: o.Config.Repo.URL, Branch: a.branch(), CredentialFile: o.Config.Repo.CredentialFile,
		KnownHosts: o.Config.Repo.KnownHosts, CAFile: o.Config.Repo.CAFile, Since: a.pin.Anchor}
	if a.policies, err = gitrepo.OpenStore(filepath.Join(state, policyStore), remote); err != nil {
		return nil, err
	}
	if a.revs, err = report.OpenRevisions(state); err != nil {
		return nil, err
	}
	boot, err := record.NextBoot(state)
	if err != nil && !host.DiskFull(err) {
		return nil, err
	}
	// With a full disk this start is not counted and nothing is told to others; what is in force is enforced all the same.
	if a.uncounted = err != nil; a.uncounted {
		boot = 0 // it may be given again
	}
	a.records = record.New(record.Config{Key: a.keys.Sign, Boot: boot, Keys: a.signingKey,
		Jump:   func(boot uint64) error { return record.SetBoot(state, boot) },
		Beaten: a.beaten, Past: a.past})
	a.seen = a.newSeen()
	a.o.Local.seen = a.seen
	if err := os.MkdirAll(filepath.Join(state, factsFolder), 0o700); err != nil {
		return nil, fmt.Errorf("make facts folder: %w", err)
	}
	if r := o.Config.Reports; r != nil {
		a.reporter = newReporter(a, r.CredentialFile)
	}
	a.lastSeen = map[string]time.Time{}
	a.problems = map[string]string{}
	a.fleets = NewFleets(o.Local.Evaluate)
	a.asks.joins = readJoins(state)
	a.ring, a.keysDue = readRing(state, o.GossipKey), newSignal()
	for what, text := range map[string]string{"trust": problem, "fork": forksKept(state)} {
		if text != "" {
			a.problems[what] = text
			a.log().Warn(text, "what", what)
		}
	}
	a.remote.URL = redactedURL(o.Config.Repo.URL)
	return a, nil
}

// branch is the policy branch: the host's own file decides, then the usual name.
func (a *Agent) branch() string {
	if b := a.o.Config.Repo.Branch; b != "" {
		return b
	}
	return "main"
}

// Run works until ctx ends, and then lets a change under way end. It fails where it cannot listen.
//
// The last good commit is in force before anything is asked of the network.
func (a *Agent) Run(ctx context.Context) error {
	defer a.unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a.resume(ctx)
	if err := a.join(ctx); err != nil {
		return err
	}
	loops := []struct {
		name string
		run  func(context.Context) error
	}{
		{"enforce", a.enforce},
		{"patch", a.patch},
		{"follow", a.follow},
		{"share", a.share},
		{"attend", a.attend},
		{"clock", a.watchClock},
		{"keep", a.keep},
		{"keys", a.watchKeys},
	}
	if a.peers != nil {
		loops = append(loops, struct {
			name string
			run  func(context.Context) error
		}{"peers", a.peers.Serve})
	}
	if a.watchAddress {
		loops = append(loops, struct {
			name string
			run  func(context.Context) error
		}{"address", a.awaitAddress})
	}
	if a.reporter != nil {
		loops = append(loops, struct {
			name string
			run  func(context.Context) error
		}{"report", a.reporter.run})
	}
	if a.o.Socket != nil {
		loops = append(loops, struct {
			name string
			run  func(context.Context) error
		}{"socket", func(ctx context.Context) error { return api.Serve(ctx, a.o.Socket, a) }})
	}
	errs := make(chan error, len(loops))
	for _, l := range loops {
		go func() {
			err := l.run(ctx)
			if err != nil && ctx.Err() == nil {
				err = fmt.Errorf("agent: %s: %w", l.name, err)
			} else {
				err = nil
			}
			// One that ends takes the others with it: half an agent would look like a whole one.
			cancel(err)
			errs <- err
		}()
	}
	a.notify("READY=1")
	a.log().Info("agent runs", "node", a.keys.ID(), "version", a.o.Version)
	var err error
	for range loops {
		err = errors.Join(err, <-errs)
	}
	if a.cluster != nil {
		leave, stop := context.WithTimeout(context.Background(), 3*time.Second)
		a.cluster.Leave(leave)
		stop()
	}
	return err
}

// Listen is Options.Socket for whoever opens the socket once the state folder is locked. It is called before Run.
func (a *Agent) Listen(l net.Listener) { a.o.Socket = l }

func (a *Agent) log() *slog.Logger { return a.o.Log }

func (a *Agent) notify(state string) {
	if a.o.Notify != nil {
		a.o.Notify(state)
	}
}

// now is the host's own clock.
func (a *Agent) now() time.Time { return a.o.Local.Now() }

// jitter is a part of d.
func (a *Agent) jitter(d time.Duration) time.Duration {
	return time.Duration(a.o.Random() * float64(d))
}

// sleep waits; it reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
