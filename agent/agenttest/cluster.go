package agenttest

import (
	"bytes"
	"context"
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
	"github.com/dunlin-dev/dunlin/agent/simulated"
	"github.com/dunlin-dev/dunlin/schema/load"
)

// Cluster is a fleet of real agents on simulated hosts, a simulated network and a bare repository in a folder. It is for
// synctest bubbles.
type Cluster struct {
	*simulated.Fleet
	t      *testing.T
	Net    *Network
	reader *gitrepo.Store
	branch struct { // of reports, as it was read last
		head  string
		files map[string]string
	}
	Nodes    []*Node
	others   []*Node // not of the fleet
	head     string
	evaluate load.Func
}

// Node is one agent and its host.
type Node struct {
	*simulated.Node
	c    *Cluster
	Addr string
	Log  bytes.Buffer
	Skew time.Duration // of its clock
	// Change, where set, alters what the agent is made of, before it starts.
	Change func(*agent.Options)

	copies int
}

// rostered is when all nodes were added.
func rostered() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// NewCluster makes n hosts and the repository with a first commit: the given files, fleet.cue's neighbours and a roster
// of all nodes. No agent runs yet.
func NewCluster(t *testing.T, seed uint64, n int, files map[string]string) *Cluster {
	t.Helper()
	c := &Cluster{t: t, Net: NewNetwork(seed), evaluate: simulated.Shared(load.InProcess(load.Options{}))}
	var specs []simulated.Spec
	for i := range n {
		specs = append(specs, spec(fmt.Sprintf("node-%02d", i), fmt.Sprintf("10.1.%d.%d", i/200, i%200+1)))
	}
	var err error
	if c.Fleet, err = simulated.New(t.TempDir(), specs); err != nil {
		t.Fatal(err)
	}
	for _, node := range c.Fleet.Nodes {
		addr, _, _ := strings.Cut(node.Gossip, ":")
		c.Nodes = append(c.Nodes, &Node{Node: node, c: c, Addr: addr})
	}
	first, err := c.Fleet.Roster(rostered())
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(first, files)
	c.Push(first)
	return c
}

// spec is a web server at an address.
func spec(name, addr string) simulated.Spec {
	return simulated.Spec{Name: name, Tags: map[string]string{"role": "web"}, Gossip: addr + ":7950", Peer: addr + ":7951"}
}

// Push commits files upon what is there; an empty text deletes one.
func (c *Cluster) Push(files map[string]string) string {
	c.t.Helper()
	commit, err := c.Commit("main", c.head, "change", files, time.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	c.head = commit
	return commit
}

// HideRemote makes the remote unreachable, ShowRemote ends that.
func (c *Cluster) HideRemote() { c.move(simulated.Repository, "hidden.git") }

// ShowRemote puts back what HideRemote took away.
func (c *Cluster) ShowRemote() { c.move("hidden.git", simulated.Repository) }

func (c *Cluster) move(from, to string) {
	c.t.Helper()
	if err := os.Rename(filepath.Join(c.Dir, from), filepath.Join(c.Dir, to)); err != nil {
		c.t.Fatal(err)
	}
}

// Start starts the node's agent.
func (n *Node) Start() {
	n.c.t.Helper()
	random := rand.New(rand.NewPCG(uint64(len(n.Name)), uint64(n.Name[len(n.Name)-1])<<8|uint64(n.Name[len(n.Name)-2])))
	var mu sync.Mutex
	o := n.c.Options(n.Node, simulated.Around{
		Join: n.c.Seeds(), GossipKey: bytes.Repeat([]byte{9}, 32), Network: n.c.Net.Host(n.Addr), Evaluate: n.c.evaluate,
		Now: func() time.Time { return time.Now().Add(n.Skew) },
	})
	o.Version = "test"
	o.Log = slog.New(slog.NewTextHandler(&lockedWriter{w: &n.Log}, nil))
	o.Random = func() float64 { mu.Lock(); defer mu.Unlock(); return random.Float64() }
	if n.Change != nil {
		n.Change(&o)
	}
	if err := n.Node.Start(o); err != nil {
		n.c.t.Fatal(err)
	}
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
	if err := n.Node.Stop(); err != nil {
		n.c.t.Error(err)
	}
}

// Path is the folder of the bare repository.
func (c *Cluster) Path() string { return filepath.Join(c.Dir, "policy.git") }

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
		c.reader, err = gitrepo.OpenStore(filepath.Join(c.Dir, "reader.git"), gitrepo.Remote{URL: c.URL(), Branch: "reports"})
		if err != nil {
			c.t.Fatal(err)
		}
	}
	if c.branch.head != head {
		if _, err := c.reader.Fetch(context.Background(), "reports"); err != nil {
			c.t.Fatal(err)
		}
		c.branch.head, c.branch.files = head, map[string]string{}
	}
	text, read := c.branch.files[path]
	if !read {
		b, err := c.reader.Read(head, path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.t.Fatal(err)
		}
		text = string(b)
		c.branch.files[path] = text
	}
	return text
}
