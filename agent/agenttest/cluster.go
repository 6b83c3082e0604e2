package agenttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/identity"
	"github.com/dunlin-dev/dunlin/reconciler"
	"github.com/dunlin-dev/dunlin/schema"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// Cluster is a fleet of real agents on simulated hosts, a simulated network and a bare repository in a folder. It is for
// synctest bubbles.
type Cluster struct {
	t      *testing.T
	dir    string
	Net    *Network
	Remote *gitrepo.Store // what the agents follow
	reader *gitrepo.Store
	Nodes  []*Node
	others []*Node // not of the fleet
	files  map[string][]byte
	head   string

	mu    sync.Mutex
	cache map[string]evaluated
}

type evaluated struct {
	repo   schema.Repo
	faults []schema.Fault
}

// Node is one agent and its host.
type Node struct {
	c     *Cluster
	Name  string
	Addr  string
	Keys  identity.Keys
	Host  host.Simulated
	Agent *agent.Agent
	Log   bytes.Buffer
	Skew  time.Duration // of its clock
	// Change, where set, alters what the agent is made of, before it starts.
	Change func(*agent.Options)

	state  string
	copies int
	stop   context.CancelFunc
	done   chan error
}

// NewCluster makes n hosts and the repository with a first commit: the given files, fleet.cue's neighbours and a roster
// of all nodes. No agent runs yet.
func NewCluster(t *testing.T, seed uint64, n int, files map[string]string) *Cluster {
	t.Helper()
	c := &Cluster{t: t, dir: t.TempDir(), Net: NewNetwork(seed), files: map[string][]byte{}, cache: map[string]evaluated{}}
	var err error
	if c.Remote, err = gitrepo.OpenStore(filepath.Join(c.dir, "policy.git"), gitrepo.Remote{}); err != nil {
		t.Fatal(err)
	}
	roster := map[string][]string{}
	for i := range n {
		node, err := c.newNode(fmt.Sprintf("node-%02d", i), fmt.Sprintf("10.1.%d.%d", i/200, i%200+1))
		if err != nil {
			t.Fatal(err)
		}
		shard := "nodes/" + node.Keys.ID()[:2] + ".jsonl"
		roster[shard] = append(roster[shard], node.Line())
		c.Nodes = append(c.Nodes, node)
	}
	for path, lines := range roster {
		slices.Sort(lines)
		c.files[path] = []byte(strings.Join(lines, "\n") + "\n")
	}
	c.Push(files)
	return c
}

