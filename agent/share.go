package agent

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dunlin-dev/dunlin/agent/gossip"
	"github.com/dunlin-dev/dunlin/agent/peer"
	"github.com/dunlin-dev/dunlin/agent/record"
	"github.com/dunlin-dev/dunlin/schema"
)

// expectRecord is how long after a hint the record that it is of should have come.
const expectRecord = 2 * time.Second

// hintHead begins a hint that somebody saw a new head; the first bytes of the commit follow.
const hintHead = 'h'

// join opens this node's addresses and begins to look for the others. A node without gossip is alone.
func (a *Agent) join(ctx context.Context) error {
	g, ring := a.o.Config.Gossip, a.ringNow()
	if g == nil || len(ring.Use) == 0 && len(g.Ask) > 0 {
		return nil // alone, or until the key has come: see watchKeys
	}
	l, err := a.o.Network.Listen(a.o.Config.Peer.Bind)
	if err != nil {
		return fmt.Errorf("peer.bind %q: %w", a.o.Config.Peer.Bind, err)
	}
	a.peers, err = peer.New(peer.Config{
		Self: a.keys.ID(), Cert: a.keys.TLS, Pins: a.pinned, Listener: l,
		Dial:  a.o.Network.Dial,
		Store: a.records, Handler: a.peerHandler(), Stranger: a.stranger, Rand: a.o.Random,
		Urgent: func(r schema.Record) bool { return r.Kind == schema.RecordHead }, Pushed: a.takePush,
		Pinned: func(_ string, from netip.Addr) { a.cluster.Guest(from) },
		Start:  a.start, Twin: a.records.Twin,
		Log: func(text string) { a.log().Warn(a.named(text), "what", "peer") },
	})
	if err != nil {
		_ = l.Close()
		return err
	}
	a.cluster, err = gossip.Start(gossip.Config{
		Name: a.keys.ID(), Key: ring.Use, Label: "dunlin", Bind: g.Bind, Advertise: g.Advertise,
		Peer: advertised(bound(a.o.Config.Peer.Bind, l), g.Advertise), Join: g.Join, Network: a.o.Network,
		Log:  func(text string) { a.log().Warn(text, "what", "gossip") },
		Keys: a.signingKey, Nodes: func() int { return len(a.pinned()) }, Sign: a.signAddresses, Random: a.o.Random,
		Alone: func(text string) { a.problem("gossip", text) },
		Twin: func(at netip.AddrPort) {
			select {
			case a.copies <- at:
			default: // one is being looked at
			}
		},
	})
	if err != nil {
		_ = l.Close()
		return fmt.Errorf("gossip.bind %q: %w", g.Bind, err)
	}
	if err := a.cluster.SetKeys(ring.Use, ring.Also...); err != nil {
		return err
	}
	if a.cluster.At().Gossip.Addr().IsLoopback() && slices.ContainsFunc(g.Join, elsewhere) {
		a.problem("address", "this host had no address that others reach when its agent started, so they do not see it: it begins anew once it has one; or set gossip.advertise")
		a.watchAddress = true
	}
	a.membership()
	return nil
}

// addressEvery is how often a host that has no address that others reach looks whether it has one.
const addressEvery = 5 * time.Second

// awaitAddress ends with ErrAgain once a host that had no address that others reach has one, as when its network comes up late.
func (a *Agent) awaitAddress(ctx context.Context) error {
	for sleep(ctx, addressEvery) {
		if ip, ok := a.cluster.Better(); ok {
			a.log().Info("this host has an address that others reach: the agent begins anew", "address", ip.String())
			return ErrAgain
		}
	}
	return nil
}

