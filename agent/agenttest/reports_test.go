package agenttest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
)

// A reporter whose counter was lost with its file says new things under a higher revision than the branch has, so that
// they stand.
func TestALostReportLineGoesOnFromTheBranch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 7, 2, fleetFiles("one\n"))
		defer c.StopAll()
		for _, n := range c.Nodes {
			n.Start()
		}
		commit := c.Push(map[string]string{"policies/web.cue": fleetFiles("zero\n")["policies/web.cue"]})
		for _, text := range []string{"two\n", "three\n", "four\n"} {
			agree(t, c, commit, time.Minute)
			c.Until("reports", 2*time.Minute, func() bool { return reported(c, commit) == 2 })
			commit = c.Push(map[string]string{"policies/web.cue": fleetFiles(text)["policies/web.cue"]})
		}
		agree(t, c, commit, time.Minute)
		c.Until("reports", 2*time.Minute, func() bool { return reported(c, commit) == 2 })

		n := c.Nodes[1]
		n.Stop()
		file := filepath.Join(filepath.Dir(n.Host.Dir), "state", "report-line.json")
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		n.Start()
		commit = c.Push(map[string]string{"policies/web.cue": fleetFiles("five\n")["policies/web.cue"]})
		agree(t, c, commit, time.Minute)
		t.Logf("reported after %s", c.Until("reports", 10*time.Minute, func() bool { return reported(c, commit) == 2 }))
		if s := c.Reports("conflicts.jsonl"); s != "" {
			t.Errorf("conflicts: %s", s)
		}
		b, err := os.ReadFile(file)
		if err != nil || strings.Contains(string(b), "anew") {
			t.Errorf("%s, %v", b, err)
		}
	})
}
