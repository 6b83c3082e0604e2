// Package gossip finds the other nodes of the fleet and tells which are there.
//
// It is memberlist (SWIM with Lifeguard) with encryption and a label, over a
// network that the caller gives. Who holds the gossip key can claim anything
// here, so all of it is a hint. What is sent goes only to where a node of the
// roster has signed that it is, to the configured addresses, and for a minute to
// where a pinned stream came from; what comes in is looked at before memberlist
// sees it; and that a member is gone is believed when it does not answer this node.
package gossip

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/dunlin-dev/dunlin/schema"
)

const (
	// MaxHint is how long a hint may be, in bytes.
	MaxHint = 64
	// KeySize is how long the gossip key is, in bytes (AES-256).
	KeySize = 32
	// maxHints is how many hints wait to be heard; the oldest go first.
	maxHints = 256
	// slowRound is the time between two rounds in which memberlist tells what is new, and slowTo how many it tells. It wakes
	// up for each though there is mostly nothing to tell, and an idle host pays some 0.2 ms each time that it does.
	slowRound = 1500 * time.Millisecond
	slowTo    = 8
	// probe is the time between two looks at whether some other member is still there. Both clocks start at the same time,
	// and a timer that was stopped wakes the host up all the same: so all that is due falls together with a slow round.
	probe        = 2 * slowRound
	probeTimeout = slowRound
	// suspicion is how long a member that did not answer has to say that it lives: times probe, and times the decimal
	// logarithm of the number of members. It is the same where nobody else suspects it: a node that is cut off asks alone.
	suspicion = 3
	// exchange is the time between two comparisons of all that is known of members with another one; in a fleet of 100 three
	// times as long. What they would find is mostly found by records of addresses before, see Addresses.
	exchange = time.Minute
	// patience is how many times slower a member asks that gets few answers, lest it be its own fault.
	patience = 2
	// quickRound and quickTo are the same for rounds of our own, see hurry; retransmit is how often each thing is told, times
	// that logarithm.
	quickRound = 200 * time.Millisecond
	quickTo    = 3
	retransmit = 4
	// hintMemory is how long a hint is known to have been heard, and maxHeard how many are.
	hintMemory = time.Minute
	maxHeard   = 1024
	// maxOfSeed is how many addresses of one configured name are tried.
	maxOfSeed = 16
	// seedAgain is after how long a seed is joined again that is no member's address, and that answers.
	seedAgain = 10 * time.Minute
	// maxLost is how many members that went are tried again.
	maxLost = 1024
	// maxStreams is how many streams of others are open at a time. Each lives for seconds.
	maxStreams = 64
	// maxFromOne is how many of them come from one address.
	maxFromOne = 8
	// twinEvery is the least time between two calls of Config.Twin.
	twinEvery = 10 * time.Second
)

// Config is one member.
type Config struct {
	Name      string // the node's id
	Key       []byte // KeySize bytes, the same on all members
	Label     string // keeps clusters apart that share a network
	Bind      string // host:port; port 0 takes any
	Advertise string // host or host:port that others reach; empty: the bound address, or the host's first private one
	Peer      string // host:port of this node's peer server; without a host, or one that is a name, it is where gossip is
	Join      []string
	Network   Network
	Log       func(text string) // nil tells nobody
	// Keys gives the signing key of a node of the roster. It is called under locks and must not block.
	Keys func(node string) (ed25519.PublicKey, bool)
	// Nodes is how many nodes the roster has; it bounds what others may say of them. Nil: 10,000.
	Nodes func() int
	// Sign makes this node's record of kind schema.RecordAddress. Where it fails, others do not see this node before Claim.
	Sign  func(schema.AddressRecord) (schema.Record, error)
	Alone func(text string) // why nobody else is there, once all of Join were tried; "" when somebody is; nil tells nobody
	// Twin is told that somebody says, in words that this node's key has signed, that this node is elsewhere: it may have been
	// before, or another host has the key, whose peer server then is there. At most every 10 s; it must not block. Nil: nobody.
	Twin   func(peer netip.AddrPort)
	Random func() float64 // in [0,1), for jitter; nil is none
}