// elsewhere reports whether an address to join is on another host.
func elsewhere(join string) bool {
	host, _, err := net.SplitHostPort(join)
	if err != nil {
		host = join
	}
	ip := net.ParseIP(host)
	return host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// bound is an address to listen on with the port that was given: 0 is any.
func bound(bind string, l net.Listener) string {
	host, port, err := net.SplitHostPort(bind)
	if _, given, e := net.SplitHostPort(l.Addr().String()); err == nil && e == nil && port == "0" {
		return net.JoinHostPort(host, given)
	}
	return bind
}

// advertised is where others reach the peer server: its port, on the host that gossip advertises. Without a host, others
// take the address that gossip comes from.
func advertised(bind, advertise string) string {
	host, port, err := net.SplitHostPort(bind)
	if err != nil {
		return bind
	}
	if h, _, err := net.SplitHostPort(advertise); err == nil {
		host = h
	} else if advertise != "" {
		host = advertise
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = ""
	}
	return net.JoinHostPort(host, port)
}

// signAddresses signs where this node is.
func (a *Agent) signAddresses(at schema.AddressRecord) (schema.Record, error) {
	if _, err := a.records.Publish(schema.RecordAddress, "", at); err != nil {
		return schema.Record{}, err
	}
	for _, r := range a.records.Of(schema.RecordAddress) {
		if r.Node == a.keys.ID() {
			return r, nil
		}
	}
	return schema.Record{}, errors.New("the record of this node's addresses is gone")
}

// addresses tells gossip what records say of where nodes are.
func (a *Agent) addresses() {
	if a.cluster == nil {
		return
	}
	rs := a.records.Of(schema.RecordAddress)
	for _, r := range rs {
		if r.Node != a.keys.ID() {
			continue
		}
		if err := a.cluster.Claim(r); err != nil {
			a.log().Warn("others are not told where this node is", "error", one(err))
		}
	}
	a.cluster.Addresses(rs)
}

// membership takes note of who is here, and lets the streams follow.
func (a *Agent) membership() {
	if a.cluster == nil {
		return
	}
	a.members.Lock()
	defer a.members.Unlock()
	online := map[string]bool{}
	var members []peer.Member
	now := a.now()
	for _, m := range a.cluster.Members() {
		if m.ID == a.keys.ID() {
			continue
		}
		online[m.ID] = true
		members = append(members, peer.Member{ID: m.ID, Addr: m.Peer})
	}
	a.mu.Lock()
	for _, ids := range []map[string]bool{a.online, online} {
		for id := range ids {
			if _, listed := a.roster[id]; listed {
				a.lastSeen[id] = now
			}
		}
	}
	a.online = online
	pins := a.pins
	a.mu.Unlock()
	if len(online) > 0 {
		a.problem("gossip", "")
	}
	active := members[:0]
	for _, m := range members {
		if _, ok := pins[m.ID]; ok {
			active = append(active, m)
		}
	}
	a.peers.SetMembers(active)
}

// share tells others what is new here and takes in what they tell.
func (a *Agent) share(ctx context.Context) error {
	var members <-chan struct{}
	var hints <-chan []byte
	if a.cluster != nil {
		members, hints = a.cluster.Changed(), a.cluster.Hints()
	}
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	absent, telling := map[string]absence{}, teller{}
	var above *string                                      // what was told of it
	expected, expecting := time.NewTimer(time.Hour), false // the record of a head that was hinted at
	defer expected.Stop()
	if a.peers != nil {
		var asking sync.WaitGroup
		asking.Go(func() { a.askStanding(ctx) })
		asking.Go(func() { a.meetTwins(ctx) })
		defer asking.Wait()
	}
	for {
		a.pulses.idle("share")
		select {
		case <-ctx.Done():
			return nil
		case <-a.records.Changed():
			a.pulses.busy("share")
			if a.peers != nil {
				a.peers.Offer()
			}
			a.addresses()
			if heard := a.above.Load(); heard != above {
				above = heard
				a.publishState()
			}
			a.clones()
			a.heads.raise()
			a.reports.raise()
		case <-members:
			a.pulses.busy("share")
			a.membership()
			a.heads.raise()
			a.reports.raise()
		case h := <-hints:
			a.pulses.busy("share")
			if a.hinted(h) && !expecting {
				expecting = true
				expected.Reset(expectRecord)
			}
		case <-expected.C:
			a.pulses.busy("share")
			expecting = false
			a.mu.Lock()
			hinted := a.hintedHead
			a.mu.Unlock()
			if a.peers != nil && !a.headKnown(hinted) {
				a.peers.Compare()
			}
		case <-tick.C:
			a.pulses.busy("share")
			a.count()
			a.clones() // it may be over
			a.lookFor(absent)
			a.tellSeen(&telling)
		}
	}
}

// absence is of a node that has told something, and that gossip does not know of.
type absence struct {
	boot, seq uint64 // of what it told last
	looks     int
}

// lookFor compares members with another node when somebody who is no member has told something new: gossip has missed that it
// came, which at the start of a whole fleet happens. Who is away tells nothing new.
func (a *Agent) lookFor(absent map[string]absence) {
	if a.cluster == nil {
		return
	}
	a.mu.Lock()
	online, pins := a.online, a.pins
	a.mu.Unlock()
	look := false
	for _, r := range a.records.Of(schema.RecordState) {
		if _, active := pins[r.Node]; !active || online[r.Node] || r.Node == a.keys.ID() {
			delete(absent, r.Node)
			continue
		}
		was := absent[r.Node]
		if was.boot != r.Boot || was.seq != r.Seq {
			was = absence{boot: r.Boot, seq: r.Seq}
		}
		was.looks++
		look = look || was.looks == 2 || was.looks == 5 // not at once: it may just have come, or gone
		absent[r.Node] = was
	}
	for id := range absent {
		if _, active := pins[id]; !active {
			delete(absent, id)
		}
	}
	if look {
		a.cluster.Resync()
	}
}

// named says the names of nodes in a text that has their ids in quotes.
func (a *Agent) named(text string) string {
	words := strings.Split(text, `"`)
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := 1; i < len(words); i += 2 {
		if l, listed := a.roster[words[i]]; listed {
			words[i] = l.Name
		}
	}
	return strings.Join(words, `"`)
}

// clones looks whether records show two hosts with this node's key. What gossip says of it proves nothing: who has the
// gossip key can say it of any node.
func (a *Agent) clones() {
	text := ""
	if a.records.Cloned(a.keys.ID()) {
		text = "another host uses this host's key, as after a copy of its state folder: no patches are installed on either. Stop the agent of one, remove its state folder, start it, and let it in as a new host (dunlin join, or the line that `dunlin node line` prints); 10 minutes later this is over"
	}
	a.problem("clone", text)
}

// meetTwins looks where this node is said to be elsewhere whether another host has its key, which takes no third node. What
// counts is what that one shows on the connection.
func (a *Agent) meetTwins(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case at := <-a.copies:
			twin, err := a.peers.Meet(ctx, at.String())
			switch {
			case err != nil:
				a.log().Debug("nobody with this host's key answers there", "address", at.String(), "error", one(err))
			case twin:
				a.records.Twin()
			}
		}
	}
}

