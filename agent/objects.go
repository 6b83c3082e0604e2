package agent

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gitrepo"
	"github.com/dunlin-dev/dunlin/agent/host"
	"github.com/dunlin-dev/dunlin/agent/peer"
)

const (
	// takeTime bounds how long a commit's objects are asked for in one go.
	takeTime = 2 * time.Minute
	// hedge is after how long without an answer another node is asked, too, and stalled after how long without some KiB a
	// transfer is given up.
	hedge   = 500 * time.Millisecond
	stalled = 5 * time.Second
	// maxPushed is how many neighbours' pushes are kept.
	maxPushed = 32
)

// pushed is a pack that a neighbour sent unasked; empty where it only has the commit.
type pushed struct {
	commit string
	pack   []byte
}

// takePush keeps what a neighbour pushes until it is known whether it is wanted: the newest of each.
func (a *Agent) takePush(from string, topic [20]byte, data []byte) {
	a.mu.Lock()
	if a.pushes == nil {
		a.pushes = map[string]pushed{}
	}
	if _, has := a.pushes[from]; has || len(a.pushes) < maxPushed {
		a.pushes[from] = pushed{hex.EncodeToString(topic[:]), data}
	}
	a.mu.Unlock()
	a.pushCame.raise()
}

// pushesOf are what neighbours pushed of a commit, by their id.
func (a *Agent) pushesOf(commit string) map[string][]byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string][]byte{}
	for id, p := range a.pushes {
		if p.commit == commit {
			out[id] = p.pack
		}
	}
	return out
}

// passOn tells the neighbours that this node has a commit, with its objects where they are few.
func (a *Agent) passOn(ctx context.Context, commit string) {
	raw, err := hex.DecodeString(commit)
	if a.peers == nil || err != nil || len(raw) != 20 {
		return
	}
	a.mu.Lock()
	have := ""
	if a.policy != nil {
		have = a.policy.Commit
	}
	done := a.passedOn == commit
	a.passedOn = commit
	a.mu.Unlock()
	if done || have == commit {
		return
	}
	w := &bounded{room: peer.MaxPush}
	if err := a.policies.Pack(ctx, w, commit, have); err != nil {
		w.b = bytes.Buffer{}
	}
	a.peers.Push([20]byte(raw), w.b.Bytes())
}

// bounded takes so many bytes and no more.
type bounded struct {
	b    bytes.Buffer
	room int
	over bool
}

func (w *bounded) Write(p []byte) (int, error) {
	if w.over = w.over || len(p) > w.room-w.b.Len(); w.over {
		w.b = bytes.Buffer{}
		return 0, gitrepo.ErrTooLarge
	}
	return w.b.Write(p)
}

// takeFromPeers makes the commit's objects be here. ids are nodes that say that they have it; neighbours may push them
// meanwhile. What comes is checked, so it does not matter from whom.
func (a *Agent) takeFromPeers(ctx context.Context, commit string, ids []string) error {
	if a.policies.Has(commit) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, takeTime)
	defer cancel()
	have, err := a.policies.Ref(trustedRef)
	if err != nil {
		return err
	}
	var sources []string
	tried := map[string]bool{}
	add := func(id string) {
		if !tried[id] {
			tried[id] = true
			sources = append(sources, id)
		}
	}
	start := int(a.o.Random() * float64(len(ids)))
	for i := range ids {
		add(ids[(start+i)%len(ids)])
	}
	var (
		last    = errors.New("nobody has it")
		running = 0
		results = make(chan error, 2*maxPushed)
		slot    = make(chan struct{}, 1) // one answer is taken in at a time
		next    = time.NewTimer(hedge)   // neighbours are likely to push it before that
		seen    = map[string]bool{}
	)
	defer next.Stop()
	defer func() {
		cancel()
		for ; running > 0; running-- {
			<-results
		}
	}()
	ask := func() {
		if len(sources) == 0 || running > 3 {
			return
		}
		id := sources[0]
		sources = sources[1:]
		running++
		go func() { results <- a.takeFrom(ctx, id, commit, have, slot) }()
	}
	for {
		for id, pack := range a.pushesOf(commit) {
			if len(pack) == 0 && !tried[id] {
				tried[id] = true
				sources = append([]string{id}, sources...) // there is a connection to most of them
				ask()
			}
			if sum := string(pack); len(pack) > 0 && !seen[sum] {
				seen[sum] = true
				if err := a.policies.Ingest(ctx, bytes.NewReader(pack), commit, have); err == nil {
					return nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(last, ctx.Err())
		case <-a.pushCame:
		case <-next.C:
			ask()
			next.Reset(hedge)
		case err := <-results:
			running--
			if err == nil {
				return nil
			}
			last = err
			if host.DiskFull(err) {
				return err
			}
			ask()
		}
		if running == 0 && len(sources) == 0 {
			return last
		}
	}
}

// takeFrom asks one node. What it sends is taken in when it is its turn.
func (a *Agent) takeFrom(ctx context.Context, id, commit, have string, slot chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(askTime, cancel)
	defer late.Stop()
	body, err := a.askPeer(ctx, id, "/v1/pack?"+url.Values{"want": {commit}, "have": {have}, "since": {a.pinNow().Anchor}}.Encode())
	if err != nil {
		return err
	}
	defer body.Close()
	if !late.Stop() {
		return ctx.Err()
	}
	select {
	case slot <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-slot }()
	if a.policies.Has(commit) {
		return nil
	}
	stop := time.AfterFunc(stalled, cancel)
	defer stop.Stop()
	return a.policies.Ingest(ctx, io.LimitReader(&alive{Reader: body, stop: stop}, gitrepo.MaxPack+1), commit, have)
}

// leastFlow is how many bytes put off the end of a transfer: one that drips holds up those that others would give.
const leastFlow = 8 << 10

// alive puts off the end of a transfer as long as enough comes.
type alive struct {
	io.Reader
	stop *time.Timer
	came int // since it was put off last
}

func (r *alive) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if r.came += n; r.came >= leastFlow {
		r.came = 0
		r.stop.Reset(stalled)
	}
	return n, err
}

// askPeer asks another node; the caller closes what comes.
func (a *Agent) askPeer(ctx context.Context, id, path string) (io.ReadCloser, error) {
	if a.peers == nil {
		return nil, errors.New("this node is alone")
	}
	client, base, err := a.peers.Client(id)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		_ = resp.Body.Close()
		return nil, fmt.Errorf("node %s answers %d: %s", id, resp.StatusCode, bytes.TrimSpace(text))
	}
	return resp.Body, nil
}
