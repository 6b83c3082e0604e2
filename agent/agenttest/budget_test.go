package agenttest_test

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlin-dev/dunlin/agent"
	"github.com/dunlin-dev/dunlin/agent/agenttest"
)

// What a fleet holds in memory does not grow with time, with commits, nor with neighbours that come and go. In the long
// run it lives for a day; DUNLIN_NODES says with how many nodes.
func TestNothingGrowsWithTime(t *testing.T) {
	n, hours := 4, 3
	if os.Getenv("DUNLIN_LONG") != "" {
		n, hours = 8, 24
	}
	if s := os.Getenv("DUNLIN_NODES"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	synctest.Test(t, func(t *testing.T) {
		c := agenttest.NewCluster(t, 61, n, fleetFiles("one\n"))
		defer c.StopAll()
		for _, n := range c.Nodes {
			n.Change = func(o *agent.Options) { o.Log = slog.New(slog.DiscardHandler) }
			n.Start()
		}
		online(c, n)
		measure := func() (heap uint64, goroutines int) {
			synctest.Wait()
			var m runtime.MemStats
			runtime.GC()
			runtime.GC()
			runtime.ReadMemStats(&m)
			return m.HeapAlloc, runtime.NumGoroutine()
		}
		hour := func(i int) {
			for j := range 4 {
				agree(t, c, c.Push(motd(fmt.Sprintf("hour %d %d\n", i, j))), time.Minute)
				cut := c.Nodes[(4*i+j)%n]
				c.Net.Down(cut.Addr)
				time.Sleep(5 * time.Minute)
				c.Net.Up(cut.Addr)
				time.Sleep(10 * time.Minute)
			}
			settledReports(c, 10*time.Minute)
		}
		hour(0)
		heap, goroutines := measure()
		t.Logf("after 1 hour: %d KiB a node, %d goroutines", heap>>10/uint64(n), goroutines)
		for i := 1; i < hours; i++ {
			hour(i)
			if i%6 == 0 {
				now, running := measure()
				t.Logf("after %d hours: %d KiB a node, %d goroutines", i, now>>10/uint64(n), running)
			}
		}
		now, running := measure()
		t.Logf("after %d hours: %d KiB a node, %d goroutines", hours, now>>10/uint64(n), running)
		if now > heap+heap/4+uint64(n)<<17 {
			t.Errorf("the heap grew from %d to %d KiB a node in %d hours", heap>>10/uint64(n), now>>10/uint64(n), hours-1)
		}
		if running > goroutines+4*n {
			t.Errorf("%d goroutines became %d in %d hours", goroutines, running, hours-1)
		}
	})
}
