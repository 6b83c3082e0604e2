package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/agent/peer"
	"github.com/dunlin-dev/dunlin/agent/trust"
	"github.com/dunlin-dev/dunlin/schema"
)

// How often hosts may ask to be let in, per node that is asked. What is let pass is not counted.
const (
	guessesPerSource = 5 // a minute, of one address; of IPv6 one /64
	guessesInAll     = 100
	guessesPer       = time.Hour // in all
	// looksPerMinute is how often proofs are looked at, whoever sends them: that costs two signatures and more.
	looksPerMinute = 1200
	// heardPerMinute is how often those that hold a code are heard: to read the roster for them costs something.
	heardPerMinute = 600
	maxSources     = 4096
	// maxAsking is how many hosts a node keeps that ask, in joinShards records.
	maxAsking = 128
	// spareAsking is how many more than it may let in wait of one activation: some that ask are not let in.
	spareAsking = 8
	joinShards  = 16
	maxJoins    = 16 << 10 // bytes of one record
)

// joinsFile keeps who asks over a start.
const joinsFile = "joins.json"

// guesses bounds how often strangers are heard: a wrong code cannot be guessed, and must not cost much either.
type guesses struct {
	mu      sync.Mutex
	sources map[netip.Prefix]bucket
	looks   bucket // whoever it is
	wrong   bucket // codes that were wrong
	holders bucket
}

// bucket holds what may still be done, and when that was so.
type bucket struct {
	left float64
	at   time.Time
}

func (b bucket) fill(most float64, per time.Duration, now time.Time) bucket {
	if b.at.IsZero() {
		return bucket{most, now}
	}
	b.left = min(most, b.left+most*float64(now.Sub(b.at))/float64(per))
	b.at = now
	return b
}

// source is what counts as one address.
func source(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits)
	return p
}

// take reports whether somebody at an address may try once more.
func (g *guesses) take(addr netip.Addr, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sources == nil {
		g.sources = map[netip.Prefix]bucket{}
	}
	from := source(addr)
	if _, known := g.sources[from]; !known && len(g.sources) >= maxSources {
		for s, b := range g.sources {
			if b.fill(guessesPerSource, time.Minute, now).left >= guessesPerSource {
				delete(g.sources, s)
			}
		}
		if len(g.sources) >= maxSources {
			return false
		}
	}
	one := g.sources[from].fill(guessesPerSource, time.Minute, now)
	g.looks = g.looks.fill(looksPerMinute, time.Minute, now)
	ok := one.left >= 1 && g.looks.left >= 1
	if ok {
		one.left--
		g.looks.left--
	}
	g.sources[from] = one
	return ok
}

// guess counts a wrong code, and reports whether its sender is told that it was wrong. Who holds a code is never counted here,
// so guesses do not close the door to those who do.
func (g *guesses) guess(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wrong = g.wrong.fill(guessesInAll, guessesPer, now)
	ok := g.wrong.left >= 1
	if ok {
		g.wrong.left--
	}
	return ok
}

// holder reports whether somebody who holds a code may be heard.
func (g *guesses) holder(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holders = g.holders.fill(heardPerMinute, time.Minute, now)
	ok := g.holders.left >= 1
	if ok {
		g.holders.left--
	}
	return ok
}

// give takes back that somebody tried: it was no guess.
func (g *guesses) give(addr netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	from := source(addr)
	one := g.sources[from]
	one.left = min(guessesPerSource, one.left+1)
	g.sources[from] = one
	g.looks.left = min(looksPerMinute, g.looks.left+1)
}

// asking are the hosts that have asked this node to be let in.
type asking struct {
	guesses guesses
	mu      sync.Mutex
	joins   map[string]trust.Join // by id
}

var errTooMany = errors.New("too many tries: wait a minute, or ask another node")

// stranger hears a host that the roster does not have. What it is told is one line, "kind: reason" where it is refused.
func (a *Agent) stranger(_ context.Context, s peer.Stranger) (int, string) {
	from, err := addressOf(s.Addr)
	if err != nil {
		return http.StatusForbidden, "network: it comes from no address"
	}
	now := a.now()
	if !a.asks.guesses.take(from, now) {
		return http.StatusTooManyRequests, errTooMany.Error()
	}
	j, room, holds, err := a.judgeStranger(s, from, now)
	if holds {
		a.asks.guesses.give(from) // it was no guess
	}
	if r := (*trust.JoinRefusal)(nil); errors.As(err, &r) {
		if !holds && r.Kind != trust.JoinRelay && !a.asks.guesses.guess(now) {
			return http.StatusTooManyRequests, errTooMany.Error()
		}
		a.log().Warn("a host is not let in", "from", from.String(), "kind", string(r.Kind), "reason", r.Reason)
		return http.StatusForbidden, string(r.Kind) + ": " + r.Reason
	}
	if errors.Is(err, errTooMany) {
		return http.StatusTooManyRequests, errTooMany.Error()
	}
	if err != nil {
		a.log().Warn("a host is not let in", "from", from.String(), "error", one(err))
		return http.StatusBadRequest, "not a join proof that this node can judge"
	}
	if err := a.keepJoin(j, room); err != nil {
		return http.StatusServiceUnavailable, one(err)
	}
	a.log().Info("a host asks to be let in", "id", j.Proof.ID, "name", j.Proof.Name, "activation", j.Proof.Activation, "from", from.String())
	return http.StatusAccepted, "wait until somebody lets you in"
}

