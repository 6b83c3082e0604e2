package agenttest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dunlin-dev/dunlin/agent/agenttest"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

// A node says that it has other packages, and never gives them to who asks: it has lost its power just then, or wants
// the reports of others to come late. They do not.
func TestANodeThatGivesNoFactsHoldsUpNobodysReport(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"says nothing": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"drips": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte("{"))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			hostile(t, 83, 4, func(t *testing.T, c *agenttest.Cluster, l *liar, sound []*agenttest.Node) {
				head := c.Head()
				var asked atomic.Int32
				l.handler.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasPrefix(r.URL.Path, "/v1/facts") {
						asked.Add(1)
						answer(w, r)
						return
					}
					http.NotFound(w, r)
				}))
				line, err := report.SignLine(schema.ReportLine{V: 1, Fleet: "acme", Node: l.Keys.ID(), Rev: 1, Since: time.Now().UTC(), Commit: head,
					Compliance: map[string]schema.Compliance{}, Counts: map[string]int{}, Facts: strings.Repeat("ab", 32)}, l.Keys.Sign)
				if err != nil {
					t.Fatal(err)
				}
				l.say(t, schema.RecordReport, "", line)
				c.Until("it is asked", 2*time.Minute, func() bool { return asked.Load() > 0 })
				var all []time.Duration
				for i := range 6 {
					commit := c.Push(motd(fmt.Sprintf("%d\n", i)))
					holds(c, sound, commit, time.Minute)
					all = append(all, c.Until("all others are reported", 5*time.Minute, func() bool {
						return !slices.ContainsFunc(sound, func(n *agenttest.Node) bool { return !strings.Contains(standing(c, n), commit) })
					}))
				}
				slices.Sort(all)
				t.Logf("reported after %v; it was asked %d times", all, asked.Load())
				if all[3] > 20*time.Second || all[5] > 45*time.Second {
					t.Errorf("others' reports come after %v", all)
				}
			})
		})
	}
}
