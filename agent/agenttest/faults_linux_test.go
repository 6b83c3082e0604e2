package agenttest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
)

// A host whose disk is full keeps what is in force, says what is wrong, survives a start, and goes on once there is room.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 31, 4, fleetFiles("one\n"))
		defer c.StopAll()
		n := c.Nodes[3]
		defer func() {
			if t.Failed() {
				c.StopAll()
				t.Logf("%.5000s", n.Log.String())
			}
		}()
		small := t.TempDir()
		if err := syscall.Mount("none", small, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
			t.Fatalf("mount a small file system (needs root): %v", err)
		}
		defer func() {
			if err := syscall.Unmount(small, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}()
		n.MoveState(filepath.Join(small, "state"))
		for _, n := range c.Nodes {
			n.Start()
		}
		online(c, 4)
		first, _ := c.Remote.Ref("refs/heads/main")
		agree(t, c, first, time.Minute)
		c.Until("reports", 2*time.Minute, func() bool { return reported(c, first) == 4 })

		fill := filepath.Join(n.State(), "filler")
		full := func() {
			t.Helper()
			f, err := os.Create(fill)
			if err != nil {
				t.Fatal(err)
			}
			block := make([]byte, 4096)
			for err == nil {
				_, err = f.Write(block)
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			_ = f.Close()
		}
		full()
		second := c.Push(map[string]string{"policies/web.cue": fleetFiles("two\n")["policies/web.cue"]})
		c.Until("the others take the commit", time.Minute, func() bool {
			return c.Nodes[0].Holds(second) && c.Nodes[1].Holds(second) && c.Nodes[2].Holds(second)
		})
		told := func() string {
			for _, v := range c.Nodes[0].Agent.Nodes() {
				if v.Name == n.Name {
					return v.Problem
				}
			}
			return ""
		}
		c.Until("the host says what is wrong, and the others know it", 5*time.Minute, func() bool {
			return strings.Contains(problems(n), "no space left") && strings.Contains(told(), "no space left")
		})
		if s := n.Agent.Status(); s.Commit != first || s.Remote.Error != "" {
			t.Errorf("with a full disk: %s in force, remote %q", s.Commit, s.Remote.Error)
		}
		// It starts and holds what was in force.
		n.Stop()
		full() // what the stop has set free
		n.Start()
		c.Until("it is online", 2*time.Minute, func() bool { return n.Agent.Status().Commit == first && len(n.Agent.Nodes()) == 4 })
		time.Sleep(time.Hour)
		if s := n.Agent.Status(); s.Commit != first || !strings.Contains(problems(n), "no space left") {
			t.Errorf("after an hour: %s in force, %q", s.Commit, problems(n))
		}
		if reads, _ := n.Agent.Traffic(); reads.Fetches > 20 {
			t.Errorf("it fetched %d times in an hour", reads.Fetches)
		}
		if err := os.Remove(fill); err != nil {
			t.Fatal(err)
		}
		t.Logf("in force %s after there was room", agree(t, c, second, 20*time.Minute))
		// Reports are tried again as seldom as fetches are.
		c.Until("nothing is wrong any more", 20*time.Minute, func() bool { return problems(n) == "" && told() == "" && motdOf(n) == "two\n" })
		c.Until("reports", 2*time.Minute, func() bool { return reported(c, second) == 4 })
		c.StopAll()
		if n := strings.Count(n.Log.String(), "nothing is told to others"); n > 1 {
			t.Errorf("it logged %d times that nothing is told", n)
		}
	})
}
