package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/agent/api"
	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
	"github.com/dunlin-dev/dunlin/schema/safe"
)

// Bounds of a demo.
const (
	MinNodes = 3
	MaxNodes = 100
	// stepLimit and nodeLimit, for each host, are how long one step may take before the demo has failed. Healthy ones
	// take a second or three.
	stepLimit = 60 * time.Second
	nodeLimit = time.Second
	// ownEvaluator is how many hosts may each start an evaluator for each commit. More would make one machine do a fleet's
	// work: they share what came of the same files.
	ownEvaluator = 8
)

// Options say what is shown, and to whom.
type Options struct {
	Nodes    int
	Dir      string // an empty folder, which the caller removes
	Evaluate load.Func
	Teller   Teller
	// Check compares the reports with the hosts at the end.
	Check   bool
	Version string
	// Inventory gives the SSM inventory of the host below root; nil has none.
	Inventory func(root string) func(ctx context.Context, types []string) (map[string][]byte, error)
	// Meddle is called before a step begins, with its name and the fleet: tests lie there. nil does nothing.
	Meddle func(step string, f *simulated.Fleet) error
}

// story is a demo that runs.
type story struct {
	o       Options
	fleet   *simulated.Fleet
	network *simulated.Loopback
	key     []byte
	feed    feed
	logs    []*os.File
	started time.Time

	files map[string]string // of the work tree
	head  string            // of main
	good  string            // the last commit that is in force

	ann, ben simulated.Person // who may change what: ann all of it, ben what hosts are told
	anchor   string           // the commit that hosts are told of, and that trust begins at

	shared load.Func // the same files once for whoever looks at many hosts

	step   Step
	since  time.Time
	result Result
}

// Run shows the demo. The result tells how far it came also where it fails. When Run returns, nothing of it runs any more.
func Run(ctx context.Context, o Options) (Result, error) {
	s := &story{o: o, network: &simulated.Loopback{}, started: time.Now(), files: map[string]string{}}
	s.shared = simulated.Shared(o.Evaluate)
	s.result = Result{Nodes: o.Nodes, Steps: []Step{}, Untrue: []string{}}
	err := s.run(ctx)
	if err != nil {
		s.step.Done = one(err)
		if ctx.Err() != nil {
			s.step.Done = "interrupted"
		}
		s.step.Millis = millis(time.Since(s.since))
		s.closeStep()
	}
	err = errors.Join(err, s.close())
	s.result.OK = err == nil
	s.result.Seconds = math.Round(time.Since(s.started).Seconds()*1000) / 1000
	s.result.Usage = usage()
	if err != nil {
		s.result.Problem = one(err)
	}
	return s.result, err
}

func (s *story) run(ctx context.Context) error {
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"hosts", s.hosts},
		{"push", s.push},
		{"plan", s.plan},
		{"converge", s.converge},
		{"report", s.report},
		{"drift", s.drift},
		{"window", s.window},
		{"intrude", s.intrude},
		{"refuse", s.refuse},
		{"reboot", s.reboot},
		{"settle", s.settle},
		{"check", s.check},
	} {
		if part.name == "check" && !s.o.Check {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err() // while a person read
		}
		if s.o.Meddle != nil {
			if err := s.o.Meddle(part.name, s.fleet); err != nil {
				return err
			}
		}
		if err := part.run(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return ctx.Err()
}

// close ends all agents at once.
func (s *story) close() error {
	var errs []error
	if s.fleet != nil {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for _, n := range s.fleet.Nodes {
			wg.Go(func() {
				err := n.Stop()
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			})
		}
		wg.Wait()
	}
	s.network.Close()
	for _, f := range s.logs {
		_ = f.Close()
	}
	return errors.Join(errs...)
}

// start runs an agent on a node's host, as agent run does on a real one.
func (s *story) start(n *simulated.Node) error {
	logPath := filepath.Join(s.fleet.Dir, n.Name, "agent.log")
	f, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s.logs = append(s.logs, f)
	around := simulated.Around{Join: s.fleet.Seeds(), GossipKey: s.key, Network: s.network, Evaluate: s.o.Evaluate, Now: time.Now}
	if s.o.Nodes > ownEvaluator {
		around.Evaluate = s.shared
	}
	o := s.fleet.Options(n, around)
	o.Config.Trust = schema.AgentTrust{Anchor: s.anchor}
	o.Log = slog.New(tap{slog.NewJSONHandler(safe.Log(f), nil), &s.feed, n.Name})
	o.Random = mathrand.Float64
	o.Version = s.o.Version
	o.Watch = n.Host.Watch
	if s.o.Inventory != nil {
		o.Inventory = s.o.Inventory(n.Host.Root())
	}
	if o.Socket, err = socket(s.fleet.Dir, n.Name); err != nil {
		return err
	}
	err = n.Start(o)
	if err != nil && o.Socket != nil {
		_ = o.Socket.Close()
	}
	return err
}

// socket is where the command line may ask the agent while it runs. A temporary folder whose name is too long for one,
// and a system that has none, go without.
func socket(dir, name string) (net.Listener, error) {
	path := SocketPath(dir, name)
	if len(path) > 100 {
		return nil, nil
	}
	l, err := api.Listen(path)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil
	}
	return l, err
}