// canonicalJSON has its keys sorted and no blanks.
func canonicalJSON(v any) (string, error) {
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

// Push commits files upon what is there; an empty text deletes one.
func (c *Cluster) Push(files map[string]string) string {
	c.t.Helper()
	change := map[string][]byte{}
	if c.head == "" {
		maps.Copy(change, c.files)
	}
	for p, text := range files {
		change[p] = []byte(text)
		if text == "" {
			change[p] = nil
		}
	}
	commit, err := c.Remote.Commit(gitrepo.Change{Parent: c.head, Files: change, Message: "change", Author: "ann", Email: "ann@example.org", When: time.Now()})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.Remote.SetRef("refs/heads/main", commit); err != nil {
		c.t.Fatal(err)
	}
	c.head = commit
	return commit
}

// HideRemote makes the remote unreachable, ShowRemote ends that.
func (c *Cluster) HideRemote() { c.move("policy.git", "hidden.git") }

// ShowRemote puts back what HideRemote took away.
func (c *Cluster) ShowRemote() { c.move("hidden.git", "policy.git") }

func (c *Cluster) move(from, to string) {
	c.t.Helper()
	if err := os.Rename(filepath.Join(c.dir, from), filepath.Join(c.dir, to)); err != nil {
		c.t.Fatal(err)
	}
}

// evaluate evaluates each content once for all nodes.
func (c *Cluster) evaluate(ctx context.Context, fsys fs.FS) (schema.Repo, []schema.Fault, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	digest, err := load.Digest(fsys)
	if err != nil {
		return schema.Repo{}, nil, err
	}
	if e, ok := c.cache[digest]; ok {
		return e.repo, e.faults, nil
	}
	repo, faults, err := load.InProcess(load.Options{})(ctx, fsys)
	if err == nil {
		c.cache[digest] = evaluated{repo, faults}
	}
	return repo, faults, err
}

// Start starts the node's agent.
func (n *Node) Start() {
	n.c.t.Helper()
	random := rand.New(rand.NewPCG(uint64(len(n.Name)), uint64(n.Name[len(n.Name)-1])<<8|uint64(n.Name[len(n.Name)-2])))
	var mu sync.Mutex
	var join []string
	for _, other := range n.c.Nodes[:min(3, len(n.c.Nodes))] {
		join = append(join, other.Addr+":7950")
	}
	now := func() time.Time { return time.Now().Add(n.Skew) }
	o := agent.Options{
		Config: schema.AgentConfig{
			Repo:    schema.AgentRepo{URL: "file://" + filepath.Join(n.c.dir, "policy.git")},
			Reports: &schema.AgentReports{}, Trust: schema.AgentTrust{Unsigned: true}, State: n.state,
			Gossip: &schema.AgentGossip{Bind: n.Addr + ":7950", Join: join}, Peer: schema.Listen{Bind: n.Addr + ":7951"},
		},
		Local: agent.Local{
			State: n.state, Root: n.Host.Dir, Evaluate: n.c.evaluate, Host: n.Host, Packages: n.Host,
			LastInstalls: func() ([]schema.LastInstall, error) { return nil, nil },
			Ceiling:      reconciler.NoCeiling(), Now: now,
		},
		GossipKey: bytes.Repeat([]byte{9}, 32),
		Network:   n.c.Net.Host(n.Addr),
		Version:   "test",
		Log:       slog.New(slog.NewTextHandler(&lockedWriter{w: &n.Log}, nil)),
		Random:    func() float64 { mu.Lock(); defer mu.Unlock(); return random.Float64() },
	}
	if n.Change != nil {
		n.Change(&o)
	}
	a, err := agent.New(o)
	if err != nil {
		n.c.t.Fatalf("start %s: %v", n.Name, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	n.Agent, n.stop, n.done = a, stop, make(chan error, 1)
	go func() { n.done <- a.Run(ctx) }()
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// Stop ends the node's agent and waits for it.
func (n *Node) Stop() {
	n.c.t.Helper()
	if n.stop == nil {
		return
	}
	n.stop()
	if err := <-n.done; err != nil {
		n.c.t.Errorf("%s ended: %v", n.Name, err)
	}
	n.stop = nil
}

// StopAll stops all agents, and lets what has a timer end.
func (c *Cluster) StopAll() {
	var wg sync.WaitGroup
	for _, n := range append(slices.Clone(c.Nodes), c.others...) {
		wg.Go(n.Stop)
	}
	wg.Wait()
	time.Sleep(time.Minute)
}

// Until waits until ok, looking every 20 ms of simulated time and less often later on, and gives how long it took; after d it fails.
func (c *Cluster) Until(what string, d time.Duration, ok func() bool) time.Duration {
	c.t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > d {
			c.t.Fatalf("not within %s: %s", d, what)
		}
		time.Sleep(max(20*time.Millisecond, time.Since(start)/20))
	}
	return time.Since(start)
}

// Holds reports whether the node's last pass was under the commit and found the host as it should be.
func (n *Node) Holds(commit string) bool {
	a := n.Agent.Account()
	return a.Commit == commit
}

// Reports reads a file of the reports branch; empty where there is none.
func (c *Cluster) Reports(path string) string {
	c.t.Helper()
	head, err := c.Remote.Ref("refs/heads/reports")
	if err != nil || head == "" {
		return ""
	}
	if c.reader == nil {
		// A store of its own: what others pushed is seen by fetching it.
		c.reader, err = gitrepo.OpenStore(filepath.Join(c.dir, "reader.git"), gitrepo.Remote{URL: "file://" + filepath.Join(c.dir, "policy.git"), Branch: "reports"})
		if err != nil {
			c.t.Fatal(err)
		}
	}
	if !c.reader.Has(head) {
		if _, err := c.reader.Fetch(context.Background(), "reports"); err != nil {
			c.t.Fatal(err)
		}
	}
	b, err := c.reader.Read(head, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.t.Fatal(err)
	}
	return string(b)
}