// hint tells all members at once that there is a new head; it is a wake-up call that nobody has to believe.
func (a *Agent) hint(commit string) {
	b, err := hex.DecodeString(commit)
	if err != nil || a.cluster == nil || len(b) < 8 {
		return
	}
	a.mu.Lock()
	same := a.hintedHead == commit
	a.hintedHead = commit
	a.mu.Unlock()
	if !same {
		a.cluster.Hint(append([]byte{hintHead}, b[:20]...))
	}
}

// hinted hears a hint, which is worth nothing: anyone with the gossip key can give it. A head that nobody has signed a
// record of soon after makes this node compare with its neighbours; no connection is opened for it, to none of them
// and not to the remote. It reports whether that is to be seen.
func (a *Agent) hinted(h []byte) bool {
	if len(h) != 21 || h[0] != hintHead {
		return false
	}
	commit := hex.EncodeToString(h[1:])
	a.mu.Lock()
	a.hintedHead = commit
	a.mu.Unlock()
	return !a.headKnown(commit)
}

// headKnown reports whether this node, or one that has signed it, knows of a head.
func (a *Agent) headKnown(commit string) bool {
	a.mu.Lock()
	known := a.remote.Head == commit || a.policy != nil && a.policy.Commit == commit || a.refused != nil && a.refused.Commit == commit
	a.mu.Unlock()
	if known {
		return true
	}
	for _, h := range a.headsTold() {
		if h.Commit == commit {
			return true
		}
	}
	return false
}