func addressOf(hostPort string) (netip.Addr, error) {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = hostPort
	}
	addr, err := netip.ParseAddr(host)
	return addr.Unmap().WithZone(""), err
}

// judgeStranger judges a proof on its connection, by the policy in force. holds is that it was made with the code of an
// activation, room how many it may still let in.
func (a *Agent) judgeStranger(s peer.Stranger, from netip.Addr, now time.Time) (j trust.Join, room int, holds bool, err error) {
	p, err := trust.ParseProof(s.Message)
	if err != nil {
		return j, 0, false, err
	}
	if err := p.Arrives(s.Exporter, s.Pin); err != nil {
		return j, 0, false, err
	}
	a.mu.Lock()
	policy := a.policy
	a.mu.Unlock()
	if policy == nil {
		return j, 0, false, errors.New("no policy is in force here")
	}
	// First what costs little: a stranger without the code gets no further.
	gate := trust.Gate{Fleet: policy.Repo.Fleet.Name, Activations: policy.Repo.Activations, Now: now,
		Enrolled: func(string) int { return 0 }, Known: func(string) bool { return false }, Member: a.signingKey}
	j = trust.See(p, from, now, a.keys.Sign)
	if err := gate.Judge(j); err != nil {
		r := (*trust.JoinRefusal)(nil)
		return j, 0, errors.As(err, &r) && r.Kind != trust.JoinCode && r.Kind != trust.JoinRevoked && r.Kind != trust.JoinFleet, err
	}
	if !a.asks.guesses.holder(now) {
		return j, 0, true, errTooMany
	}
	roll, err := a.roll(policy.Commit)
	if err != nil {
		return j, 0, true, err
	}
	gate.Enrolled, gate.Known = roll.Enrolled, roll.Known
	room = max(policy.Repo.Activations[p.Activation].Limit, 1) - roll.Enrolled(p.Activation)
	return j, room, true, gate.Judge(j)
}

// roll is the roster of a commit, with who has enrolled.
func (a *Agent) roll(commit string) (*trust.Roll, error) {
	src := a.trustSource()
	tree, err := treeOf(src, commit)
	if err != nil {
		return nil, err
	}
	return trust.ReadRoll(src, tree)
}

// keepJoin keeps who asks, and tells the others. Of an activation that has room for so many no more wait than that and a few:
// the newest takes the place of the oldest. Where no place is left at all, who comes with another code takes one of the
// activation that has the most, so that one code does not keep out all others.
func (a *Agent) keepJoin(j trust.Join, room int) error {
	a.asks.mu.Lock()
	before := maps.Clone(a.asks.joins)
	if _, again := before[j.Proof.ID]; !again {
		waiting := map[string]int{}
		for _, o := range before {
			waiting[o.Proof.Activation]++
		}
		own, most := j.Proof.Activation, ""
		for _, act := range slices.Sorted(maps.Keys(waiting)) {
			if most == "" || waiting[act] > waiting[most] {
				most = act
			}
		}
		switch {
		case waiting[own] > 0 && waiting[own] >= room+spareAsking:
			delete(a.asks.joins, oldestOf(before, own))
		case len(before) >= maxAsking && waiting[own]+1 < waiting[most]:
			delete(a.asks.joins, oldestOf(before, most))
		case len(before) >= maxAsking:
			a.asks.mu.Unlock()
			return fmt.Errorf("%d hosts ask to be let in already: ask another node, or wait", maxAsking)
		}
	}
	a.asks.joins[j.Proof.ID] = j
	err := a.writeJoins()
	if err != nil {
		a.asks.joins = before
	}
	shards := map[int]bool{shardOf(j.Proof.ID): true}
	for id := range before {
		if _, stays := a.asks.joins[id]; !stays {
			shards[shardOf(id)] = true
		}
	}
	a.asks.mu.Unlock()
	if err != nil {
		return fmt.Errorf("keep who asks: %w", err)
	}
	a.publishJoins(slices.Sorted(maps.Keys(shards))...)
	return nil
}