// Member is a node that is there.
type Member struct {
	ID   string
	Peer string // host:port of its peer server
}

// Cluster is this node's view of all members. Its methods may be called from many goroutines.
type Cluster struct {
	c        Config
	list     atomic.Pointer[memberlist.Memberlist]
	queue    *memberlist.TransmitLimitedQueue
	hints    chan []byte
	changed  chan struct{}
	resync   chan struct{}
	news     chan struct{} // there is something to tell
	doubting chan struct{}
	renew    chan struct{} // own has changed
	tell     *translator
	at       schema.AddressRecord   // of this member
	own      atomic.Pointer[[]byte] // what it says of itself
	claims   *claims
	door     *door
	ring     *memberlist.Keyring
	count    counters
	versions [6]uint8           // of memberlist's protocol
	stop     context.CancelFunc // ends seek
	quiet    context.CancelFunc // ends the other loops
	loops    sync.WaitGroup

	mu     sync.Mutex
	heard  map[string]time.Time     // hints of the last minute
	here   map[string]bool          // members, by id
	told   map[string]bool          // the same as memberlist has it, by what others say
	lost   map[string]bool          // members that went
	doubts map[string]bool          // members that are to be asked whether they are there
	swept  time.Time                // when all that went were asked last
	waits  map[string]time.Duration // until they are asked again
	twinAt time.Time                // when Twin was told last
}

// Start opens the addresses and begins to look for others; that nobody is there yet is no error.
func Start(c Config) (*Cluster, error) {
	if len(c.Key) != KeySize {
		return nil, fmt.Errorf("gossip: the key has %d bytes and must have %d", len(c.Key), KeySize)
	}
	if !isID(c.Name) {
		return nil, fmt.Errorf("gossip: name %q is not a node's id", c.Name)
	}
	if c.Log == nil {
		c.Log = func(string) {}
	}
	if c.Alone == nil {
		c.Alone = func(string) {}
	}
	if c.Random == nil {
		c.Random = func() float64 { return 0 }
	}
	if c.Keys == nil || c.Sign == nil {
		return nil, errors.New("gossip: Keys and Sign are required")
	}
	if c.Nodes == nil {
		c.Nodes = func() int { return 10_000 }
	}
	cl := &Cluster{c: c, hints: make(chan []byte, maxHints), changed: make(chan struct{}, 1), resync: make(chan struct{}, 1), news: make(chan struct{}, 1),
		doubting: make(chan struct{}, 1), renew: make(chan struct{}, 1), here: map[string]bool{}, told: map[string]bool{}, lost: map[string]bool{}, heard: map[string]time.Time{},
		doubts: map[string]bool{}, waits: map[string]time.Duration{}, tell: &translator{tell: c.Log, last: map[string]time.Time{}}}
	known := func(id string) bool { _, ok := c.Keys(id); return ok || id == c.Name }
	var err error
	if cl.ring, err = memberlist.NewKeyring(nil, c.Key); err != nil {
		return nil, fmt.Errorf("gossip: %w", err)
	}
	cl.door = newDoor(c.Label, cl.ring.GetKeys, known, c.Nodes, &cl.count) // the one that encrypts comes first
	t, err := listen(c.Network, c.Bind, c.Advertise)
	if err != nil {
		return nil, err
	}
	if cl.at, err = t.addresses(c.Peer); err != nil {
		_, _ = t.l.Close(), t.p.Close()
		return nil, err
	}
	cl.claims = newClaims(c.Keys, cl.at.Gossip.Addr())
	cl.door.heard = cl.claims.heard
	t.door, t.claims, t.tally = cl.door, cl.claims, &cl.count
	if r, err := c.Sign(cl.at); err != nil {
		c.Log("others do not see this node yet: " + err.Error())
	} else if err := cl.Claim(r); err != nil {
		_, _ = t.l.Close(), t.p.Close()
		return nil, err
	}
	t.read()
	m := memberlist.DefaultLANConfig()
	m.Name, m.Label, m.Keyring, m.Transport = c.Name, c.Label, cl.ring, t
	m.AdvertiseAddr, m.AdvertisePort = t.ip.String(), t.port
	m.BindPort = t.port
	cl.versions = [6]uint8(m.BuildVsnArray())
	m.EnableCompression = false
	m.GossipInterval, m.GossipNodes, m.RetransmitMult = slowRound, slowTo, retransmit
	m.ProbeInterval, m.ProbeTimeout, m.SuspicionMult, m.SuspicionMaxTimeoutMult = probe, probeTimeout, suspicion, 1
	m.AwarenessMaxMultiplier = patience
	m.PushPullInterval = exchange
	m.TCPTimeout = 5 * time.Second
	m.DeadNodeReclaimTime = time.Millisecond // a host that comes back with another address, which it has signed
	m.DisableTcpPings = false
	m.RequireNodeNames = false
	m.Logger = log.New(cl.tell, "", 0)
	m.LogOutput = nil
	d := &delegate{cl}
	m.Delegate, m.Events, m.Alive, m.Conflict = d, d, d, d
	cl.queue = &memberlist.TransmitLimitedQueue{NumNodes: cl.size, RetransmitMult: retransmit}
	select {
	case <-cl.renew: // the list begins with it
	default:
	}
	list, err := memberlist.Create(m)
	if err != nil {
		_ = t.Shutdown()
		return nil, fmt.Errorf("gossip: %w", err)
	}
	cl.list.Store(list)
	var seek, hurry context.Context
	seek, cl.stop = context.WithCancel(context.Background())
	hurry, cl.quiet = context.WithCancel(context.Background())
	cl.loops.Go(func() { cl.seek(seek) })
	cl.loops.Go(func() { cl.hurry(hurry) })
	cl.loops.Go(func() { cl.weigh(hurry) })
	cl.loops.Go(func() { cl.renewing(hurry) })
	return cl, nil
}

