package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// clockEvery is how often this node's clock is held against others'.
	clockEvery = 10 * time.Minute
	// clockOff is how far it may be off before nothing is started whose moment matters.
	clockOff = 2 * time.Minute
	// askStandingEvery is how often a reporter is asked for this node's line until one answers.
	askStandingEvery = 20 * time.Second
	// maxInventory bounds what another node says of itself, in bytes.
	maxInventory = 16 << 20
)

// peerHandler answers what other nodes of the roster ask beside the streams.
func (a *Agent) peerHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/time", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "%d\n", a.now().UnixMilli())
	})
	mux.HandleFunc("GET /v1/pack", func(w http.ResponseWriter, r *http.Request) {
		want, have := r.URL.Query().Get("want"), r.URL.Query().Get("have")
		if !isCommit(want) || have != "" && !isCommit(have) {
			http.Error(w, "want and have are full hashes", http.StatusBadRequest)
			return
		}
		// Only what the policy branch is or was, never objects that somebody else put here.
		if !a.gives(want) {
			http.Error(w, "this node does not have it", http.StatusNotFound)
			return
		}
		if err := a.policies.Pack(w, want, have); err != nil {
			a.log().Warn("pack not given", "commit", want, "error", one(err))
			panic(http.ErrAbortHandler) // the caller must not take half a pack for a whole one
		}
	})
	mux.HandleFunc("GET /v1/inventory", func(w http.ResponseWriter, r *http.Request) {
		if a.o.Inventory == nil {
			http.Error(w, "this node has no inventory", http.StatusNotFound)
			return
		}
		got, err := a.o.Inventory(r.Context(), r.URL.Query()["type"])
		if err != nil {
			http.Error(w, one(err), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(rawInventory(got))
	})
	mux.HandleFunc("GET /v1/facts", func(w http.ResponseWriter, r *http.Request) {
		b, err := a.storedFacts(r.URL.Query().Get("digest"))
		if err != nil {
			http.Error(w, "this node does not have them", http.StatusNotFound)
			return
		}
		_, _ = w.Write(b)
	})
	mux.HandleFunc("GET /v1/standing", func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		standing := a.standing
		a.mu.Unlock()
		if standing == nil {
			http.Error(w, "this node has not read the reports yet", http.StatusServiceUnavailable)
			return
		}
		line, err := standing(r.URL.Query().Get("node"))
		if err != nil {
			http.Error(w, one(err), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(line)
	})
	return mux
}

// askStanding asks a reporter which line of this node the branch has, once after each start: a host that came back from a
// backup would else say new things under old numbers, and nobody would take them.
func (a *Agent) askStanding(ctx context.Context) {
	for sleep(ctx, askStandingEvery/2+a.jitter(askStandingEvery)) {
		states := a.states()
		a.mu.Lock()
		stood, elected := a.stood, a.reporters(states)
		a.mu.Unlock()
		if stood {
			return
		}
		for _, id := range elected {
			if id == a.keys.ID() {
				continue // it reads the branch itself
			}
			line, err := a.standingAt(ctx, id)
			if err == nil && (line.Rev == 0 || line.Node == a.keys.ID()) && a.goOn(line) == nil {
				break
			}
		}
	}
}

func (a *Agent) standingAt(ctx context.Context, id string) (line schema.ReportLine, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	b, err := a.fromNode(ctx, id, "/v1/standing?"+url.Values{"node": {a.keys.ID()}}.Encode(), 2*report.MaxLine)
	if err != nil {
		return line, err
	}
	return line, json.Unmarshal(b, &line)
}

// gives reports whether a commit is one that this node has read from the remote or holds in force.
func (a *Agent) gives(commit string) bool {
	for _, ref := range []string{trustedRef, "refs/dunlin/incoming/" + a.branch()} {
		head, err := a.policies.Ref(ref)
		if err != nil || head == "" {
			continue
		}
		if is, err := a.policies.Descends(head, commit); err == nil && is {
			return a.policies.Has(commit)
		}
	}
	return false
}

func rawInventory(got map[string][]byte) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(got))
	for t, b := range got {
		out[t] = b
	}
	return out
}

// checkClock holds this host's clock against those of up to five others. With most of them against it nothing is
// started whose moment matters; what is in force stays enforced.
func (a *Agent) checkClock(ctx context.Context) {
	var off []time.Duration
	for _, id := range ranked("clock "+a.keys.ID(), a.here()) {
		if id == a.keys.ID() {
			continue
		}
		if d, err := a.offset(ctx, id); err == nil {
			off = append(off, d)
		}
		if len(off) == 5 {
			break
		}
	}
	if len(off) < 2 {
		// One other clock cannot tell which of the two is wrong.
		return
	}
	a.problem("clock", clockProblem(off))
}

// offset is how far this node's clock is ahead of another's, less what the way there may explain.
func (a *Agent) offset(ctx context.Context, id string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	sent := a.now()
	body, err := a.askPeer(ctx, id, "/v1/time")
	if err != nil {
		return 0, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, 64))
	if err != nil {
		return 0, err
	}
	ms, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("node %s tells no time: %w", id, err)
	}
	got := a.now()
	return sent.Add(got.Sub(sent) / 2).Sub(time.UnixMilli(ms)), nil
}

// clockProblem is what is wrong with a clock that is off by these against others; empty where most agree with it.
func clockProblem(off []time.Duration) string {
	off = slices.Sorted(slices.Values(off))
	median := off[len(off)/2]
	if len(off)%2 == 0 && median.Abs() > off[len(off)/2-1].Abs() {
		median = off[len(off)/2-1]
	}
	if median.Abs() <= clockOff {
		return ""
	}
	word := "ahead of"
	if median < 0 {
		word = "behind"
	}
	return fmt.Sprintf("this host's clock is %s %s those of %d other nodes: no window is trusted and no patch installed until it is set",
		median.Abs().Round(time.Second), word, len(off))
}

// fromNode asks another node and reads its answer whole.
func (a *Agent) fromNode(ctx context.Context, id, path string, limit int64) ([]byte, error) {
	body, err := a.askPeer(ctx, id, path)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("node %s: its answer is longer than %d bytes: %w", id, limit, gitrepo.ErrTooLarge)
	}
	return b, err
}
