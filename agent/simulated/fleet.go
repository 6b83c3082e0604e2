// Package simulated makes fleets of real agents on simulated hosts, all in one
// folder: a bare repository, and for each node a host and the state of its
// agent. Nothing of it needs root. Where hosts and agents run, who carries
// their messages and what their clocks say is the caller's: the demo takes
// loopback and this machine's clock, tests a network and a clock of their own.
package simulated

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// Fleet is a repository and the nodes that follow it. Its methods are for one goroutine.
type Fleet struct {
	Dir    string
	Remote *gitrepo.Store // what the agents follow
	Nodes  []*Node
}

// Node is one agent and its host.
type Node struct {
	Name   string
	Tags   map[string]string
	Gossip string // host:port of its gossip
	Peer   string // host:port of its streams
	Keys   identity.Keys
	Host   host.Simulated
	State  string       // folder of its agent
	Agent  *agent.Agent // the one that runs or ran last; nil before the first

	stop context.CancelFunc
	done chan error
}

// Spec is a node to be made.
type Spec struct {
	Name         string
	Tags         map[string]string
	Gossip, Peer string
}

// Repository is where the bare repository is, below the fleet's folder.
const Repository = "policy.git"

// New makes the repository, and host, state and keys of each node, in dir. Nothing is committed and no agent runs.
func New(dir string, specs []Spec) (*Fleet, error) {
	f := &Fleet{Dir: dir}
	var err error
	if f.Remote, err = gitrepo.OpenStore(filepath.Join(dir, Repository), gitrepo.Remote{}); err != nil {
		return nil, err
	}
	// Whoever clones it gets the branch that there is.
	if err := os.WriteFile(filepath.Join(dir, Repository, "HEAD"), []byte("ref: refs/heads/main\n"), 0o644); err != nil {
		return nil, fmt.Errorf("make repository: %w", err)
	}
	for _, spec := range specs {
		n, err := NewNode(dir, spec)
		if err != nil {
			return nil, err
		}
		f.Nodes = append(f.Nodes, n)
	}
	return f, nil
}

// NewNode makes a host with the state folder and keys of an agent, in dir, or takes what is there of them.
func NewNode(dir string, s Spec) (*Node, error) {
	n := &Node{Name: s.Name, Tags: s.Tags, Gossip: s.Gossip, Peer: s.Peer,
		State: filepath.Join(dir, s.Name, "state"), Host: host.Simulated{Dir: filepath.Join(dir, s.Name, "host")}}
	for _, d := range []string{n.State, filepath.Join(n.Host.Root(), "etc")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make host %q: %w", s.Name, err)
		}
	}
	var err error
	n.Keys, err = identity.Open(n.State)
	return n, err
}

// URL is the repository as agents name it.
func (f *Fleet) URL() string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(f.Dir, Repository))}).String()
}

// Roster is the roster's files by path, each node a line as `dunlin node line` prints it.
func (f *Fleet) Roster(added time.Time) (map[string]string, error) {
	shards := map[string][]string{}
	for _, n := range f.Nodes {
		line, err := n.Line(added)
		if err != nil {
			return nil, err
		}
		shard := "nodes/" + n.Keys.ID()[:2] + ".jsonl"
		shards[shard] = append(shards[shard], line)
	}
	files := map[string]string{}
	for path, lines := range shards {
		slices.Sort(lines) // the id comes first
		files[path] = strings.Join(lines, "\n") + "\n"
	}
	return files, nil
}

// Line is the node's line of the roster, without a newline.
func (n *Node) Line(added time.Time) (string, error) {
	return canonical(n.Keys.Line(n.Name, "debian", n.Tags, added))
}

// canonical is v as JSON with sorted keys and no blanks.
func canonical(v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return "", err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err = e.Encode(m)
	return strings.TrimSpace(out.String()), err
}

// Commit makes an unsigned commit upon parent, "" for the first, and moves the branch there. An empty text deletes a file.
func (f *Fleet) Commit(branch, parent, message string, files map[string]string, when time.Time) (string, error) {
	return f.commit(branch, files, gitrepo.Change{Parent: parent, Message: message, Author: "ann", Email: "ann@example.org", When: when})
}

