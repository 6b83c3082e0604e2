package agenttest

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/agent/simulated"
)

// Stranger is one more host with an agent that has the gossip key and is not in the roster.
func (c *Cluster) Stranger(name, addr string) *Node {
	c.t.Helper()
	made, err := simulated.NewNode(c.Dir, spec(name, addr))
	if err != nil {
		c.t.Fatal(err)
	}
	n := &Node{Node: made, c: c, Addr: addr}
	c.others = append(c.others, n)
	return n
}

// Line is the node's line of the roster.
func (n *Node) Line() string {
	n.c.t.Helper()
	line, err := n.Node.Line(rostered())
	if err != nil {
		n.c.t.Fatal(err)
	}
	return line
}

// Roster commits the roster with the line of a node as change makes it, empty for none.
func (c *Cluster) Roster(n *Node, change func(line string) string) string {
	c.t.Helper()
	shard := "nodes/" + n.Keys.ID()[:2] + ".jsonl"
	old, err := c.Remote.Read(c.head, shard)
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(old)) {
		if !strings.Contains(line, n.Keys.ID()) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	if line := change(n.Line()); line != "" {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return c.Push(map[string]string{shard: strings.Join(lines, "\n") + "\n"})
}

// Copy is another host with what this one has in its folders at this moment, its keys included, under another address.
func (n *Node) Copy(name, addr string) *Node {
	n.c.t.Helper()
	dir := filepath.Join(n.c.Dir, name)
	for from, to := range map[string]string{n.Node.State: filepath.Join(dir, "state"), n.Host.Dir: filepath.Join(dir, "host")} {
		if err := copyFolder(from, to); err != nil {
			n.c.t.Fatal(err)
		}
	}
	made, err := simulated.NewNode(n.c.Dir, spec(name, addr)) // of what was copied
	if err != nil {
		n.c.t.Fatal(err)
	}
	twin := &Node{Node: made, c: n.c, Addr: addr}
	n.c.others = append(n.c.others, twin)
	return twin
}

// Backup keeps the state folder as it is at this moment, and Restore, of an agent that does not run, puts it back.
func (n *Node) Backup() (restore func()) {
	n.c.t.Helper()
	n.copies++
	kept := fmt.Sprintf("%s.%d", n.Node.State, n.copies)
	if err := copyFolder(n.Node.State, kept); err != nil {
		n.c.t.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(n.Node.State); err != nil {
			n.c.t.Fatal(err)
		}
		if err := os.Rename(kept, n.Node.State); err != nil {
			n.c.t.Fatal(err)
		}
	}
}

// PowerCut ends the node's agent as a power cut does: nobody hears a goodbye, and what it wrote after this moment is lost.
func (n *Node) PowerCut() {
	n.c.t.Helper()
	n.c.Net.Down(n.Addr)
	restore := n.Backup()
	n.Stop()
	n.c.Net.Host(n.Addr).Cut()
	restore()
	n.c.Net.Up(n.Addr)
}

// State is the node's state folder.
func (n *Node) State() string { return n.Node.State }

// MoveState lets the node keep its state in another folder from now on, with what it has.
func (n *Node) MoveState(dir string) {
	n.c.t.Helper()
	if err := copyFolder(n.Node.State, dir); err != nil {
		n.c.t.Fatal(err)
	}
	n.Node.State = dir
}

// copyFolder copies files that come and go meanwhile, as far as they are there.
func copyFolder(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) {
				return nil
			}
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := d.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(target, info.Mode().Perm()|0o700)
		}
		b, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, b, 0o600); err != nil {
			return err
		}
		return os.Chmod(target, info.Mode().Perm())
	})
}

// Logs shows the last lines of each agent. It is for tests that have failed, once all agents have stopped.
func (c *Cluster) Logs() {
	const most = 6 << 10
	for _, n := range append(slices.Clone(c.Nodes[:min(len(c.Nodes), 6)]), c.others...) {
		text := n.Log.String()
		c.t.Logf("log of %s (%s, %s):\n%s", n.Name, n.Keys.ID(), n.Addr, text[max(0, len(text)-most):])
	}
}

// PowerCut ends all agents at once, as a power cut of the whole site does.
func (c *Cluster) PowerCut() {
	c.t.Helper()
	for _, n := range c.Nodes {
		c.Net.Down(n.Addr)
	}
	var restores []func()
	for _, n := range c.Nodes {
		restores = append(restores, n.Backup())
	}
	var wg sync.WaitGroup
	for _, n := range c.Nodes {
		wg.Go(n.Stop)
	}
	wg.Wait()
	for i, n := range c.Nodes {
		c.Net.Host(n.Addr).Cut()
		restores[i]()
		c.Net.Up(n.Addr)
	}
}

// PushObjects commits these files and nothing else, written as Git's own loose objects, which have no limits.
func (c *Cluster) PushObjects(files map[string][]byte) string {
	c.t.Helper()
	put := func(kind string, content []byte) string { return c.writeObject(simulated.Repository, kind, content) }
	var tree []byte
	for _, name := range slices.Sorted(maps.Keys(files)) {
		id, err := hex.DecodeString(put("blob", files[name]))
		if err != nil {
			c.t.Fatal(err)
		}
		tree = append(append(tree, "100644 "+name+"\x00"...), id...)
	}
	who := fmt.Sprintf("ann <ann@example.org> %d +0000", time.Now().Unix())
	commit := put("commit", fmt.Appendf(nil, "tree %s\nparent %s\nauthor %s\ncommitter %s\n\nobjects\n", put("tree", tree), c.head, who, who))
	c.PointAt(simulated.Repository, commit)
	return commit
}

// Point points the policy branch at a commit; "" removes it.
func (c *Cluster) Point(commit string) {
	c.t.Helper()
	if err := c.Remote.SetRef("refs/heads/main", commit); err != nil {
		c.t.Fatal(err)
	}
}