// size is how many members there are.
func (c *Cluster) size() int {
	if list := c.list.Load(); list != nil {
		return max(list.NumMembers(), 1)
	}
	return 1
}

// SetKeys encrypts with a key from now on, and takes what is encrypted with it or with others, and with none else.
func (c *Cluster) SetKeys(use []byte, also ...[]byte) error {
	all := append([][]byte{use}, also...)
	for _, k := range all {
		if len(k) != KeySize {
			return fmt.Errorf("gossip: a key has %d bytes and must have %d", len(k), KeySize)
		}
	}
	for _, k := range all {
		if err := c.ring.AddKey(k); err != nil {
			return fmt.Errorf("gossip: %w", err)
		}
	}
	if err := c.ring.UseKey(use); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	for _, k := range c.ring.GetKeys() {
		if !slices.ContainsFunc(all, func(o []byte) bool { return bytes.Equal(o, k) }) {
			if err := c.ring.RemoveKey(k); err != nil {
				return fmt.Errorf("gossip: %w", err)
			}
		}
	}
	return nil
}

// Addr is where others reach this member, host:port.
func (c *Cluster) Addr() string { return c.at.Gossip.String() }

// Refused counts what was not done or not taken since the start.
func (c *Cluster) Refused() Refused { return c.count.now() }

// Members are all nodes that are there, this one included, by id.
func (c *Cluster) Members() []Member {
	c.mu.Lock()
	ids := slices.Collect(maps.Keys(c.here))
	c.mu.Unlock()
	out := make([]Member, 0, len(ids))
	for _, id := range ids {
		if at, ok := c.where(id); ok {
			out = append(out, Member{ID: id, Peer: at.Peer.String()})
		}
	}
	slices.SortFunc(out, func(a, b Member) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Changed gets a value after members came, went or moved; many changes may share one.
func (c *Cluster) Changed() <-chan struct{} { return c.changed }

// Resync compares the lists of members with one of them soon, rather than when it is due: what gossip has missed is found.
func (c *Cluster) Resync() {
	wake(c.resync)
}

// wake raises a signal that may be up already.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// anyone is the address of some member but this one; empty where there is none.
func (c *Cluster) anyone() string {
	c.mu.Lock()
	ids := slices.Sorted(maps.Keys(c.here))
	c.mu.Unlock()
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == c.c.Name })
	if len(ids) == 0 {
		return ""
	}
	at, ok := c.claims.where(ids[int(c.c.Random()*float64(len(ids)))])
	if !ok {
		return ""
	}
	return at.Gossip.String()
}