// CommitBy is Commit of a commit that a person has signed.
func (f *Fleet) CommitBy(by Person, branch, parent, message string, files map[string]string, when time.Time) (string, error) {
	return f.commit(branch, files, gitrepo.Change{Parent: parent, Message: message, Author: by.Name, Email: by.Name + "@example.org", When: when,
		Sign: func(commit []byte) (string, error) { return by.Sign(commit, trust.NamespaceCommit) }})
}

func (f *Fleet) commit(branch string, files map[string]string, change gitrepo.Change) (string, error) {
	change.Files = map[string][]byte{}
	for path, text := range files {
		change.Files[path] = nil
		if text != "" {
			change.Files[path] = []byte(text)
		}
	}
	commit, err := f.Remote.Commit(change)
	if err != nil {
		return "", err
	}
	return commit, f.Remote.SetRef("refs/heads/"+branch, commit)
}

// Around is what an agent has around it that is not its host.
type Around struct {
	Join      []string // addresses of seeds
	GossipKey []byte
	Network   gossip.Network
	Evaluate  load.Func
	Now       func() time.Time
}

// Options wire an agent on the node's host: an elected reporter that follows the fleet's repository and trusts what is
// unsigned. The caller adds its log, its randomness and what else it has.
func (f *Fleet) Options(n *Node, a Around) agent.Options {
	return agent.Options{
		Config: schema.AgentConfig{
			Repo:    schema.AgentRepo{URL: f.URL()},
			Reports: &schema.AgentReports{}, Trust: schema.AgentTrust{Unsigned: true}, State: n.State,
			Gossip: &schema.AgentGossip{Bind: n.Gossip, Join: a.Join}, Peer: schema.AgentPeer{Bind: n.Peer},
		},
		Local:     n.Local(a.Evaluate, a.Now),
		GossipKey: a.GossipKey,
		Network:   a.Network,
	}
}

// Local is the node's host as a pass takes it.
func (n *Node) Local(evaluate load.Func, now func() time.Time) agent.Local {
	return agent.Local{
		State: n.State, Root: n.Host.Root(), Evaluate: evaluate, Host: n.Host, Packages: n.Host,
		LastInstalls: n.Host.LastInstalls().Read, Ceiling: reconciler.NoCeiling(), Now: now,
	}
}

// Seeds are the addresses of the first three nodes.
func (f *Fleet) Seeds() []string {
	var out []string
	for _, n := range f.Nodes[:min(3, len(f.Nodes))] {
		out = append(out, n.Gossip)
	}
	return out
}

// Start runs an agent on the node's host.
func (n *Node) Start(o agent.Options) error {
	a, err := agent.New(o)
	// A child that this process starts at the moment an agent ends holds that one's lock until it is another program.
	for try := 0; err != nil && try < 20; try++ {
		if _, locked := errors.AsType[*host.LockedError](err); !locked {
			break
		}
		time.Sleep(50 * time.Millisecond)
		a, err = agent.New(o)
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	n.Agent, n.stop, n.done = a, stop, make(chan error, 1)
	go func() { n.done <- a.Run(ctx) }()
	return nil
}

// Stop ends the node's agent and waits for it; one that does not run is no error.
func (n *Node) Stop() error {
	if n.stop == nil {
		return nil
	}
	n.stop()
	n.stop = nil
	if err := <-n.done; err != nil {
		return fmt.Errorf("%s ended: %w", n.Name, err)
	}
	return nil
}

// Ended gives what an agent that was not stopped ended with; nil while it runs.
func (n *Node) Ended() error {
	if n.stop == nil {
		return nil
	}
	select {
	case err := <-n.done:
		n.done <- err
		if err == nil {
			err = fmt.Errorf("it was not told to")
		}
		return fmt.Errorf("%s ended: %w", n.Name, err)
	default:
		return nil
	}
}
