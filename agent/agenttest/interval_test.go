package agenttest_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
)

// How often the remote is asked is the policy's to say, from the commit on that says it.
func TestTheFirstCommitSaysHowOftenToAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := fleetFiles("one\n")
		files["fleet.cue"] = strings.Replace(files["fleet.cue"], "15s", "1s", 1)
		c := agenttest.NewCluster(t, 8, 3, files)
		defer c.StopAll()
		for _, n := range c.Nodes {
			n.Start()
		}
		first, err := c.Remote.Ref("refs/heads/main")
		if err != nil {
			t.Fatal(err)
		}
		agree(t, c, first, time.Minute)
		second := c.Push(map[string]string{"policies/web.cue": fleetFiles("two\n")["policies/web.cue"]})
		t.Logf("second commit in force after %s", agree(t, c, second, 4*time.Second))
	})
}