// Hint tells all members something of at most MaxHint bytes; longer ones are dropped. It is heard by most within a second
// or two, and now and then by some not at all.
func (c *Cluster) Hint(b []byte) {
	if len(b) <= MaxHint && c.first(b) {
		c.queue.QueueBroadcast(hint(append([]byte(nil), b...)))
		wake(c.news)
	}
}

// first reports whether a hint was not heard within a minute. Who hears it first tells it on; of too many at once those
// that come late are dropped.
func (c *Cluster) first(b []byte) bool {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.heard[string(b)]; ok && now.Sub(at) < hintMemory {
		return false
	}
	if len(c.heard) >= maxHeard {
		for h, at := range c.heard {
			if now.Sub(at) >= hintMemory {
				delete(c.heard, h)
			}
		}
		if len(c.heard) >= maxHeard {
			return false
		}
	}
	c.heard[string(b)] = now
	return true
}

// Hints gets what others hint. They are hostile until checked.
func (c *Cluster) Hints() <-chan []byte { return c.hints }

// Leave says goodbye, for as long as ctx allows, and closes everything.
func (c *Cluster) Leave(ctx context.Context) {
	c.stop()
	c.door.leave()
	wait := 2 * time.Second
	if d, ok := ctx.Deadline(); ok {
		wait = max(time.Until(d), 0)
	}
	_ = c.list.Load().Leave(wait)
	c.close()
}

// Close ends without a word, as a crash would.
func (c *Cluster) Close() {
	c.stop()
	c.close()
}

func (c *Cluster) close() {
	c.quiet()
	_ = c.list.Load().Shutdown()
	c.loops.Wait()
}

// hurry tells what is new in quick rounds: members that came, went or moved, and hints. memberlist's own rounds are slow, so
// that a fleet in which nothing happens sleeps, and its clock cannot be set anew. But it adds what there is to tell to every
// ping and to every answer, so a few of the others are pinged in each round until everything was told as often as it is
// to be. What is not known here, as that somebody is suspected to be away, waits for the slow rounds.
func (c *Cluster) hurry(ctx context.Context) {
	var pings sync.WaitGroup
	defer pings.Wait()
	t := time.NewTimer(0)
	defer t.Stop()
	for rounds := 0; ; rounds-- {
		if rounds <= 0 {
			select {
			case <-ctx.Done():
				return
			case <-c.news:
				rounds = c.rounds()
			}
		}
		for _, m := range c.some(quickTo) {
			pings.Go(func() { _, _ = c.list.Load().Ping(m.id, m.addr) }) // an answer comes soon, or is not waited for
		}
		t.Reset(quickRound)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		select {
		case <-c.news:
			rounds = c.rounds() + 1
		default:
		}
	}
}

// rounds is how many quick rounds there are until all is told. Each thing is told this often by memberlist:
func (c *Cluster) rounds() int {
	times := retransmit * int(math.Ceil(math.Log10(float64(c.size()+1))))
	return (times+quickTo-1)/quickTo + 1 // some of them go to members that went
}

// some are members by chance, this one not among them.
func (c *Cluster) some(n int) []target {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []target
	seen := 0
	for id := range c.here {
		if id == c.c.Name {
			continue
		}
		at, ok := c.claims.where(id)
		if !ok {
			continue
		}
		t := target{id, net.UDPAddrFromAddrPort(at.Gossip)}
		seen++
		if at := rand.IntN(seen); len(out) < n {
			out = append(out, t)
		} else if at < n {
			out[at] = t
		}
	}
	return out
}

// target is whom a ping goes to.
type target struct {
	id   string
	addr net.Addr
}

func jitter(c Config, d time.Duration) time.Duration {
	return d + time.Duration(c.Random()*float64(d/2))
}

// isID reports whether s has the form of a node's id, see schema.NodeID.
func isID(s string) bool {
	return len(s) == 26 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}
