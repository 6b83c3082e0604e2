package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/report"
	"github.com/dunlin-dev/dunlin/schema"
)

const (
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
	mux.HandleFunc("GET /v1/gossip-key", a.giveKey)
	mux.HandleFunc("GET /v1/pack", func(w http.ResponseWriter, r *http.Request) {
		want, have, since := r.URL.Query().Get("want"), r.URL.Query().Get("have"), r.URL.Query().Get("since")
		if !isCommit(want) || have != "" && !isCommit(have) || since != "" && !isCommit(since) {
			http.Error(w, "want, have and since are full hashes", http.StatusBadRequest)
			return
		}
		// Only what the policy branch is or was, never objects that somebody else put here.
		if !a.gives(r.Context(), want) {
			http.Error(w, "this node does not have it", http.StatusNotFound)
			return
		}
		if !a.policies.Goes(have, since) {
			http.Error(w, "this node's history begins later", http.StatusNotFound)
			return
		}
		if err := a.givePack(r.Context(), w, want, have, since); err != nil {
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
	return a.answers.limit(mux)
}

// keptPack is the pack that was given last: after a commit all ask for the same.
type keptPack struct {
	want, have, since string
	b                 []byte
}

// maxKeptPack is how large such a pack may be, in bytes.
const maxKeptPack = 1 << 20

// givePack writes what a peer needs that has commit have and wants commit want, and whose history begins at since.
func (a *Agent) givePack(ctx context.Context, w io.Writer, want, have, since string) error {
	a.mu.Lock()
	kept := a.kept
	a.mu.Unlock()
	if kept.want == want && kept.have == have && kept.since == since && kept.b != nil {
		_, err := w.Write(kept.b)
		return err
	}
	keep := &bounded{room: maxKeptPack}
	if err := a.policies.PackSince(ctx, tee{w, keep}, want, have, since); err != nil {
		return err
	}
	if !keep.over {
		a.mu.Lock()
		a.kept = keptPack{want, have, since, keep.b.Bytes()}
		a.mu.Unlock()
	}
	return nil
}

// tee writes to both; what the second does not take is its own affair.
type tee struct {
	io.Writer
	keep *bounded
}

func (t tee) Write(b []byte) (int, error) {
	_, _ = t.keep.Write(b)
	return t.Writer.Write(b)
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

// gives reports whether a commit is one that this node has read from the remote or holds in force, or came before those.
func (a *Agent) gives(ctx context.Context, commit string) bool {
	if !a.policies.Knows(commit) {
		return false
	}
	for _, ref := range []string{trustedRef, gitrepo.Incoming(a.branch())} {
		head, err := a.policies.Ref(ref)
		if err != nil || head == "" {
			continue
		}
		if head == commit {
			return true // references are set to what is here with all its files
		}
		if is, err := a.policies.Descends(ctx, head, commit); err == nil && is {
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

// fromNode asks another node and reads its answer whole.
func (a *Agent) fromNode(ctx context.Context, id, path string, limit int64) ([]byte, error) {
	body, err := a.askPeer(ctx, id, path)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return readWhole(body, id, limit)
}

// readWhole reads the answer of a node.
func readWhole(body io.Reader, id string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("node %s: its answer is longer than %d bytes: %w", id, limit, gitrepo.ErrTooLarge)
	}
	return b, err
}