// oldestOf is who of an activation has waited longest, by what this node has noted.
func oldestOf(joins map[string]trust.Join, activation string) (oldest string) {
	at := func(id string) string {
		if s := joins[id].Seen; s != nil {
			return s.At
		}
		return ""
	}
	for _, id := range slices.Sorted(maps.Keys(joins)) {
		if joins[id].Proof.Activation == activation && (oldest == "" || at(id) < at(oldest)) {
			oldest = id
		}
	}
	return oldest
}

// writeJoins makes who asks durable. The caller holds asks.mu.
func (a *Agent) writeJoins() error {
	var lines []string
	for _, id := range slices.Sorted(maps.Keys(a.asks.joins)) {
		lines = append(lines, string(a.asks.joins[id].Encode()))
	}
	b, err := json.Marshal(schema.JoinRecord{Joins: lines})
	if err != nil {
		return err
	}
	return writeDurably(filepath.Join(a.o.Config.State, joinsFile), append(b, '\n'))
}

// readJoins reads who asked before this start. What cannot be read is lost: those hosts ask again.
func readJoins(state string) map[string]trust.Join {
	out := map[string]trust.Join{}
	path := filepath.Join(state, joinsFile)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err != nil || info.Size() > maxAsking*2*trust.MaxJoin {
		return out
	}
	b, err := os.ReadFile(path)
	var r schema.JoinRecord
	if err != nil || json.Unmarshal(b, &r) != nil {
		return out
	}
	for _, line := range r.Joins[:min(len(r.Joins), maxAsking)] {
		if j, err := trust.ParseJoin([]byte(line)); err == nil {
			out[j.Proof.ID] = j
		}
	}
	return out
}

// shardOf is the record that a host which asks is told of in.
func shardOf(id string) int {
	return int(strings.IndexByte("abcdefghijklmnopqrstuvwxyz234567", id[0])) % joinShards
}

// publishJoins tells who asks; a record holds as many as it has room for.
func (a *Agent) publishJoins(shards ...int) {
	for _, shard := range shards {
		r := schema.JoinRecord{Joins: []string{}}
		size := 0
		a.asks.mu.Lock()
		for _, id := range slices.Sorted(maps.Keys(a.asks.joins)) {
			if shardOf(id) != shard {
				continue
			}
			line := string(a.asks.joins[id].Encode())
			if size += len(line); size > maxJoins {
				break
			}
			r.Joins = append(r.Joins, line)
		}
		a.asks.mu.Unlock()
		a.publish(schema.RecordJoin, fmt.Sprintf("%x", shard), r)
	}
}

// settleJoins forgets those that are in, and those whose activation is over or gone.
func (a *Agent) settleJoins() {
	a.mu.Lock()
	policy, roster := a.policy, a.roster
	a.mu.Unlock()
	if policy == nil {
		return
	}
	shards, gone := map[int]bool{}, false
	a.asks.mu.Lock()
	for id, j := range a.asks.joins {
		act, open := policy.Repo.Activations[j.Proof.Activation]
		if _, in := roster[id]; in || !open || !a.now().Before(act.Expires) {
			delete(a.asks.joins, id)
			gone = true
		}
		shards[shardOf(id)] = true
	}
	if gone {
		if err := a.writeJoins(); err != nil {
			a.log().Warn("who asks to be let in is not kept", "error", one(err))
		}
	}
	a.asks.mu.Unlock()
	a.publishJoins(slices.Sorted(maps.Keys(shards))...)
}

// Joins are the hosts that ask to be let in, as this node and others have heard, each a join in canonical JSON, by id. What is
// not good by the policy in force is left out.
func (a *Agent) Joins() []string {
	a.mu.Lock()
	policy, roster := a.policy, a.roster
	a.mu.Unlock()
	if policy == nil {
		return []string{}
	}
	gate := trust.Gate{Fleet: policy.Repo.Fleet.Name, Activations: policy.Repo.Activations, Now: a.now(),
		Enrolled: func(string) int { return 0 }, Known: func(id string) bool { _, in := roster[id]; return in }, Member: a.signingKey}
	found := map[string]trust.Join{}
	take := func(j trust.Join) {
		had, twice := found[j.Proof.ID]
		if (!twice || j.Proof.At > had.Proof.At) && gate.Judge(j) == nil {
			found[j.Proof.ID] = j
		}
	}
	a.asks.mu.Lock()
	own := slices.Collect(maps.Values(a.asks.joins))
	a.asks.mu.Unlock()
	for _, j := range own {
		take(j)
	}
	for _, r := range a.records.Of(schema.RecordJoin) {
		told, ok := decode[schema.JoinRecord](r)
		if !ok || r.Node == a.keys.ID() {
			continue
		}
		for _, line := range told.Joins {
			if j, err := trust.ParseJoin([]byte(line)); err == nil {
				take(j)
			}
		}
	}
	out := []string{}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		out = append(out, string(found[id].Encode()))
	}
	return out
}
