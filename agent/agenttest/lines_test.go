package agenttest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/report"
)

// Whoever asks an agent for lines gets them as the branch has them, so that signatures can be checked.
func TestLinesOfAnAgentVerify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 9, 2, fleetFiles("one\n"))
		defer c.StopAll()
		for _, n := range c.Nodes {
			n.Start()
		}
		asked := c.Nodes[0].Agent
		c.Until("a line of each", time.Minute, func() bool { return len(asked.Lines()) == 2 })
		for i, l := range asked.Lines() {
			if _, err := report.VerifyLine(l.Line, c.Nodes[i].Keys.Public()); err != nil {
				t.Errorf("line of %s: %v", l.Name, err)
			}
		}
	})
}