// Keys is the folder of people's keys, below the demo's.
const Keys = "keys"

// SocketPath is where a node's agent answers while the demo runs.
func SocketPath(dir, node string) string { return filepath.Join(dir, node, "agent.sock") }

func (s *story) makeKey() error {
	s.key = make([]byte, gossip.KeySize)
	_, err := rand.Read(s.key)
	return err
}

// until waits for ok, looking often, and tells what it waits for.
func (s *story) until(ctx context.Context, waiting func() string, ok func() (bool, error)) error {
	every := time.Duration(len(s.fleet.Nodes)) * 1700 * time.Microsecond // looking is work too
	most := stepLimit + time.Duration(len(s.fleet.Nodes))*nodeLimit
	limit := time.Now().Add(most)
	told := time.Time{}
	for {
		done, err := ok()
		if err != nil || done {
			return err
		}
		for _, n := range s.fleet.Nodes {
			if err := n.Ended(); err != nil {
				return err
			}
		}
		if time.Now().After(limit) {
			return fmt.Errorf("not within %s: %s", most, waiting())
		}
		if time.Since(told) > 100*time.Millisecond {
			told = time.Now()
			s.o.Teller.Doing(waiting())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// all waits until ok is true of every node, and gives when it was of the first and of the last.
func (s *story) all(ctx context.Context, what string, ok func(n *simulated.Node) bool) (first, last time.Duration, err error) {
	begun := time.Now()
	left := slices.Clone(s.fleet.Nodes)
	err = s.until(ctx, func() string {
		return fmt.Sprintf("%s: %d of %d%s", what, len(s.fleet.Nodes)-len(left), len(s.fleet.Nodes), missing(left))
	}, func() (bool, error) {
		n := len(left)
		left = slices.DeleteFunc(left, ok)
		if len(left) < n && n == len(s.fleet.Nodes) {
			first = time.Since(begun)
		}
		return len(left) == 0, nil
	})
	return first, time.Since(begun), err
}

func missing(left []*simulated.Node) string {
	if len(left) == 0 || len(left) > 3 {
		return ""
	}
	var names []string
	for _, n := range left {
		names = append(names, n.Name)
	}
	return ", not yet " + strings.Join(names, " ")
}

// commit changes files of the work tree, signs that, and pushes it to a branch.
func (s *story) commit(by simulated.Person, branch, parent, message string, files map[string]string) (string, error) {
	maps.Copy(s.files, files)
	if err := writeFiles(s.work(), files); err != nil {
		return "", err
	}
	return s.fleet.CommitBy(by, branch, parent, message, files, time.Now())
}

func writeFiles(dir string, files map[string]string) error {
	for path, text := range files {
		at := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// makePeople makes the keys of those who may change the policy.
func (s *story) makePeople() (err error) {
	dir := filepath.Join(s.fleet.Dir, Keys)
	if s.ann, err = simulated.MakePerson(dir, "ann"); err != nil {
		return err
	}
	s.ben, err = simulated.MakePerson(dir, "ben")
	return err
}

// work is the folder in which somebody edits the policy.
func (s *story) work() string { return filepath.Join(s.fleet.Dir, "work") }

func (s *story) repository() string { return filepath.Join(s.fleet.Dir, simulated.Repository) }

// holds reports whether the node's last pass was under the commit.
func holds(n *simulated.Node, commit string) bool { return n.Agent.Account().Commit == commit }

// sees counts the nodes that one takes for online.
func online(n *simulated.Node) int { return n.Agent.Status().Nodes[string(schema.Online)] }

func short(commit string) string { return commit[:min(7, len(commit))] }

func one(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