// count counts this start where there was no room on the disk for it before.
func (a *Agent) count() {
	if !a.uncounted {
		return
	}
	boot, err := record.NextBoot(a.o.Config.State)
	if err != nil {
		a.problem("start", "nothing is told to others: "+one(err))
		return
	}
	a.uncounted = false
	a.records.Begin(boot)
	if a.cluster != nil {
		if _, err := a.signAddresses(a.cluster.At()); err != nil {
			a.log().Warn("others are not told where this node is", "error", one(err))
		}
	}
	a.problem("start", "")
	a.publishState()
	a.heads.raise()
}

// publish tells the others; what they know already is not told again.
func (a *Agent) publish(kind schema.RecordKind, key string, body any) {
	if _, err := a.records.Publish(kind, key, body); err != nil && !errors.Is(err, record.ErrNotBegun) {
		a.log().Warn("not told to others", "what", kind, "error", one(err))
	}
}

// publishState tells how this node fares, and its line of the reports branch.
func (a *Agent) publishState() {
	text := ""
	if err := a.tellState(); err != nil {
		text = "the report line cannot be kept, so none is written: " + one(err)
	}
	if a.note("report", text) {
		_ = a.tellState() // the problem too, as far as it can be told
	}
}

// tellState is publishState, one at a time: what was seen later must be told later.
func (a *Agent) tellState() error {
	a.telling.Lock()
	defer a.telling.Unlock()
	a.mu.Lock()
	s := schema.StateRecord{
		Refused: a.refused, Remote: a.remote.Error, Reporter: a.reporter != nil, ReportFails: a.report.Error != "",
		Types: []schema.TypeCompliance{}, Agent: a.o.Version, Clone: a.problems["clone"] != "", Start: a.start,
	}
	if above := a.above.Load(); above != nil {
		s.Above = *above
	}
	p := a.problemTexts()
	if e := a.report.Error; e != "" {
		p = append(p, "reports are not written: "+e)
	}
	if len(p) > 0 {
		s.Problem = p[0]
		if len(p) > 1 {
			s.Problem += " (and " + strconv.Itoa(len(p)-1) + " more)"
		}
	}
	line, listed := a.roster[a.keys.ID()]
	s.Name = line.Name
	judged := a.policy != nil && a.account.Commit == a.policy.Commit
	if a.account.Commit != "" {
		s.Commit = a.account.Commit
		s.Types = typesOf(a.patching, a.account.Changes)
	}
	a.told.raise()
	patching, facts, changes := a.patching, a.facts, a.account.Changes
	fleet := ""
	if a.policy != nil {
		fleet = a.policy.Repo.Fleet.Name
	}
	a.account.Compliance = overall(s.Types)
	a.mu.Unlock()
	if !listed {
		return nil
	}
	a.publish(schema.RecordState, "", fitting(s))
	if !judged || fleet == "" {
		return nil
	}
	return a.publishLine(fleet, s, patching, changes, facts)
}

// publishLine signs this node's line of the reports branch, with a higher revision where something changed.
func (a *Agent) publishLine(fleet string, s schema.StateRecord, patching schema.Patching, changes []schema.Change, facts string) error {
	facts, err := a.keepFacts(facts)
	if err != nil {
		a.log().Warn("facts are not reported", "error", one(err))
	}
	line := schema.ReportLine{V: 1, Fleet: fleet, Node: a.keys.ID(), Commit: s.Commit, Compliance: map[string]schema.Compliance{},
		Counts: countsOf(patching), Facts: facts}
	for _, t := range s.Types {
		line.Compliance[t.Type] = t.State
	}
	signed, err := a.revs.Next(line, a.keys.Sign, a.now())
	if err != nil {
		return err
	}
	a.publish(schema.RecordReport, "", signed)
	return nil
}

// decode reads a record's body.
func decode[T any](r schema.Record) (v T, ok bool) {
	return v, json.Unmarshal(r.Body, &v) == nil
}
