package host

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

// startHints gives the hints, what they give out and an end.
func startHints(t *testing.T) (h *hints, lots <-chan []Drift, end func()) {
	h = newHints()
	ctx, cancel := context.WithCancel(t.Context())
	lots = h.start(ctx)
	return h, lots, func() {
		cancel()
		for range lots {
		}
	}
}

func TestOneHintIsGivenOutAtOnceAndABurstTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, lots, end := startHints(t)
		defer end()
		start := time.Now()
		h.tell(Drift{Resource: "file:/a"})
		got := <-lots
		if took := time.Since(start); took > settleTime || !reflect.DeepEqual(got, []Drift{{Resource: "file:/a"}}) {
			t.Errorf("heard %v after %s", got, took)
		}
		for range 1000 {
			h.tell(Drift{Resource: "file:/a"})
			h.tell(Drift{Resource: "port:", Who: "nft (pid 1)"})
			h.tell(Drift{Resource: "port:"})
		}
		if got := <-lots; !reflect.DeepEqual(got, []Drift{{Resource: "file:/a"}, {"port:", "nft (pid 1)"}}) {
			t.Errorf("a burst is heard as %v", got)
		}
		synctest.Wait()
		select {
		case got := <-lots:
			t.Errorf("heard %v once more", got)
		default:
		}
	})
}

func TestNobodyWaitsForWhoDoesNotListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, lots, end := startHints(t)
		defer end()
		for i := range 10 * maxHints {
			h.tell(Drift{Resource: fmt.Sprint("file:", i)})
			h.tell(Drift{Resource: "port:", Who: fmt.Sprint("nft ", i)})
		}
		time.Sleep(time.Hour)
		h.tell(Drift{Resource: "service:late"})
		time.Sleep(time.Hour)
		got := map[string]string{}
		for _, d := range <-lots {
			got[d.Resource] = d.Who
		}
		_, anything := got[""]
		_, late := got["service:late"]
		if len(got) > 2*maxHints || !anything || !late || got["port:"] != fmt.Sprint("nft ", 10*maxHints-1) {
			t.Errorf("heard %d resources, anything %v, the last %v, ports by %q", len(got), anything, late, got["port:"])
		}
	})
}

func TestThePackageDatabaseIsToldOfOnceItIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, lots, end := startHints(t)
		defer end()
		start := time.Now()
		for range 5 {
			h.tell(Drift{Resource: driftPackages})
			time.Sleep(packagesQuiet / 2)
		}
		h.tell(Drift{Resource: "file:/a"})
		if got := <-lots; len(got) != 1 || got[0].Resource != "file:/a" {
			t.Errorf("heard %v while packages are changed", got)
		}
		if got := <-lots; len(got) != 1 || got[0].Resource != driftPackages || time.Since(start) != 3*packagesQuiet {
			t.Errorf("heard %v after %s, want packages a second after the last change", got, time.Since(start))
		}
		// One that never ends is told of all the same.
		start = time.Now()
		for range 30 {
			h.tell(Drift{Resource: driftPackages})
			time.Sleep(packagesQuiet / 2)
		}
		got := <-lots
		if len(got) != 1 || got[0].Resource != driftPackages {
			t.Errorf("heard %v", got)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		// The next time begins with the change after it was told of.
		if since := h.packages.Sub(start); since < packagesLongest || since > packagesLongest+packagesQuiet {
			t.Errorf("told of after %s, want %s", since, packagesLongest)
		}
	})
}

func TestUnitsAreNamedAsTheirPolicyNamesThem(t *testing.T) {
	got := unitsWatched(Watched{Units: []string{"nginx", "telnet.socket", "a.b", "x@1"}})
	want := map[string]string{"nginx.service": "service:nginx", "telnet.socket": "service:telnet.socket", "a.b.service": "service:a.b", "x@1.service": "service:x@1"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("units %v, want %v", got, want)
	}
}
